#include "journal/delivery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/journal/delivery_rig.h"

namespace larder {
namespace {

using Kind = JournalDelivered::Kind;

TEST_F(DeliveryTest, DeliversWhenTheDelayIsOverAndErases) {
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1, "one")).ok());
  Advance(absl::Milliseconds(49));
  EXPECT_EQ(sink_.call_count(), 0u);
  Advance(absl::Milliseconds(1));
  ASSERT_EQ(sink_.call_count(), 1u);
  EXPECT_EQ(sink_.calls[0].origin, "db");
  EXPECT_EQ(sink_.calls[0].name_space, "default");
  EXPECT_EQ(sink_.calls[0].type, "t");
  EXPECT_EQ(sink_.row(Full("a")).value, "one");
  EXPECT_EQ(disk_.records(), 0u);
  ASSERT_EQ(sink_.waits.size(), 1u);
  EXPECT_EQ(sink_.waits[0], absl::Milliseconds(50));
  const JournalTypeStats stats = StatsOf();
  EXPECT_EQ(stats.depth, 0u);
  EXPECT_EQ(stats.enqueued, 1u);
  EXPECT_EQ(stats.delivered, 1u);
  EXPECT_EQ(stats.lag.count, 1u);
}

TEST_F(DeliveryTest, RemovalsGoToo) {
  Open();
  JournalRecord removal = WriteOf("a", 2, "");
  removal.remove = true;
  ASSERT_TRUE(Append(removal).ok());
  Advance(absl::Seconds(1));
  EXPECT_TRUE(sink_.row(Full("a")).removed);
}

TEST_F(DeliveryTest, AHundredWritesOfAKeyAreFewDeliveries) {
  policy().delay = absl::Milliseconds(500);
  Open();
  Version version = 0;
  for (int round = 0; round < 100; ++round) {
    std::vector<JournalRecord> writes;
    for (int key = 0; key < 100; ++key) {
      writes.push_back(WriteOf("k" + std::to_string(key), ++version));
    }
    ASSERT_TRUE(Append(std::move(writes)).ok());
    Advance(absl::Milliseconds(10));
  }
  Advance(absl::Seconds(2));
  EXPECT_LE(sink_.delivered.size(), 300u);
  EXPECT_EQ(sink_.row(Full("k99")).version, version);
}

TEST_F(DeliveryTest, AKeyThatIsWrittenAllTheTimeIsNotStarved) {
  policy().delay = absl::Milliseconds(20);
  Open();
  for (Version version = 1; version <= 100; ++version) {
    ASSERT_TRUE(Append(WriteOf("a", version)).ok());
    Advance(absl::Milliseconds(5));
  }
  EXPECT_GE(sink_.delivered.size(), 20u);
  for (const absl::Duration waited : sink_.waits) EXPECT_LE(waited, absl::Milliseconds(25));
}

