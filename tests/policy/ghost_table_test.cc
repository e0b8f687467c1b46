#include "policy/ghost_table.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "policy/tag_search.h"

namespace larder {
namespace {

constexpr uint32_t kAll = GhostTable::kDepth;

struct Key {
  uint32_t place;
  uint16_t tag;
};

std::vector<Key> Keys(int count) {
  std::mt19937_64 random(1);
  std::vector<Key> keys;
  for (int i = 0; i < count; ++i) {
    const uint64_t bits = random();
    keys.push_back({static_cast<uint32_t>(bits >> 32), static_cast<uint16_t>(bits)});
  }
  return keys;
}

int CountTaken(GhostTable* table, const std::vector<Key>& keys, size_t from, size_t to,
               uint32_t depth) {
  int taken = 0;
  for (size_t i = from; i < to; ++i)
    taken += table->Take(keys[i].place, keys[i].tag, depth) ? 1 : 0;
  return taken;
}

TEST(GhostTableTest, RemembersAKeyUntilItIsTaken) {
  GhostTable table;
  table.Resize(1000);
  table.Add(123456789, 77);
  EXPECT_TRUE(table.Take(123456789, 77, kAll));
  EXPECT_FALSE(table.Take(123456789, 77, kAll));
}

TEST(GhostTableTest, KnowsTheKeyWhoseTagIsZero) {
  GhostTable table;
  table.Resize(16);
  EXPECT_FALSE(table.Take(0, 0, kAll));
  table.Add(0, 0);
  EXPECT_TRUE(table.Take(0, 0, kAll));
}

TEST(GhostTableTest, RemembersAboutAsManyKeysAsItWasMadeFor) {
  GhostTable table;
  table.Resize(10'000);
  const std::vector<Key> keys = Keys(30'000);
  for (const Key& key : keys) table.Add(key.place, key.tag);
  EXPECT_LT(CountTaken(&table, keys, 0, 10'000, kAll), 50);
  EXPECT_GT(CountTaken(&table, keys, 25'000, 30'000, kAll), 4'950);
}

TEST(GhostTableTest, TellsWhatLeftOfLateFromWhatLeftLongAgo) {
  GhostTable table;
  table.Resize(10'000);
  const std::vector<Key> keys = Keys(10'000);
  for (const Key& key : keys) table.Add(key.place, key.tag);
  EXPECT_LT(CountTaken(&table, keys, 0, 4'000, kAll / 4), 50);
  EXPECT_GT(CountTaken(&table, keys, 9'000, 10'000, kAll / 4), 950);
}

TEST(GhostTableTest, ForgetsEverythingWhenResizedAndTakesTwoBytesAKey) {
  GhostTable table;
  table.Resize(100'000);
  table.Add(5, 5);
  table.Resize(1'000);
  EXPECT_FALSE(table.Take(5, 5, kAll));
  EXPECT_GE(table.bytes(), 2'000u);
  EXPECT_LE(table.bytes(), 2'000u + 2 * GhostTable::kDepth);
}

TEST(TagSearchTest, FindsTheFirstOfEachPlace) {
  for (uint32_t place = 0; place < 4 * kTagBlock; ++place) {
    std::vector<uint16_t> tags(4 * kTagBlock, 0xfffe);
    EXPECT_EQ(FindTag(tags.data(), 4 * kTagBlock, 0xffff), 4 * kTagBlock);
    tags[place] = 0xffff;
    tags.back() = 0xffff;
    EXPECT_EQ(FindTag(tags.data(), 4 * kTagBlock, 0xffff), place);
  }
  EXPECT_EQ(FindTag(nullptr, 0, 1), 0u);
}

}  // namespace
}  // namespace larder
