// The suite's tests of bad bytes, limits, time limits, scans, counts and threads.

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/conformance/tier_suite.h"

namespace larder {
namespace {

using ExpectKind = Expect::Kind;

TEST_P(TierSuite, EveryFlippedBitIsACountedMiss) {
  const std::string key = Key("k");
  const std::string good = NewPut(key, 10, "ten").envelope;
  const uint64_t before = tier().Stats().bad_envelopes;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    rig_->SetRaw(key, bad);
    EXPECT_EQ(Value(key), "(absent)") << "bit " << bit;
  }
  EXPECT_GE(tier().Stats().bad_envelopes, before + good.size() * 8);
  rig_->SetRaw(key, good);
  EXPECT_EQ(Value(key), "ten");
}

TEST_P(TierSuite, NoEnvelopeAtAllIsAMissAndCanBeReplaced) {
  const std::string key = Key("k");
  const std::string good = NewPut(key, 10, "ten").envelope;
  const std::string others = NewPut(Key("other"), 10, "others").envelope;
  for (const std::string& bad : {std::string("x"), std::string(100, '\0'), good.substr(0, 31),
                                 good.substr(0, 32), good + "x", others}) {
    rig_->SetRaw(key, bad);
    EXPECT_EQ(Value(key), "(absent)");
    EXPECT_EQ(Put(key, 10, "ten").outcome, Outcome::kDone);
    EXPECT_EQ(Value(key), "ten");
    rig_->SetRaw(key, bad);
    EXPECT_EQ(Erase(key, 10).outcome, Outcome::kDone);
    EXPECT_EQ(Value(key), "(tombstone 10)");
  }
}

TEST_P(TierSuite, TakesValuesUpToItsLimitAndSkipsLargerOnes) {
  const std::string key = Key("k");
  const size_t overhead = NewPut(key, 1, std::string(1 << 20, 'v')).envelope.size() - (1 << 20);
  Version version = 1;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{70'000}, size_t{1} << 20,
                            GetParam().envelope_bytes_max - overhead - 2}) {
    std::string value(size, 'v');
    for (size_t i = 0; i < size; i += 997) value[i] = static_cast<char>(i);
    EXPECT_EQ(Put(key, ++version, value).outcome, Outcome::kDone) << size;
    EXPECT_EQ(Value(key) == value, true) << size;
  }
  const std::string large(GetParam().envelope_bytes_max, 'v');
  EXPECT_EQ(Put(key, ++version, large).outcome, Outcome::kSkipped);
  EXPECT_NE(Get(key).kind, Kind::kEntry);
  EXPECT_EQ(Put(key, version - 1, "late").outcome, Outcome::kNewerExists);
  EXPECT_NE(Get(key).kind, Kind::kEntry);
}

TEST_P(TierSuite, KeysMayHoldAnythingThatKeysMayHold) {
  const std::vector<std::string> keys = {
      "*",      "[a]",   "{a}b", "a b",     "ключ",
      "\\x",    "%s%n",  "?",    "a:b{}:c", std::string(1024, 'k'),
      "\"q'\"", "x;\"y", ".."};
  for (const std::string& key : keys) Put(Key(key), 1, key);
  for (const std::string& key : keys) EXPECT_EQ(Value(Key(key)), key);
  std::set<std::string> seen;
  for (const auto& item : ScanAll(Key(""), "", 3)) seen.insert(item.full_key);
  EXPECT_EQ(seen.size(), keys.size());
  for (const std::string& key : keys) EXPECT_EQ(seen.count(Key(key)), 1u) << key;
}

TEST_P(TierSuite, ScanFindsTheLiveKeysOfItsNamespaceAndNoOthers) {
  std::set<std::string> expected;
  for (int i = 0; i < 250; ++i) {
    const std::string key = Key(absl::StrCat("user:", i));
    Put(key, 100 + i, "v");
    expected.insert(key);
  }
  Erase(Key("user:7"), 1000);
  expected.erase(Key("user:7"));
  const std::string negative_key = Key("user:none");
  EntryFields negative = Fields(negative_key, 5, "");
  negative.negative = true;
  Put(PutOf(negative));
  const std::string short_key = Key("user:short");
  EntryFields ends = Fields(short_key, 5, "v");
  ends.fresh_until = ends.usable_until = clock().Mono() + 5'000'000'000;
  Put(PutOf(ends));
  clock().Advance(absl::Seconds(10));
  for (const std::string_view other : {"shop2", "sho", "default", "shopp"}) {
    Put(FullKey(other, "user:1").view(), 1, "v");
  }
  for (const size_t limit : {1u, 7u, 1000u}) {
    std::set<std::string> seen;
    for (const auto& item : ScanAll(Key(""), "", limit)) {
      seen.insert(item.full_key);
      if (item.full_key == Key("user:42")) {
        EXPECT_EQ(item.version, 142u);
      }
    }
    EXPECT_EQ(seen, expected) << "limit " << limit;
  }
}

