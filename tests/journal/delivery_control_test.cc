// What operators do with deliveries: flushes, pauses, dead letters.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "journal/pending_index.h"
#include "tests/journal/delivery_rig.h"

namespace larder {
namespace {

using Kind = JournalDelivered::Kind;

class DeliveryControlTest : public DeliveryTest {};

TEST_F(DeliveryControlTest, FlushHurriesAndEndsWhenAllFromBeforeHasBeenDelivered) {
  policy().delay = absl::Hours(1);
  sink_.of_call = [](const JournalDelivery&) {
    return FakeSink::Fate{absl::Milliseconds(100), {}, false};
  };
  Open();
  AppendMany(5);
  Pending<absl::StatusOr<JournalFlushed>> flush(journal_->Flush("", In(absl::Minutes(1))));
  Advance(absl::Milliseconds(99));
  EXPECT_FALSE(flush.done());
  Advance(absl::Milliseconds(1));
  ASSERT_TRUE(flush.done());
  ASSERT_TRUE(flush->ok()) << flush->status();
  EXPECT_EQ((*flush)->left, 5u);
  EXPECT_EQ((*flush)->dead, 0u);
  EXPECT_EQ(sink_.delivered.size(), 5u);
}

TEST_F(DeliveryControlTest, FlushIncludesWhatWasAcknowledgedFromMemory) {
  policy().sync = JournalSync::kNone;
  policy().delay = absl::Hours(1);
  Open();
  auto appended = Begin(WriteOf("a", 1));
  ASSERT_TRUE(appended.done());
  EXPECT_EQ(Await(journal_->Flush("t", In(absl::Minutes(1))))->left, 1u);
  EXPECT_EQ(sink_.row(Full("a")).version, 1u);
}

TEST_F(DeliveryControlTest, FlushOfNothingEndsAtOnce) {
  Open();
  EXPECT_EQ(Await(journal_->Flush("", In(absl::Minutes(1))))->left, 0u);
}

TEST_F(DeliveryControlTest, FlushOfAnotherTypeDoesNotWait) {
  AddType("u", "other").delay = absl::Hours(1);
  policy().delay = absl::Hours(1);
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2, "v", "u")).ok());
  EXPECT_EQ(Await(journal_->Flush("u", In(absl::Minutes(1))))->left, 1u);
  EXPECT_TRUE(journal_->Has(Full("a")));
  EXPECT_EQ(ReasonOf(Await(journal_->Flush("none", 0)).status()), "TYPE_UNKNOWN");
}

TEST_F(DeliveryControlTest, FlushDoesNotWaitForTypesThatAreGone) {
  AddType("u", "other");
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2, "v", "u")).ok());
  Close();
  options_.types.pop_back();
  Open();
  EXPECT_EQ(Await(journal_->Flush("", In(absl::Minutes(1))))->left, 1u);
  EXPECT_EQ(Await(journal_->Flush("", In(absl::Minutes(1))))->left, 0u);
  EXPECT_TRUE(journal_->Has(Full("b")));
}

TEST_F(DeliveryControlTest, FlushSaysHowManyAreLeftAtItsDeadline) {
  Answer({"k0", "k1"}, Kind::kRetry, absl::AbortedError("locked"));
  policy().attempts = 1'000;
  Open();
  AppendMany(5);
  Pending<absl::StatusOr<JournalFlushed>> flush(journal_->Flush("", In(absl::Seconds(2))));
  Advance(absl::Seconds(3));
  ASSERT_TRUE(flush.done());
  EXPECT_EQ(ReasonOf(flush->status()), "DEADLINE_EXCEEDED");
  EXPECT_NE(std::string(flush->status().message()).find("2 of 5"), std::string::npos)
      << flush->status();
}

TEST_F(DeliveryControlTest, FlushEndsWhenItsCallerGoes) {
  Answer({"k0"}, Kind::kRetry, absl::AbortedError("locked"));
  policy().attempts = 1'000;
  Open();
  AppendMany(1);
  Cancellation cancellation;
  Pending<absl::StatusOr<JournalFlushed>> flush(
      journal_->Flush("", In(absl::Hours(1)), &cancellation));
  Advance(absl::Seconds(3));
  EXPECT_FALSE(flush.done());
  cancellation.Cancel();
  Advance(absl::Milliseconds(1));
  ASSERT_TRUE(flush.done());
  EXPECT_EQ(ReasonOf(flush->status()), "CALL_CANCELLED");
}

