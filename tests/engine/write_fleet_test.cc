// Writes of types with an origin on several replicas that share a tier, a bus and leases.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/fake_journal.h"
#include "tests/engine/fake_origin.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

class WriteFleetTest : public ReplicasFixture {
 protected:
  static constexpr size_t kReplicas = 3;

  WriteFleetTest() {
    for (const auto& [name, mode] :
         std::vector<std::pair<std::string, WriteMode>>{{"through", WriteMode::kThrough},
                                                        {"inval", WriteMode::kInvalidate},
                                                        {"around", WriteMode::kAround},
                                                        {"behind", WriteMode::kBehind}}) {
      TypePolicy type = Type(name, absl::Seconds(100));
      type.origin = "shop";
      type.write.mode = mode;
      types_.push_back(type);
    }
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    for (size_t i = 0; i < kReplicas; ++i) {
      journals_.push_back(std::make_unique<FakeJournal>(&clock_, &executor_));
      Replica::Options options;
      options.engine.origins = {link};
      options.engine.journal = journals_.back().get();
      Add(options).engine->Start();
    }
    executor_.Advance(absl::Seconds(1));
    origin_.takes = absl::Milliseconds(20);
    origin_.applies_after = absl::Milliseconds(10);
  }

  using SetResult = std::shared_ptr<std::optional<absl::StatusOr<WriteResult>>>;
  SetResult BeginSet(size_t replica, const std::string& key, const std::string& value,
                     Expect condition = {}) {
    texts_.push_back(std::make_unique<std::string>(key));
    texts_.push_back(std::make_unique<std::string>(value));
    WriteRequest write;
    write.key = {"", *texts_[texts_.size() - 2], ""};
    write.value = *texts_.back();
    write.condition = condition;
    auto result = std::make_shared<std::optional<absl::StatusOr<WriteResult>>>();
    Spawn(engine(replica).Set(std::move(write)),
          [result](absl::StatusOr<WriteResult> written) { result->emplace(std::move(written)); });
    return result;
  }
  // Until it is answered and no longer.
  SetResult SetNow(size_t replica, const std::string& key, const std::string& value) {
    SetResult result = BeginSet(replica, key, value);
    for (int i = 0; i < 5000 && !result->has_value(); ++i) executor_.Advance(absl::Milliseconds(1));
    return result;
  }
  static bool IsStored(const SetResult& result) {
    return result->has_value() && (*result)->ok() && (**result)->stored;
  }
  // By GetOrLoad.
  std::string Load(size_t replica, const std::string& key) {
    LoadRequest request;
    request.key = {"", key, ""};
    request.deadline = MonoAfter(clock_.Mono(), absl::Seconds(30));
    const absl::StatusOr<LoadResult> loaded = Now(engine(replica).GetOrLoad(request));
    return loaded.ok() ? Text(loaded->read) : DetailsOf(loaded.status()).reason;
  }
  void Settle() { executor_.Advance(absl::Seconds(2)); }

  FakeOrigin origin_{&executor_};
  std::vector<std::unique_ptr<FakeJournal>> journals_;
  std::vector<std::unique_ptr<std::string>> texts_;
};

TEST_F(WriteFleetTest, AllReplicasSeeWhatOneWroteInEveryMode) {
  for (const std::string type : {"through", "inval", "around", "behind"}) {
    SCOPED_TRACE(type);
    const std::string key = type + ":1";
    origin_.values[key] = {"old"};
    for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Load(i, key), "old");
    Settle();
    Set(0, key, "new");
    Settle();
    for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Load(i, key), "new");
    Now(journals_[0]->Deliver());
    EXPECT_EQ(origin_.values[key].value, "new");
  }
}

// Whichever of two concurrent writes the origin has in the end, no copy says otherwise for long.
TEST_F(WriteFleetTest, AWriteCoversWhatDependsOnItWhereItWasMadeAndElsewhere) {
  for (const std::string type : {"through", "inval", "around", "behind"}) {
    SCOPED_TRACE(type);
    const std::string key = type + ":1", page = "page of " + type;
    EXPECT_TRUE(IsStored(SetNow(0, key, "anna")));
    Settle();
    WriteRequest write;
    write.key = {"", page, ""};
    write.value = "hello anna";
    write.depends_on = {key};
    ASSERT_TRUE(Now(engine(0).Set(write)).ok());
    for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Get(i, page), "hello anna") << i;
    EXPECT_TRUE(IsStored(SetNow(0, key, "bert")));
    EXPECT_EQ(Get(0, page), "(invalidated)");
    Settle();
    for (size_t i = 1; i < kReplicas; ++i) EXPECT_EQ(Get(i, page), "(invalidated)") << i;
  }
}

