#include "tier/redis_tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <set>

#include "base/strings.h"
#include "tests/base/threads.h"
#include "tests/tier/redis_rig.h"
#include "tier/redis_key.h"
#include "tier/redis_scripts.h"

namespace larder {
namespace {

using Outcome = TierChange::Outcome;
using ExpectKind = Expect::Kind;

std::string Name(const std::string& full_key) {
  return RedisKeys("larder", RedisKeys::Part::kEntry).Of(full_key);
}

// How often the server has read from its connections; to ask is two more, for the end of the
// connection is read too.
uint64_t ReadsOf(const RedisServer& server) {
  return std::stoull(server.Info("total_reads_processed"));
}

class RedisTierTest : public testing::Test {
 protected:
  RedisServer server_;
  Replica replica_{{server_.address()}};
  TierOf tier_{&replica_};
};

TEST_F(RedisTierTest, NewestVersionWinsBetweenTwoReplicas) {
  constexpr int kThreads = 4, kRounds = 200, kKeys = 3;
  Replica other({server_.address()});
  TierOf other_tier(&other);
  std::atomic<Version> versions{0};
  std::array<std::atomic<Version>, kKeys> newest{};
  Threads(kThreads, [&](int thread) {
    TierOf& tier = thread % 2 == 0 ? tier_ : other_tier;
    std::mt19937 random(thread);
    for (int round = 0; round < kRounds; ++round) {
      const size_t k = random() % kKeys;
      const std::string key = Key(StrCat("k", k));
      const Version version = ++versions;
      const TierChange change =
          random() % 4 == 0 ? tier.Erase(key, version) : tier.Put(key, version, StrCat(version));
      EXPECT_GE(change.current, version);
      Version known = newest[k].load();
      while (known < version && !newest[k].compare_exchange_weak(known, version)) {
      }
    }
  }).Join();
  for (int k = 0; k < kKeys; ++k) {
    const std::string key = Key(StrCat("k", k));
    EXPECT_EQ(tier_.Get(key).entry.version, newest[k].load());
    EXPECT_EQ(other_tier.Get(key).entry.version, newest[k].load());
  }
}

TEST_F(RedisTierTest, OneOfManyReplicasWinsACondition) {
  Replica other({server_.address()});
  TierOf other_tier(&other);
  for (int round = 0; round < 20; ++round) {
    const std::string key = Key(StrCat("k", round));
    std::atomic<int> winners{0};
    std::atomic<Version> winner{0};
    Threads(6, [&](int thread) {
      TierOf& tier = thread % 2 == 0 ? tier_ : other_tier;
      const Version version = 100 + thread;
      const TierChange change =
          tier.Put(key, version, StrCat(thread), {ExpectKind::kAbsent, kNoVersion});
      if (change.outcome == Outcome::kDone) {
        ++winners;
        winner = version;
      } else {
        EXPECT_EQ(change.outcome, Outcome::kConditionFailed);
      }
    }).Join();
    EXPECT_EQ(winners.load(), 1);
    EXPECT_EQ(tier_.Get(key).entry.version, winner.load());
  }
}

TEST_F(RedisTierTest, AnyByteMayBeInKeysAndValues) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string key = Key(all + "\r\n$3\r\n" + all);
  tier_.Put(key, 5, all + all);
  EXPECT_EQ(tier_.Value(key), all + all);
  const auto page = Wait(tier_.tier().Scan({Key(""), "", "", 1000}, Soon()));
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->items.size(), 1u);
  EXPECT_EQ(page->items[0].full_key, key);
}

TEST_F(RedisTierTest, KeepsValuesOfAMebibyteManyAtATime) {
  std::vector<TierPut> puts;
  std::vector<std::string> keys;
  for (int i = 0; i < 40; ++i) {
    keys.push_back(Key(StrCat("large:", i)));
    puts.push_back(tier_.PutOf(keys.back(), 1, std::string(1 << 20, static_cast<char>('a' + i))));
  }
  const auto changes = Wait(tier_.tier().Put(std::move(puts), Soon()));
  ASSERT_TRUE(changes.ok()) << changes.status();
  const auto reads = Wait(tier_.tier().Get(keys, Soon()));
  ASSERT_TRUE(reads.ok()) << reads.status();
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE((*reads)[i].entry.stored() == std::string(1 << 20, static_cast<char>('a' + i)));
  }
}