TEST_F(DeliveryTest, EveryWriteInOrderWhereNoneIsLeftOut) {
  policy().coalesce = false;
  Open();
  std::vector<JournalRecord> writes;
  for (const Version version : {3, 1, 2}) writes.push_back(WriteOf("a", version));
  ASSERT_TRUE(Append(std::move(writes)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.effects[Full("a")], (std::vector<Version>{1, 2, 3}));
}

TEST_F(DeliveryTest, NoMoreCallsAreUnderWayThanMayAndOneForEachKey) {
  policy().batch = 10;
  policy().coalesce = false;
  options_.deliveries_max = 3;
  sink_.of_call = [](const JournalDelivery&) {
    return FakeSink::Fate{absl::Milliseconds(100), {}, false};
  };
  Open();
  AppendMany(100);
  AppendMany(100);
  Advance(absl::Seconds(10));
  EXPECT_EQ(sink_.most_under_way, 3u);
  EXPECT_EQ(sink_.overlaps, 0);
  EXPECT_EQ(disk_.records(), 0u);
  EXPECT_EQ(*std::max_element(sink_.sizes.begin(), sink_.sizes.end()), 10u);
}

TEST_F(DeliveryTest, ARefusedWriteIsADeadLetterAndLaterWritesOfItsKeyGoOn) {
  Answer({"bad"}, Kind::kReject, absl::InvalidArgumentError("no such column"));
  Open();
  ASSERT_TRUE(Append(WriteOf("bad", 1, "one")).ok());
  ASSERT_TRUE(Append(WriteOf("good", 2)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("good")).version, 2u);
  ASSERT_EQ(sink_.dead.size(), 1u);
  const DeadLetter& letter = sink_.dead[0];
  EXPECT_EQ(letter.record.value, "one");
  EXPECT_EQ(letter.attempts, 1u);
  EXPECT_NE(letter.error.find("no such column"), std::string::npos);
  EXPECT_EQ(letter.first_attempt, letter.last_attempt);
  EXPECT_EQ(disk_.records(), 0u);
  EXPECT_EQ(disk_.dead(), 1u);
  sink_.of_write = nullptr;
  ASSERT_TRUE(Append(WriteOf("bad", 3)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("bad")).version, 3u);
  EXPECT_EQ(StatsOf().dead, 1u);
}

TEST_F(DeliveryTest, AWriteIsTriedAsOftenAsItMayThenItIsDead) {
  policy().attempts = 3;
  policy().backoff = {absl::Milliseconds(100), absl::Seconds(30)};
  Answer({"bad"}, Kind::kRetry, absl::AbortedError("locked"));
  Open();
  ASSERT_TRUE(Append(WriteOf("bad", 1)).ok());
  const absl::Time began = clock_.Now();
  Advance(absl::Seconds(10));
  EXPECT_EQ(sink_.call_count(), 3u);
  ASSERT_EQ(sink_.dead.size(), 1u);
  EXPECT_EQ(sink_.dead[0].attempts, 3u);
  EXPECT_EQ(sink_.dead[0].first_attempt, began + absl::Milliseconds(50));
  EXPECT_GE(sink_.dead[0].last_attempt - sink_.dead[0].first_attempt, absl::Milliseconds(150));
  EXPECT_EQ(StatsOf().retried, 2u);
}

// A table that a deployment has forgotten, or a right that was taken away: not one write is lost
// while it lasts, and other types of the origin go on.
TEST_F(DeliveryTest, AnOriginThatCannotTakeATypeBuriesNothingOfIt) {
  AddType("other", "db");
  bool mended = false;
  sink_.of_call = [&](const JournalDelivery& delivery) {
    FakeSink::Fate fate;
    if (delivery.type == "t" && !mended)
      fate.error = absl::FailedPreconditionError("relation carts does not exist");
    return fate;
  };
  Open();
  AppendMany(100);
  Advance(absl::Minutes(1));
  ASSERT_TRUE(Append(WriteOf("o1", 1'000, "v", "other")).ok());
  Advance(absl::Minutes(1));
  EXPECT_EQ(sink_.row(Full("o1")).version, 1'000u);
  Advance(absl::Minutes(10));
  EXPECT_TRUE(sink_.dead.empty());
  EXPECT_EQ(StatsOf().delivered, 0u);
  // Tried now and then, and not as fast as it can say no.
  EXPECT_LT(sink_.call_count(), 100u * 60);
  mended = true;
  Advance(absl::Minutes(1));
  EXPECT_EQ(StatsOf().delivered, 100u);
  EXPECT_EQ(disk_.records(), 0u);
}

// The same answer to few keys is theirs, also when nothing else is there to tell.
TEST_F(DeliveryTest, FewWritesThatAreAnsweredSoAreDeadLetters) {
  Answer({"k0", "k1", "k2"}, Kind::kRetry, absl::PermissionDeniedError("row-level security"));
  Open();
  AppendMany(3);
  Advance(absl::Minutes(10));
  EXPECT_EQ(sink_.dead.size(), 3u);
  // And among others that are taken, of many.
  sink_.of_write = [](const JournalRecord& write) {
    const bool odd = write.version % 2 == 1;
    return JournalDelivered{odd ? Kind::kRetry : Kind::kDone,
                            absl::PermissionDeniedError("row-level security")};
  };
  for (int i = 0; i < 20; ++i) {
    AppendMany(2, 100 + 2 * i);
    Advance(absl::Minutes(10));
  }
  EXPECT_EQ(sink_.dead.size(), 23u);
}

TEST_F(DeliveryTest, AWriteThatIsOvertakenWhileItFailsCountsAsLeftOut) {
  bool fails = true;
  sink_.of_call = [&](const JournalDelivery&) {
    return FakeSink::Fate{absl::Milliseconds(100),
                          fails ? absl::UnavailableError("away") : absl::OkStatus(), false};
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Milliseconds(100));
  ASSERT_EQ(sink_.call_count(), 1u);
  ASSERT_TRUE(Append(WriteOf("a", 2)).ok());
  Advance(absl::Milliseconds(200));
  fails = false;
  Advance(absl::Seconds(10));
  EXPECT_EQ(sink_.row(Full("a")).version, 2u);
  EXPECT_EQ(StatsOf().enqueued, 2u);
  EXPECT_EQ(StatsOf().delivered, 1u);
  EXPECT_EQ(StatsOf().coalesced, 1u);
}

TEST_F(DeliveryTest, AttemptsBeginAnewAfterARestart) {
  policy().attempts = 3;
  Answer({"bad"}, Kind::kRetry, absl::AbortedError("locked"));
  Open();
  ASSERT_TRUE(Append(WriteOf("bad", 1)).ok());
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(sink_.call_count(), 1u);
  Close();
  Open();
  Advance(absl::Seconds(10));
  EXPECT_EQ(sink_.call_count(), 4u);
  EXPECT_EQ(sink_.dead.size(), 1u);
}

TEST_F(DeliveryTest, OthersDoNotWaitForAKeyThatIsTriedAgain) {
  Answer({"k0"}, Kind::kRetry, absl::AbortedError("locked"));
  Open();
  AppendMany(10);
  Advance(absl::Milliseconds(50));
  EXPECT_EQ(sink_.delivered.size(), 9u);
}

TEST_F(DeliveryTest, AnOriginThatIsAwayCostsNoAttemptsAndIsAskedLessAndLess) {
  policy().attempts = 1;
  policy().backoff = {absl::Milliseconds(100), absl::Seconds(10)};
  bool away = true;
  sink_.of_call = [&](const JournalDelivery&) {
    FakeSink::Fate fate;
    if (away) fate.error = absl::UnavailableError("connection refused");
    return fate;
  };
  Open();
  AppendMany(20);
  Advance(absl::Minutes(2));
  EXPECT_LE(sink_.call_count(), 40u);
  EXPECT_GE(sink_.call_count(), 12u);
  EXPECT_TRUE(sink_.dead.empty());
  EXPECT_EQ(sink_.most_under_way, 1u);
  away = false;
  Advance(absl::Seconds(11));
  EXPECT_EQ(sink_.delivered.size(), 20u);
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(DeliveryTest, OnlyTheOriginThatIsAwayWaits) {
  AddType("u", "other");
  sink_.of_call = [](const JournalDelivery& delivery) {
    FakeSink::Fate fate;
    if (delivery.origin == "db") fate.error = absl::UnavailableError("away");
    return fate;
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2, "v", "u")).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("b")).version, 2u);
  EXPECT_TRUE(journal_->Has(Full("a")));
}

TEST_F(DeliveryTest, AWriteThatBreaksItsCallsIsFoundAndDies) {
  policy().attempts = 3;
  BreakCallsWith("k7", absl::InternalError("parser crashed"));
  Open();
  AppendMany(20);
  Advance(absl::Milliseconds(60));
  EXPECT_EQ(sink_.delivered.size(), 19u) << "the others got through at once, alone";
  Advance(absl::Minutes(1));
  ASSERT_EQ(sink_.dead.size(), 1u);
  EXPECT_EQ(sink_.dead[0].record.full_key, Full("k7"));
  EXPECT_EQ(sink_.dead[0].attempts, 3u) << "the call of many was no attempt of its own";
}

TEST_F(DeliveryTest, SlowLoneWritesLeaveAPlaceForOthers) {
  options_.deliveries_max = 2;
  sink_.of_call = [](const JournalDelivery& delivery) {
    FakeSink::Fate fate;
    for (const JournalRecord& write : delivery.writes) {
      if (FullKey::KeyOf(write.full_key)[0] == 'k') {
        fate = {absl::Seconds(5), absl::DeadlineExceededError("too slow"), false};
      }
    }
    return fate;
  };
  Open();
  AppendMany(10);
  Advance(absl::Seconds(6));
  ASSERT_TRUE(Append(WriteOf("quick", 100)).ok());
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(sink_.row(Full("quick")).version, 100u);
  // Their own fault, as long as the origin answers others.
  for (Version version = 101; sink_.dead.size() < 10 && version < 1'000; ++version) {
    ASSERT_TRUE(Append(WriteOf("quick", version)).ok());
    Advance(absl::Seconds(10));
  }
  EXPECT_EQ(sink_.dead.size(), 10u);
}

TEST_F(DeliveryTest, AnOriginThatHangsCostsNoAttempts) {
  policy().attempts = 2;
  bool hangs = true;
  sink_.of_call = [&](const JournalDelivery&) {
    FakeSink::Fate fate;
    if (hangs) fate = {absl::Seconds(5), absl::DeadlineExceededError("no answer"), false};
    return fate;
  };
  Open();
  AppendMany(20);
  Advance(absl::Hours(1));
  EXPECT_TRUE(sink_.dead.empty());
  EXPECT_GE(sink_.call_count(), 80u) << "it is asked again all the time";
  hangs = false;
  Advance(absl::Minutes(2));
  EXPECT_EQ(sink_.delivered.size(), 20u);
  EXPECT_TRUE(sink_.dead.empty());
}

TEST_F(DeliveryTest, AnAnswerThatIsTooShortIsNone) {
  bool once = true;
  class ShortSink : public FakeSink {
   public:
    ShortSink(Executor* executor, bool* once) : FakeSink(executor), once_(once) {}
    Task<Answers> Deliver(JournalDelivery delivery, MonoNanos deadline) override {
      if (std::exchange(*once_, false)) co_return std::vector<JournalDelivered>();
      co_return co_await FakeSink::Deliver(std::move(delivery), deadline);
    }

   private:
    bool* const once_;
  };
  Open(/*start=*/false);
  ShortSink sink(&executor_, &once);
  journal_->Start(&sink);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink.row(Full("a")).version, 1u);
  Close();
}

TEST_F(DeliveryTest, ARepeatOfWhatWasAppliedHasNoEffect) {
  int calls = 0;
  sink_.of_call = [&](const JournalDelivery&) {
    FakeSink::Fate fate;
    if (++calls == 1) fate = {{}, absl::DeadlineExceededError("lost after commit"), true};
    return fate;
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(sink_.effects[Full("a")], std::vector<Version>{1});
  EXPECT_EQ(disk_.records(), 0u);
}

}  // namespace
}  // namespace larder
