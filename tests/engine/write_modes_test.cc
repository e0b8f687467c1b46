// Writes of types with an origin, mode by mode, on one replica without a second tier.

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_journal.h"
#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

class WriteModesTest : public EngineFixture {
 protected:
  WriteModesTest() : WriteModesTest(absl::Seconds(100), absl::ZeroDuration()) {}
  WriteModesTest(absl::Duration ttl, absl::Duration stale) {
    std::vector<TypePolicy> types;
    for (const auto& [name, mode] :
         std::vector<std::pair<std::string, WriteMode>>{{"through", WriteMode::kThrough},
                                                        {"inval", WriteMode::kInvalidate},
                                                        {"around", WriteMode::kAround},
                                                        {"behind", WriteMode::kBehind}}) {
      TypePolicy type = Type(name, name + ":*", ttl);
      type.origin = "shop";
      type.write.mode = mode;
      type.freshness.stale_while_revalidate = type.freshness.stale_if_error = stale;
      types.push_back(type);
    }
    types.push_back(Type("plain", "plain:*", ttl));
    TypePolicy tagged = Type("tagged", "tagged:{team}:{id}", ttl);
    tagged.origin = "shop";
    tagged.write.mode = WriteMode::kBehind;
    tagged.tags.push_back(*NameTemplate::Parse("team:{team}"));
    types.push_back(tagged);
    TypePolicy overflow = Type("overflow", "overflow:*", ttl);
    overflow.origin = "shop";
    overflow.write.mode = WriteMode::kBehind;
    overflow.write.on_full = OnFull::kWriteThrough;
    types.push_back(overflow);
    Engine::Options options;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    options.journal = &journal_;
    Make(options, types);
    engine_->Start();
  }
  ~WriteModesTest() override {
    executor_.Advance(absl::Seconds(60));
    engine_->Stop(absl::ZeroDuration());
  }

  // A task that may wait: `result` is set at its end.
  template <typename T>
  std::shared_ptr<std::optional<T>> Begin(Task<T> task) {
    auto result = std::make_shared<std::optional<T>>();
    Spawn(std::move(task), [result](T value) { result->emplace(std::move(value)); });
    executor_.RunReady();
    return result;
  }
  using SetResult = std::shared_ptr<std::optional<absl::StatusOr<WriteResult>>>;
  SetResult BeginSet(const std::string& key, const std::string& value, Expect condition = {},
                     absl::Duration deadline = absl::InfiniteDuration()) {
    texts_.push_back(std::make_unique<std::string>(key));
    texts_.push_back(std::make_unique<std::string>(value));
    WriteRequest write;
    write.key = {"", *texts_[texts_.size() - 2], ""};
    write.value = *texts_.back();
    write.condition = condition;
    write.context.deadline = MonoAfter(clock_.Mono(), deadline);
    return Begin(engine_->Set(std::move(write)));
  }
  // `stored`, `not stored`, or the reason of the error.
  static std::string Outcome(const SetResult& result) {
    if (!result->has_value()) return "(waits)";
    if (!(*result)->ok()) return DetailsOf((*result)->status()).reason;
    return (**result)->stored ? "stored" : "not stored";
  }
  std::string SetNow(const std::string& key, const std::string& value, Expect condition = {}) {
    return Outcome(BeginSet(key, value, condition));
  }
  std::string DeleteNow(const std::string& key) {
    const absl::StatusOr<RemoveResult> removed = Now(engine_->Delete({"", key, ""}));
    return removed.ok() ? (removed->existed ? "existed" : "removed")
                        : DetailsOf(removed.status()).reason;
  }
  std::string Truth(const std::string& key) {
    const auto at = origin_.values.find(key);
    return at == origin_.values.end() ? "(none)" : at->second.value;
  }
  std::string LoadNow(const std::string& key) {
    const auto loading = Load(key);
    executor_.RunReady();
    return loading->Value();
  }

  FakeOrigin origin_{&executor_};
  FakeJournal journal_{&clock_, &executor_};
  std::vector<std::unique_ptr<std::string>> texts_;
};

const OriginStored kRefusal{OriginStored::Kind::kReject, absl::InvalidArgumentError("too long")};
const OriginStored kLater{OriginStored::Kind::kRetry, absl::AbortedError("deadlock")};

