#include "memory/segment_pool.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

namespace larder {
namespace {

constexpr uint64_t kPage = SegmentPool::kPageBytes;
constexpr uint32_t kSegment = 256 << 10;
constexpr uint32_t kInAPage = kPage / kSegment;

// Addresses of four pages, of which nothing is ever touched but what Unback gives back.
class SegmentPoolTest : public testing::Test {
 protected:
  void Back(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) ASSERT_TRUE(pool_.Back());
  }
  // The number of the page that is to be found next; -1: none.
  int64_t Next() {
    const char* const page = pool_.TakeNextPage();
    return page == nullptr ? -1 : (page - memory_.get()) / static_cast<int64_t>(kPage);
  }

  std::unique_ptr<char, decltype(&std::free)> memory_{
      static_cast<char*>(std::aligned_alloc(kPage, 4 * kPage)), &std::free};
  SegmentPool pool_{memory_.get(), 4 * kInAPage, kSegment};
};

TEST_F(SegmentPoolTest, APageIsFoundWhenHalfOfTheOneBeforeIsUsed) {
  EXPECT_EQ(Next(), -1) << "who holds nothing takes nothing";
  Back(kInAPage / 2 - 1);
  EXPECT_EQ(Next(), -1);
  Back(1);
  EXPECT_EQ(Next(), 1);
  EXPECT_EQ(Next(), -1) << "each of them once";
  Back(kInAPage);
  EXPECT_EQ(Next(), 2);
  EXPECT_EQ(Next(), -1);
}

TEST_F(SegmentPoolTest, NothingIsFoundThatWasUsedMeanwhileOrIsBeyondTheEnd) {
  Back(2 * kInAPage + kInAPage / 2);
  EXPECT_EQ(Next(), 2) << "the one that is half used";
  EXPECT_EQ(Next(), 3);
  EXPECT_EQ(Next(), -1);
  Back(kInAPage + kInAPage / 2);
  EXPECT_FALSE(pool_.Back());
  EXPECT_EQ(Next(), -1);
}

TEST_F(SegmentPoolTest, NothingIsFoundAheadOnceMemoryWasGivenBack) {
  Back(kInAPage);
  ASSERT_TRUE(pool_.Unback());
  EXPECT_EQ(Next(), -1);
}

}  // namespace
}  // namespace larder
