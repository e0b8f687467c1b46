// Who gets room that has become free, when the journal is full in all.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/journal/journal_rig.h"

namespace larder {
namespace {

class JournalRoomTest : public JournalTest {
 protected:
  JournalRoomTest() {
    policy().on_full = OnFull::kBlock;
    policy().delay = absl::ZeroDuration();
    AddType("u", "db");
  }
};

TEST_F(JournalRoomTest, InTheOrderOfComingOverAllTypes) {
  options_.entries_max = 1;
  std::vector<std::string> order;
  sink_.of_call = [&](const JournalDelivery& delivery) {
    order.push_back(delivery.writes[0].full_key);
    return FakeSink::Fate();
  };
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1, "v", "t")).ok());
  auto second = Begin(WriteOf("b", 2, "v", "u"));
  auto third = Begin(WriteOf("c", 3, "v", "t"));
  auto fourth = Begin(WriteOf("d", 4, "v", "u"));
  executor_.RunReady();
  ASSERT_FALSE(second.done() || third.done() || fourth.done());
  journal_->Start(&sink_);
  Advance(absl::Seconds(1));
  ASSERT_TRUE(second.done() && third.done() && fourth.done());
  EXPECT_TRUE(second->ok() && third->ok() && fourth->ok());
  EXPECT_EQ(order, (std::vector<std::string>{Full("a"), Full("b"), Full("c"), Full("d")}));
}

TEST_F(JournalRoomTest, NobodyOfAnotherTypeTakesItFromThoseWhoWait) {
  options_.entries_max = 2;
  policy(1).on_full = OnFull::kReject;
  Open(/*start=*/false);
  ASSERT_TRUE(Append({WriteOf("a", 1), WriteOf("b", 2)}).ok());
  std::vector<JournalRecord> two = {WriteOf("c", 3), WriteOf("d", 4)};
  Pending<absl::Status> waits(journal_->Append(std::move(two), In(absl::Minutes(1))));
  executor_.RunReady();
  journal_->Supersede(Full("a"), "t", 9);
  executor_.RunReady();
  EXPECT_FALSE(waits.done());
  EXPECT_EQ(ReasonOf(Append(WriteOf("e", 5, "v", "u"))), "JOURNAL_FULL");
  journal_->Supersede(Full("b"), "t", 9);
  executor_.RunReady();
  ASSERT_TRUE(waits.done());
  EXPECT_TRUE(waits->ok());
}

TEST_F(JournalRoomTest, WhoWaitsForHisTypeHoldsUpNobodyElse) {
  policy().entries_max = 1;
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  auto waits = Begin(WriteOf("b", 2));
  executor_.RunReady();
  EXPECT_FALSE(waits.done());
  EXPECT_TRUE(Append(WriteOf("c", 3, "v", "u")).ok());
}

TEST_F(JournalRoomTest, WhoGivesUpLetsThoseBehindGoOn) {
  options_.entries_max = 2;
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  std::vector<JournalRecord> two = {WriteOf("c", 3), WriteOf("d", 4)};
  Pending<absl::Status> first(journal_->Append(std::move(two), In(absl::Seconds(1))));
  auto second = Begin(WriteOf("e", 5, "v", "u"), In(absl::Seconds(9)));
  executor_.RunReady();
  EXPECT_FALSE(first.done() || second.done());
  Advance(absl::Seconds(1));
  ASSERT_TRUE(first.done() && second.done());
  EXPECT_EQ(ReasonOf(*first), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(second->ok());
}

}  // namespace
}  // namespace larder
