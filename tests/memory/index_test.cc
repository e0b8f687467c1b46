// The index next to a plain list of what is in it. Places are given once, so that a place says
// which hash it was added with, and a reader that is given a wrong one is found out.

#include "memory/index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/epoch.h"
#include "tests/base/threads.h"

namespace larder {
namespace {

constexpr uint64_t kTagMask = (1 << Index::kTagBits) - 1;
constexpr uint64_t kBytesPerTable = 512 << 10;
constexpr uint64_t kLineBytes = 64;

// What hashes the keys of a test have.
struct Family {
  const char* name;
  uint64_t tables;  // of the index
  uint64_t tags;    // different ones
  uint64_t highs;   // values of the bits that the index does not keep
};
void PrintTo(const Family& family, std::ostream* out) { *out << family.name; }

uint64_t DrawHash(const Family& family, std::mt19937_64& random) {
  // Where tags are few, they are the lowest ones, 0 among them, which an empty slot has too, and
  // the highest, behind whose home a table begins again.
  const uint64_t number = random() % family.tags;
  const uint64_t tag = number % 3 == 1 ? kTagMask - number : number;
  const uint64_t table = random() % family.tables;
  return (random() % family.highs) << 60 | table << Index::kTagBits | tag;
}

class IndexTest : public testing::TestWithParam<Family> {
 protected:
  struct Held {
    uint64_t hash;
    uint32_t uses;
  };

  IndexTest() : index_(GetParam().tables * kBytesPerTable) {}
  // Every test ends with an index that holds what the list holds.
  void TearDown() override {
    if (!HasFailure()) ExpectSame();
  }

  void Add() {
    const uint64_t hash = DrawHash(GetParam(), random_);
    const auto uses = static_cast<uint32_t>(random_() % (Index::kUsesMax + 1));
    const uint64_t growth = index_.GrowthFor(hash);
    const uint64_t bytes = index_.bytes();
    index_.Add(hash, ++last_place_, uses);
    // What the caller was told to make room for.
    ASSERT_EQ(index_.bytes(), bytes + growth);
    held_[last_place_] = {hash, uses};
    by_hash_.emplace(hash, last_place_);
    order_.push_back(last_place_);
  }

  Index::Slot* Exact(uint64_t hash, uint64_t place, uint64_t* content) {
    return index_.FindExact(hash, content, [place](uint64_t other) { return other == place; });
  }

  void Remove() {
    if (order_.empty()) return;
    std::swap(order_[random_() % order_.size()], order_.back());
    const uint64_t place = order_.back();
    order_.pop_back();
    const Held held = held_.at(place);
    uint64_t content = 0;
    Index::Slot* const slot = Exact(held.hash, place, &content);
    ASSERT_NE(slot, nullptr);
    const uint64_t bytes = index_.bytes();
    index_.Remove(held.hash, slot);
    ASSERT_EQ(index_.bytes(), bytes);
    ASSERT_EQ(Exact(held.hash, place, &content), nullptr) << "is there twice";
    held_.erase(place);
    auto [at, end] = by_hash_.equal_range(held.hash);
    at = std::find_if(at, end, [place](const auto& one) { return one.second == place; });
    by_hash_.erase(at);
  }

  // Looks for all places of one hash, as a caller does that compares keys.
  void FindAll(uint64_t hash) {
    std::vector<uint64_t> offered;
    uint64_t content = 0;
    const auto note = [&](uint64_t place) {
      offered.push_back(place);
      return false;
    };
    ASSERT_EQ(index_.FindExact(hash, &content, note), nullptr);
    for (const uint64_t place : offered) ASSERT_TRUE(held_.contains(place)) << "is gone";
    const auto [at, end] = by_hash_.equal_range(hash);
    for (auto one = at; one != end; ++one)
      ASSERT_EQ(std::ranges::count(offered, one->second), 1) << "place " << one->second;
  }

