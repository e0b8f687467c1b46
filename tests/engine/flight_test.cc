// GetOrLoad of types with an origin, on one replica: who waits for what, and what is served when.

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

class FlightTest : public EngineFixture {
 protected:
  FlightTest() { Begin({}); }
  ~FlightTest() override {
    executor_.Advance(absl::Minutes(1));
    EXPECT_EQ(engine_->Stats().flights, 0u);
    EXPECT_EQ(engine_->Stats().flights_waiting, 0u);
    EXPECT_EQ(engine_->Stats().memory.fills, 0u);
  }

  void Begin(FreshnessPolicy freshness, absl::Duration base = absl::Seconds(100)) {
    TypePolicy type = Type("user", "user:{id}", base);
    type.origin = "shop";
    type.freshness = freshness;
    type.ttl.absent = absl::Seconds(5);
    Engine::Options options;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    options.waiters_per_key_max = 1500;
    std::vector<TypePolicy> types;
    types.push_back(std::move(type));
    Make(options, std::move(types));
    origin_.values["user:1"] = {"one"};
  }

  static FreshnessPolicy Stale(absl::Duration revalidate, absl::Duration on_error) {
    FreshnessPolicy freshness;
    freshness.stale_while_revalidate = revalidate;
    freshness.stale_if_error = on_error;
    return freshness;
  }

  uint64_t Count(Usage what) const {
    return engine_->Stats().total.counts[static_cast<size_t>(what)];
  }
  const ReadResult& ReadOf(const std::shared_ptr<Loading>& loading) {
    return (*loading->result)->read;
  }
  std::shared_ptr<Loading> Loaded(const std::string& key) {
    auto loading = Load(key);
    executor_.RunReady();
    return loading;
  }

  FakeOrigin origin_{&executor_};
};