TEST_F(WriteModesTest, ThroughStoresAtTheOriginAndKeepsACopy) {
  EXPECT_EQ(SetNow("through:1", "one"), "stored");
  EXPECT_EQ(Truth("through:1"), "one");
  EXPECT_EQ(Get("through:1"), "one");
  EXPECT_EQ(DeleteNow("through:1"), "existed");
  EXPECT_EQ(Truth("through:1"), "(none)");
  EXPECT_EQ(Get("through:1"), "(miss)");
}

TEST_F(WriteModesTest, InvalidateLeavesNoCopy) {
  origin_.values["inval:1"] = {"old"};
  EXPECT_EQ(LoadNow("inval:1"), "old");
  EXPECT_EQ(SetNow("inval:1", "one"), "stored");
  EXPECT_EQ(Truth("inval:1"), "one");
  EXPECT_EQ(Get("inval:1"), "(miss)");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(LoadNow("inval:1"), "one");
}

TEST_F(WriteModesTest, AroundLoadsWhatWasInUseBehindTheCaller) {
  EXPECT_EQ(SetNow("around:1", "one"), "stored");
  EXPECT_EQ(Truth("around:1"), "one");
  EXPECT_EQ(Get("around:1"), "(miss)");
  EXPECT_EQ(origin_.loads, 0) << "nobody used it";
  EXPECT_EQ(LoadNow("around:1"), "one");
  EXPECT_EQ(SetNow("around:1", "two"), "stored");
  executor_.RunReady();
  EXPECT_EQ(origin_.loads, 2);
  EXPECT_EQ(Get("around:1"), "two");
}

TEST_F(WriteModesTest, BehindAnswersFromTheJournalAndTheOriginHasItLater) {
  EXPECT_EQ(SetNow("behind:1", "one"), "stored");
  EXPECT_EQ(Truth("behind:1"), "(none)");
  EXPECT_EQ(Get("behind:1"), "one");
  Entry entry;
  ASSERT_TRUE(FindHit("behind:1", &entry));
  EXPECT_EQ(journal_.waiting.begin()->second.version, entry.version);
  Now(journal_.Deliver());
  EXPECT_EQ(Truth("behind:1"), "one");
  EXPECT_EQ(Get("behind:1"), "one");
}

// It once found the copy before the write, took it away under a newer version, and so had the write
// made, and delivered, a second time.
TEST_F(WriteModesTest, AWriteThatIsDeliveredBeforeItsAnswerIsMadeOnce) {
  EXPECT_EQ(SetNow("behind:1", "one"), "stored");
  Now(journal_.Deliver());
  journal_.answers_after = absl::Milliseconds(10);
  const SetResult set = BeginSet("behind:1", "two");
  const auto delivered = Begin(journal_.Deliver());
  EXPECT_EQ(Truth("behind:1"), "two");
  EXPECT_EQ(Outcome(set), "(waits)");
  executor_.Advance(absl::Milliseconds(10));
  EXPECT_EQ(Outcome(set), "stored");
  EXPECT_TRUE(delivered->has_value());
  EXPECT_EQ(journal_.appends, 2);
  EXPECT_TRUE(journal_.waiting.empty());
  Entry entry;
  ASSERT_TRUE(FindHit("behind:1", &entry));
  EXPECT_EQ(entry.bytes, "two");
}

TEST_F(WriteModesTest, WhatTheOriginRefusesIsNotStoredAndNeverSeen) {
  for (const std::string key : {"through:1", "inval:1", "around:1"}) {
    origin_.values[key] = {"old"};
    EXPECT_EQ(LoadNow(key), "old");
    origin_.write_failures[key] = kRefusal;
    EXPECT_EQ(SetNow(key, "new"), "WRITE_REFUSED");
    EXPECT_EQ(DeleteNow(key), "WRITE_REFUSED");
    EXPECT_EQ(Get(key), "old");
    origin_.write_failures[key] = kLater;
    EXPECT_EQ(SetNow(key, "new"), "WRITE_FAILED");
    EXPECT_EQ(Get(key), "old");
  }
}

TEST_F(WriteModesTest, AfterAWriteOfUnknownEndNoCopyIsLeft) {
  for (const std::string key : {"through:1", "inval:1", "around:1"}) {
    origin_.store_failure = absl::OkStatus();
    origin_.values[key] = {"old"};
    EXPECT_EQ(LoadNow(key), "old");
    origin_.store_failure = absl::DeadlineExceededError("no answer");
    origin_.applies_anyway = true;
    EXPECT_EQ(SetNow(key, "new"), "WRITE_UNKNOWN");
    EXPECT_EQ(Get(key), "(miss)");
    EXPECT_EQ(LoadNow(key), "new");
  }
  EXPECT_EQ(engine_->Stats().writes_doubtful, 3u);
}

