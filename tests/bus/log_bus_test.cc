// What a fleet of buses tells its listeners, one scripted fault at a time.

#include "bus/log_bus.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "bus/frame.h"
#include "tests/bus/fleet_fixture.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using LogBusTest = BusFleet;

TEST_F(LogBusTest, FollowsOnceItsFirstMessageCameBack) {
  log_.SetFaults({.latency_max = absl::Milliseconds(10)});
  Member& first = Start({.node = 5});
  EXPECT_FALSE(first.recorder.following);
  EXPECT_EQ(first.bus->Stats().state, "lost: not followed yet");
  Run(absl::Milliseconds(100));
  EXPECT_TRUE(first.recorder.following);
  EXPECT_THAT(first.recorder.gaps, IsEmpty());
  EXPECT_EQ(first.bus->Stats().state, "following");
}

TEST_F(LogBusTest, TellsTheOthersInOrderAndNotItself) {
  StartFleet(3);
  for (int i = 0; i < 5; ++i) bus(1).Publish(Changed(absl::StrCat(i)));
  Run(absl::Milliseconds(1));
  EXPECT_THAT(recorder(0).keys, ElementsAre("0", "1", "2", "3", "4"));
  EXPECT_THAT(recorder(2).keys, ElementsAre("0", "1", "2", "3", "4"));
  EXPECT_THAT(recorder(1).keys, IsEmpty());
  EXPECT_EQ(recorder(0).told[0].node, 1u);
  EXPECT_EQ(recorder(0).told[0].version, 7u);
  EXPECT_EQ(bus(1).Stats().published, 5u);
  EXPECT_EQ(bus(0).Stats().received, 5u);
  EXPECT_EQ(bus(0).Stats().replicas, 2u);
}

TEST_F(LogBusTest, CarriesRulesAndReleasedLeases) {
  StartFleet(2);
  bus(0).Publish({.kind = BusMessage::Kind::kRule, .version = 9, .keys = {}, .rule = "tag:a"});
  bus(0).Publish({.kind = BusMessage::Kind::kReleased, .version = 0, .keys = {"k"}, .rule = ""});
  Run(absl::Milliseconds(1));
  ASSERT_EQ(recorder(1).told.size(), 2u);
  EXPECT_EQ(recorder(1).told[0].kind, BusMessage::Kind::kRule);
  EXPECT_EQ(recorder(1).told[0].rule, "tag:a");
  EXPECT_EQ(recorder(1).told[1].kind, BusMessage::Kind::kReleased);
}

TEST_F(LogBusTest, GathersWhatIsPublishedWhileAnAppendIsUnderWay) {
  StartFleet(2);
  log_.SetFaults({.latency_max = absl::Milliseconds(4)});
  const uint64_t before = log_.appended();
  for (int i = 0; i < 1000; ++i) bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(60));
  EXPECT_EQ(recorder(1).keys.size(), 1000u);
  EXPECT_LE(log_.appended() - before, 10u);
}

TEST_F(LogBusTest, SplitsFramesAtTheirLimits) {
  Start({.node = 0, .frame_messages_max = 10});
  Start({.node = 1, .frame_bytes_max = 100});
  Run(absl::Seconds(2));
  uint64_t before = log_.appended();
  for (int i = 0; i < 30; ++i) bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(1));
  EXPECT_EQ(log_.appended() - before, 3u);
  before = log_.appended();
  // The second does not fit beside the first; the third is over the limit by itself.
  bus(1).Publish(Changed(std::string(60, 'a')));
  bus(1).Publish(Changed(std::string(60, 'b')));
  bus(1).Publish(Changed(std::string(300, 'c')));
  Run(absl::Milliseconds(1));
  EXPECT_EQ(log_.appended() - before, 3u);
  EXPECT_EQ(recorder(0).keys.size(), 3u);
}

TEST_F(LogBusTest, DropsWhatWasAppendedTwice) {
  StartFleet(2);
  log_.SetFaults({.unknown = 1});
  bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(50));
  log_.SetFaults({});
  Run(absl::Seconds(1));
  EXPECT_THAT(recorder(1).keys, ElementsAre("k"));
  EXPECT_GT(bus(1).Stats().repeated, 0u);
  EXPECT_GT(bus(0).Stats().append_errors, 0u);
  EXPECT_THAT(recorder(1).gaps, IsEmpty());
}

TEST_F(LogBusTest, TriesALostAppendAgain) {
  StartFleet(2);
  log_.SetFaults({.lost = 1});
  bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(300));
  EXPECT_THAT(recorder(1).keys, IsEmpty());
  log_.SetFaults({});
  Run(absl::Milliseconds(300));
  EXPECT_THAT(recorder(1).keys, ElementsAre("k"));
  EXPECT_THAT(recorder(1).gaps, IsEmpty());
}