TEST_F(FlightTest, LoadsOnceForAllWhoAskAndKeepsTheValue) {
  origin_.takes = absl::Milliseconds(50);
  std::vector<std::shared_ptr<Loading>> callers;
  for (int i = 0; i < 1000; ++i) callers.push_back(Load("user:1"));
  executor_.RunReady();
  EXPECT_EQ(callers[0]->Value(), "(waits)");
  executor_.Advance(absl::Milliseconds(50));
  for (const auto& caller : callers) {
    ASSERT_EQ(caller->Value(), "one");
    EXPECT_EQ(ReadOf(caller).from, ReadResult::From::kOrigin);
    EXPECT_FALSE(ReadOf(caller).stale);
  }
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(Count(Usage::kLoadsCoalesced), 999u);
  const auto later = Loaded("user:1");
  EXPECT_EQ(later->Value(), "one");
  EXPECT_EQ(ReadOf(later).from, ReadResult::From::kMemory);
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(FlightTest, WaitersAreBounded) {
  origin_.takes = absl::Milliseconds(50);
  std::vector<std::shared_ptr<Loading>> callers;
  for (int i = 0; i < 1501; ++i) callers.push_back(Load("user:1"));
  executor_.RunReady();
  EXPECT_EQ(callers.back()->Value(), "TOO_MANY_WAITERS");
  executor_.Advance(absl::Milliseconds(50));
  EXPECT_EQ(callers[1499]->Value(), "one");
}

TEST_F(FlightTest, RemembersThatTheOriginHasNoSuchKey) {
  const auto first = Loaded("user:none");
  EXPECT_EQ(first->Value(), "(miss)");
  EXPECT_EQ(ReadOf(first).miss, MissReason::kNegative);
  EXPECT_EQ(ReadOf(first).miss_remaining, absl::Seconds(5));
  Loaded("user:none");
  EXPECT_EQ(origin_.loads, 1);
  executor_.Advance(absl::Seconds(6));
  origin_.values["user:none"] = {"now"};
  EXPECT_EQ(Loaded("user:none")->Value(), "now");
}

TEST_F(FlightTest, ACallerThatLeavesCancelsNobodyAndItsValueIsKept) {
  origin_.takes = absl::Milliseconds(50);
  const auto leaves = Load("user:1");
  const auto hurried =
      Load("user:1", absl::Seconds(10), absl::InfiniteDuration(), absl::Milliseconds(20));
  const auto waits_little = Load("user:1", absl::Seconds(10), absl::Milliseconds(10));
  executor_.RunReady();
  leaves->cancellation.Cancel();
  executor_.Advance(absl::Milliseconds(30));
  EXPECT_EQ(leaves->Value(), "CALL_CANCELLED");
  EXPECT_EQ(hurried->Value(), "DEADLINE_EXCEEDED");
  ASSERT_EQ(waits_little->Value(), "(miss)");
  EXPECT_EQ(ReadOf(waits_little).miss, MissReason::kLoading);
  executor_.Advance(absl::Milliseconds(30));
  EXPECT_EQ(Get("user:1"), "one");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(FlightTest, WhoDoesNotWaitStartsTheLoadAllTheSame) {
  const auto at_once = Load("user:1", absl::Seconds(10), absl::ZeroDuration());
  ASSERT_EQ(at_once->Value(), "(miss)");
  EXPECT_EQ(ReadOf(at_once).miss, MissReason::kLoading);
  executor_.RunReady();
  EXPECT_EQ(Get("user:1"), "one");
}

TEST_F(FlightTest, ALoadThatBeganBeforeAChangeIsNeverSeenAfterIt) {
  for (const std::string change : {"set", "delete", "invalidate"}) {
    SCOPED_TRACE(change);
    origin_.takes = absl::Milliseconds(50);
    const std::string key = "user:" + change;
    origin_.values[key] = {"before"};
    const auto before = Load(key);
    executor_.Advance(absl::Milliseconds(10));
    origin_.values[key] = {"after"};
    if (change == "set") Set(key, "set");
    if (change == "delete") {
      EXPECT_TRUE(Now(engine_->Delete({"", key, ""})).ok());
    }
    if (change == "invalidate") {
      EXPECT_TRUE(Now(engine_->InvalidateKeys({"", {key}, false})).ok());
    }
    const std::string want = change == "set" ? "set" : "after";
    const auto after = Load(key);
    executor_.Advance(absl::Milliseconds(200));
    EXPECT_EQ(before->Value(), want);
    EXPECT_EQ(after->Value(), want);
    EXPECT_EQ(Get(key), want);
  }
}

TEST_F(FlightTest, AValueThatEndsAtOnceReachesAllWhoWaited) {
  origin_.values["user:short"] = {"short", "", absl::Milliseconds(1)};
  origin_.takes = absl::Milliseconds(50);
  std::vector<std::shared_ptr<Loading>> callers;
  for (int i = 0; i < 10; ++i) callers.push_back(Load("user:short"));
  executor_.Advance(absl::Milliseconds(60));
  for (const auto& caller : callers) EXPECT_EQ(caller->Value(), "short");
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(Get("user:short"), "(miss)");
}

TEST_F(FlightTest, SaysWhyTheOriginFailed) {
  origin_.failure = absl::UnavailableError("gone fishing");
  const auto failed = Loaded("user:1");
  EXPECT_EQ(failed->Value(), "ORIGIN_UNAVAILABLE");
  EXPECT_NE(failed->result->status().message().find("`shop`: UNAVAILABLE: gone fishing"),
            std::string::npos);
  EXPECT_TRUE(DetailsOf(failed->result->status()).retry_after.has_value());
  origin_.failure = absl::PermissionDeniedError("not yours");
  EXPECT_EQ(Loaded("user:1")->Value(), "ORIGIN_REFUSED");
  origin_.failure = absl::DataLossError("nonsense");
  EXPECT_EQ(Loaded("user:1")->Value(), "ORIGIN_BAD_ANSWER");
  origin_.failure = absl::OkStatus();
  origin_.values["user:big"] = {std::string((1 << 20) + 1, 'x')};
  EXPECT_EQ(Loaded("user:big")->Value(), "ORIGIN_BAD_ANSWER");
  EXPECT_EQ(Count(Usage::kLoadsFailed), 4u);
}

TEST_F(FlightTest, ALoadEndsAtTheHardTimeOut) {
  FreshnessPolicy freshness;
  freshness.hard_timeout = absl::Seconds(2);
  Begin(freshness);
  origin_.takes = absl::Hours(1);
  const auto caller = Load("user:1");
  executor_.Advance(absl::Seconds(1.9));
  EXPECT_EQ(caller->Value(), "(waits)");
  executor_.Advance(absl::Seconds(0.2));
  EXPECT_EQ(caller->Value(), "ORIGIN_TIMEOUT");
  origin_.takes = absl::ZeroDuration();
  const auto next = Load("user:1");
  executor_.Advance(absl::Milliseconds(10));
  EXPECT_EQ(next->Value(), "one");
}

TEST_F(FlightTest, ServesStaleAtOnceWhileItIsLoadedAgain) {
  Begin(Stale(absl::Seconds(30), absl::ZeroDuration()));
  Loaded("user:1");
  origin_.values["user:1"] = {"two"};
  origin_.takes = absl::Milliseconds(50);
  executor_.Advance(absl::Seconds(101));
  for (int i = 0; i < 10; ++i) {
    const auto stale = Loaded("user:1");
    ASSERT_EQ(stale->Value(), "one");
    EXPECT_TRUE(ReadOf(stale).stale);
  }
  EXPECT_EQ(Get("user:1"), "one");
  EXPECT_FALSE(FindHit("user:1")) << "a stale value is no hit of the lane";
  EXPECT_EQ(origin_.loads, 2);
  executor_.Advance(absl::Milliseconds(50));
  EXPECT_EQ(Get("user:1"), "two");
  EXPECT_EQ(Count(Usage::kStaleHits), 11u);
  EXPECT_EQ(Count(Usage::kRefreshes), 1u);
}

TEST_F(FlightTest, GetStartsTheLoadBehindAStaleValueToo) {
  Begin(Stale(absl::Seconds(30), absl::ZeroDuration()));
  Loaded("user:1");
  origin_.values["user:1"] = {"two"};
  executor_.Advance(absl::Seconds(101));
  EXPECT_EQ(Get("user:1"), "one");
  EXPECT_EQ(Get("user:1"), "two");
}

TEST_F(FlightTest, PastTheStaleWindowCallersWaitForTheLoad) {
  Begin(Stale(absl::Seconds(30), absl::ZeroDuration()));
  Loaded("user:1");
  origin_.values["user:1"] = {"two"};
  executor_.Advance(absl::Seconds(131));
  EXPECT_EQ(Get("user:1"), "(miss)");
  EXPECT_EQ(Loaded("user:1")->Value(), "two");
}

TEST_F(FlightTest, ServesStaleWhenTheLoadFailsAndRestsBeforeTheNextTry) {
  FreshnessPolicy freshness = Stale(absl::ZeroDuration(), absl::Hours(1));
  freshness.error_pause = absl::Seconds(2);
  Begin(freshness);
  Loaded("user:1");
  executor_.Advance(absl::Seconds(101));
  MissReason why;
  EXPECT_EQ(Get("user:1", &why), "(miss)");
  EXPECT_EQ(why, MissReason::kExpired);
  origin_.failure = absl::UnavailableError("down");
  const int loads = origin_.loads;
  for (int i = 0; i < 100; ++i) {
    const auto stale = Loaded("user:1");
    ASSERT_EQ(stale->Value(), "one");
    EXPECT_TRUE(ReadOf(stale).stale);
  }
  EXPECT_EQ(origin_.loads, loads + 1);
  EXPECT_EQ(Count(Usage::kStaleOnError), 100u);
  executor_.Advance(absl::Seconds(3));
  origin_.failure = absl::OkStatus();
  origin_.values["user:1"] = {"two"};
  EXPECT_EQ(Loaded("user:1")->Value(), "two");
  executor_.Advance(absl::Seconds(101) + absl::Hours(1));
  origin_.failure = absl::UnavailableError("down again");
  EXPECT_EQ(Loaded("user:1")->Value(), "ORIGIN_UNAVAILABLE") << "the window is over";
}

TEST_F(FlightTest, OnlyTheErrorsThatTheTypeNamesAreAnsweredWithStaleValues) {
  FreshnessPolicy freshness = Stale(absl::ZeroDuration(), absl::Hours(1));
  freshness.errors = ErrorSet();
  freshness.errors.Add(absl::StatusCode::kDeadlineExceeded);
  Begin(freshness);
  Loaded("user:1");
  executor_.Advance(absl::Seconds(101));
  origin_.failure = absl::UnavailableError("down");
  EXPECT_EQ(Loaded("user:1")->Value(), "ORIGIN_UNAVAILABLE");
  origin_.failure = absl::DeadlineExceededError("slow");
  EXPECT_EQ(Loaded("user:1")->Value(), "one");
}

TEST_F(FlightTest, ASlowLoadIsAnsweredWithTheStaleValueAfterTheSoftTimeOut) {
  FreshnessPolicy freshness = Stale(absl::ZeroDuration(), absl::Hours(1));
  freshness.soft_timeout = absl::Milliseconds(100);
  Begin(freshness);
  Loaded("user:1");
  executor_.Advance(absl::Seconds(101));
  origin_.takes = absl::Seconds(1);
  origin_.values["user:1"] = {"two"};
  const auto caller = Load("user:1");
  const auto in_a_hurry =
      Load("user:1", absl::Seconds(10), absl::InfiniteDuration(), absl::Milliseconds(50));
  executor_.Advance(absl::Milliseconds(46));
  EXPECT_EQ(in_a_hurry->Value(), "one") << "while its answer can still arrive";
  EXPECT_EQ(caller->Value(), "(waits)");
  executor_.Advance(absl::Milliseconds(60));
  ASSERT_EQ(caller->Value(), "one");
  EXPECT_TRUE(ReadOf(caller).stale);
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Get("user:1"), "two");
}

TEST_F(FlightTest, AReadNearTheEndStartsOneLoadBehindIt) {
  FreshnessPolicy freshness;
  freshness.refresh_ahead = 0.8;
  Begin(freshness);
  Loaded("user:1");
  origin_.takes = absl::Milliseconds(50);
  origin_.values["user:1"] = {"two"};
  executor_.Advance(absl::Seconds(70));
  EXPECT_TRUE(FindHit("user:1"));
  executor_.RunReady();
  EXPECT_EQ(origin_.loads, 1);
  executor_.Advance(absl::Seconds(15));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(FindHit("user:1"));
  EXPECT_EQ(Loaded("user:1")->Value(), "one");
  executor_.RunReady();
  EXPECT_EQ(origin_.loads, 2);
  executor_.Advance(absl::Milliseconds(50));
  Entry entry;
  EXPECT_TRUE(FindHit("user:1", &entry));
  EXPECT_EQ(entry.stored(), "two");
  EXPECT_EQ(origin_.loads, 2);
}

TEST_F(FlightTest, WhatWasLoadedTogetherIsNotRefreshedTogether) {
  FreshnessPolicy freshness;
  freshness.refresh_ahead = 0.8;
  Begin(freshness);
  constexpr int kKeys = 100;
  const auto key = [](int i) { return "user:" + std::to_string(i); };
  for (int i = 0; i < kKeys; ++i) origin_.values[key(i)] = {"v"};
  for (int i = 0; i < kKeys; ++i) Loaded(key(i));
  ASSERT_EQ(origin_.keys, kKeys);
  int seconds = 0, most = 0;
  for (int second = 0; second < 85; ++second) {
    executor_.Advance(absl::Seconds(1));
    const int keys = origin_.keys;
    for (int i = 0; i < kKeys; ++i) EXPECT_TRUE(FindHit(key(i)));
    executor_.RunReady();
    seconds += origin_.keys > keys ? 1 : 0;
    most = std::max(most, origin_.keys - keys);
  }
  EXPECT_EQ(origin_.keys, 2 * kKeys) << "each once more";
  EXPECT_GE(seconds, 7);
  EXPECT_LE(most, kKeys / 3);
}

TEST_F(FlightTest, ALoadBehindThatFailsLeavesTheValueAndRests) {
  FreshnessPolicy freshness;
  freshness.refresh_ahead = 0.8;
  Begin(freshness);
  Loaded("user:1");
  executor_.Advance(absl::Seconds(85));
  origin_.failure = absl::UnavailableError("down");
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(FindHit("user:1"));
    executor_.RunReady();
  }
  EXPECT_EQ(origin_.loads, 2);
}