  void FindOne(uint64_t hash, uint64_t place) {
    const Held& held = held_.at(place);
    uint64_t content = 0;
    Index::Slot* const slot = Exact(hash, place, &content);
    ASSERT_NE(slot, nullptr);
    ASSERT_EQ(slot->load(), content);
    ASSERT_EQ(content, Index::Make(hash, place, held.uses));
    ASSERT_EQ(Index::PlaceOf(content), place);
    ASSERT_EQ(Index::UsesOf(content), held.uses);
    // Readers may overlook it, but not take another one for it.
    uint64_t seen = 0;
    Index::Slot* const seen_slot =
        index_.Find(hash, &seen, [place](uint64_t other) { return other == place; });
    ++looked_;
    if (seen_slot == nullptr) return;
    ++found_;
    ASSERT_EQ(seen_slot, slot);
    ASSERT_EQ(seen, content);
  }

  void Use() {
    if (order_.empty()) return;
    const uint64_t place = order_[random_() % order_.size()];
    Held& held = held_.at(place);
    uint64_t content = 0;
    Index::Slot* const slot = Exact(held.hash, place, &content);
    ASSERT_NE(slot, nullptr);
    held.uses = static_cast<uint32_t>(random_() % (Index::kUsesMax + 1));
    slot->store(Index::Make(held.hash, place, held.uses));
  }

  void ExpectSame() {
    ASSERT_EQ(index_.entries(), held_.size());
    uint64_t seen = 0;
    index_.ForEach([&](uint64_t content) {
      ++seen;
      const auto it = held_.find(Index::PlaceOf(content));
      ASSERT_NE(it, held_.end());
      ASSERT_EQ(content, Index::Make(it->second.hash, it->first, it->second.uses));
    });
    ASSERT_EQ(seen, held_.size());
    for (const auto& [place, held] : held_) {
      FindOne(held.hash, place);
      ASSERT_FALSE(HasFatalFailure());
    }
  }

