// PublishAndWait: whom it waits for, and what it says about them.

#include "bus/fleet_wait.h"

#include <gmock/gmock.h>

#include "tests/bus/fleet_fixture.h"

namespace larder {
namespace {

using PublishAndWaitTest = BusFleet;

TEST_F(PublishAndWaitTest, AnswersWhenAllOthersHaveHadIt) {
  StartFleet(3);
  log_.SetFaults({.latency_max = absl::Milliseconds(5)});
  const auto answer = Ask(0, absl::Seconds(1));
  Run(absl::Milliseconds(60));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->replicas, 2u);
  EXPECT_EQ((*answer)->acknowledged, 2u);
  EXPECT_TRUE((*answer)->all());
  EXPECT_EQ(recorder(1).keys.size(), 1u);
  EXPECT_EQ(recorder(2).keys.size(), 1u);
}

TEST_F(PublishAndWaitTest, AnswersAtOnceWhenThereIsNobodyElse) {
  StartFleet(1);
  const auto answer = Ask(0, absl::Seconds(1));
  Run(absl::Milliseconds(1));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->replicas, 0u);
  EXPECT_TRUE((*answer)->all());
}

TEST_F(PublishAndWaitTest, OneAcknowledgementCoversMany) {
  StartFleet(2);
  log_.SetFaults({.latency_max = absl::Milliseconds(5)});
  const uint64_t before = log_.appended();
  std::vector<std::shared_ptr<std::optional<FleetAck>>> answers;
  for (int i = 0; i < 500; ++i) answers.push_back(Ask(0, absl::Seconds(1)));
  Run(absl::Milliseconds(100));
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer->has_value());
    EXPECT_TRUE((*answer)->all());
  }
  EXPECT_LT(log_.appended() - before, 12u);
}

TEST_F(PublishAndWaitTest, SaysHowManyAnsweredByTheDeadline) {
  StartFleet(3);
  log_.Disconnect(2);
  const auto answer = Ask(0, absl::Milliseconds(500));
  Run(absl::Milliseconds(499));
  EXPECT_FALSE(answer->has_value());
  Run(absl::Milliseconds(2));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->replicas, 2u);
  EXPECT_EQ((*answer)->acknowledged, 1u);
  EXPECT_TRUE((*answer)->known);
  EXPECT_FALSE((*answer)->all());
}

TEST_F(PublishAndWaitTest, AReplicaThatDiedIsNotWaitedForAndDidNotAnswer) {
  StartFleet(3);
  member(2).bus.reset();
  const auto answer = Ask(0, absl::Minutes(1));
  Run(absl::Seconds(5));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->replicas, 2u);
  EXPECT_EQ((*answer)->acknowledged, 1u);
  EXPECT_FALSE((*answer)->all());
}

TEST_F(PublishAndWaitTest, AReplicaThatLeftIsNotCounted) {
  StartFleet(3);
  log_.Disconnect(2);
  const auto answer = Ask(0, absl::Minutes(1));
  Run(absl::Milliseconds(100));
  // It says goodbye before it has read the message.
  Stop(2, absl::Seconds(5));
  log_.Connect(2);
  Run(absl::Seconds(1));
  ASSERT_TRUE(answer->has_value());
  EXPECT_TRUE((*answer)->all());
}

TEST_F(PublishAndWaitTest, NothingIsKnownWhileTheLogIsAway) {
  StartFleet(2);
  log_.Disconnect(0);
  log_.Disconnect(1);
  const auto answer = Ask(0, absl::Seconds(10));
  Run(absl::Seconds(6));
  ASSERT_TRUE(answer->has_value());
  EXPECT_FALSE((*answer)->known);
  EXPECT_EQ((*answer)->acknowledged, 0u);
  EXPECT_FALSE((*answer)->all());
}

TEST_F(PublishAndWaitTest, ALonelyReplicaDoesNotClaimAllWhileTheLogIsAway) {
  StartFleet(1);
  log_.Disconnect(0);
  const auto answer = Ask(0, absl::Milliseconds(300));
  Run(absl::Seconds(1));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->replicas, 0u);
  EXPECT_FALSE((*answer)->all());
}