TEST_F(FlightTest, AnUnchangedValueIsNotSentAgain) {
  Begin(Stale(absl::Seconds(30), absl::ZeroDuration()));
  origin_.values["user:1"] = {"one", "etag-1"};
  Loaded("user:1");
  executor_.Advance(absl::Seconds(101));
  EXPECT_EQ(Get("user:1"), "one");
  executor_.RunReady();
  EXPECT_EQ(origin_.asked.back().items[0].validator, "etag-1");
  EXPECT_EQ(Count(Usage::kLoadsUnchanged), 1u);
  Entry entry;
  ASSERT_TRUE(FindHit("user:1", &entry));
  EXPECT_EQ(entry.stored(), "one");
  EXPECT_EQ(entry.validator, "etag-1");
  executor_.Advance(absl::Seconds(101));
  origin_.values["user:1"] = {"two", "etag-2"};
  Get("user:1");
  executor_.RunReady();
  EXPECT_EQ(Get("user:1"), "two");
}

TEST_F(FlightTest, ABatchIsOneCallAndSaysOfEachKeyWhatBecameOfIt) {
  origin_.values["user:2"] = {"two"};
  origin_.item_failures["user:3"] = absl::PermissionDeniedError("no");
  Loaded("user:2");
  const int loads = origin_.loads;
  const std::vector<std::string> keys = {"user:1", "user:2", "user:3", "user:4", "lease:1"};
  BatchLoadRequest request;
  request.keys.assign(keys.begin(), keys.end());
  request.lease_ttl = absl::Seconds(10);
  const auto results = Now(engine_->BatchGetOrLoad(request));
  ASSERT_EQ(results.size(), 5u);
  EXPECT_EQ(results[0]->read.entry->stored(), "one");
  EXPECT_EQ(results[1]->read.from, ReadResult::From::kMemory);
  EXPECT_EQ(DetailsOf(results[2].status()).reason, "ORIGIN_REFUSED");
  EXPECT_EQ(results[3]->read.miss, MissReason::kNegative);
  ASSERT_TRUE(results[4]->lease.has_value());
  EXPECT_EQ(origin_.loads, loads + 1);
  EXPECT_TRUE(engine_->ReleaseLease({"", "lease:1", ""}, results[4]->lease->token));
}

