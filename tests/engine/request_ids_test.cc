#include "engine/request_ids.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace larder {
namespace {

class RequestIdsTest : public testing::Test {
 protected:
  static bool IsFirst(const absl::StatusOr<RequestIds::Begun>& begun) {
    return begun.ok() && !begun->answer.has_value();
  }
  // Begins a call and ends it with `answer`.
  static void Run(RequestIds& ids, const std::string& id, const std::string& answer) {
    const auto begun = ids.Begin("a", id, 7);
    ASSERT_TRUE(IsFirst(begun));
    ids.End("a", id, begun->place, answer);
  }

  RequestIds Make(size_t ids_max = 100, uint64_t bytes_max = 1 << 20) {
    return RequestIds({ids_max, bytes_max, absl::Minutes(10), &clock_});
  }
  ManualClock clock_;
};

TEST_F(RequestIdsTest, RepeatGetsTheFirstAnswer) {
  RequestIds ids = Make();
  Run(ids, "1", "answer");
  EXPECT_EQ(ids.Begin("a", "1", 7)->answer, "answer");
}

TEST_F(RequestIdsTest, RepeatOfACallOfUnknownEndGetsItsError) {
  RequestIds ids = Make();
  const auto begun = ids.Begin("a", "1", 7);
  ASSERT_TRUE(IsFirst(begun));
  ids.EndUnknown("a", "1", begun->place,
                 RetryableError(Reason::kWRITE_UNKNOWN, absl::Seconds(1), "nobody knows"));
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 7).status()).reason, "WRITE_UNKNOWN");
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 8).status()).reason, "REQUEST_ID_REUSED");
  clock_.Advance(absl::Minutes(10));
  EXPECT_TRUE(IsFirst(ids.Begin("a", "1", 7)));
}

TEST_F(RequestIdsTest, RemembersForItsTimeAndNoLonger) {
  RequestIds ids = Make();
  Run(ids, "1", "answer");
  clock_.Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_EQ(ids.Begin("a", "1", 7)->answer, "answer");
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_TRUE(IsFirst(ids.Begin("a", "1", 7)));
  EXPECT_EQ(ids.forgotten_early(), 0u);
}

TEST_F(RequestIdsTest, NamespacesHaveIdsOfTheirOwn) {
  RequestIds ids = Make();
  ASSERT_TRUE(IsFirst(ids.Begin("a", "1", 7)));
  EXPECT_TRUE(IsFirst(ids.Begin("b", "1", 7)));
  EXPECT_TRUE(IsFirst(ids.Begin("a1", "", 7)));
}

TEST_F(RequestIdsTest, AnotherRequestUnderTheSameIdIsRefused) {
  RequestIds ids = Make();
  ASSERT_TRUE(ids.Begin("a", "1", 7).ok());
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 8).status()).reason, "REQUEST_ID_REUSED");
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 7).status()).reason, "REQUEST_IN_PROGRESS");
  EXPECT_EQ(DetailsOf(ids.Begin("a", std::string(65, 'x'), 7).status()).reason,
            "REQUEST_ID_INVALID");
}

TEST_F(RequestIdsTest, FailedCallsAreForgotten) {
  RequestIds ids = Make();
  const auto begun = ids.Begin("a", "1", 7);
  ids.Forget("a", "1", begun->place);
  EXPECT_TRUE(IsFirst(ids.Begin("a", "1", 8)));
  EXPECT_EQ(ids.size(), 1u);
}

TEST_F(RequestIdsTest, RepeatOfADoubtfulCallStartsAfreshAndIsToldSo) {
  RequestIds ids = Make();
  const auto first = ids.Begin("a", "1", 7);
  EXPECT_FALSE(first->doubtful);
  ids.Doubt("a", "1", first->place);
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 8).status()).reason, "REQUEST_ID_REUSED");
  const auto second = ids.Begin("a", "1", 7);
  ASSERT_TRUE(IsFirst(second));
  EXPECT_TRUE(second->doubtful);
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 7).status()).reason, "REQUEST_IN_PROGRESS");
  // That the repeat changed nothing says nothing of the first.
  ids.Forget("a", "1", second->place);
  ids.Forget("a", "1", first->place);
  const auto third = ids.Begin("a", "1", 7);
  ASSERT_TRUE(IsFirst(third));
  EXPECT_TRUE(third->doubtful);
  ids.End("a", "1", third->place, "answer");
  EXPECT_EQ(ids.Begin("a", "1", 7)->answer, "answer");
  clock_.Advance(absl::Minutes(10));
  EXPECT_FALSE(ids.Begin("a", "1", 7)->doubtful);
}

TEST_F(RequestIdsTest, CallThatWasDroppedWhileItRanDoesNotEndItsSuccessor) {
  RequestIds ids = Make(1);
  const auto dropped = ids.Begin("a", "1", 7);
  Run(ids, "2", "two");
  const auto successor = ids.Begin("a", "1", 7);
  ASSERT_TRUE(IsFirst(successor));
  ids.End("a", "1", dropped->place, "of the dropped call");
  EXPECT_EQ(DetailsOf(ids.Begin("a", "1", 7).status()).reason, "REQUEST_IN_PROGRESS");
  ids.End("a", "1", successor->place, "its own");
  EXPECT_EQ(ids.Begin("a", "1", 7)->answer, "its own");
}

TEST_F(RequestIdsTest, BoundedByNumberAndBytesAndCountsWhatItForgets) {
  RequestIds few = Make(10);
  for (int i = 0; i < 100; ++i) {
    Run(few, std::to_string(i), "x");
  }
  EXPECT_EQ(few.size(), 10u);
  EXPECT_EQ(few.forgotten_early(), 90u);
  EXPECT_EQ(few.Begin("a", "99", 7)->answer, "x");

  RequestIds small = Make(1000, 10'000);
  for (int i = 0; i < 50; ++i) {
    Run(small, std::to_string(i), std::string(2000, 'x'));
  }
  EXPECT_LE(small.size(), 5u);
}

TEST_F(RequestIdsTest, CallsThatFailInALoopFillNothing) {
  RequestIds ids = Make(10);
  for (int i = 0; i < 1000; ++i) {
    const auto begun = ids.Begin("a", "same", 7);
    ASSERT_TRUE(IsFirst(begun));
    ids.Forget("a", "same", begun->place);
  }
  EXPECT_EQ(ids.size(), 0u);
  EXPECT_EQ(ids.forgotten_early(), 0u);
}

}  // namespace
}  // namespace larder