TEST_F(DeliveryControlTest, FlushEndsWhenWhatIsLeftHasDied) {
  Answer({"k0"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  AppendMany(2);
  const auto flushed = Await(journal_->Flush("", In(absl::Minutes(1))));
  EXPECT_EQ(flushed->left, 2u);
  EXPECT_EQ(flushed->dead, 1u);
}

// What died before the flush began, or as another type, is not among what it waits for.
TEST_F(DeliveryControlTest, FlushCountsTheDeadAmongItsOwnAlone) {
  AddType("u", "other");
  Answer({"k0", "late", "else"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  AppendMany(1);
  Advance(absl::Seconds(1));
  EXPECT_EQ(journal_->Stats().dead_letters, 1u);
  ASSERT_TRUE(Append(WriteOf("late", 10)).ok());
  ASSERT_TRUE(Append(WriteOf("late2", 11)).ok());
  ASSERT_TRUE(Append(WriteOf("else", 12, "v", "u")).ok());
  const auto flushed = Await(journal_->Flush("t", In(absl::Minutes(1))));
  EXPECT_EQ(flushed->left, 2u);
  EXPECT_EQ(flushed->dead, 1u);
  EXPECT_EQ(Await(journal_->Flush("t", In(absl::Minutes(1))))->dead, 0u);
}

// How it goes with one key.

TEST_F(DeliveryControlTest, AKeyThatIsTriedAgainSaysHowOftenWhyAndWhen) {
  policy().attempts = 1'000;
  policy().backoff = {absl::Seconds(4), absl::Seconds(100)};
  Answer({"a"}, Kind::kRetry, absl::AbortedError(std::string(1'000, 'x')));
  Open();
  EXPECT_FALSE(journal_->TryOf(Full("a"), "t").has_value());
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  auto tried = journal_->TryOf(Full("a"), "t");
  ASSERT_TRUE(tried.has_value());
  EXPECT_EQ(tried->attempts, 0u);
  EXPECT_EQ(tried->error, "");
  EXPECT_TRUE(tried->next.has_value());
  Advance(absl::Seconds(1));
  tried = journal_->TryOf(Full("a"), "t");
  ASSERT_TRUE(tried.has_value());
  EXPECT_EQ(tried->attempts, 1u);
  EXPECT_EQ(tried->error.substr(0, 12), "ABORTED: xxx");
  EXPECT_EQ(tried->error.size(), PendingIndex::kErrorBytesMax);
  ASSERT_TRUE(tried->next.has_value());
  EXPECT_GT(*tried->next, absl::Milliseconds(900));
  EXPECT_LE(*tried->next, absl::Seconds(4));
  ASSERT_TRUE(journal_->Pause("db").ok());
  EXPECT_FALSE(journal_->TryOf(Full("a"), "t")->next.has_value());
  EXPECT_FALSE(journal_->TryOf(Full("a"), "none").has_value());
  EXPECT_FALSE(journal_->TryOf(Full("b"), "t").has_value());
}

// "ABORTED: " is 9 bytes, so that the cut goes through an e with an accent.
TEST_F(DeliveryControlTest, AnErrorIsCutBetweenCharacters) {
  policy().attempts = 1'000;
  policy().backoff = {absl::Seconds(10), absl::Seconds(10)};
  std::string words;
  while (words.size() < 1'000) words += "\xc3\xa9";
  Answer({"a"}, Kind::kRetry, absl::AbortedError(words));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(journal_->TryOf(Full("a"), "t")->error, "ABORTED: " + words.substr(0, 246));
  // The same of an origin that is away.
  sink_.of_call = [words](const JournalDelivery&) {
    return FakeSink::Fate{{}, absl::UnavailableError("x" + words), false};
  };
  ASSERT_TRUE(Append(WriteOf("b", 2)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(journal_->TryOf(Full("b"), "t")->error, "UNAVAILABLE: x" + words.substr(0, 242));
}

TEST_F(DeliveryControlTest, AKeyOfAnOriginThatIsAwaySaysThat) {
  policy().backoff = {absl::Seconds(10), absl::Seconds(10)};
  sink_.of_call = [](const JournalDelivery&) {
    return FakeSink::Fate{{}, absl::UnavailableError("no route"), false};
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Seconds(1));
  auto tried = journal_->TryOf(Full("a"), "t");
  ASSERT_TRUE(tried.has_value());
  EXPECT_EQ(tried->attempts, 0u) << "no write's fault";
  EXPECT_EQ(tried->error, "UNAVAILABLE: no route");
  ASSERT_TRUE(tried->next.has_value());
  EXPECT_GT(*tried->next, absl::Seconds(3));
  sink_.of_call = [](const JournalDelivery&) {
    return FakeSink::Fate{absl::Seconds(1), {}, false};
  };
  for (int i = 0; i < 1'000 && sink_.call_count() < 2; ++i) Advance(absl::Milliseconds(50));
  tried = journal_->TryOf(Full("a"), "t");
  ASSERT_TRUE(tried.has_value());
  EXPECT_FALSE(tried->next.has_value()) << "it is under way";
  Advance(absl::Seconds(1));
  EXPECT_FALSE(journal_->TryOf(Full("a"), "t").has_value()) << "the origin has it";
}

TEST_F(DeliveryControlTest, PausedDeliveriesWaitUntilTheyAreResumed) {
  AddType("u", "other");
  Open();
  EXPECT_EQ(*journal_->Pause("db"), 0u);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2, "v", "u")).ok());
  Advance(absl::Minutes(1));
  EXPECT_EQ(sink_.row(Full("a")).version, kNoVersion);
  EXPECT_EQ(sink_.row(Full("b")).version, 2u);
  EXPECT_EQ(journal_->Stats().paused, std::vector<std::string>{"db"});
  EXPECT_EQ(ReasonOf(Await(journal_->Flush("", In(absl::Minutes(1)))).status()), "DELIVERY_PAUSED");
  EXPECT_EQ(*journal_->Resume(""), 1u);
  Advance(absl::Milliseconds(1));
  EXPECT_EQ(sink_.row(Full("a")).version, 1u);
  EXPECT_EQ(journal_->Pause("nowhere").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DeliveryControlTest, APauseEndsAFlushThatWaitsForIt) {
  policy().attempts = 1'000;
  Answer({"a"}, Kind::kRetry, absl::AbortedError("locked"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Pending<absl::StatusOr<JournalFlushed>> flush(journal_->Flush("", In(absl::Minutes(1))));
  Advance(absl::Milliseconds(10));
  ASSERT_TRUE(journal_->Pause("").ok());
  executor_.RunReady();
  ASSERT_TRUE(flush.done());
  EXPECT_EQ(ReasonOf(flush->status()), "DELIVERY_PAUSED");
}

// Dead letters.

TEST_F(DeliveryControlTest, LettersAreListedInPagesAndFiltered) {
  sink_.of_write = [](const JournalRecord&) {
    return JournalDelivered{Kind::kReject, absl::InvalidArgumentError("no")};
  };
  Open();
  AppendMany(5);
  JournalRecord elsewhere = WriteOf("x", 100, "xx");
  elsewhere.full_key = Full("x", "shop");
  ASSERT_TRUE(Append(elsewhere).ok());
  Advance(absl::Seconds(1));
  const auto page = Await(journal_->Letters({}, 0, 4, false));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->total, 6u);
  ASSERT_EQ(page->letters.size(), 4u);
  EXPECT_GT(page->letters[0].value_bytes, 0u);
  EXPECT_TRUE(page->letters[0].letter.record.value.empty());
  ASSERT_NE(page->next, 0u);
  const auto rest = Await(journal_->Letters({}, page->next, 4, true));
  EXPECT_EQ(rest->letters.size(), 2u);
  EXPECT_EQ(rest->next, 0u);
  const auto shop = Await(journal_->Letters({.name_space = "shop"}, 0, 10, true));
  ASSERT_EQ(shop->letters.size(), 1u);
  EXPECT_EQ(shop->letters[0].letter.record.value, "xx");
  EXPECT_EQ(Await(journal_->Letters({.key_prefix = "k1"}, 0, 10, false))->letters.size(), 1u);
  EXPECT_EQ(Await(journal_->Letters({.type = "u"}, 0, 10, false))->letters.size(), 0u);
  const uint64_t id = page->letters[2].letter.id;
  EXPECT_EQ(*Await(journal_->DropLetters({.ids = {id}})), 1u);
  EXPECT_EQ(journal_->Stats().dead_letters, 5u);
  EXPECT_EQ(*Await(journal_->DropLetters({})), 5u);
  EXPECT_EQ(disk_.dead(), 0u);
  EXPECT_EQ(journal_->Stats().letter_bytes, 0u);
}

TEST_F(DeliveryControlTest, LettersThatArePutBackAreDeliveredWithTheirVersions) {
  Answer({"a", "b"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1, "one")).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2, "two")).ok());
  Advance(absl::Seconds(1));
  sink_.of_write = nullptr;
  ASSERT_TRUE(Append(WriteOf("a", 3, "three")).ok());
  EXPECT_EQ(*Await(journal_->RetryLetters({})), 2u);
  EXPECT_EQ(disk_.dead(), 0u);
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).value, "three") << "a newer one of the key waited already";
  EXPECT_EQ(sink_.row(Full("b")).value, "two");
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(DeliveryControlTest, LettersOutliveARestart) {
  Answer({"a"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1, "one")).ok());
  Advance(absl::Seconds(1));
  Close();
  Open();
  EXPECT_EQ(journal_->Stats().dead_letters, 1u);
  EXPECT_EQ(journal_->Stats().letter_bytes, Full("a").size() + 3);
  EXPECT_EQ(Await(journal_->Letters({}, 0, 10, true))->letters[0].letter.record.value, "one");
}

}  // namespace
}  // namespace larder