TEST_F(LogBusTest, GoesOnFromItsPlaceAfterAShortDisconnect) {
  StartFleet(2);
  log_.Disconnect(1);
  for (int i = 0; i < 3; ++i) {
    bus(0).Publish(Changed(absl::StrCat(i)));
    Run(absl::Milliseconds(300));
  }
  EXPECT_EQ(bus(1).Stats().state, "behind");
  EXPECT_GT(bus(1).Stats().read_errors, 0u);
  log_.Connect(1);
  Run(absl::Seconds(5));
  EXPECT_THAT(recorder(1).keys, ElementsAre("0", "1", "2"));
  EXPECT_THAT(recorder(1).gaps, IsEmpty());
  EXPECT_THAT(recorder(0).gaps, IsEmpty());
}

TEST_F(LogBusTest, ALongDisconnectIsAGapUntilTheLogIsFollowedAgain) {
  StartFleet(2);
  log_.Disconnect(1);
  Run(absl::Seconds(2));
  EXPECT_THAT(recorder(1).gaps, ElementsAre(HasSubstr("own messages did not come back")));
  EXPECT_FALSE(recorder(1).following);
  EXPECT_THAT(bus(1).Stats().state, HasSubstr("lost: own messages"));
  log_.Connect(1);
  Run(absl::Seconds(1));
  EXPECT_TRUE(recorder(1).following);
  EXPECT_EQ(recorder(1).gaps.size(), 1u);
  EXPECT_EQ(bus(1).Stats().gaps, 1u);
}

TEST_F(LogBusTest, WhatIsReliedOnEndsBeforeTheGapIsTold) {
  StartFleet(2);
  EXPECT_GT(bus(1).ReliableUntil(), clock_.Mono());
  log_.Disconnect(1);
  // As long as the process is stopped it tells nobody anything, and its threads see the time.
  clock_.Advance(absl::Milliseconds(1501));
  EXPECT_LT(bus(1).ReliableUntil(), clock_.Mono());
  EXPECT_TRUE(recorder(1).following);
  EXPECT_THAT(bus(1).Stats().state, HasSubstr("lost: "));
  Run(absl::Milliseconds(1));
  EXPECT_FALSE(recorder(1).following);
}

TEST_F(LogBusTest, AProcessThatWasStoppedTellsTheGapBeforeWhatItFinds) {
  StartFleet(1);
  const auto other_executor = std::make_unique<ManualExecutor>(&clock_, 2);
  Recorder recorder;
  auto stopped = NewLogBus(
      log_.NewClient(9, other_executor.get()),
      {.node = 9, .random = &random_, .clock = &clock_, .executor = other_executor.get()});
  stopped->Start(&recorder);
  for (int i = 0; i < 100; ++i) {
    Run(absl::Milliseconds(10));
    other_executor->RunReady();
  }
  ASSERT_TRUE(recorder.following);
  bus(0).Publish(Changed("k"));
  Run(absl::Seconds(3));
  while (recorder.keys.empty() && other_executor->RunOne()) {
  }
  EXPECT_EQ(recorder.gaps.size(), 1u);
  stopped.reset();
  Run(absl::Seconds(1));
  other_executor->RunReady();
}

TEST_F(LogBusTest, AMessageThatCouldNotBeSentIsAGapForTheOthers) {
  StartFleet(2);
  log_.Disconnect(0);
  bus(0).Publish(Changed("k"));
  Run(absl::Seconds(8));
  EXPECT_EQ(bus(0).Stats().publish_failed, 1u);
  const size_t gaps = recorder(1).gaps.size();
  log_.Connect(0);
  Run(absl::Seconds(1));
  EXPECT_EQ(recorder(1).gaps.size(), gaps + 1);
  EXPECT_EQ(recorder(1).gaps.back(), "replica 0 sent 1 frames that did not arrive");
  EXPECT_TRUE(recorder(1).following);
  EXPECT_THAT(recorder(1).keys, IsEmpty());
}