// One attempt got no answer, and the next one met a lock.
TEST_F(WriteModesTest, AWriteThatAnEarlierAttemptMayHaveStoredIsOfUnknownEnd) {
  const OriginStored unknown{OriginStored::Kind::kUnknown, absl::UnavailableError("cut off")};
  for (const std::string key : {"through:1", "inval:1", "around:1"}) {
    origin_.values[key] = {"old"};
    EXPECT_EQ(LoadNow(key), "old");
    origin_.values[key] = {"new"};
    origin_.write_failures[key] = unknown;
    EXPECT_EQ(SetNow(key, "new"), "WRITE_UNKNOWN");
    EXPECT_EQ(LoadNow(key), "new");
  }
  EXPECT_EQ(SetNow("behind:1", "new"), "stored");
  origin_.write_failures["behind:1"] = unknown;
  Now(journal_.Deliver());
  EXPECT_EQ(journal_.waiting.size(), 1u) << "it goes again, and is no dead letter";
  EXPECT_EQ(Get("behind:1"), "new");
}

TEST_F(WriteModesTest, AWriteThatIsAppliedAfterItsTimeDoesNotLeaveAnOldCopy) {
  origin_.values["through:1"] = {"old"};
  origin_.store_failure = absl::DeadlineExceededError("no answer");
  EXPECT_EQ(SetNow("through:1", "new"), "WRITE_UNKNOWN");
  EXPECT_EQ(LoadNow("through:1"), "old");
  // The origin was slower than its time limit.
  origin_.values["through:1"] = {"new"};
  executor_.Advance(absl::Seconds(5.1));
  EXPECT_EQ(LoadNow("through:1"), "new");
}

TEST_F(WriteModesTest, ALoadThatReadTheOldValueDoesNotOutliveAWriteThrough) {
  origin_.values["through:1"] = {"old"};
  // Applied at 20 ms, answered at 40.
  origin_.takes = absl::Milliseconds(40);
  origin_.applies_after = absl::Milliseconds(20);
  const SetResult set = BeginSet("through:1", "new");
  // Reads `old` at once and lands at 50, after the write was answered; in the second round at 35.
  executor_.Advance(absl::Milliseconds(10));
  const auto late = Load("through:1");
  executor_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(Outcome(set), "stored");
  EXPECT_EQ(Get("through:1") == "old", false);
  EXPECT_EQ(LoadNow("through:1") == "old", false);

  const SetResult again = BeginSet("through:1", "newer");
  executor_.Advance(absl::Milliseconds(1));
  origin_.takes = absl::Milliseconds(30);
  const auto early = Load("through:1");
  executor_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(Outcome(again), "stored");
  origin_.takes = absl::ZeroDuration();
  EXPECT_EQ(LoadNow("through:1"), "newer");
}

TEST_F(WriteModesTest, WritesOfOneKeyGoOneAfterTheOther) {
  origin_.takes = absl::Milliseconds(50);
  std::vector<SetResult> sets;
  for (int i = 0; i < 5; ++i) sets.push_back(BeginSet("through:1", std::to_string(i)));
  executor_.Advance(absl::Milliseconds(120));
  EXPECT_EQ(origin_.stores, 3);
  executor_.Advance(absl::Milliseconds(200));
  for (const SetResult& set : sets) EXPECT_EQ(Outcome(set), "stored");
  EXPECT_EQ(Truth("through:1"), "4");
  EXPECT_EQ(Get("through:1"), "4");
}

TEST_F(WriteModesTest, AWaitForOthersEndsWithTheCallersDeadline) {
  origin_.takes = absl::Milliseconds(500);
  const SetResult first = BeginSet("through:1", "one");
  const SetResult second = BeginSet("through:1", "two", {}, absl::Milliseconds(100));
  executor_.Advance(absl::Milliseconds(101));
  EXPECT_EQ(Outcome(second), "DEADLINE_EXCEEDED");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Outcome(first), "stored");
  EXPECT_EQ(Truth("through:1"), "one");
}

