#include "rpc/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "core/error.h"

namespace larder {
namespace {

using testing::HasSubstr;

class AdmissionTest : public testing::Test {
 protected:
  static std::string Refusal(const absl::Status& status) {
    return status.ok() ? "" : DetailsOf(status).reason + ": " + std::string(status.message());
  }
  // As many calls of a class as are taken on.
  static int Fill(Admission* admission, CallClass what) {
    int taken = 0;
    while (admission->Enter(what, "").ok()) ++taken;
    return taken;
  }
  // A worker has a call that waited so long. Whether it is to be done.
  static bool Waited(Admission* admission, absl::Duration wait) {
    return admission->Waited(absl::ToInt64Nanoseconds(wait)).ok();
  }
  static void Queue(Admission* admission, int calls) {
    for (int i = 0; i < calls; ++i) ASSERT_TRUE(admission->Enter(CallClass::kRead, "").ok());
  }
  // Workers take so many from the queue, which had not to wait longer than others.
  static void Serve(Admission* admission, int calls) {
    for (int i = 0; i < calls; ++i) Waited(admission, absl::Hours(1));
  }
  // A window in which the call that waited least waited so long, and another three times that. Two
  // calls come and are served.
  void Window(Admission* admission, absl::Duration least) {
    Queue(admission, 2);
    Waited(admission, least * 3);
    clock_.Advance(Admission::kWindow);
    Waited(admission, least);
    admission->Leave("");
    admission->Leave("");
  }
  // As many of them as show that a queue does not go away.
  void Windows(Admission* admission, absl::Duration least) {
    for (int i = 0; i < Admission::kWindowsLate; ++i) Window(admission, least);
  }

  ManualClock clock_;
};

TEST_F(AdmissionTest, WhoNeedsNoWorkerIsNotRefusedForHowLongOthersWaitForOne) {
  Admission admission({.in_flight = 1000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Queue(&admission, 200);
  Windows(&admission, absl::Seconds(1));
  ASSERT_LT(admission.limit(), 200u);
  EXPECT_FALSE(admission.Enter(CallClass::kWrite, "").ok());
  EXPECT_TRUE(admission.Enter(CallClass::kWrite, "", /*waits=*/false).ok());
  EXPECT_EQ(admission.waiting(), 200u);
  EXPECT_EQ(admission.under_way(), 201u);
  admission.Leave("");
  EXPECT_EQ(admission.waiting(), 200u);
  EXPECT_EQ(admission.under_way(), 200u);
}

TEST_F(AdmissionTest, SoManyCallsAreTakenOnAndNotOneMore) {
  Admission admission({.in_flight = 3}, &clock_);
  EXPECT_EQ(Fill(&admission, CallClass::kRead), 3);
  const absl::Status refused = admission.Enter(CallClass::kRead, "");
  EXPECT_EQ(Refusal(refused), "OVERLOADED: too many calls are under way (limits.in_flight is 3)");
  EXPECT_GT(DetailsOf(refused).retry_after.value_or(absl::ZeroDuration()), absl::ZeroDuration());
  Serve(&admission, 1);
  EXPECT_FALSE(admission.Enter(CallClass::kRead, "").ok()) << "a worker has it, and it goes on";
  admission.Leave("");
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "").ok());
  EXPECT_EQ(admission.under_way(), 3u);
  EXPECT_THAT(admission.Refused(), testing::Contains(testing::Pair("in_flight", 3u)));
}

TEST_F(AdmissionTest, WhatMattersLeastIsRefusedFirst) {
  Admission admission({.in_flight = 100}, &clock_);
  EXPECT_EQ(Fill(&admission, CallClass::kWarming), 60);
  EXPECT_EQ(Fill(&admission, CallClass::kBatch), 20);
  EXPECT_EQ(Fill(&admission, CallClass::kWrite), 10);
  EXPECT_EQ(Fill(&admission, CallClass::kRead), 10);
}

TEST_F(AdmissionTest, OneAddressDoesNotTakeWhatOthersNeed) {
  Admission admission({.in_flight = 100, .in_flight_per_peer = 2}, &clock_);
  EXPECT_TRUE(admission.counts_peers());
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "a").ok());
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "a").ok());
  EXPECT_THAT(Refusal(admission.Enter(CallClass::kRead, "a")),
              HasSubstr("limits.in_flight_per_peer is 2"));
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "b").ok());
  EXPECT_EQ(admission.under_way(), 3u);
  admission.Leave("a");
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "a").ok());
}