TEST_F(LogBusTest, TakesAsManyMessagesAsTheQueueHoldsAndNotOneMore) {
  Start({.node = 0});
  Run(absl::Seconds(2));
  Member& full = Add({.node = 1, .queue_messages_max = 3});
  for (int i = 0; i < 3; ++i) full.bus->Publish(Changed(absl::StrCat(i)));
  EXPECT_EQ(full.bus->Stats().publish_failed, 0u);
  EXPECT_EQ(full.bus->Stats().queued, 3u);
  full.bus->Publish(Changed("one too many"));
  EXPECT_EQ(full.bus->Stats().publish_failed, 1u);
  full.bus->Start(&full.recorder);
  Run(absl::Seconds(1));
  EXPECT_THAT(recorder(0).keys, ElementsAre("0", "1", "2"));
  EXPECT_EQ(recorder(0).gaps.size(), 1u);
}

TEST_F(LogBusTest, TakesAsManyBytesAsTheQueueHoldsAndNotOneMore) {
  const uint64_t size = EncodeMessage(Changed("0")).size();
  Member& full = Add({.node = 1, .queue_bytes_max = 2 * size});
  full.bus->Publish(Changed("0"));
  full.bus->Publish(Changed("1"));
  EXPECT_EQ(full.bus->Stats().publish_failed, 0u);
  full.bus->Publish(Changed("2"));
  EXPECT_EQ(full.bus->Stats().publish_failed, 1u);
}

TEST_F(LogBusTest, AFlushOfTheLogIsAGapForWhoHadNotReadIt) {
  StartFleet(3);
  log_.Disconnect(1);
  bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(1));
  log_.Flush();
  log_.Connect(1);
  Run(absl::Seconds(1));
  EXPECT_THAT(recorder(1).keys, IsEmpty());
  EXPECT_FALSE(recorder(1).gaps.empty());
  EXPECT_TRUE(recorder(1).following);
  EXPECT_THAT(recorder(2).gaps, IsEmpty());
}

TEST_F(LogBusTest, ATrimOfTheLogIsAGapForWhoHadNotReadIt) {
  StartFleet(2);
  log_.Disconnect(1);
  bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(500));
  log_.Trim(1);
  log_.Connect(1);
  Run(absl::Seconds(1));
  EXPECT_FALSE(recorder(1).gaps.empty());
  EXPECT_TRUE(recorder(1).following);
}

TEST_F(LogBusTest, ALogThatNumbersFromAnEarlierTimeIsFoundAgain) {
  StartFleet(2);
  // A failover to a server without the log whose clock is an hour behind: nothing that is appended
  // comes after what was read.
  log_.Flush();
  log_.SetClockOffset(-absl::Hours(1));
  bus(0).Publish(Changed("k"));
  Run(absl::Seconds(3));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(recorder(i).gaps.size(), 1u);
    EXPECT_THAT(recorder(i).gaps[0], HasSubstr("the log went back"));
    EXPECT_TRUE(recorder(i).following);
  }
  bus(0).Publish(Changed("again"));
  Run(absl::Milliseconds(1));
  EXPECT_EQ(recorder(1).keys.back(), "again");
}

TEST_F(LogBusTest, AFailoverThatTakesBackMessagesIsAGapForWhoHadNotReadThem) {
  StartFleet(3);
  log_.Disconnect(1);
  bus(0).Publish(Changed("k"));
  Run(absl::Milliseconds(1));
  ASSERT_THAT(recorder(2).keys, ElementsAre("k"));
  log_.GoBack(1);
  log_.Connect(1);
  Run(absl::Seconds(1));
  EXPECT_THAT(recorder(1).gaps, ElementsAre("replica 0 sent 1 frames that did not arrive"));
}

TEST_F(LogBusTest, WhatIsNoFrameIsCountedAndAGap) {
  StartFleet(1);
  log_.AppendForeign("hello");
  log_.AppendForeign("");
  Run(absl::Milliseconds(300));
  EXPECT_EQ(bus(0).Stats().bad_messages, 2u);
  EXPECT_THAT(recorder(0).gaps, testing::Each(HasSubstr("cannot be read")));
  EXPECT_TRUE(recorder(0).following);
}

TEST_F(LogBusTest, AReplicaThatDiesIsAGapAndOneThatSaysGoodbyeIsNone) {
  StartFleet(3);
  const auto stopped = Stop(2, absl::Seconds(1));
  Run(absl::Milliseconds(1));
  ASSERT_TRUE(stopped->has_value());
  EXPECT_TRUE((*stopped)->ok());
  EXPECT_EQ(bus(0).Stats().replicas, 1u);
  Run(absl::Seconds(5));
  EXPECT_THAT(recorder(0).gaps, IsEmpty());

  member(1).bus.reset();
  Run(absl::Seconds(1));
  EXPECT_THAT(recorder(0).gaps, IsEmpty());
  EXPECT_EQ(bus(0).Stats().replicas, 1u);
  Run(absl::Milliseconds(1300));
  EXPECT_THAT(recorder(0).gaps, ElementsAre(HasSubstr("replica 1 was not heard for")));
  EXPECT_EQ(bus(0).Stats().replicas, 0u);
}

