// How long an entry lives: the arithmetic of the data types.
//
//   ttl = clamp(base x multiplier x access x size x change x jitter, min, max)
//
// Hits fade: the count of a key is halved every `access_half_life`. What the arithmetic is given is
// the faded count; L1 keeps it, and a new version of a key inherits it.
//
// Pure functions of a policy and an input; no clock, no chance, no state. Thread safety: any
// function, any thread.

#ifndef LARDER_POLICY_TTL_H_
#define LARDER_POLICY_TTL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace larder {

// Values below `below_bytes` live `factor` times as long. Bands are sorted by below_bytes; the last
// has below_bytes = UINT64_MAX.
struct SizeBand {
  uint64_t below_bytes;
  double factor;
};

// An entry with more than `hits` hits, faded, gets `ttl` as its base. Steps are sorted by hits; the
// last that applies wins.
struct AccessStep {
  uint64_t hits;
  absl::Duration ttl;
};

struct TtlPolicy {
  absl::Duration base = absl::Minutes(5);
  double multiplier = 1.0;
  // 0.1 spreads TTLs uniformly by up to 10% either way. 0 to 0.5.
  double jitter = 0.1;
  // min(access_max, 1 + hits / access_per_hits x access_gain)
  bool adapt_access = false;
  double access_per_hits = 100;
  double access_gain = 0.5;
  double access_max = 2.0;
  // When not empty, takes the place of the factor above.
  std::vector<AccessStep> access_steps = {};
  // Every so often the count of hits is halved. A key that is read n times in each such time has n
  // to 2n hits, so that this is the window over which steps count.
  absl::Duration access_half_life = absl::Minutes(10);
  bool adapt_size = false;
  std::vector<SizeBand> size_bands = {
      {1024, 1.2}, {10 * 1024, 1.0}, {100 * 1024, 0.8}, {UINT64_MAX, 0.6}};
  // Multiplies by what a ChangeLearner learned of the key.
  bool adapt_change = false;
  // The learner settles where this part of the loads finds another value; 0.01 to 0.5.
  double change_target = 0.25;
  absl::Duration min = absl::Milliseconds(1);
  absl::Duration max = absl::Hours(24 * 30);
  // TTL of negative entries; jittered and cut to max, otherwise as it is.
  absl::Duration absent = absl::Seconds(10);
  // True: an entry without an explicit TTL lives until it is evicted or removed. Negative entries
  // live for `absent` all the same: that a key does not exist is never remembered for ever.
  bool forever = false;
  // True: every hit starts the TTL again. Says nothing about negative entries.
  bool sliding = false;
};

struct TtlInput {
  // Hits of the key until now, faded.
  uint64_t hits = 0;
  uint64_t value_bytes = 0;
  // The key's factor, of ChangeLearner::Factor; ignored unless the type adapts to changes. And
  // whether it is the key's own (ChangeLearner::OwnFactor), for the explanation.
  double learned = 1;
  bool learned_of_key = false;
  // A negative entry.
  bool absent = false;
  // The request's own TTL: taken as it is, jitter excepted, and cut to max.
  std::optional<absl::Duration> requested = std::nullopt;
  // A uniform draw from [-1, 1]; 0 leaves jitter out.
  double jitter_draw = 0;
};

// The TTL; absl::InfiniteDuration() only for values of `forever` types without a requested TTL.
// Never below 1 ms.
absl::Duration ComputeTtl(const TtlPolicy& policy, const TtlInput& input);

// For how long a hit makes the entry live again when ComputeTtl gave it `ttl`; zero when hits do
// not. It is the TTL itself, jitter and all, also a requested one. Never for negative entries,
// whose absence would be remembered for as long as somebody asks, and never for infinite TTLs,
// which need it not.
absl::Duration SlidingTtl(const TtlPolicy& policy, const TtlInput& input, absl::Duration ttl);

// One step of the arithmetic, for Explain.
struct TtlStep {
  // base, requested, absent, multiplier, access, size, change, jitter, min, max, sliding
  std::string name;
  double factor = 1.0;  // 1 where the step is no multiplication
  absl::Duration ttl;   // after the step
  std::string why;
};

// The same arithmetic, step by step: the last step's ttl is what ComputeTtl answers. A factor that
// the policy does not use appears as 1, except change, which does not appear then; min and max
// appear only when they change the result, and sliding, which changes nothing at first, when hits
// start the TTL again.
std::vector<TtlStep> ExplainTtl(const TtlPolicy& policy, const TtlInput& input);

}  // namespace larder

#endif  // LARDER_POLICY_TTL_H_