TEST_F(PublishAndWaitTest, AFreshReplicaWaitsUntilItKnowsWhoIsThere) {
  Start({.node = 0});
  Run(absl::Milliseconds(100));
  const auto answer = Ask(0, absl::Seconds(10));
  Run(absl::Seconds(1));
  EXPECT_FALSE(answer->has_value());
  Run(absl::Seconds(1));
  ASSERT_TRUE(answer->has_value());
  EXPECT_TRUE((*answer)->all());
}

TEST_F(PublishAndWaitTest, AnAcknowledgementThatIsLostIsRepeated) {
  StartFleet(2);
  log_.SetFaults({.latency_max = absl::Milliseconds(5)});
  const auto answer = Ask(0, absl::Seconds(5));
  // Until the other has had it, then away with everything that it says at first.
  while (recorder(1).keys.empty()) Run(absl::Milliseconds(1));
  Run(absl::Milliseconds(1));
  for (int i = 0; i < 20 && !answer->has_value(); ++i) {
    log_.Flush();
    Run(absl::Milliseconds(1));
  }
  Run(absl::Seconds(4));
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->acknowledged, 1u);
}

TEST_F(PublishAndWaitTest, RefusesToWaitForMoreThanItsLimitAndSendsAllTheSame) {
  Start({.node = 0, .waits_max = 2});
  Start({.node = 1});
  Run(absl::Seconds(2));
  log_.Disconnect(1);
  Ask(0, absl::Seconds(1));
  Run(absl::Milliseconds(1));
  Ask(0, absl::Seconds(1));
  Run(absl::Milliseconds(1));
  const auto third = Ask(0, absl::Seconds(1));
  Run(absl::Milliseconds(1));
  ASSERT_TRUE(third->has_value());
  EXPECT_FALSE((*third)->known);
  log_.Connect(1);
  Run(absl::Seconds(1));
  EXPECT_EQ(recorder(1).keys.size(), 3u);
}

TEST_F(PublishAndWaitTest, AnswersWhenTheQueueIsFullAndWhenTheBusGoes) {
  Member& full = Add({.node = 1, .queue_messages_max = 1});
  const auto first = Ask(0, absl::Seconds(30));
  const auto second = Ask(0, absl::Seconds(30));
  Run(absl::Milliseconds(1));
  EXPECT_FALSE(first->has_value());
  ASSERT_TRUE(second->has_value());
  EXPECT_FALSE((*second)->all());
  full.bus.reset();
  Run(absl::Milliseconds(1));
  ASSERT_TRUE(first->has_value());
  EXPECT_FALSE((*first)->all());
}

FleetWaits::List Two(Executor* executor) {
  return {std::make_shared<FleetWait>(executor), std::make_shared<FleetWait>(executor)};
}

class FleetWaitsTest : public testing::Test {
 protected:
  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  FleetWaits waits_;
};

TEST_F(FleetWaitsTest, AnAcknowledgementWithAHoleDoesNotCount) {
  waits_.Sent(5, Two(&executor_));
  waits_.Echoed(5, {77});
  waits_.Acknowledged({.incarnation = 1, .from = 6, .to = 9}, 77);
  waits_.Acknowledged({.incarnation = 1, .from = 1, .to = 4}, 77);
  waits_.AnswerComplete();
  EXPECT_EQ(waits_.size(), 2u);
  waits_.Acknowledged({.incarnation = 1, .from = 5, .to = 5}, 77);
  waits_.AnswerComplete();
  EXPECT_EQ(waits_.size(), 0u);
  const FleetWaits::Done done = waits_.TakeDone();
  ASSERT_EQ(done.size(), 2u);
  EXPECT_TRUE(done[0].second.all());
}

TEST_F(FleetWaitsTest, AFrameThatIsSkippedIsLost) {
  waits_.Sent(5, Two(&executor_));
  waits_.Echoed(6, {77});
  const FleetWaits::Done done = waits_.TakeDone();
  ASSERT_EQ(done.size(), 2u);
  EXPECT_FALSE(done[0].second.known);
  EXPECT_EQ(done[0].second.replicas, 1u);
}

TEST_F(FleetWaitsTest, WhoWasThereAllTheTimeIsWaitedForAsWell) {
  waits_.Sent(5, Two(&executor_));
  waits_.Echoed(5, {});
  waits_.Missed(77);
  waits_.AnswerComplete();
  EXPECT_EQ(waits_.size(), 2u);
  waits_.Left(77);
  waits_.AnswerComplete();
  EXPECT_EQ(waits_.size(), 0u);
}

}  // namespace
}  // namespace larder