  Index index_;
  std::mt19937_64 random_{GetParam().tables * 1'000 + GetParam().tags};
  std::map<uint64_t, Held> held_;  // by place
  std::unordered_multimap<uint64_t, uint64_t> by_hash_;
  std::vector<uint64_t> order_;
  uint64_t last_place_ = 0;
  uint64_t looked_ = 0;
  uint64_t found_ = 0;
};

TEST_P(IndexTest, HoldsWhatAListHolds) {
  for (int phase = 0; phase < 12; ++phase) {
    // It fills up, stays full, empties.
    const uint64_t adds_in_ten = std::vector<uint64_t>{8, 5, 2}[phase % 3];
    for (int step = 0; step < 3'000; ++step) {
      if (random_() % 10 < adds_in_ten) {
        Add();
      } else {
        Remove();
      }
      if (step % 5 == 0) Use();
      if (step % 7 == 0) FindAll(DrawHash(GetParam(), random_));
      if (step % 100 == 0) index_.Trim(1 + random_() % 8);
      if (step % 150 == 0) index_.Reclaim(Epoch::Passed());
      ASSERT_FALSE(HasFatalFailure()) << "phase " << phase << ", step " << step;
    }
    ExpectSame();
    ASSERT_FALSE(HasFatalFailure()) << "phase " << phase;
  }
  while (!order_.empty()) Remove();
  EXPECT_EQ(index_.entries(), 0u);
}

TEST_P(IndexTest, IsOverlookedSeldomWhenNothingMoves) {
  // With few tags, most slots lie far from where they belong.
  if (GetParam().tags < 1'000) return;
  for (int n = 0; n < 5'000; ++n) Add();
  ExpectSame();
  std::printf("%s: found %zu of %zu\n", GetParam().name, static_cast<size_t>(found_),
              static_cast<size_t>(looked_));
  EXPECT_GT(found_, looked_ * 9 / 10);
}

TEST_P(IndexTest, GivesMemoryBackWhenItIsTrimmed) {
  const uint64_t empty_bytes = index_.bytes();
  EXPECT_EQ(empty_bytes, GetParam().tables * 12);
  for (int n = 0; n < 4'000; ++n) Add();
  index_.Reclaim(Epoch::Passed());
  EXPECT_EQ(index_.waiting_bytes(), 0u);
  const uint64_t full_bytes = index_.bytes();
  EXPECT_GE(full_bytes, empty_bytes + 4'000 * sizeof(uint64_t));
  while (order_.size() > 100) Remove();
  EXPECT_EQ(index_.bytes(), full_bytes) << "only Trim gives back";

  uint64_t before = 0;
  while (before != index_.bytes()) {
    before = index_.bytes();
    // One table at a time: it must go on where it stopped.
    for (uint64_t table = 0; table < GetParam().tables; ++table) index_.Trim(1);
    index_.Reclaim(Epoch::Passed());
    EXPECT_EQ(index_.waiting_bytes(), 0u);
    EXPECT_LE(index_.bytes(), before);
    ExpectSame();
    ASSERT_FALSE(HasFatalFailure());
  }
  // At least half full, but for a line.
  EXPECT_LE(index_.bytes(), empty_bytes + 100 * 2 * sizeof(uint64_t) + GetParam().tables * 64);
  for (int n = 0; n < 500; ++n) Add();
}

TEST_P(IndexTest, KeepsWhatGrewAwayUntilItsReadersAreGone) {
  {
    const Epoch::Reader reader;
    for (int n = 0; n < 1'000; ++n) Add();
    const uint64_t waiting = index_.waiting_bytes();
    const uint64_t bytes = index_.bytes();
    EXPECT_GT(waiting, 0u);
    index_.Reclaim(Epoch::Passed());
    EXPECT_EQ(index_.waiting_bytes(), waiting);
    EXPECT_EQ(index_.bytes(), bytes);
  }
  const uint64_t kept = index_.bytes() - index_.waiting_bytes();
  index_.Reclaim(Epoch::Passed());
  EXPECT_EQ(index_.waiting_bytes(), 0u);
  EXPECT_EQ(index_.bytes(), kept);
}

INSTANTIATE_TEST_SUITE_P(Hashes, IndexTest,
                         testing::Values(Family{"all apart", 8, 1 << 22, 16},
                                         Family{"one table", 1, 1 << 22, 16},
                                         Family{"few tags", 4, 40, 16}, Family{"one tag", 2, 1, 16},
                                         Family{"equal hashes", 2, 5, 1}),
                         [](const testing::TestParamInfo<Family>& family) {
                           std::string name = family.param.name;
                           std::erase(name, ' ');
                           return name;
                         });

TEST(IndexSizeTest, TakesAboutNineBytesForAnEntry) {
  // As many entries as a shard has of 24 to 300 bytes.
  for (const uint64_t entry_bytes : {24, 50, 100, 300}) {
    std::mt19937_64 random(1);
    constexpr uint64_t kShardBytes = 4 << 20;
    Index index(kShardBytes);
    const uint64_t entries = kShardBytes / entry_bytes;
    for (uint64_t n = 1; n <= entries; ++n) {
      index.Add(random(), n, 0);
      if (n % 1'000 == 0) index.Reclaim(Epoch::Passed());
    }
    index.Reclaim(Epoch::Passed());
    const double bytes = static_cast<double>(index.bytes()) / static_cast<double>(entries);
    std::printf("%.2f bytes for an entry of %zu\n", bytes, static_cast<size_t>(entry_bytes));
    EXPECT_LT(bytes, Index::kBytesPerEntry * 1.1);
  }
}

TEST(IndexSizeTest, WorksWithNoBytesAtAll) {
  Index index(0);
  EXPECT_EQ(index.GrowthFor(0), kLineBytes);
  uint64_t content = 0;
  const auto any = [](uint64_t) { return true; };
  EXPECT_EQ(index.Find(0, &content, any), nullptr);
  EXPECT_EQ(index.FindExact(0, &content, any), nullptr);
  index.Trim(10);
  index.Add(0, 1, 0);
  EXPECT_NE(index.Find(0, &content, any), nullptr);
  EXPECT_EQ(Index::PlaceOf(content), 1u);
}

TEST(IndexSlotTest, HoldsTheLargestPlaceBesideUsesAndTag) {
  constexpr uint64_t kPlace = (uint64_t{1} << 40) - 1;
  for (uint32_t uses = 0; uses <= Index::kUsesMax; ++uses) {
    const uint64_t content = Index::Make(UINT64_MAX, kPlace, uses);
    EXPECT_EQ(Index::PlaceOf(content), kPlace);
    EXPECT_EQ(Index::UsesOf(content), uses);
    EXPECT_EQ(content & kTagMask, kTagMask);
    EXPECT_EQ(Index::Make(0, 1, uses) & kTagMask, 0u);
  }
}

// One writer and readers without a lock, on hashes that collide in every part.
class IndexThreadsTest : public testing::Test {
 protected:
#if defined(__SANITIZE_ADDRESS__) || defined(_GLIBCXX_TSAN)
  static constexpr uint64_t kPlaces = 15'000;
#else
  static constexpr uint64_t kPlaces = 60'000;
#endif
  static constexpr uint64_t kSteady = 50;  // the first places stay in the index
  static constexpr size_t kAtOnce = 1'500;
  static constexpr Family kFamily = {"readers", 2, 300, 8};

  IndexThreadsTest() : index_(kFamily.tables * kBytesPerTable), hash_of_(kPlaces + 1) {
    std::mt19937_64 random(1);
    for (uint64_t& hash : hash_of_) hash = DrawHash(kFamily, random);
  }

  // Whether the index may offer `place` to somebody who looks for `hash`.
  bool MayOffer(uint64_t hash, uint64_t place) const {
    constexpr uint64_t kKept = kTagMask | (kFamily.tables - 1) << Index::kTagBits;
    return place >= 1 && place <= kPlaces && ((hash_of_[place] ^ hash) & kKept) == 0;
  }

  void Read(int thread) {
    std::mt19937_64 random(thread + 10);
    while (!done_.load()) {
      // What is in the index, was or will be.
      const uint64_t wanted = random() % 4 == 0 ? 1 + random() % kSteady : 1 + random() % kPlaces;
      LookFor(hash_of_[wanted], wanted);
      // What never was: the same table and tag as others, but with another key.
      LookFor(DrawHash(kFamily, random), kPlaces + 1);
    }
  }
  void LookFor(uint64_t hash, uint64_t wanted) {
    const Epoch::Reader reader;
    uint64_t content = 0;
    Index::Slot* const slot = index_.Find(hash, &content, [&](uint64_t place) {
      if (!MayOffer(hash, place)) ++wrong_;
      return place == wanted;
    });
    if (slot == nullptr) return;
    ++found_;
    if (wanted > kPlaces || Index::PlaceOf(content) != wanted ||
        ((content ^ hash) & kTagMask) != 0) {
      ++wrong_;
    }
    // As a hit counts itself.
    const uint32_t uses = (Index::UsesOf(content) + 1) & Index::kUsesMax;
    slot->compare_exchange_weak(content, Index::Make(hash, wanted, uses),
                                std::memory_order_relaxed);
  }

  Index::Slot* Exact(uint64_t place) {
    uint64_t content = 0;
    return index_.FindExact(hash_of_[place], &content,
                            [place](uint64_t other) { return other == place; });
  }

  // Adds every place once and removes it again, with waves of growing and shrinking.
  void Write() {
    std::mt19937_64 random(2);
    std::vector<uint64_t> in;
    for (uint64_t place = kSteady + 1; place <= kPlaces; ++place) {
      index_.Add(hash_of_[place], place, 0);
      in.push_back(place);
      const size_t room = kAtOnce * (1 + place / 2'000 % 4) / 4;
      while (in.size() > room) {
        std::swap(in[random() % in.size()], in.back());
        Index::Slot* const slot = Exact(in.back());
        ASSERT_NE(slot, nullptr);
        index_.Remove(hash_of_[in.back()], slot);
        in.pop_back();
      }
      if (place % 50 == 0) {
        ASSERT_NE(Exact(1 + random() % kSteady), nullptr);
        index_.Trim(1);
        index_.Reclaim(Epoch::Passed());
      }
    }
    ASSERT_EQ(index_.entries(), kSteady + in.size());
    for (const uint64_t place : in) ASSERT_NE(Exact(place), nullptr);
  }

  Index index_;
  std::vector<uint64_t> hash_of_;  // by place
  std::atomic<bool> done_{false};
  std::atomic<uint64_t> wrong_{0};
  std::atomic<uint64_t> found_{0};
};

TEST_F(IndexThreadsTest, NeverOffersAReaderWhatWasNeverThere) {
  for (uint64_t place = 1; place <= kSteady; ++place) index_.Add(hash_of_[place], place, 0);
  Threads readers(3, [this](int thread) { Read(thread); });
  while (found_.load() == 0) std::this_thread::yield();
  Write();
  done_.store(true);
  readers.Join();
  EXPECT_EQ(wrong_.load(), 0u);
  index_.Reclaim(Epoch::Passed());
  EXPECT_EQ(index_.waiting_bytes(), 0u);
}

}  // namespace
}  // namespace larder