TEST_F(RedisTierTest, EveryTruncationIsACountedMissAndRemoved) {
  const std::string key = Key("k");
  const std::string good = tier_.PutOf(key, 10, "ten").envelope;
  for (size_t size = 0; size < good.size(); ++size) {
    replica_.Do({"SET", Name(key), good.substr(0, size)});
    const uint64_t before = tier_.Stats().bad_envelopes;
    EXPECT_EQ(tier_.Value(key), "(absent)") << size;
    EXPECT_EQ(tier_.Stats().bad_envelopes, before + 1) << size;
    EXPECT_EQ(replica_.Do({"EXISTS", Name(key)}).integer, 0) << size;
  }
}

TEST_F(RedisTierTest, ManyBrokenEnvelopesInOneBatchAreMissesAndTheOthersHits) {
  std::vector<std::string> keys;
  for (int i = 0; i < 50; ++i) {
    keys.push_back(Key(StrCat("k", i)));
    tier_.Put(keys.back(), 1, StrCat(i));
    if (i % 2 == 0) replica_.Do({"SETRANGE", Name(keys.back()), "40", "\xff\xff"});
  }
  const auto reads = Wait(tier_.tier().Get(keys, Soon()));
  ASSERT_TRUE(reads.ok()) << reads.status();
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ((*reads)[i].kind, i % 2 == 0 ? TierRead::Kind::kAbsent : TierRead::Kind::kEntry);
  }
  EXPECT_EQ(tier_.Stats().bad_envelopes, 25u);
  EXPECT_EQ(replica_.Do({"DBSIZE"}).integer, 25);
}

// A reader found something broken; before he removes it, somebody puts a good entry there.
TEST_F(RedisTierTest, RemovalOfABrokenEnvelopeSparesWhatCameInItsPlace) {
  const std::string key = Key("k");
  tier_.Put(key, 10, "ten");
  std::vector<Redis::ScriptCall> calls;
  calls.push_back(RemoveSameCall(Name(key), "broken"));
  const auto replies = Wait(replica_.redis().RunMany(RemoveSameScript(), std::move(calls), Soon()));
  EXPECT_EQ(ParseYes(*replies[0]).value(), false);
  EXPECT_EQ(tier_.Value(key), "ten");
}

TEST_F(RedisTierTest, ValueOfAnotherTypeIsACountedMissAndReplaced) {
  const std::string key = Key("k");
  const std::string other = Key("other");
  replica_.Do({"HSET", Name(key), "field", "value"});
  tier_.Put(other, 1, "v");
  EXPECT_EQ(tier_.Value(key), "(absent)");
  EXPECT_EQ(tier_.Stats().bad_envelopes, 1u);
  const auto reads = Wait(tier_.tier().Get({key, other}, Soon()));
  ASSERT_TRUE(reads.ok()) << reads.status();
  EXPECT_EQ((*reads)[0].kind, TierRead::Kind::kAbsent);
  EXPECT_EQ((*reads)[1].kind, TierRead::Kind::kEntry);
  EXPECT_EQ(tier_.Stats().bad_envelopes, 2u);
  const auto page = Wait(tier_.tier().Scan({Key(""), "", "", 1000}, Soon()));
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 1u);
  EXPECT_EQ(tier_.Put(key, 10, "ten").outcome, Outcome::kDone);
  EXPECT_EQ(tier_.Stats().bad_envelopes, 3u);
  EXPECT_EQ(tier_.Value(key), "ten");
  EXPECT_EQ(tier_.Stats().errors, 0u);
  EXPECT_EQ(tier_.Stats().state, "ok");
}