TEST_F(WriteModesTest, ManyWritesGoInFewCalls) {
  origin_.takes = absl::Milliseconds(10);
  std::vector<SetResult> sets;
  for (int i = 0; i < 104; ++i) sets.push_back(BeginSet("through:" + std::to_string(i), "v"));
  executor_.Advance(absl::Milliseconds(100));
  for (const SetResult& set : sets) EXPECT_EQ(Outcome(set), "stored");
  EXPECT_EQ(origin_.writes, 104);
  EXPECT_LE(origin_.stores, 5);
}

TEST_F(WriteModesTest, ConditionsAreDecidedByTheOriginsTruthBeforeAnythingIsWritten) {
  for (const std::string type : {"through", "inval", "around", "behind"}) {
    SCOPED_TRACE(type);
    const std::string key = type + ":1";
    EXPECT_EQ(SetNow(key, "no", {Expect::Kind::kPresent, 0}), "not stored");
    EXPECT_EQ(SetNow(key, "one", {Expect::Kind::kAbsent, 0}), "stored");
    Now(journal_.Deliver());
    EXPECT_EQ(Truth(key), "one");
    EXPECT_EQ(SetNow(key, "two", {Expect::Kind::kAbsent, 0}), "not stored");
    // Not in the cache, but at the origin.
    origin_.values[type + ":2"] = {"there"};
    EXPECT_EQ(SetNow(type + ":2", "two", {Expect::Kind::kAbsent, 0}), "not stored");
    const absl::StatusOr<ReadResult> read = Now(engine_->Get({"", type + ":2", ""}));
    ASSERT_TRUE(read.ok() && read->entry.has_value());
    const Version version = read->entry->version;
    EXPECT_EQ(SetNow(type + ":2", "x", {Expect::Kind::kVersion, version + 1}), "not stored");
    EXPECT_EQ(SetNow(type + ":2", "x", {Expect::Kind::kVersion, version}), "stored");
    Now(journal_.Deliver());
    EXPECT_EQ(Truth(type + ":2"), "x");
  }
}

TEST_F(WriteModesTest, AConditionThatNobodyCanDecideWritesNothing) {
  origin_.failure = absl::UnavailableError("away");
  EXPECT_EQ(SetNow("through:1", "one", {Expect::Kind::kAbsent, 0}), "ORIGIN_UNAVAILABLE");
  EXPECT_EQ(origin_.writes, 0);
}

TEST_F(WriteModesTest, OfTwoWhoWantTheKeyToBeAbsentOneStores) {
  origin_.takes = absl::Milliseconds(20);
  const SetResult a = BeginSet("through:1", "a", {Expect::Kind::kAbsent, 0});
  const SetResult b = BeginSet("through:1", "b", {Expect::Kind::kAbsent, 0});
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Outcome(a), "stored");
  EXPECT_EQ(Outcome(b), "not stored");
  EXPECT_EQ(Truth("through:1"), "a");
}

TEST_F(WriteModesTest, CountersCountOnWhatTheOriginHas) {
  for (const std::string key : {"through:n", "behind:n"}) {
    origin_.values[key] = {"41"};
    IncrementRequest request;
    request.key = {"", key, ""};
    request.delta = 1;
    const absl::StatusOr<IncrementResult> counted = Now(engine_->Increment(request));
    ASSERT_TRUE(counted.ok()) << counted.status();
    EXPECT_EQ(counted->value, 42);
    EXPECT_FALSE(counted->created);
    Now(journal_.Deliver());
    EXPECT_EQ(Truth(key), "42");
  }
  IncrementRequest request;
  request.key = {"", "around:n", ""};
  EXPECT_EQ(DetailsOf(Now(engine_->Increment(request)).status()).reason, "WRITE_MODE_UNSUPPORTED");
}

// With types whose stale copies may be served.
class StaleWriteModesTest : public WriteModesTest {
 protected:
  StaleWriteModesTest() : WriteModesTest(absl::Seconds(1), absl::Hours(1)) {}
};

