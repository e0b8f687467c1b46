#include "policy/eviction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <list>
#include <random>
#include <unordered_map>
#include <vector>

namespace larder {
namespace {

using Chain = EvictionPolicy::Chain;

// The keyed hash that L1 would have.
uint64_t HashOf(uint64_t key) {
  key += 0x9e3779b97f4a7c15;
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9;
  key = (key ^ (key >> 27)) * 0x94d049bb133111eb;
  return key ^ (key >> 31);
}

// A cache of nothing but hashes that follows the contract in eviction.h.
class Shelf {
 public:
  explicit Shelf(uint64_t capacity, uint64_t seed = 1, uint64_t mean_bytes = 1)
      : capacity_(capacity),
        policy_({.seed = seed, .entries = std::max<uint64_t>(1, capacity / mean_bytes)}) {}

  bool Access(uint64_t key, uint64_t bytes = 1) {
    const uint64_t hash = HashOf(key);
    if (policy_.Sampled(hash)) policy_.OnAccess(hash);
    const auto found = items_.find(hash);
    if (found != items_.end()) {
      found->second.hits = std::min(3u, found->second.hits + 1);
      return true;
    }
    while (bytes_[0] + bytes_[1] + bytes > capacity_) EvictOne();
    const Chain chain = policy_.PlaceNew(hash, bytes_[0], capacity_);
    items_[hash] = {0, bytes};
    Push(chain, hash, bytes);
    return false;
  }

  // The part of `accesses` that hits.
  double HitRatio(int accesses, const std::function<uint64_t(int)>& key_at) {
    int hits = 0;
    for (int i = 0; i < accesses; ++i) hits += Access(key_at(i)) ? 1 : 0;
    return static_cast<double>(hits) / accesses;
  }

  bool Holds(uint64_t key) const { return items_.contains(HashOf(key)); }
  uint64_t bytes(Chain chain) const { return bytes_[static_cast<int>(chain)]; }
  uint64_t longest_eviction() const { return longest_eviction_; }
  const EvictionPolicy& policy() const { return policy_; }

 private:
  struct Item {
    uint32_t hits = 0;
    uint64_t bytes = 0;
  };

  void Push(Chain chain, uint64_t hash, uint64_t bytes) {
    chains_[static_cast<int>(chain)].push_back(hash);
    bytes_[static_cast<int>(chain)] += bytes;
  }

  void EvictOne() {
    for (uint64_t turns = 1;; ++turns) {
      longest_eviction_ = std::max(longest_eviction_, turns);
      const Chain end = policy_.EndToEvict(bytes_[0], bytes_[1]);
      std::deque<uint64_t>& chain = chains_[static_cast<int>(end)];
      const uint64_t hash = chain.front();
      chain.pop_front();
      Item& item = items_[hash];
      bytes_[static_cast<int>(end)] -= item.bytes;
      const bool keep =
          end == Chain::kSmall ? policy_.OnSmallEnd(hash, item.hits) : policy_.OnMainEnd(item.hits);
      if (!keep) {
        items_.erase(hash);
        return;
      }
      item.hits = end == Chain::kSmall ? 0 : item.hits - 1;
      Push(Chain::kMain, hash, item.bytes);
    }
  }

  const uint64_t capacity_;
  EvictionPolicy policy_;
  std::deque<uint64_t> chains_[2];
  uint64_t bytes_[2] = {};
  std::unordered_map<uint64_t, Item> items_;
  uint64_t longest_eviction_ = 0;
};

// What users measure against.
class Lru {
 public:
  explicit Lru(uint64_t capacity) : capacity_(capacity) {}

  double HitRatio(int accesses, const std::function<uint64_t(int)>& key_at) {
    int hits = 0;
    for (int i = 0; i < accesses; ++i) hits += Access(key_at(i)) ? 1 : 0;
    return static_cast<double>(hits) / accesses;
  }