TEST_F(AdmissionTest, TheCallsOfOneAddressHoldSoManyBytes) {
  Admission admission({.buffer_bytes_per_peer = 100}, &clock_);
  Admission::Held a, b, sent, more, nobodys;
  EXPECT_TRUE(admission.Hold("a", 100, &a).ok());
  EXPECT_THAT(Refusal(admission.Hold("a", 1, &more)),
              HasSubstr("limits.buffer_bytes_per_peer is 100"));
  EXPECT_TRUE(admission.Hold("b", 60, &b).ok());
  admission.HoldAnyway("b", 60, &sent);
  EXPECT_FALSE(admission.Hold("b", 1, &more).ok()) << "a reply that had to be sent";
  EXPECT_TRUE(admission.Hold("", 1'000, &nobodys).ok()) << "nobody's";
  admission.LetGo(&a);
  EXPECT_TRUE(admission.Hold("a", 100, &a).ok());
  EXPECT_THAT(admission.Refused(), testing::Contains(testing::Pair("peer_bytes", 2u)));
}

TEST_F(AdmissionTest, AnAddressThatHoldsNothingMaySendOneMessageOfAnySize) {
  Admission admission({.buffer_bytes_per_peer = 100}, &clock_);
  Admission::Held large, small, more;
  EXPECT_TRUE(admission.Hold("a", 101, &large).ok());
  EXPECT_FALSE(admission.Hold("a", 1, &small).ok());
  admission.LetGo(&large);
  EXPECT_TRUE(admission.Hold("a", 1, &small).ok());
  EXPECT_FALSE(admission.Hold("a", 100, &more).ok());
}

TEST_F(AdmissionTest, AllCallsTogetherHoldSoManyBytes) {
  Admission admission({.buffer_bytes = 1'000, .buffer_bytes_per_peer = 800}, &clock_);
  Admission::Held a, b, more, done;
  EXPECT_TRUE(admission.Hold("a", 700, &a).ok());
  EXPECT_THAT(Refusal(admission.Hold("b", 400, &b)), HasSubstr("limits.buffer_bytes is 1000"));
  EXPECT_TRUE(admission.Hold("b", 300, &b).ok());
  EXPECT_FALSE(admission.Hold("", 1, &more).ok()) << "nobody's are among them";
  EXPECT_TRUE(admission.Hold("", 0, &more).ok()) << "it holds nothing";
  admission.HoldAnyway("", 50, &done);
  EXPECT_EQ(admission.held_bytes(), 1'050u);
  EXPECT_THAT(admission.Refused(), testing::Contains(testing::Pair("bytes", 2u)));
  for (Admission::Held* const held : {&a, &b, &more, &done, &a}) admission.LetGo(held);
  EXPECT_EQ(admission.held_bytes(), 0u);
  EXPECT_TRUE(admission.Hold("c", 5'000, &a).ok()) << "one message is never too many";
}

// What was refused for its address is not counted for all.
TEST_F(AdmissionTest, WhatIsRefusedIsNotHeld) {
  Admission admission({.buffer_bytes = 1'000, .buffer_bytes_per_peer = 100}, &clock_);
  Admission::Held a, more;
  EXPECT_TRUE(admission.Hold("a", 100, &a).ok());
  EXPECT_FALSE(admission.Hold("a", 100, &more).ok());
  EXPECT_FALSE(admission.Hold("a", 10'000, &more).ok());
  EXPECT_EQ(admission.held_bytes(), 100u);
}

TEST_F(AdmissionTest, SmallMessagesAreCountedByAddressWhenMuchIsHeld) {
  Admission admission({.buffer_bytes = 16 << 20}, &clock_);
  EXPECT_TRUE(admission.counts_peer_of(4 << 10));
  EXPECT_FALSE(admission.counts_peer_of(100));
  Admission::Held much;
  EXPECT_TRUE(admission.Hold("a", 1 << 20, &much).ok());
  EXPECT_TRUE(admission.counts_peer_of(100));
}

TEST_F(AdmissionTest, TheFirstCallsAreCountedByNoAddressAndNoneHasMoreThanItMay) {
  Admission admission({.in_flight = 1'000, .in_flight_per_peer = 160}, &clock_);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(admission.counts_peers());
    EXPECT_TRUE(admission.Enter(CallClass::kRead, "").ok());
  }
  for (int i = 10; i < 160; ++i) {
    EXPECT_TRUE(admission.counts_peers());
    EXPECT_TRUE(admission.Enter(CallClass::kRead, "a").ok()) << i;
  }
  EXPECT_THAT(Refusal(admission.Enter(CallClass::kRead, "a")),
              HasSubstr("limits.in_flight_per_peer is 160"));
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "b").ok());
  for (int i = 0; i < 10; ++i) admission.Leave("");
  admission.Leave("b");
  for (int i = 10; i < 160; ++i) admission.Leave("a");
  EXPECT_FALSE(admission.counts_peers());
}

TEST_F(AdmissionTest, FewerAreLetWaitWhileAllWaitTooLong) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Queue(&admission, 1'000);
  Windows(&admission, absl::Milliseconds(19));
  EXPECT_EQ(admission.limit(), 10'000u);
  EXPECT_FALSE(admission.RefusesAt(clock_.Mono()));
  // A thousand took a tenth of a second: fifty are done in the quarter of the time that is allowed
  // by which the others are refused.
  Windows(&admission, absl::Milliseconds(100));
  EXPECT_EQ(admission.waiting(), 1'000u);
  EXPECT_EQ(admission.limit(), 50u);
  EXPECT_EQ(Refusal(admission.Enter(CallClass::kRead, "")),
            "OVERLOADED: calls wait too long for a worker (limits.queue_time)");
  EXPECT_TRUE(admission.RefusesAt(clock_.Mono()));
  Serve(&admission, 1'000 - 45);
  EXPECT_FALSE(admission.Enter(CallClass::kBatch, "").ok()) << "may fill 40";
  Serve(&admission, 45 - 30);
  EXPECT_TRUE(admission.Enter(CallClass::kBatch, "").ok());
  Serve(&admission, 20);
  Windows(&admission, absl::Seconds(10));
  EXPECT_EQ(admission.limit(), Admission::kLeast);
  clock_.Advance(absl::Seconds(1));
  EXPECT_FALSE(admission.RefusesAt(clock_.Mono())) << "nobody was refused just now";
}

// While calls are refused those that are not wait five milliseconds, more or less: a fourth of what
// is allowed.
TEST_F(AdmissionTest, TheQueueIsKeptShortWhileCallsAreRefused) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Queue(&admission, 8'000);
  Windows(&admission, absl::Milliseconds(40));
  const uint64_t limit = admission.limit();
  EXPECT_EQ(limit, 1'000u);
  Serve(&admission, 7'900);
  // Twice too long on average: half as many.
  Window(&admission, absl::Milliseconds(5));
  EXPECT_NEAR(static_cast<double>(admission.limit()), 500, 1);
  // As long as they may.
  for (int i = 0; i < 20; ++i) Window(&admission, absl::Microseconds(2'500));
  EXPECT_NEAR(static_cast<double>(admission.limit()), 500, 25);
  Window(&admission, absl::Milliseconds(1));
  EXPECT_GT(admission.limit(), 500u);
  EXPECT_LT(admission.limit(), 600u) << "one window does not tell much";
}

// After an overload, calls that come in bursts to workers who have time are let in again.
TEST_F(AdmissionTest, BurstsAreNoReasonToGoOnRefusing) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Windows(&admission, absl::Seconds(10));
  ASSERT_EQ(admission.limit(), Admission::kLeast);
  for (int i = 0; i < 200; ++i) {
    Queue(&admission, 20);
    for (int wait = 0; wait < 20; ++wait) Waited(&admission, absl::Milliseconds(wait));
    clock_.Advance(Admission::kWindow);
  }
  EXPECT_EQ(admission.limit(), 10'000u);
}

TEST_F(AdmissionTest, AnIdleServerForgetsItsOverload) {
  Admission admission({.in_flight = 1'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Windows(&admission, absl::Seconds(10));
  ASSERT_EQ(admission.limit(), Admission::kLeast);
  clock_.Advance(absl::Milliseconds(500));
  EXPECT_EQ(Fill(&admission, CallClass::kRead), static_cast<int>(Admission::kLeast));
  Serve(&admission, static_cast<int>(Admission::kLeast));
  clock_.Advance(absl::Seconds(2));
  Queue(&admission, 900);
}

// One that grows all the time need not be waited for as long as one that only stands.
TEST_F(AdmissionTest, AQueueThatGrowsIsSeenSooner) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Queue(&admission, 500);
  for (int i = 0; i < Admission::kWindowsGrowing - 1; ++i) {
    Queue(&admission, 100);
    Window(&admission, absl::Milliseconds(100));
  }
  Window(&admission, absl::Milliseconds(100));
  EXPECT_EQ(admission.limit(), 10'000u) << "as long as before";
  for (int i = 0; i < Admission::kWindowsGrowing; ++i) {
    EXPECT_EQ(admission.limit(), 10'000u);
    Queue(&admission, 100);
    Window(&admission, absl::Milliseconds(100));
  }
  EXPECT_EQ(admission.limit(), 50u);
}

TEST_F(AdmissionTest, CallsThatWaitForAnOriginAreNotInTheQueue) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Queue(&admission, 5'000);
  Serve(&admission, 5'000);
  EXPECT_EQ(admission.under_way(), 5'000u);
  Windows(&admission, absl::Milliseconds(100));
  EXPECT_EQ(admission.limit(), Admission::kLeast);
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "").ok());
  admission.NotQueued();
  EXPECT_EQ(admission.waiting(), 0u);
}

TEST_F(AdmissionTest, WhatCameBeforeTheLimitFellIsNotDoneTooLate) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Queue(&admission, 1'000);
  EXPECT_TRUE(Waited(&admission, absl::Seconds(1))) << "a burst";
  Windows(&admission, absl::Milliseconds(100));
  ASSERT_LT(admission.limit(), 10'000u);
  EXPECT_FALSE(Waited(&admission, absl::Milliseconds(42)));
  EXPECT_TRUE(Waited(&admission, absl::Milliseconds(40)));
  EXPECT_THAT(admission.Refused(), testing::Contains(testing::Pair("queue_time", 2u)))
      << "the last of the window, too";
  EXPECT_EQ(admission.waiting(), 997u);
  Serve(&admission, 997 - static_cast<int>(Admission::kLeast));
  EXPECT_TRUE(Waited(&admission, absl::Seconds(1))) << "a stall of the machine, and few calls";
  Queue(&admission, 1);
  admission.Replace({.in_flight = 10'000, .adaptive = false});
  EXPECT_TRUE(Waited(&admission, absl::Seconds(1)));
}

TEST_F(AdmissionTest, ComesBackWhenNobodyWaits) {
  Admission admission({.in_flight = 10'000, .queue_time = absl::Milliseconds(20)}, &clock_);
  Windows(&admission, absl::Seconds(10));
  EXPECT_EQ(admission.limit(), Admission::kLeast);
  int windows = 0;
  for (; admission.limit() < 10'000; ++windows) Window(&admission, absl::Milliseconds(1));
  EXPECT_LE(windows, 160) << "eight seconds";
}

TEST_F(AdmissionTest, BurstThatGoesAwayMovesNothing) {
  Admission admission({.in_flight = 1000, .queue_time = absl::Milliseconds(20)}, &clock_);
  for (int i = 0; i < 2 * Admission::kWindowsLate; ++i) {
    const bool quick = i % Admission::kWindowsLate == 5;
    Queue(&admission, quick ? 3 : 2);
    Waited(&admission, absl::Seconds(1));
    if (quick) Waited(&admission, absl::Milliseconds(2));
    clock_.Advance(Admission::kWindow);
    Waited(&admission, absl::Seconds(1));
  }
  EXPECT_EQ(admission.limit(), 1000u);
}

TEST_F(AdmissionTest, NotAdaptiveMeansAsConfigured) {
  Admission admission({.in_flight = 1000, .adaptive = false}, &clock_);
  Windows(&admission, absl::Seconds(5));
  Windows(&admission, absl::Seconds(5));
  EXPECT_EQ(admission.limit(), 1000u);
  admission.Replace({.in_flight = 10});
  EXPECT_EQ(Fill(&admission, CallClass::kRead), 10);
}

TEST_F(AdmissionTest, OnlyReadsWhileMemoryIsTight) {
  Admission admission({}, &clock_);
  admission.SetMemoryTight(true);
  EXPECT_TRUE(admission.Enter(CallClass::kRead, "").ok());
  for (const CallClass what : {CallClass::kWrite, CallClass::kBatch, CallClass::kWarming}) {
    EXPECT_THAT(Refusal(admission.Enter(what, "")),
                HasSubstr("OVERLOADED: the memory of the container"));
  }
  EXPECT_EQ(admission.under_way(), 1u);
  admission.SetMemoryTight(false);
  EXPECT_TRUE(admission.Enter(CallClass::kWrite, "").ok());
}

TEST_F(AdmissionTest, ManyThreadsNeverTakeOnMore) {
  Admission admission({.in_flight = 8, .in_flight_per_peer = 4}, &clock_);
  std::atomic<int> inside = 0;
  std::atomic<int> entered = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string peer(1, static_cast<char>('a' + t % 2));
      for (int i = 0; i < 20'000; ++i) {
        if (!admission.Enter(CallClass::kRead, peer).ok()) continue;
        EXPECT_LE(++inside, 8);
        ++entered;
        --inside;
        Waited(&admission, absl::ZeroDuration());
        admission.Leave(peer);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(entered, 0);
  EXPECT_EQ(admission.under_way(), 0u);
}

}  // namespace
}  // namespace larder