TEST_F(StaleWriteModesTest, NothingIsDecidedByAStaleCopy) {
  for (const std::string key : {"through:n", "behind:n"}) {
    origin_.failure = absl::OkStatus();
    origin_.values[key] = {"41"};
    EXPECT_EQ(LoadNow(key), "41");
    origin_.values[key] = {"100"};
    executor_.Advance(absl::Seconds(2));
    IncrementRequest request;
    request.key = {"", key, ""};
    request.delta = 1;
    const absl::StatusOr<IncrementResult> counted = Now(engine_->Increment(request));
    ASSERT_TRUE(counted.ok()) << counted.status();
    EXPECT_EQ(counted->value, 101);
    EXPECT_FALSE(counted->created);
    Now(journal_.Deliver());
    EXPECT_EQ(Truth(key), "101");
    executor_.Advance(absl::Seconds(2));
    origin_.failure = absl::UnavailableError("away");
    EXPECT_EQ(DetailsOf(Now(engine_->Increment(request)).status()).reason, "ORIGIN_UNAVAILABLE");
    EXPECT_EQ(SetNow(key, "x", {Expect::Kind::kPresent, 0}), "ORIGIN_UNAVAILABLE");
    EXPECT_EQ(Truth(key), "101");
  }
}

TEST_F(StaleWriteModesTest, ABatchMayRemoveKeysOfAllModes) {
  for (const std::string key : {"through:1", "behind:1", "plain:1"})
    EXPECT_EQ(SetNow(key, "v"), "stored");
  std::vector<std::string_view> keys = {"through:1", "behind:1", "plain:1"};
  const auto removed = Now(engine_->BatchDelete("", keys, ""));
  ASSERT_TRUE(removed.ok()) << removed.status();
  for (const auto& one : *removed) EXPECT_TRUE(one.ok() && one->existed);
  for (const std::string_view key : keys) EXPECT_FALSE(FindHit(std::string(key)));
}

TEST_F(StaleWriteModesTest, TouchReachesWhatOnlyTheJournalHas) {
  EXPECT_EQ(SetNow("behind:1", "v"), "stored");
  engine_->memory().Erase(FullKey("", "behind:1").view(), engine_->versions().Last(),
                          clock_.Mono());
  TouchRequest touch;
  touch.key = {"", "behind:1", ""};
  touch.ttl = absl::Seconds(50);
  const absl::StatusOr<TouchResult> touched = Now(engine_->Touch(touch));
  ASSERT_TRUE(touched.ok()) << touched.status();
  EXPECT_TRUE(touched->changed);
}

// Without them no invalidation of the tag reached the counter any more.
TEST_F(WriteModesTest, WhatOnlyTheJournalHasKeepsTheTagsOfItsType) {
  const std::vector<std::string> team = {"team:a"};
  EXPECT_EQ(SetNow("tagged:a:1", "41"), "stored");
  executor_.Advance(absl::Seconds(200));
  ASSERT_FALSE(FindHit("tagged:a:1"));
  // By this Touch stores it again, too.
  const absl::StatusOr<ReadResult> read = Now(engine_->Get({"", "tagged:a:1", ""}));
  ASSERT_TRUE(read.ok() && read->entry.has_value());
  EXPECT_EQ(read->entry->tags, team);
  IncrementRequest request;
  request.key = {"", "tagged:a:1", ""};
  request.delta = 1;
  ASSERT_TRUE(Now(engine_->Increment(request)).ok());
  Entry entry;
  ASSERT_TRUE(FindHit("tagged:a:1", &entry));
  EXPECT_EQ(entry.bytes, "42");
  EXPECT_EQ(entry.tags, team);
}

TEST_F(WriteModesTest, ReadsSeeWhatWaitsAfterEvictionAndExpiry) {
  origin_.values["behind:1"] = {"old"};
  EXPECT_EQ(SetNow("behind:1", "new"), "stored");
  EXPECT_EQ(LoadNow("behind:1"), "new");
  executor_.Advance(absl::Seconds(200));
  EXPECT_FALSE(FindHit("behind:1"));
  EXPECT_EQ(Get("behind:1"), "new");
  EXPECT_EQ(LoadNow("behind:1"), "new");
  engine_->memory().Erase(FullKey("", "behind:1").view(), engine_->versions().Next(),
                          clock_.Mono());
  EXPECT_EQ(Get("behind:1"), "new");
  EXPECT_EQ(LoadNow("behind:1"), "new");
  std::vector<std::string_view> keys = {"behind:1", "behind:2"};
  const auto batch = Now(engine_->BatchGet("", keys, "", true));
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ((*batch)[0].entry->stored(), "new");
  EXPECT_FALSE((*batch)[1].entry.has_value());
  EXPECT_EQ(origin_.loads, 0);
}