TEST_F(RedisTierTest, FullRedisIsAnErrorAndLeavesNothingOld) {
  const std::string key = Key("k");
  const std::string other = Key("other");
  tier_.Put(key, 10, "ten");
  tier_.Put(other, 10, "ten");
  replica_.Do({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_EQ(tier_.TryPut(tier_.PutOf(key, 11, "eleven")).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tier_.Stats().errors, 1u);
  EXPECT_EQ(tier_.Stats().full, 1u);
  EXPECT_THAT(tier_.Stats().state, testing::HasSubstr("OOM"));
  // What 11 would have replaced is not served any more; reads go on.
  EXPECT_EQ(tier_.Value(key), "(absent)");
  EXPECT_EQ(tier_.Value(other), "ten");
  // An older one does not take what is newer with it.
  EXPECT_EQ(tier_.Put(other, 9, "nine").outcome, Outcome::kNewerExists);
  EXPECT_EQ(tier_.Value(other), "ten");
  EXPECT_EQ(tier_.TryErase(other, 11).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tier_.Stats().full, 2u);
  EXPECT_EQ(tier_.Value(other), "(absent)");
  replica_.Do({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_EQ(tier_.Put(key, 11, "eleven").outcome, Outcome::kDone);
  EXPECT_EQ(tier_.Value(key), "eleven");
  EXPECT_EQ(tier_.Stats().state, "ok");
}

TEST_F(RedisTierTest, ServesOnAfterFlushAll) {
  const std::string key = Key("k");
  tier_.Put(key, 10, "ten");
  replica_.Do({"FLUSHALL"});
  EXPECT_EQ(tier_.Value(key), "(absent)");
  EXPECT_EQ(tier_.Put(key, 11, "eleven").outcome, Outcome::kDone);
  EXPECT_EQ(tier_.Value(key), "eleven");
}

TEST_F(RedisTierTest, LoadsItsScriptsAgainWhenTheyAreGone) {
  const std::string key = Key("k");
  for (Version version = 1; version <= 5; ++version) {
    replica_.Do({"SCRIPT", "FLUSH"});
    EXPECT_EQ(tier_.Put(key, version, "v").outcome, Outcome::kDone);
    EXPECT_EQ(tier_.Get(key).entry.version, version);
  }
  replica_.Do({"SCRIPT", "FLUSH"});
  std::vector<TierErase> erases;
  for (int i = 0; i < 100; ++i) erases.push_back({Key(StrCat("k", i)), 10});
  const auto changes = Wait(tier_.tier().Erase(std::move(erases), Soon()));
  ASSERT_TRUE(changes.ok()) << changes.status();
  EXPECT_EQ(tier_.Stats().erases, 100u);
}

TEST_F(RedisTierTest, BatchOfAHundredIsOneRoundTrip) {
  std::vector<std::string> keys;
  std::vector<TierPut> puts;
  for (int i = 0; i < 100; ++i) {
    keys.push_back(Key(StrCat("k", i)));
    puts.push_back(tier_.PutOf(keys.back(), 1, "v"));
  }
  // Loads the script and brings the connections up.
  tier_.Put(Key("first"), 1, "v");
  uint64_t before = ReadsOf(server_);
  ASSERT_TRUE(Wait(tier_.tier().Put(std::move(puts), Soon())).ok());
  // Two for the question, and one for each of the client's two connections, or two where 10 KB come
  // in two pieces.
  EXPECT_LE(ReadsOf(server_) - before, 6u);
  before = ReadsOf(server_);
  const auto reads = Wait(tier_.tier().Get(keys, Soon()));
  EXPECT_LE(ReadsOf(server_) - before, 4u);
  ASSERT_TRUE(reads.ok()) << reads.status();
  for (const TierRead& read : *reads) EXPECT_EQ(read.kind, TierRead::Kind::kEntry);
}

TEST_F(RedisTierTest, LargerBatchesTravelInPieces) {
  TierOf small(&replica_, {.batch_keys_max = 10, .batch_bytes_max = 64 << 10});
  std::vector<std::string> keys;
  std::vector<TierPut> puts;
  for (int i = 0; i < 35; ++i) {
    keys.push_back(Key(StrCat("k", i)));
    puts.push_back(small.PutOf(keys.back(), i + 1, std::string(i == 7 ? 100'000 : 20'000, 'x')));
  }
  const auto changes = Wait(small.tier().Put(std::move(puts), Soon()));
  ASSERT_TRUE(changes.ok()) << changes.status();
  ASSERT_EQ(changes->size(), 35u);
  const auto reads = Wait(small.tier().Get(keys, Soon()));
  ASSERT_TRUE(reads.ok()) << reads.status();
  ASSERT_EQ(reads->size(), 35u);
  for (Version i = 0; i < 35; ++i) {
    EXPECT_EQ((*changes)[i].current, i + 1);
    EXPECT_EQ((*reads)[i].entry.version, i + 1);
  }
}

TEST_F(RedisTierTest, NamespacesDoNotSeeEachOther) {
  const std::vector<std::string> spaces = {"a", "aa", "b", "1", "default"};
  for (const std::string& space : spaces) tier_.Put(Key("k", space), 1, "of " + space);
  tier_.Erase(Key("k", "b"), 2);
  for (const std::string& space : spaces) {
    EXPECT_EQ(tier_.Value(Key("k", space)), space == "b" ? "(tombstone)" : "of " + space);
    const auto page = Wait(tier_.tier().Scan({Key("", space), "", "", 1000}, Soon()));
    ASSERT_TRUE(page.ok()) << page.status();
    EXPECT_EQ(page->items.size(), space == "b" ? 0u : 1u);
  }
  TierOf other_fleet(&replica_, {.prefix = "other"});
  EXPECT_EQ(other_fleet.Value(Key("k", "a")), "(absent)");
}

TEST_F(RedisTierTest, RedisDropsWhatHasEnded) {
  const auto pttl = [&](const std::string& key) {
    return absl::Milliseconds(replica_.Do({"PTTL", Name(key)}).integer);
  };
  tier_.Put(Key("a"), 1, "v", {}, absl::Minutes(1));
  EXPECT_LE(pttl(Key("a")), absl::Seconds(65));
  EXPECT_GT(pttl(Key("a")), absl::Seconds(60));
  // A longer life of the same version, and of an entry that never ends.
  tier_.Put(Key("a"), 1, "v", {}, absl::Minutes(2));
  EXPECT_GT(pttl(Key("a")), absl::Seconds(120));
  tier_.Put(Key("a"), 2, "v", {}, absl::InfiniteDuration());
  EXPECT_EQ(replica_.Do({"PTTL", Name(Key("a"))}).integer, -1);
  tier_.Erase(Key("a"), 3);
  EXPECT_GT(pttl(Key("a")), kTombstoneTtl);
  EXPECT_LE(pttl(Key("a")), kTombstoneTtl + absl::Seconds(5));
}

TEST_F(RedisTierTest, EntryThatIsAboutToEndIsSkippedAndLeavesNothingOld) {
  const std::string key = Key("k");
  tier_.Put(key, 10, "ten");
  const TierChange skipped = tier_.Put(key, 11, "eleven", {}, absl::Milliseconds(50));
  EXPECT_EQ(skipped.outcome, Outcome::kSkipped);
  EXPECT_TRUE(skipped.existed);
  EXPECT_NE(tier_.Get(key).kind, TierRead::Kind::kEntry);
  EXPECT_EQ(tier_.Put(key, 10, "late").outcome, Outcome::kNewerExists);
  EXPECT_EQ(tier_.Stats().skipped, 1u);
  // The same with an end in the past.
  EXPECT_EQ(tier_.Put(key, 12, "twelve", {}, absl::Seconds(-5)).outcome, Outcome::kSkipped);
  EXPECT_EQ(tier_.Put(key, 13, "thirteen").outcome, Outcome::kDone);
}

TEST_F(RedisTierTest, ConditionIsDecidedAlsoForShortLives) {
  const std::string key = Key("lock");
  const Expect absent{ExpectKind::kAbsent, kNoVersion};
  EXPECT_EQ(tier_.Put(key, 10, "mine", absent, absl::Milliseconds(90)).outcome, Outcome::kDone);
  // What never lives at all is decided too, and changes nothing when its condition fails.
  tier_.Put(key, 12, "theirs");
  EXPECT_EQ(tier_.Put(key, 13, "mine", absent, absl::Seconds(-1)).outcome,
            Outcome::kConditionFailed);
  EXPECT_EQ(tier_.Value(key), "theirs");
}

TEST_F(RedisTierTest, EntryGuardsAgainstOlderOnesForAWhileAfterItsEnd) {
  ManualClock clock;
  Replica replica({server_.address()}, Redis::Topology::kSingle, &clock);
  TierOf tier(&replica);
  const std::string key = Key("k");
  tier.Put(key, 10, "ten", {}, absl::Seconds(1));
  clock.Advance(absl::Seconds(2));
  EXPECT_EQ(tier.Value(key), "(ended)");
  EXPECT_EQ(tier.Put(key, 9, "nine").outcome, Outcome::kNewerExists);
  const TierChange next = tier.Put(key, 11, "eleven", {ExpectKind::kAbsent, kNoVersion});
  EXPECT_EQ(next.outcome, Outcome::kDone);
  EXPECT_FALSE(next.existed);
}

TEST_F(RedisTierTest, ScansWithoutKeysAndWithoutPatternsOfClients) {
  std::set<std::string> expected;
  std::vector<TierPut> puts;
  for (int i = 0; i < 3000; ++i) {
    puts.push_back(tier_.PutOf(Key(StrCat("user:", i)), 1, "v"));
    expected.insert(puts.back().full_key);
  }
  ASSERT_TRUE(Wait(tier_.tier().Put(std::move(puts), Soon())).ok());
  // Garbage under our prefix, and other people's keys.
  replica_.Do({"SET", "larder{}:e:4:shop", "x"});
  replica_.Do({"SET", "larder{}:e:4:shop:user:junk", "x"});
  replica_.Do({"SET", "unrelated", "x"});
  std::set<std::string> seen;
  TierScan scan{Key(""), "user:*", "", 100};
  int pages = 0;
  do {
    const auto page = Wait(tier_.tier().Scan(scan, Soon()));
    ASSERT_TRUE(page.ok()) << page.status();
    for (const auto& item : page->items) seen.insert(item.full_key);
    scan.cursor = page->cursor;
    ++pages;
  } while (!scan.cursor.empty());
  EXPECT_EQ(seen, expected);
  EXPECT_GT(pages, 10);
  EXPECT_EQ(server_.Info("cmdstat_keys"), "");
  EXPECT_NE(server_.Info("cmdstat_scan"), "");
}

TEST_F(RedisTierTest, ScanRefusesWhatItCannotFollow) {
  EXPECT_EQ(Wait(tier_.tier().Scan({Key(""), "[", "", 10}, Soon())).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Wait(tier_.tier().Scan({"\4sho", "", "", 10}, Soon())).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(RedisTierTest, BatchIsOneRoundTrip) {
  std::vector<std::string> keys;
  std::vector<TierPut> puts;
  for (int i = 0; i < 100; ++i) {
    keys.push_back(Key(StrCat("k", i)));
    puts.push_back(tier_.PutOf(keys.back(), 1, "v"));
  }
  ASSERT_TRUE(Wait(tier_.tier().Put(puts, Soon())).ok());
  const auto reads_of_server = [&] { return std::stoi(server_.Info("total_reads_processed")); };
  const int first = reads_of_server();
  const int of_a_question = reads_of_server() - first;
  const int before = reads_of_server();
  const auto reads = Wait(tier_.tier().Get(keys, Soon()));
  ASSERT_TRUE(reads.ok()) << reads.status();
  for (const TierRead& read : *reads) EXPECT_EQ(read.kind, TierRead::Kind::kEntry);
  EXPECT_EQ(reads_of_server() - before - of_a_question, 1);
}

TEST_F(RedisTierTest, DeadRedisIsAnErrorAndCounted) {
  tier_.Put(Key("k"), 10, "ten");
  server_.Kill();
  const MonoNanos deadline = MonoAfter(Clock::System()->Mono(), absl::Milliseconds(200));
  EXPECT_FALSE(Wait(tier_.tier().Get({Key("k"), Key("l")}, deadline)).ok());
  EXPECT_EQ(tier_.Stats().errors, 2u);
  EXPECT_FALSE(Wait(tier_.tier().Erase({{Key("k"), 11}}, deadline)).ok());
  EXPECT_FALSE(Wait(tier_.tier().Scan({Key(""), "", "", 10}, deadline)).ok());
  EXPECT_EQ(tier_.Stats().errors, 4u);
  EXPECT_NE(tier_.Stats().state, "ok");
}

}  // namespace
}  // namespace larder
