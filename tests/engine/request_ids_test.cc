#include "engine/request_ids.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace larder {
namespace {

class RequestIdsTest : public testing::Test {
 protected:
  RequestIds Make(size_t ids_max = 100, uint64_t bytes_max = 1 << 20) {
    return RequestIds({ids_max, bytes_max, absl::Minutes(10), &clock_});
  }
  ManualClock clock_;
};

TEST_F(RequestIdsTest, RepeatGetsTheFirstAnswer) {
  RequestIds ids = Make();
  ASSERT_FALSE(ids.Begin("a", "1", 7)->has_value());
  ids.End("a", "1", "answer");
  EXPECT_EQ(**ids.Begin("a", "1", 7), "answer");
}

TEST_F(RequestIdsTest, RemembersForItsTimeAndNoLonger) {
  RequestIds ids = Make();
  ASSERT_FALSE(ids.Begin("a", "1", 7)->has_value());
  ids.End("a", "1", "answer");
  clock_.Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_EQ(**ids.Begin("a", "1", 7), "answer");
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_FALSE(ids.Begin("a", "1", 7)->has_value());
  EXPECT_EQ(ids.forgotten_early(), 0u);
}

TEST_F(RequestIdsTest, NamespacesHaveIdsOfTheirOwn) {
  RequestIds ids = Make();
  ASSERT_FALSE(ids.Begin("a", "1", 7)->has_value());
  EXPECT_FALSE(ids.Begin("b", "1", 7)->has_value());
  EXPECT_FALSE(ids.Begin("a1", "", 7)->has_value());
}

TEST_F(RequestIdsTest, AnotherRequestUnderTheSameIdIsRefused) {
  RequestIds ids = Make();
  ASSERT_TRUE(ids.Begin("a", "1", 7).ok());
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 8).status()).reason, "REQUEST_ID_REUSED");
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 7).status()).reason, "REQUEST_IN_PROGRESS");
  EXPECT_EQ(DetailsOf(ids.Begin("a", std::string(65, 'x'), 7).status()).reason, "REQUEST_ID_INVALID");
}

TEST_F(RequestIdsTest, FailedCallsAreForgotten) {
  RequestIds ids = Make();
  ASSERT_TRUE(ids.Begin("a", "1", 7).ok());
  ids.Forget("a", "1");
  EXPECT_FALSE(ids.Begin("a", "1", 8)->has_value());
  EXPECT_EQ(ids.size(), 1u);
}

TEST_F(RequestIdsTest, BoundedByNumberAndBytesAndCountsWhatItForgets) {
  RequestIds few = Make(10);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(few.Begin("a", std::to_string(i), 7).ok());
    few.End("a", std::to_string(i), "x");
  }
  EXPECT_EQ(few.size(), 10u);
  EXPECT_EQ(few.forgotten_early(), 90u);
  EXPECT_EQ(**few.Begin("a", "99", 7), "x");

  RequestIds small = Make(1000, 10'000);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(small.Begin("a", std::to_string(i), 7).ok());
    small.End("a", std::to_string(i), std::string(2000, 'x'));
  }
  EXPECT_LE(small.size(), 5u);
}

TEST_F(RequestIdsTest, CallsThatFailInALoopFillNothing) {
  RequestIds ids = Make(10);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(ids.Begin("a", "same", 7).ok());
    ids.Forget("a", "same");
  }
  EXPECT_EQ(ids.size(), 0u);
  EXPECT_EQ(ids.forgotten_early(), 0u);
}

}  // namespace
}  // namespace larder