TEST_F(FlightTest, BatchesThatOverlapShareWhatIsUnderWay) {
  origin_.takes = absl::Milliseconds(50);
  std::vector<std::string> keys;
  for (int i = 0; i < 1000; ++i) {
    keys.push_back("user:k" + std::to_string(i));
    origin_.values[keys.back()] = {"v"};
  }
  int answered = 0;
  for (const auto& [from, to] : {std::pair(0, 600), std::pair(400, 1000)}) {
    BatchLoadRequest request;
    request.keys.assign(keys.begin() + from, keys.begin() + to);
    Spawn(engine_->BatchGetOrLoad(request), [&](std::vector<absl::StatusOr<LoadResult>> results) {
      for (const auto& result : results) answered += result.ok() && result->read.entry ? 1 : 0;
    });
  }
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(answered, 1200);
  EXPECT_EQ(origin_.keys, 1000);
  EXPECT_LE(origin_.loads, 12);
  EXPECT_LE(origin_.under_way_most, 16);
}

TEST_F(FlightTest, TwoBatchesWithLeasesDoNotWaitForEachOther) {
  std::vector<std::string> keys = {"lease:a", "lease:b"};
  const auto a = Load("lease:a");
  std::optional<std::vector<absl::StatusOr<LoadResult>>> results;
  BatchLoadRequest request;
  request.keys.assign(keys.begin(), keys.end());
  request.lease_ttl = absl::Seconds(10);
  Spawn(engine_->BatchGetOrLoad(request),
        [&](std::vector<absl::StatusOr<LoadResult>> answers) { results = std::move(answers); });
  executor_.RunReady();
  ASSERT_TRUE(results.has_value());
  EXPECT_EQ((*results)[0]->read.miss, MissReason::kLoading);
  ASSERT_TRUE((*results)[1]->lease.has_value());
  EXPECT_TRUE(engine_->ReleaseLease({"", "lease:b", ""}, (*results)[1]->lease->token));
  EXPECT_TRUE(engine_->ReleaseLease({"", "lease:a", ""}, a->Token()));
}