TEST_F(WriteModesTest, ARemovalThatWaitsIsSeenAsAbsence) {
  origin_.values["behind:1"] = {"old"};
  EXPECT_EQ(LoadNow("behind:1"), "old");
  EXPECT_EQ(DeleteNow("behind:1"), "existed");
  MissReason why;
  EXPECT_EQ(Get("behind:1", &why), "(miss)");
  EXPECT_EQ(why, MissReason::kNegative);
  EXPECT_EQ(LoadNow("behind:1"), "(miss)");
  EXPECT_EQ(origin_.loads, 1);
  Now(journal_.Deliver());
  EXPECT_EQ(Truth("behind:1"), "(none)");
}

TEST_F(WriteModesTest, ALoadUnderWayDoesNotOutrankAWriteBehind) {
  origin_.values["behind:1"] = {"old"};
  origin_.takes = absl::Milliseconds(50);
  journal_.takes = absl::Milliseconds(20);
  // The load begins after the write has its version, and before the journal has it.
  const SetResult set = BeginSet("behind:1", "new");
  executor_.Advance(absl::Milliseconds(5));
  const auto loading = Load("behind:1");
  executor_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(Outcome(set), "stored");
  EXPECT_EQ(Get("behind:1"), "new");
  // The load lands first.
  origin_.takes = absl::Milliseconds(5);
  engine_->memory().Erase(FullKey("", "behind:1").view(), engine_->versions().Next(),
                          clock_.Mono());
  journal_.waiting.clear();
  const SetResult again = BeginSet("behind:1", "newer");
  const auto first = Load("behind:1");
  executor_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(Outcome(again), "stored");
  EXPECT_EQ(Get("behind:1"), "newer");
  Entry entry;
  ASSERT_TRUE(FindHit("behind:1", &entry));
  EXPECT_EQ(entry.version, journal_.VersionOf(FullKey("", "behind:1").view()));
}