TEST_F(WriteFleetTest, CopiesAgreeWithTheOriginAfterConcurrentWrites) {
  SeededRandom random(7);
  for (const std::string type : {"through", "inval", "around", "behind"}) {
    for (int round = 0; round < 60; ++round) {
      const std::string key = type + ":" + std::to_string(round % 5);
      std::vector<SetResult> sets;
      for (int i = 0; i < 6; ++i) {
        const std::string value = std::to_string(round) + "." + std::to_string(i);
        sets.push_back(BeginSet(random.Next() % kReplicas, key, value));
        if (random.Next() % 2 == 0) Load(random.Next() % kReplicas, key);
        executor_.Advance(absl::Milliseconds(static_cast<int>(random.Next() % 15)));
        if (random.Next() % 4 == 0) Now(journals_[random.Next() % kReplicas]->Deliver());
      }
      Settle();
      for (const SetResult& set : sets) EXPECT_TRUE(IsStored(set));
      for (const auto& journal : journals_) Now(journal->Deliver());
      Settle();
      for (size_t i = 0; i < kReplicas; ++i)
        EXPECT_EQ(Load(i, key), origin_.values[key].value) << type << " " << round << " at " << i;
    }
  }
}

TEST_F(WriteFleetTest, OfTwoReplicasThatWantTheKeyToBeAbsentOneStores) {
  for (const std::string type : {"through", "behind"}) {
    for (int round = 0; round < 20; ++round) {
      const std::string key = type + ":" + std::to_string(round);
      std::vector<SetResult> sets;
      for (size_t i = 0; i < kReplicas; ++i)
        sets.push_back(BeginSet(i, key, std::to_string(i), {Expect::Kind::kAbsent, 0}));
      executor_.Advance(absl::Seconds(5));
      int stored = 0;
      for (const SetResult& set : sets) stored += IsStored(set) ? 1 : 0;
      EXPECT_EQ(stored, 1) << key;
      for (const auto& journal : journals_) Now(journal->Deliver());
    }
  }
}

TEST_F(WriteFleetTest, CountersLoseNothing) {
  for (const std::string key : {"through:n", "behind:n"}) {
    origin_.values[key] = {"100"};
    std::vector<std::shared_ptr<std::optional<absl::StatusOr<IncrementResult>>>> counts;
    for (size_t i = 0; i < 12; ++i) {
      auto result = std::make_shared<std::optional<absl::StatusOr<IncrementResult>>>();
      Spawn(engine(i % kReplicas).Increment(Counting(key, 1)),
            [result](absl::StatusOr<IncrementResult> counted) { result->emplace(counted); });
      counts.push_back(result);
    }
    executor_.Advance(absl::Seconds(10));
    for (const auto& count : counts) EXPECT_TRUE(count->has_value() && (*count)->ok());
    for (const auto& journal : journals_) Now(journal->Deliver());
    EXPECT_EQ(origin_.values[key].value, "112") << key;
  }
}

TEST_F(WriteFleetTest, WhatAnotherReplicaLoadedWhileAWriteWaitedIsGoneAfterItsDelivery) {
  origin_.values["behind:1"] = {"old"};
  Set(0, "behind:1", "new");
  Settle();
  // Nobody has the copy any more, and only replica 0 knows what waits.
  executor_.Advance(absl::Seconds(101));
  EXPECT_EQ(Load(1, "behind:1"), "old");
  EXPECT_EQ(Load(0, "behind:1"), "new");
  Now(journals_[0]->Deliver());
  Settle();
  for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Load(i, "behind:1"), "new");
}