 private:
  bool Access(uint64_t key) {
    const auto found = places_.find(key);
    if (found != places_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return true;
    }
    if (places_.size() == capacity_) {
      places_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    places_[key] = order_.begin();
    return false;
  }

  const uint64_t capacity_;
  std::list<uint64_t> order_;
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> places_;
};

std::function<uint64_t(int)> Loop(int keys) {
  return [keys](int i) { return static_cast<uint64_t>(i % keys); };
}

// Keys that are read three times within the next `distance` keys, and never again.
std::function<uint64_t(int)> ShortReuse(int distance) {
  return [distance](int i) {
    const uint64_t front = 1'000'000 + i / 3;
    return i % 3 == 0 ? front : front - HashOf(i) % distance;
  };
}

// A few keys are read most. Independent of what came before.
std::function<uint64_t(int)> Zipf(int keys) {
  std::vector<double> sums;
  double sum = 0;
  for (int rank = 1; rank <= keys; ++rank) sums.push_back(sum += std::pow(rank, -0.9));
  return [sums](int i) {
    const double at = static_cast<double>(HashOf(i)) / std::pow(2.0, 64) * sums.back();
    return static_cast<uint64_t>(std::lower_bound(sums.begin(), sums.end(), at) - sums.begin());
  };
}

class EvictionPolicyOfSizeTest : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Entries, EvictionPolicyOfSizeTest, testing::Values(50, 200, 1000, 20'000));

TEST_P(EvictionPolicyOfSizeTest, KeepsPartOfALoopThatDoesNotFit) {
  const int entries = GetParam();
  for (const double times : {1.5, 2.0, 3.0, 5.0}) {
    Shelf shelf(entries);
    const int loop = static_cast<int>(entries * times);
    shelf.HitRatio(10 * loop, Loop(loop));
    EXPECT_GT(shelf.HitRatio(10 * loop, Loop(loop)), 0.8 / times) << times;
  }
}

TEST_P(EvictionPolicyOfSizeTest, ServesShortReuseAsWellAsLru) {
  const int entries = GetParam();
  Shelf shelf(entries);
  Lru lru(entries);
  const auto keys = ShortReuse(entries * 7 / 10);
  EXPECT_GT(shelf.HitRatio(60 * entries, keys), lru.HitRatio(60 * entries, keys) - 0.03);
}

TEST_P(EvictionPolicyOfSizeTest, BeatsLruWhereSomeKeysAreAlwaysReadMost) {
  const int entries = GetParam();
  Shelf shelf(entries);
  Lru lru(entries);
  const auto keys = Zipf(10 * entries);
  EXPECT_GT(shelf.HitRatio(100 * entries, keys), lru.HitRatio(100 * entries, keys) + 0.03);
}

TEST_P(EvictionPolicyOfSizeTest, KeepsTheHotKeysThroughAScan) {
  const int entries = GetParam();
  Shelf shelf(entries);
  const int hot = entries / 2;
  shelf.HitRatio(20 * hot, [&](int i) { return HashOf(i) % hot; });
  // A scan that is five times the cache, while the hot keys are read now and then.
  const auto with_scan = [&](int i) {
    return i % 2 == 0 ? HashOf(i) % hot : static_cast<uint64_t>(1'000'000 + i);
  };
  shelf.HitRatio(10 * entries, with_scan);
  int kept = 0;
  for (int key = 0; key < hot; ++key) kept += shelf.Holds(key) ? 1 : 0;
  EXPECT_GT(kept, hot * 9 / 10);
}

TEST(EvictionPolicyTest, ChangesTheShareWithTheWorkAndBackAgain) {
  Shelf shelf(1000);
  for (int times = 0; times < 3; ++times) {
    shelf.HitRatio(40'000, Loop(2500));
    EXPECT_LE(shelf.policy().small_share(), 0.1);
    EXPECT_GT(shelf.HitRatio(20'000, Loop(2500)), 0.2);
    shelf.HitRatio(40'000, ShortReuse(700));
    EXPECT_GE(shelf.policy().small_share(), 0.3);
    EXPECT_GT(shelf.HitRatio(20'000, ShortReuse(700)), 0.6);
  }
}

TEST(EvictionPolicyTest, LetsGoOfWhatNobodyReadsAnyMore) {
  Shelf shelf(500);
  // Fills main with keys that were read often, and are not any more.
  shelf.HitRatio(20'000, [](int i) { return HashOf(i) % 400; });
  shelf.HitRatio(100'000, [](int i) { return static_cast<uint64_t>(1'000'000 + i); });
  int kept = 0;
  for (int key = 0; key < 400; ++key) kept += shelf.Holds(key) ? 1 : 0;
  EXPECT_LT(kept, 20);
}

TEST(EvictionPolicyTest, AWriteAfterAMissIsNoHit) {
  // The first answers every miss with a write, the second writes nothing. Both learn the same.
  EvictionPolicy writes({.entries = 200});
  EvictionPolicy reads({.entries = 200});
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t hash = HashOf(ShortReuse(150)(i));
    writes.OnAccess(hash);
    writes.PlaceNew(hash, 0, 200);
    reads.OnAccess(hash);
  }
  EXPECT_EQ(writes.small_share(), reads.small_share());
  EXPECT_EQ(writes.switches(), reads.switches());
}

TEST(EvictionPolicyTest, DoesNotWaverUnderSteadyWork) {
  Shelf shelf(1000);
  shelf.HitRatio(500'000, Zipf(20'000));
  EXPECT_LE(shelf.policy().switches(), 5u);
}

TEST(EvictionPolicyTest, MakingRoomForOneTakesBoundedTime) {
  Shelf shelf(20'000);
  for (int round = 0; round < 4; ++round) shelf.HitRatio(20'000, Loop(20'000));
  shelf.HitRatio(200'000, ShortReuse(14'000));
  shelf.HitRatio(200'000, Loop(50'000));
  EXPECT_LE(shelf.longest_eviction(), EvictionPolicy::kKeepsInARow + 1);
}

TEST(EvictionPolicyTest, SharesBytesNotEntries) {
  Shelf shelf(1'000'000, 1, 100);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t key = HashOf(i) % 30'000;
    shelf.Access(key, HashOf(key) % 199 + 1);
  }
  const auto small = static_cast<double>(shelf.bytes(Chain::kSmall));
  EXPECT_NEAR(small / 1e6, shelf.policy().small_share(), 0.02);
}

TEST(EvictionPolicyTest, TakesADroppedKeyBackIntoMainOnce) {
  EvictionPolicy policy({.entries = 100});
  EXPECT_EQ(policy.PlaceNew(HashOf(1), 0, 100), Chain::kSmall);
  EXPECT_FALSE(policy.OnSmallEnd(HashOf(1), 0));
  EXPECT_EQ(policy.PlaceNew(HashOf(1), 0, 100), Chain::kMain);
  EXPECT_EQ(policy.PlaceNew(HashOf(1), 0, 100), Chain::kSmall);
}

TEST(EvictionPolicyTest, ForgetsAKeyWhoseDropIsFarBack) {
  EvictionPolicy policy({.entries = 100});
  policy.OnSmallEnd(HashOf(1), 0);
  for (int key = 2; key < 1000; ++key) policy.OnSmallEnd(HashOf(key), 0);
  EXPECT_EQ(policy.PlaceNew(HashOf(1), 0, 100), Chain::kSmall);
}

TEST(EvictionPolicyTest, FillsMainWithNewcomersWhenSmallHasMoreThanItsShare) {
  EvictionPolicy policy({.entries = 100});
  const auto share = static_cast<uint64_t>(policy.small_share() * 1000);
  EXPECT_EQ(policy.PlaceNew(HashOf(1), share - 1, 1000), Chain::kSmall);
  EXPECT_EQ(policy.PlaceNew(HashOf(2), share + 50, 1000), Chain::kMain);
}

TEST(EvictionPolicyTest, EvictsFromSmallAboveItsShareAndFromMainBelow) {
  EvictionPolicy policy({.entries = 100});
  const auto share = static_cast<uint64_t>(policy.small_share() * 1000);
  EXPECT_EQ(policy.EndToEvict(share + 1, 1000 - share - 1), Chain::kSmall);
  EXPECT_EQ(policy.EndToEvict(share - 1, 1000 - share + 1), Chain::kMain);
  EXPECT_EQ(policy.EndToEvict(0, 10), Chain::kMain);
  EXPECT_EQ(policy.EndToEvict(1, 0), Chain::kSmall);
}

TEST(EvictionPolicyTest, StateStaysWithinWhatItIsAllowed) {
  for (const uint64_t miniature_bytes : {EvictionPolicy::kMiniatureBytesMin, uint64_t{16384}}) {
    for (const uint64_t entries : {1u, 2u, 72u, 1000u, 100'000u, 1'000'000u}) {
      EvictionPolicy policy({.miniature_bytes_max = miniature_bytes, .entries = 10});
      policy.Resize(entries);
      EXPECT_LE(policy.bytes(), sizeof(policy) + miniature_bytes + 4 * entries + 64) << entries;
      const uint64_t before = policy.bytes();
      for (uint64_t key = 0; key < 10'000; ++key) {
        policy.OnAccess(HashOf(key));
        policy.OnSmallEnd(HashOf(key), 0);
      }
      EXPECT_EQ(policy.bytes(), before);
    }
  }
}

TEST(EvictionPolicyTest, GivesMemoryBackWhenTheShardShrinks) {
  EvictionPolicy policy({.entries = 1000});
  const uint64_t before = policy.bytes();
  policy.Resize(1'000'000);
  policy.Resize(1000);
  EXPECT_EQ(policy.bytes(), before);
}

TEST(EvictionPolicyTest, SmallChangesOfSizeForgetNothing) {
  EvictionPolicy policy({.entries = 1000});
  policy.OnSmallEnd(HashOf(1), 0);
  policy.Resize(1300);
  policy.Resize(800);
  EXPECT_EQ(policy.PlaceNew(HashOf(1), 0, 1000), Chain::kMain);
}

TEST(EvictionPolicyTest, SamplesAllKeysOfASmallShardAndFewOfALargeOne) {
  const auto sampled = [](uint64_t entries) {
    const EvictionPolicy policy({.entries = entries});
    int count = 0;
    for (int key = 0; key < 100'000; ++key) count += policy.Sampled(HashOf(key)) ? 1 : 0;
    return count;
  };
  EXPECT_EQ(sampled(1), 100'000);
  EXPECT_EQ(sampled(200), 100'000);
  EXPECT_NEAR(sampled(8'000), 100'000 / 32, 300);
  EXPECT_NEAR(sampled(128'000), 100'000 / 512, 80);
}

TEST(EvictionPolicyTest, GivesTheSameAnswersForTheSameSeed) {
  const auto run = [](uint64_t seed) {
    Shelf shelf(2000, seed);
    std::vector<bool> hits;
    const auto zipf = Zipf(20'000);
    for (int i = 0; i < 60'000; ++i) hits.push_back(shelf.Access(zipf(i)));
    for (int i = 0; i < 60'000; ++i) hits.push_back(shelf.Access(Loop(5000)(i)));
    return hits;
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

}  // namespace
}  // namespace larder