TEST_F(FlightTest, DrainingEndsTheWaits) {
  origin_.takes = absl::Milliseconds(50);
  const auto caller = Load("user:1");
  executor_.RunReady();
  engine_->Drain();
  executor_.RunReady();
  EXPECT_EQ(caller->Value(), "DRAINING");
  executor_.Advance(absl::Milliseconds(50));
  EXPECT_EQ(Get("user:1"), "one");
}

TEST_F(FlightTest, WhatIsStaleIsNotTouchedAndNotCountedOn) {
  Begin(Stale(absl::ZeroDuration(), absl::Hours(1)));
  Set("user:n", "5");
  executor_.Advance(absl::Seconds(101));
  TouchRequest touch;
  touch.key = {"", "user:n", ""};
  const absl::StatusOr<TouchResult> touched = Now(engine_->Touch(touch));
  EXPECT_FALSE(touched->found);
  EXPECT_EQ(touched->miss, MissReason::kExpired);
  IncrementRequest increment;
  increment.key = touch.key;
  increment.delta = 1;
  const absl::StatusOr<IncrementResult> counted = Now(engine_->Increment(increment));
  EXPECT_EQ(counted->value, 1);
  EXPECT_TRUE(counted->created);
  EXPECT_EQ(Get("user:n"), "1");
}

