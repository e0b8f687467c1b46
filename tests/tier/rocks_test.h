// What the tests of the RocksDB tier do again and again: put, erase and read one key.

#ifndef LARDER_TESTS_TIER_ROCKS_TEST_H_
#define LARDER_TESTS_TIER_ROCKS_TEST_H_

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/tier/rocks_rig.h"
#include "tier/envelope.h"

namespace larder {

inline constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

inline std::string Key(std::string_view key) { return std::string(FullKey("shop", key).view()); }

inline TierPut PutOf(const Clock& clock, std::string_view key, Version version,
                     std::string_view value, absl::Duration life = absl::Hours(1)) {
  TierPut put;
  put.full_key = Key(key);
  put.version = version;
  EntryFields fields;
  fields.full_key = put.full_key;
  fields.value = value;
  fields.version = version;
  fields.fresh_until = fields.usable_until = MonoAfter(clock.Mono(), life);
  put.usable_until = fields.usable_until;
  put.envelope = EncodeEnvelope(fields, "user", clock);
  return put;
}

inline absl::StatusOr<TierChange::Outcome> PutIn(Tier& tier, const TierPut& put) {
  auto changes = AwaitTask(tier.Put({put}, kNever));
  if (!changes.ok()) return changes.status();
  return changes->front().outcome;
}

// The value under the key, or what is there instead, or the error.
inline std::string ValueIn(Tier& tier, std::string_view key) {
  const auto reads = AwaitTask(tier.Get({Key(key)}, kNever));
  if (!reads.ok()) return absl::StrCat("(", reads.status().ToString(), ")");
  const TierRead& read = reads->front();
  if (read.kind == TierRead::Kind::kAbsent) return "(absent)";
  if (read.kind == TierRead::Kind::kEnded) return "(ended)";
  if (read.kind == TierRead::Kind::kTombstone)
    return absl::StrCat("(tombstone ", read.entry.version, ")");
  return std::string(read.entry.stored());
}

class RocksTest : public testing::Test {
 protected:
  TierPut NewPut(std::string_view key, Version version, std::string_view value) {
    return PutOf(rig_.clock(), key, version, value);
  }
  TierChange::Outcome Put(std::string_view key, Version version, std::string_view value,
                          Expect expect = {}, absl::Duration life = absl::Hours(1)) {
    TierPut put = PutOf(rig_.clock(), key, version, value, life);
    put.expect = expect;
    const auto outcome = PutIn(rig_.tier(), put);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.value_or(TierChange::Outcome::kSkipped);
  }
  void Erase(std::string_view key, Version version) {
    const auto changes = AwaitTask(rig_.tier().Erase({{Key(key), version}}, kNever));
    EXPECT_TRUE(changes.ok()) << changes.status();
  }
  std::string Value(std::string_view key) { return ValueIn(rig_.tier(), key); }

  RocksRig rig_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_ROCKS_TEST_H_
