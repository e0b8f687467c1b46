#include "policy/miniature.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

constexpr EvictionSetting kSmallForNewcomers = {
    .small_share = 0.02, .promote_hits = 2, .ghost_depth = 4};
constexpr EvictionSetting kAlmostAllForNewcomers = {
    .small_share = 0.7, .promote_hits = 1, .ghost_depth = 16};

int HitsOfLoop(Miniature* miniature, uint32_t keys, int rounds) {
  int hits = 0;
  for (int round = 0; round < rounds; ++round) {
    for (uint32_t key = 1; key <= keys; ++key) hits += miniature->Access(key) ? 1 : 0;
  }
  return hits;
}

TEST(MiniatureTest, HoldsAsManyEntriesAsItIsTold) {
  for (const uint32_t entries : {2u, 3u, 17u, 100u, 256u}) {
    Miniature miniature(kSmallForNewcomers);
    miniature.Resize(entries);
    EXPECT_EQ(HitsOfLoop(&miniature, entries, 1), 0);
    EXPECT_EQ(HitsOfLoop(&miniature, entries, 1), static_cast<int>(entries)) << entries;
  }
}

TEST(MiniatureTest, KeepsPartOfALoopOnlyWhereNewcomersGetLittle) {
  Miniature protects(kSmallForNewcomers);
  Miniature renews(kAlmostAllForNewcomers);
  protects.Resize(100);
  renews.Resize(100);
  EXPECT_GT(HitsOfLoop(&protects, 400, 20), 20 * 400 / 5);
  EXPECT_LT(HitsOfLoop(&renews, 400, 20), 20 * 400 / 10);
}

TEST(MiniatureTest, KeepsWhatIsReadAgainSoonOnlyWhereNewcomersGetMuch) {
  Miniature protects(kSmallForNewcomers);
  Miniature renews(kAlmostAllForNewcomers);
  protects.Resize(100);
  renews.Resize(100);
  int protects_hits = 0;
  int renews_hits = 0;
  for (uint32_t key = 60; key < 6'000; ++key) {
    protects.Access(key);
    renews.Access(key);
    protects_hits += protects.Access(key - 50) ? 1 : 0;
    renews_hits += renews.Access(key - 50) ? 1 : 0;
  }
  EXPECT_GT(renews_hits, 5'800);
  EXPECT_LT(protects_hits, 3'000);
}

TEST(MiniatureTest, ForgetsEverythingWhenResized) {
  Miniature miniature(kSmallForNewcomers);
  miniature.Resize(100);
  HitsOfLoop(&miniature, 50, 1);
  miniature.Resize(100);
  EXPECT_EQ(HitsOfLoop(&miniature, 50, 1), 0);
}

TEST(MiniatureTest, TakesNoMoreBytesThanForeseen) {
  for (uint32_t entries = 2; entries <= 512; ++entries) {
    Miniature miniature(kAlmostAllForNewcomers);
    miniature.Resize(entries);
    EXPECT_LE(miniature.bytes(), Miniature::BytesFor(entries)) << entries;
  }
}

}  // namespace
}  // namespace larder