// A type without an origin, whose waiters get the stale value while somebody loads.
TEST_F(FlightTest, LeasesLetTheOthersHaveTheStaleValue) {
  TypePolicy type = Type("page", "page:*", absl::Seconds(100));
  type.freshness = Stale(absl::Seconds(30), absl::Hours(1));
  std::vector<TypePolicy> types;
  types.push_back(std::move(type));
  Make({}, std::move(types));
  Set("page:1", "old");
  executor_.Advance(absl::Seconds(101));
  const auto holder = Load("page:1");
  ASSERT_TRUE(holder->HasLease());
  const auto other = Load("page:1");
  ASSERT_EQ(other->Value(), "old");
  EXPECT_TRUE(ReadOf(other).stale);
  EXPECT_EQ(Get("page:1"), "old");
  EXPECT_TRUE(Set("page:1", "new", {}, {}, holder->Token()).stored);
  EXPECT_EQ(Load("page:1")->Value(), "new");
  // Past the first window one waits, and gets the stale value when its time is over.
  executor_.Advance(absl::Seconds(131));
  const auto next = Load("page:1");
  ASSERT_TRUE(next->HasLease());
  const auto patient = Load("page:1", absl::Seconds(10), absl::Seconds(1));
  EXPECT_EQ(patient->Value(), "(waits)");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(patient->Value(), "new");
  EXPECT_TRUE(engine_->ReleaseLease({"", "page:1", ""}, next->Token()));
}

}  // namespace
}  // namespace larder