TEST_F(WriteModesTest, AJournalThatDoesNotTakeTheWriteLeavesTheCopyAsItIs) {
  EXPECT_EQ(SetNow("behind:1", "one"), "stored");
  journal_.append_failure =
      RetryableError(Reason::kJOURNAL_UNAVAILABLE, absl::Seconds(1), "disk full");
  EXPECT_EQ(SetNow("behind:1", "two"), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(DeleteNow("behind:1"), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(Get("behind:1"), "one");
}

// Hits ask nobody. While conditions see what waits, a read must not give them another version.
TEST_F(WriteModesTest, AWriteThatTurnsUpInTheJournalTakesThePlaceOfOlderCopies) {
  const auto hit = [&](const std::string& key) {
    Entry entry;
    return engine_->FindHit(FullKey("", key), clock_.Mono(), /*want_value=*/true, &entry)
               ? std::string(entry.stored())
               : "(no hit)";
  };
  const auto found = [&](const std::string& key, Version version) {
    JournalRecord record;
    record.full_key = std::string(FullKey("", key).view());
    record.type = "behind";
    record.version = version;
    record.value = "found";
    return record;
  };
  EXPECT_EQ(SetNow("behind:1", "old"), "stored");
  Now(journal_.Deliver());
  journal_.append_failure = Error(Reason::kWRITE_UNKNOWN, "as told");
  EXPECT_EQ(SetNow("behind:1", "new"), "WRITE_UNKNOWN");
  const Version version = engine_->versions().Next();
  // One was loaded since, and is of before it, too.
  origin_.values["behind:2"].value = "old";
  EXPECT_EQ(LoadNow("behind:2"), "old");
  EXPECT_EQ(hit("behind:1"), "old");
  EXPECT_EQ(hit("behind:2"), "old");
  journal_.append_failure = absl::OkStatus();
  journal_.TurnUp(found("behind:1", version));
  journal_.TurnUp(found("behind:2", version));
  for (const std::string key : {"behind:1", "behind:2"}) {
    EXPECT_EQ(hit(key), "(no hit)");
    EXPECT_EQ(Get(key), "found");
    EXPECT_EQ(LoadNow(key), "found");
  }
  // What was written since stays.
  EXPECT_EQ(SetNow("behind:1", "newer"), "stored");
  journal_.TurnUp(found("behind:1", version));
  EXPECT_EQ(hit("behind:1"), "newer");
}

TEST_F(WriteModesTest, AFullJournalRejectsOrIsGoneRound) {
  EXPECT_EQ(SetNow("overflow:1", "one"), "stored");
  EXPECT_EQ(Truth("overflow:1"), "(none)");
  journal_.append_failure = RetryableError(Reason::kJOURNAL_FULL, absl::Seconds(1), "full");
  EXPECT_EQ(SetNow("behind:1", "one"), "JOURNAL_FULL");
  EXPECT_EQ(SetNow("overflow:1", "two"), "stored");
  EXPECT_EQ(Truth("overflow:1"), "two");
  EXPECT_EQ(Get("overflow:1"), "two");
  EXPECT_FALSE(journal_.Has(FullKey("", "overflow:1").view())) << "it is older";
  executor_.Advance(absl::Seconds(200));
  EXPECT_EQ(LoadNow("overflow:1"), "two");
}

TEST_F(WriteModesTest, WhatBecomesADeadLetterIsNoLongerServed) {
  origin_.values["behind:1"] = {"truth"};
  EXPECT_EQ(SetNow("behind:1", "poison"), "stored");
  origin_.write_failures["behind:1"] = kRefusal;
  Now(journal_.Deliver());
  EXPECT_EQ(LoadNow("behind:1"), "truth");
  EXPECT_EQ(SetNow("behind:1", "poison"), "stored");
  const std::string full_key(FullKey("", "behind:1").view());
  DeadLetter letter;
  letter.record = journal_.waiting[full_key];
  EXPECT_EQ(SetNow("behind:1", "later"), "stored");
  JournalSinkOfEngine(engine_.get()).OnDead(letter);
  executor_.RunReady();
  EXPECT_TRUE(FindHit("behind:1")) << "it was written after the dead one";
}

TEST_F(WriteModesTest, WhatTheJournalCannotReadIsNotLoadedFromTheOrigin) {
  origin_.values["behind:1"] = {"old"};
  EXPECT_EQ(SetNow("behind:1", "new"), "stored");
  engine_->memory().Erase(FullKey("", "behind:1").view(), engine_->versions().Next(),
                          clock_.Mono());
  journal_.find_failure = absl::UnavailableError("read error");
  MissReason why;
  EXPECT_EQ(Get("behind:1", &why), "(miss)");
  EXPECT_EQ(why, MissReason::kTierFailed);
  EXPECT_NE(LoadNow("behind:1"), "old");
  EXPECT_EQ(origin_.loads, 0);
}

TEST_F(WriteModesTest, OfAWriteThatIsInTheJournalNobodySaysThatItIsNot) {
  origin_.values["behind:1"] = {"old"};
  journal_.takes = absl::Milliseconds(20);
  const SetResult set = BeginSet("behind:1", "new");
  executor_.Advance(absl::Milliseconds(5));
  // Lands with a newer version, so that the write is made again; and the journal is full by then.
  const auto loading = Load("behind:1");
  executor_.Advance(absl::Milliseconds(5));
  EXPECT_EQ(loading->Value(), "old");
  journal_.append_failure = RetryableError(Reason::kJOURNAL_FULL, absl::Seconds(1), "full");
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(Outcome(set), "stored");
  EXPECT_EQ(journal_.waiting.size(), 1u);
  EXPECT_EQ(Get("behind:1"), "new") << "what landed meanwhile is older";
}

TEST_F(WriteModesTest, TheRequestIdNamesTheWriteToTheOrigin) {
  WriteRequest write;
  write.key = {"", "through:1", ""};
  write.value = "one";
  write.context.request_id = "order-17";
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  write.context.trace_parent = trace;
  ASSERT_TRUE(Now(engine_->Set(write)).ok());
  EXPECT_EQ(origin_.stored[0].writes[0].idempotency_id, "order-17");
  EXPECT_EQ(origin_.stored[0].call.trace_parent, trace);
  EXPECT_EQ(origin_.stored[0].writes[0].trace_parent, trace);
  EXPECT_EQ(origin_.stored[0].call.type, "through");
  write.key.key = "behind:1";
  ASSERT_TRUE(Now(engine_->Set(write)).ok());
  Now(journal_.Deliver());
  EXPECT_EQ(origin_.stored[1].writes[0].idempotency_id, "order-17");
  EXPECT_EQ(origin_.stored[1].writes[0].version, origin_.versions["behind:1"]);
  EXPECT_EQ(origin_.stored[1].writes[0].trace_parent, trace);
  EXPECT_EQ(origin_.stored[1].call.trace_parent, trace);
  // The journal has no place for what is none: longer, or no text at all.
  for (const std::string& bad : {trace + "0", std::string(55, '\xff'), "\xff" + trace.substr(1)}) {
    write.context.trace_parent = bad;
    ASSERT_TRUE(Now(engine_->Set(write)).ok());
    EXPECT_EQ(journal_.waiting.begin()->second.trace_parent, "");
  }
}

// A load that lands between the journal and the copies has a newer version, and so the write takes
// one more; the first is delivered before that.
TEST_F(WriteModesTest, AWriteThatIsMadeAgainIsTheSameOneToTheOrigin) {
  for (const std::string request_id : {"", "order-17"}) {
    const std::string key = "behind:1" + request_id;
    origin_.stored.clear();
    origin_.values[key] = {"old"};
    journal_.takes = absl::Milliseconds(20);
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = "new";
    write.context.request_id = request_id;
    const auto set = Begin(engine_->Set(write));
    executor_.Advance(absl::Milliseconds(5));
    const auto loading = Load(key);
    executor_.Advance(absl::Milliseconds(5));
    EXPECT_EQ(loading->Value(), "old");
    executor_.Advance(absl::Milliseconds(11));
    EXPECT_FALSE(set->has_value()) << "it is on its way again";
    const auto first = Begin(journal_.Deliver());
    executor_.Advance(absl::Milliseconds(100));
    ASSERT_TRUE(set->has_value() && (*set)->ok());
    Begin(journal_.Deliver());
    executor_.Advance(absl::Milliseconds(100));
    ASSERT_EQ(origin_.stored.size(), 2u);
    const OriginStore::Write& one = origin_.stored[0].writes[0];
    const OriginStore::Write& two = origin_.stored[1].writes[0];
    EXPECT_LT(one.version, two.version);
    EXPECT_EQ(one.idempotency_id, two.idempotency_id);
    EXPECT_EQ(two.version, origin_.versions[key]);
  }
}

TEST_F(WriteModesTest, EachKeyOfABatchThatIsRemovedEndsForItself) {
  for (const std::string type : {"through", "inval", "around"}) {
    std::vector<std::string> keys;
    for (const std::string end : {":refused", ":later", ":gone"}) keys.push_back(type + end);
    for (const std::string& key : keys) EXPECT_EQ(SetNow(key, "v"), "stored");
    origin_.write_failures[keys[0]] = kRefusal;
    origin_.write_failures[keys[1]] = kLater;
    const std::vector<std::string_view> views(keys.begin(), keys.end());
    const auto removed = Now(engine_->BatchDelete("", views, ""));
    ASSERT_TRUE(removed.ok()) << removed.status();
    ASSERT_EQ(removed->size(), 3u);
    EXPECT_EQ(DetailsOf((*removed)[0].status()).reason, "WRITE_REFUSED");
    EXPECT_EQ(DetailsOf((*removed)[1].status()).reason, "WRITE_FAILED");
    ASSERT_TRUE((*removed)[2].ok());
    EXPECT_NE((*removed)[2]->version, kNoVersion);
    EXPECT_EQ(Truth(keys[0]), "v");
    EXPECT_EQ(Truth(keys[2]), "(none)");
  }
}

TEST_F(WriteModesTest, ABatchIsWrittenAndRemovedTogether) {
  std::vector<WriteRequest> writes(50);
  std::vector<std::string> keys;
  for (int i = 0; i < 50; ++i) keys.push_back((i % 2 ? "through:" : "behind:") + std::to_string(i));
  for (size_t i = 0; i < 50; ++i) {
    writes[i].key = {"", keys[i], ""};
    writes[i].value = "v";
  }
  for (const auto& one : Now(engine_->BatchSet(std::move(writes)))) {
    ASSERT_TRUE(one.ok()) << one.status();
    EXPECT_TRUE(one->stored);
  }
  Now(journal_.Deliver());
  EXPECT_EQ(origin_.values.size(), 50u);
  std::vector<std::string_view> views(keys.begin(), keys.end());
  const auto removed = Now(engine_->BatchDelete("", views, ""));
  ASSERT_TRUE(removed.ok());
  for (const auto& one : *removed) EXPECT_TRUE(one.ok() && one->existed);
  Now(journal_.Deliver());
  EXPECT_TRUE(origin_.values.empty());
}

}  // namespace
}  // namespace larder