// The process ended between the journal and the tier below.
TEST_F(WriteFleetTest, AWriteOfAnEarlierProcessReplacesWhatTheTierHasKept) {
  origin_.values["behind:1"] = {"old"};
  EXPECT_EQ(Load(1, "behind:1"), "old");
  JournalRecord record;
  record.full_key = FullKey("", "behind:1").view();
  record.type = "behind";
  record.value = "new";
  record.version = engine(0).versions().Next();
  record.enqueued = clock_.Now() - absl::Seconds(50);
  journals_[0]->waiting[record.full_key] = record;
  EXPECT_EQ(Load(0, "behind:1"), "new");
  Now(journals_[0]->Deliver());
  Settle();
  for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Load(i, "behind:1"), "new");
}

// Of a late delivery, what others have written since is not theirs to lose.
TEST_F(WriteFleetTest, ALateDeliveryLeavesWhatAnotherReplicaWroteSince) {
  Set(0, "behind:1", "first");
  executor_.Advance(absl::Seconds(5));
  Set(1, "behind:1", "second");
  Settle();
  Now(journals_[0]->Deliver());
  Settle();
  EXPECT_EQ(origin_.values["behind:1"].value, "first");
  for (size_t i = 0; i < kReplicas; ++i) {
    EXPECT_EQ(Get(i, "behind:1"), "second") << i;
    EXPECT_EQ(Load(i, "behind:1"), "second") << i;
  }
  EXPECT_EQ(origin_.loads, 0);
}

// The lease may be faster than the bus.
TEST_F(WriteFleetTest, WhoeverDecidesLooksAtWhatTheFleetHas) {
  for (const std::string key : {"through:n", "behind:n"}) {
    origin_.values[key] = {"5"};
    for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Load(i, key), "5");
    Settle();
    // Nobody hears of anything from here on, and copies are still trusted.
    fleet_.log.Freeze();
    EXPECT_EQ(Increment(1, key), 6);
    EXPECT_EQ(Increment(0, key), 7) << key;
    fleet_.log.Thaw();
    Settle();
    for (const auto& journal : journals_) Now(journal->Deliver());
    Settle();
  }
}

TEST_F(WriteFleetTest, ARemovalByAReplicaWhoseClockIsBehindReachesTheOrigin) {
  replicas_[1]->clock.SetOff(absl::Milliseconds(500));
  for (const std::string type : {"through", "inval", "around", "behind"}) {
    SCOPED_TRACE(type);
    const std::string key = type + ":1";
    fleet_.log.Freeze();
    Set(1, key, "ahead");
    Now(journals_[1]->Deliver());
    EXPECT_EQ(origin_.values[key].value, "ahead");
    Delete(0, key);
    Now(journals_[0]->Deliver());
    EXPECT_FALSE(origin_.values.contains(key));
    fleet_.log.Thaw();
    Settle();
  }
}

TEST_F(WriteFleetTest, TwoJournalsLeaveTheHighestVersionAtTheOrigin) {
  Set(0, "behind:1", "first");
  Settle();
  const WriteResult second = Set(1, "behind:1", "second");
  Settle();
  Now(journals_[1]->Deliver());
  Now(journals_[0]->Deliver());
  EXPECT_EQ(origin_.values["behind:1"].value, "second");
  EXPECT_EQ(origin_.versions["behind:1"], second.version);
}

TEST_F(WriteFleetTest, InvalidateWaitsUntilTheOthersHaveNoCopy) {
  origin_.values["inval:1"] = {"old"};
  for (size_t i = 0; i < kReplicas; ++i) EXPECT_EQ(Load(i, "inval:1"), "old");
  Settle();
  const SetResult set = BeginSet(0, "inval:1", "new");
  while (!set->has_value()) executor_.Advance(absl::Milliseconds(1));
  for (size_t i = 0; i < kReplicas; ++i) EXPECT_FALSE(InMemory(i, "inval:1")) << i;
}

TEST_F(WriteFleetTest, WithTheTierAwayWritesStillReachTheOrigin) {
  for (size_t i = 0; i < kReplicas; ++i) tier(i).Close();
  for (const std::string type : {"through", "inval", "around", "behind"}) {
    const std::string key = type + ":1";
    Set(0, key, "new");
    EXPECT_EQ(Load(0, key), "new");
    Now(journals_[0]->Deliver());
    EXPECT_EQ(origin_.values[key].value, "new");
  }
}

}  // namespace
}  // namespace larder
