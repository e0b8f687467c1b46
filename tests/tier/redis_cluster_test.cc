// The Redis tier and the fleet lease on a Cluster.

#include <gtest/gtest.h>

#include <set>

#include "base/strings.h"
#include "tests/tier/redis_rig.h"
#include "tier/fleet_lease.h"
#include "tier/redis_key.h"

namespace larder {
namespace {

using Outcome = TierChange::Outcome;

class RedisClusterTierTest : public testing::Test {
 protected:
  RedisClusterServers cluster_{{"cluster-require-full-coverage no"}};
  Replica replica_{cluster_.addresses(), Redis::Topology::kCluster};
  TierOf tier_{&replica_};
};

std::string Name(const std::string& full_key) {
  return RedisKeys("larder", RedisKeys::Part::kEntry).Of(full_key);
}

TEST_F(RedisClusterTierTest, BatchOfAHundredIsOneRoundTripANode) {
  std::vector<std::string> keys;
  std::vector<TierPut> puts;
  for (int i = 0; i < 100; ++i) {
    keys.push_back(Key(StrCat("k", i)));
    puts.push_back(tier_.PutOf(keys.back(), 1, "v"));
  }
  // Loads the script on all nodes and brings the connections up.
  ASSERT_TRUE(Wait(tier_.tier().Put(puts, Soon())).ok());
  const auto expect = [&](TierRead::Kind kind, const std::vector<std::string>& asked) {
    const auto reads = Wait(tier_.tier().Get(asked, Soon()));
    ASSERT_TRUE(reads.ok()) << reads.status();
    for (const TierRead& read : *reads) EXPECT_EQ(read.kind, kind);
  };
  const std::vector<int> one_each = {1, 1, 1};
  EXPECT_EQ(cluster_.FewestReads([&] { expect(TierRead::Kind::kEntry, keys); }), one_each);
  for (std::string& key : keys) key += "none";
  EXPECT_EQ(cluster_.FewestReads([&] { expect(TierRead::Kind::kAbsent, keys); }), one_each);
}

TEST_F(RedisClusterTierTest, PlacesKeysWithBracesOnAllNodes) {
  for (int i = 0; i < 60; ++i) tier_.Put(Key(StrCat("{tag}", i)), 1, "v");
  for (int node = 0; node < 3; ++node) {
    EXPECT_GT(std::stoi(cluster_.node(node).Run({"DBSIZE"})), 5) << node;
  }
  const std::string name = Name(Key("{tag}:ключ"));
  EXPECT_EQ(cluster_.node(0).Run({"CLUSTER", "KEYSLOT", name}), StrCat(RedisSlot(name)));
}

TEST_F(RedisClusterTierTest, NodeThatIsDownCostsItsKeysAlone) {
  std::vector<std::string> keys;
  std::vector<TierPut> puts;
  for (int i = 0; i < 90; ++i) {
    keys.push_back(Key(StrCat("k", i)));
    puts.push_back(tier_.PutOf(keys.back(), 1, "v"));
  }
  ASSERT_TRUE(Wait(tier_.tier().Put(puts, Soon())).ok());
  // The replica first, so that nobody takes the place of the master.
  cluster_.node(4).Kill();
  cluster_.node(1).Kill();
  const MonoNanos deadline = MonoAfter(Clock::System()->Mono(), absl::Milliseconds(500));
  const auto reads = Wait(tier_.tier().Get(keys, deadline));
  ASSERT_TRUE(reads.ok()) << reads.status();
  size_t found = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    const uint16_t slot = RedisSlot(Name(keys[i]));
    const bool lost = slot >= 5461 && slot < 10923;
    EXPECT_EQ((*reads)[i].kind, lost ? TierRead::Kind::kAbsent : TierRead::Kind::kEntry) << i;
    if (!lost) ++found;
  }
  EXPECT_GT(found, 30u);
  EXPECT_LT(found, 90u);
  EXPECT_EQ(tier_.Stats().errors, keys.size() - found);
  EXPECT_NE(tier_.Stats().state, "ok");
  // Of changes the caller must know that some may not have been made.
  EXPECT_FALSE(
      Wait(tier_.tier().Put(puts, MonoAfter(Clock::System()->Mono(), absl::Milliseconds(500))))
          .ok());
}

TEST_F(RedisClusterTierTest, FollowsAKeyToAnotherNode) {
  const std::string key = Key("k");
  const int slot = RedisSlot(Name(key));
  const int from = cluster_.OwnerOf(slot);
  const int to = (from + 1) % 3;
  // Known to the client at its old place.
  tier_.Erase(Key("k"), 1);
  cluster_.node(from).Run({"DEL", Name(key)});
  cluster_.MoveSlot(slot, from, to);
  EXPECT_EQ(tier_.Put(key, 10, "ten").outcome, Outcome::kDone);
  EXPECT_EQ(tier_.Put(key, 9, "nine").outcome, Outcome::kNewerExists);
  EXPECT_EQ(tier_.Value(key), "ten");
  EXPECT_NE(cluster_.node(to).Run({"EXISTS", Name(key)}), "0");
}

TEST_F(RedisClusterTierTest, ScanWalksAllNodes) {
  std::set<std::string> expected;
  std::vector<TierPut> puts;
  for (int i = 0; i < 500; ++i) {
    puts.push_back(tier_.PutOf(Key(StrCat("k", i)), 1, "v"));
    expected.insert(puts.back().full_key);
  }
  ASSERT_TRUE(Wait(tier_.tier().Put(std::move(puts), Soon())).ok());
  std::set<std::string> seen;
  TierScan scan{Key(""), "", "", 50};
  do {
    const auto page = Wait(tier_.tier().Scan(scan, Soon()));
    ASSERT_TRUE(page.ok()) << page.status();
    for (const auto& item : page->items) seen.insert(item.full_key);
    scan.cursor = page->cursor;
  } while (!scan.cursor.empty());
  EXPECT_EQ(seen, expected);
}

TEST_F(RedisClusterTierTest, LeasesWorkOnAllNodes) {
  Replica other(cluster_.addresses(), Redis::Topology::kCluster);
  FleetLease::Options options;
  options.executor = replica_.executor();
  const auto here = FleetLease::New(&replica_.redis(), options).value();
  options.executor = other.executor();
  const auto there = FleetLease::New(&other.redis(), options).value();
  for (int i = 0; i < 20; ++i) {
    const std::string key = Key(StrCat("{tag}", i));
    const MonoNanos now = Clock::System()->Mono();
    const FleetLeaseTurn mine = Wait(here->Acquire(key, now, Soon()));
    ASSERT_EQ(mine.kind, FleetLeaseTurn::Kind::kGranted);
    EXPECT_EQ(Wait(there->Acquire(key, now, Soon())).kind, FleetLeaseTurn::Kind::kHeld);
    EXPECT_TRUE(Wait(here->Release(mine.lease, Soon())).value());
    const FleetLeaseTurn theirs = Wait(there->Acquire(key, now, Soon()));
    EXPECT_EQ(theirs.kind, FleetLeaseTurn::Kind::kGranted);
    EXPECT_TRUE(Wait(there->Release(theirs.lease, Soon())).value());
  }
}

}  // namespace
}  // namespace larder