TEST_P(TierSuite, ScanFollowsPrefixAndGlob) {
  for (const char* key : {"user:1", "user:12", "user:2", "users", "item:1", "user*1"}) {
    Put(Key(key), 1, "v");
  }
  const auto scan = [&](std::string_view prefix, std::string glob) {
    std::set<std::string> keys;
    for (const auto& item : ScanAll(Key(prefix), std::move(glob), 2)) {
      keys.insert(std::string(FullKey::KeyOf(item.full_key)));
    }
    return keys;
  };
  using Keys = std::set<std::string>;
  EXPECT_EQ(scan("user:", ""), (Keys{"user:1", "user:12", "user:2"}));
  EXPECT_EQ(scan("", "*:1"), (Keys{"user:1", "item:1"}));
  EXPECT_EQ(scan("user", "user?1*"), (Keys{"user:1", "user:12", "user*1"}));
  EXPECT_EQ(scan("", "user\\*1"), (Keys{"user*1"}));
  EXPECT_EQ(scan("user*", ""), (Keys{"user*1"}));
  EXPECT_EQ(scan("nothing", ""), Keys{});
}

TEST_P(TierSuite, CallWhoseTimeIsOverFailsAndChangesNothing) {
  const std::string key = Key("k");
  Put(key, 10, "ten");
  clock().Advance(absl::Milliseconds(1));
  const MonoNanos over = clock().Mono() - 1;
  const auto out_of_time = [](const absl::Status& status) {
    return absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status);
  };
  const uint64_t errors = tier().Stats().errors;
  const absl::Status got = Await(tier().Get({key}, over)).status();
  EXPECT_TRUE(out_of_time(got)) << got;
  const absl::Status put =
      Await(tier().Put({NewPut(key, 20, "late"), NewPut(Key("new"), 20, "late")}, over)).status();
  EXPECT_TRUE(out_of_time(put)) << put;
  const absl::Status erased = Await(tier().Erase({{key, 30}}, over)).status();
  EXPECT_TRUE(out_of_time(erased)) << erased;
  const absl::Status scanned = Await(tier().Scan({Key(""), "", "", 10}, over)).status();
  EXPECT_TRUE(out_of_time(scanned)) << scanned;
  EXPECT_GE(tier().Stats().errors, errors + 4);
  // Reads may overtake changes that are still on their way; a change does not.
  EXPECT_EQ(Put(key, 11, "eleven", {ExpectKind::kVersion, 10}).outcome, Outcome::kDone);
  EXPECT_EQ(Put(Key("new"), 1, "one", {ExpectKind::kAbsent, 0}).outcome, Outcome::kDone);
  EXPECT_EQ(Value(key), "eleven");
  EXPECT_EQ(Value(Key("new")), "one");
}

TEST_P(TierSuite, CountsWhatItDoes) {
  const TierStats before = tier().Stats();
  Put(Key("a"), 10, "A");
  Put(Key("a"), 9, "late");
  Erase(Key("b"), 10);
  Get(Key("a"));
  Get(Key("b"));
  Get(Key("none"));
  const TierStats after = tier().Stats();
  EXPECT_FALSE(after.name.empty());
  EXPECT_EQ(after.state, "ok");
  EXPECT_EQ(after.gets - before.gets, 3u);
  EXPECT_EQ(after.hits - before.hits, 1u);
  EXPECT_EQ(after.puts - before.puts, 1u);
  EXPECT_EQ(after.erases - before.erases, 1u);
  EXPECT_EQ(after.outdated - before.outdated, 1u);
  EXPECT_EQ(after.errors - before.errors, 0u);
}

// Threads of ordered and late writes, erases and reads of the same few keys. Whatever the order in
// which they come, a key ends at the newest version that anybody wrote, and nobody ever reads an
// older version than before.
TEST_P(TierSuite, NewestWinsAmongThreads) {
  if (!GetParam().threads) return;
  constexpr int kThreads = 4, kRounds = 300, kKeys = 3;
  std::atomic<Version> versions{0};
  std::array<std::atomic<Version>, kKeys> newest{};
  const auto work = [&](int seed) {
    std::mt19937 random(seed);
    std::array<Version, kKeys> seen{};
    for (int round = 0; round < kRounds; ++round) {
      const int k = static_cast<int>(random() % kKeys);
      const std::string key = Key(absl::StrCat("k", k));
      const Version version = ++versions;
      Version known = newest[k].load();
      switch (random() % 3) {
        case 0:
          if (Put(key, version, absl::StrCat("v", version)).outcome == Outcome::kSkipped)
            ADD_FAILURE() << "skipped";
          break;
        case 1:
          Erase(key, version);
          break;
        default: {
          const TierRead read = Get(key);
          EXPECT_GE(read.entry.version, seen[k]);
          EXPECT_GE(read.entry.version, known);
          if (read.kind == Kind::kEntry) {
            EXPECT_EQ(read.entry.stored(), absl::StrCat("v", read.entry.version));
          }
          seen[k] = std::max(seen[k], read.entry.version);
          continue;
        }
      }
      while (known < version && !newest[k].compare_exchange_weak(known, version)) {
      }
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  for (int k = 0; k < kKeys; ++k) {
    EXPECT_EQ(Get(Key(absl::StrCat("k", k))).entry.version, newest[k].load());
  }
}

TEST_P(TierSuite, OneOfManyWinsAConditionAmongThreads) {
  if (!GetParam().threads) return;
  constexpr int kThreads = 4, kRounds = 50;
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = Key(absl::StrCat("k", round));
    std::atomic<int> winners{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const TierChange change =
            Put(key, static_cast<Version>(10 + t), absl::StrCat(t), {ExpectKind::kAbsent, 0});
        if (change.outcome == Outcome::kDone) ++winners;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners.load(), 1);
  }
}

}  // namespace
}  // namespace larder