TEST_F(LogBusTest, AReplicaThatBeginsAgainWithoutGoodbyeIsAGapAtOnce) {
  StartFleet(2);
  member(1).bus.reset();
  Start({.node = 1});
  Run(absl::Milliseconds(100));
  EXPECT_THAT(recorder(0).gaps, ElementsAre("replica 1 began again without goodbye"));
  EXPECT_EQ(bus(0).Stats().replicas, 1u);
  Run(absl::Seconds(5));
  // The one that began again does not take its own past for another replica that died.
  EXPECT_THAT(recorder(2).gaps, IsEmpty());
  EXPECT_EQ(recorder(0).gaps.size(), 1u);
  EXPECT_EQ(bus(0).Stats().node_id_shared, 0u);
}

TEST_F(LogBusTest, FindsTwoReplicasWithOneNodeId) {
  StartFleet(2);
  Start({.node = 1});
  Run(absl::Seconds(2));
  for (int i = 0; i < 3; ++i) EXPECT_GE(bus(i).Stats().node_id_shared, 1u) << i;
  EXPECT_EQ(bus(0).Stats().replicas, 2u);
  // They are two all the same: neither loses what the other says.
  bus(1).Publish(Changed("a"));
  bus(2).Publish(Changed("b"));
  Run(absl::Milliseconds(1));
  EXPECT_EQ(recorder(0).keys.size(), 2u);
}

TEST_F(LogBusTest, ReadErrorsAloneAreOvercome) {
  StartFleet(2);
  log_.SetFaults({.read_error = 0.5});
  for (int i = 0; i < 50; ++i) {
    bus(0).Publish(Changed("k"));
    Run(absl::Milliseconds(50));
  }
  log_.SetFaults({});
  Run(absl::Seconds(1));
  EXPECT_EQ(recorder(1).keys.size(), 50u);
  EXPECT_THAT(recorder(1).gaps, IsEmpty());
}

TEST_F(LogBusTest, MeasuresHowLongMessagesTake) {
  StartFleet(2);
  log_.SetFaults({.latency_max = absl::Milliseconds(20)});
  for (int i = 0; i < 20; ++i) {
    bus(0).Publish(Changed("k"));
    Run(absl::Milliseconds(100));
  }
  const BusStats stats = bus(1).Stats();
  EXPECT_GT(stats.lag, absl::ZeroDuration());
  EXPECT_LT(stats.lag_p99, absl::Milliseconds(90));
  EXPECT_GE(stats.lag_p99, stats.lag * 0.97);
}

TEST_F(LogBusTest, StopSendsWhatIsQueuedAndThenTellsNothingMore) {
  StartFleet(2);
  log_.SetFaults({.latency_max = absl::Milliseconds(10)});
  for (int i = 0; i < 1000; ++i) bus(0).Publish(Changed("k"));
  const auto stopped = Stop(0, absl::Seconds(2));
  Run(absl::Seconds(1));
  ASSERT_TRUE(stopped->has_value());
  EXPECT_TRUE((*stopped)->ok());
  EXPECT_EQ(recorder(1).keys.size(), 1000u);
  EXPECT_THAT(recorder(1).gaps, IsEmpty());
  bus(1).Publish(Changed("late"));
  bus(0).Publish(Changed("later"));
  Run(absl::Seconds(1));
  EXPECT_THAT(recorder(0).keys, IsEmpty());
  EXPECT_EQ(bus(0).Stats().publish_failed, 1u);
  EXPECT_EQ(bus(0).Stats().state, "stopped");
}

TEST_F(LogBusTest, StopEndsAtItsDeadlineWhenTheLogIsGone) {
  StartFleet(2);
  log_.Freeze();
  bus(0).Publish(Changed("k"));
  const auto stopped = Stop(0, absl::Seconds(1));
  Run(absl::Milliseconds(999));
  EXPECT_FALSE(stopped->has_value());
  Run(absl::Milliseconds(2));
  ASSERT_TRUE(stopped->has_value());
  EXPECT_EQ((*stopped)->code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(LogBusTest, StopsBeforeItStarted) {
  Add({.node = 0});
  const auto stopped = Stop(0, absl::Seconds(1));
  Run(absl::Milliseconds(1));
  ASSERT_TRUE(stopped->has_value());
  EXPECT_TRUE((*stopped)->ok());
}

}  // namespace
}  // namespace larder
