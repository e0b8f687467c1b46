// What the engine's parts are made with, worked out from the engine's own options. What is pointed
// to outlives the part. Thread safety: pure functions.

#ifndef LARDER_ENGINE_ENGINE_OPTIONS_H_
#define LARDER_ENGINE_ENGINE_OPTIONS_H_

#include <functional>
#include <string_view>

#include "engine/engine.h"
#include "engine/rule_history.h"

namespace larder {

// What an entry of any type can live, and what may be late with it.
absl::Duration LongestLife(const TypeTable& types);
// What a load of any type can take from its beginning to its landing; and how long what is stale
// can be served.
absl::Duration LongestLoad(const TypeTable& types, absl::Duration lease_ttl_max);
absl::Duration LongestStale(const TypeTable& types);

// `below`: its entries go to the lower tier, too.
L1::TypeOptions MemoryTypeOf(const TypePolicy& type, bool below);
L1::Options MemoryOptions(const Engine::Options& options, const RuleTable* rules);
HotKeys::Options HotKeysOptions(const Engine::Options& options);
Compressor::Options CompressorOptions(const Engine::Options& options);
LeaseTable::Options LeaseOptions(const Engine::Options& options);
RuleTable::Options RuleOptions(const Engine::Options& options);
ChangeFeed::Options FeedOptions(const Engine::Options& options);
Coherence::Options CoherenceOptions(const Engine::Options& options, L1* memory, LeaseTable* leases,
                                    LowerTier* lower, ChangeFeed* feed, VersionClock* versions,
                                    InFlight* background,
                                    std::function<void(std::string_view, Version)> on_changed,
                                    std::function<void(const BusMessage&)> on_rule,
                                    std::function<void(bool)> on_bus,
                                    std::function<void(Version)> on_saw);
Rules::Options RulesOptions(const Engine::Options& options, RuleTable* table, L1* memory,
                            VersionClock* versions, InFlight* background, ChangeFeed* feed,
                            RuleHistory* history, std::function<absl::Duration()> life,
                            std::function<absl::Duration(bool marked)> lasts);

}  // namespace larder

#endif  // LARDER_ENGINE_ENGINE_OPTIONS_H_
