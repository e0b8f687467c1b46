#include "core/shared_bytes.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace larder {
namespace {

TEST(SharedBytesTest, HoldsACopyOfAnySize) {
  for (const size_t size : {0, 1, 100, 16'375, 16'376, 16'377, 1 << 20, 20 << 20}) {
    SCOPED_TRACE(size);
    std::string text(size, 'x');
    const SharedBytes bytes = SharedBytes::Copy(text);
    const std::string before = text;
    for (char& c : text) c = 'y';
    EXPECT_TRUE(bytes);
    EXPECT_EQ(bytes.view(), before);
    EXPECT_EQ(bytes.allocated_bytes(), SharedBytes::AllocatedBytesFor(size));
    EXPECT_GT(bytes.allocated_bytes(), size);
    EXPECT_LE(bytes.allocated_bytes(), size + size / 4 + 80);
  }
}

TEST(SharedBytesTest, HoldsNothingByDefaultAndAfterAMove) {
  SharedBytes none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.view(), "");
  EXPECT_EQ(none.allocated_bytes(), 0u);
  SharedBytes from = SharedBytes::Copy("x");
  const SharedBytes to = std::move(from);
  EXPECT_FALSE(from);
  EXPECT_EQ(to.view(), "x");
  none = to;
  EXPECT_EQ(none.view(), "x");
  none = SharedBytes();
  EXPECT_FALSE(none);
  EXPECT_EQ(to.view(), "x");
}

TEST(SharedBytesTest, LivesAsLongAsAnybodyHoldsItOnAnyThread) {
  std::vector<std::thread> threads;
  {
    const SharedBytes bytes = SharedBytes::Copy(std::string(20'000, 'x'));
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([copy = bytes] {
        for (int n = 0; n < 10'000; ++n) {
          const SharedBytes another = copy;
          ASSERT_EQ(another.view().size(), 20'000u);
          ASSERT_EQ(another.view().back(), 'x');
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(SharedBytesTest, LeavesItsReferenceWithANumberAndTakesItBack) {
  SharedBytes bytes = SharedBytes::Copy("kept");
  const uint64_t number = bytes.Detach();
  EXPECT_FALSE(bytes);
  {
    const SharedBytes borrowed = SharedBytes::Borrow(number);
    EXPECT_EQ(borrowed.view(), "kept");
  }
  SharedBytes outlives = SharedBytes::Borrow(number);
  {
    EXPECT_EQ(SharedBytes::Adopt(number).view(), "kept");
  }
  EXPECT_EQ(outlives.view(), "kept");
  EXPECT_FALSE(SharedBytes::Borrow(SharedBytes().Detach()));
}

TEST(SharedBytesTest, ManyThreadsTakeAndGiveLargeBlocks) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      std::vector<SharedBytes> held(20);
      for (size_t i = 0; i < 1000; ++i) {
        const char fill = static_cast<char>('a' + t);
        held[i % held.size()] = SharedBytes::Copy(std::string(10'000 + i * 97 % 90'000, fill));
        const std::string_view oldest = held[(i + 1) % held.size()].view();
        ASSERT_TRUE(oldest.empty() || (oldest.front() == fill && oldest.back() == fill));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace larder
