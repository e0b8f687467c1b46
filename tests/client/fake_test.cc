// What only the fake does, and GetOrLoad where it needs a cache that fails on demand. What both do
// is in conformance_*.

#include "larder/fake.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

Loaded Value(std::string value) {
  Loaded loaded;
  loaded.value = std::move(value);
  return loaded;
}

TEST(Fake, TimeStandsStillUntilItIsMoved) {
  const auto fake = NewFakeClient();
  SetOptions options;
  options.ttl = absl::Seconds(10);
  ASSERT_TRUE(fake->Set("k", "v", options).ok());
  fake->Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  const absl::StatusOr<GetResult> found = fake->Get("k");
  ASSERT_TRUE(found->hit());
  EXPECT_EQ(found->entry->remaining_ttl, absl::Nanoseconds(1));
  EXPECT_EQ(found->entry->age, absl::Seconds(10) - absl::Nanoseconds(1));
  fake->Advance(absl::Nanoseconds(1));
  EXPECT_FALSE(fake->Get("k")->hit());
}

TEST(Fake, TakesItsTimeFromTheTestsClock) {
  absl::Time now = absl::FromUnixSeconds(1);
  FakeOptions options;
  options.now = [&now] { return now; };
  const auto fake = NewFakeClient(options);
  ASSERT_TRUE(fake->Set("k", "v").ok());
  ASSERT_TRUE(fake->GetOrLease("other")->lease.has_value());
  bool answered = false;
  fake->GetOrLeaseAsync("other", {}, [&](const absl::StatusOr<LeaseResult>& result) {
    answered = true;
    EXPECT_EQ(result->miss.reason, MissReason::kLoading);
  });
  EXPECT_FALSE(answered);
  now += absl::Hours(1);
  fake->Tick();
  EXPECT_TRUE(answered);
  EXPECT_FALSE(fake->Get("k")->hit());
}

TEST(Fake, TypesHaveTheirOwnTtls) {
  FakeOptions options;
  FakeType otp;
  otp.name = "otp";
  otp.ttl = absl::Seconds(30);
  otp.ttl_absent = absl::Seconds(3);
  otp.ttl_max = absl::Minutes(1);
  options.types = {otp};
  const auto fake = NewFakeClient(options);
  SetOptions set;
  set.type = "otp";
  EXPECT_EQ(fake->Set("k", "v", set)->ttl, absl::Seconds(30));
  EXPECT_EQ(fake->SetAbsent("k", set)->ttl, absl::Seconds(3));
  set.ttl = absl::Hours(1);
  EXPECT_EQ(fake->Set("k", "v", set)->ttl, absl::Minutes(1));
}

TEST(Fake, FailsEveryCallWhenToldTo) {
  const auto fake = NewFakeClient();
  fake->FailCalls(absl::UnavailableError("down"));
  EXPECT_EQ(fake->Get("k").status(), absl::UnavailableError("down"));
  EXPECT_EQ(fake->Set("k", "v").status(), absl::UnavailableError("down"));
  EXPECT_EQ(fake->GetOrLease("k").status(), absl::UnavailableError("down"));
  fake->FailCalls(absl::OkStatus());
  EXPECT_TRUE(fake->Get("k").ok());
  EXPECT_EQ(fake->Calls(), 4u);
}

TEST(Fake, CallbacksRunBeforeTheCallReturns) {
  const auto fake = NewFakeClient();
  bool called = false;
  fake->SetAsync("k", "v", {}, [&](const absl::StatusOr<SetResult>& result) {
    called = true;
    EXPECT_TRUE(result->stored);
  });
  EXPECT_TRUE(called);
}

TEST(Fake, WaitersAreServedInTheOrderInWhichTheyCame) {
  const auto fake = NewFakeClient();
  Lease lease = *fake->GetOrLease("k")->lease;
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) {
    fake->GetOrLeaseAsync("k", {}, [&, i](const absl::StatusOr<LeaseResult>& result) {
      order.push_back(i);
      lease = *result->lease;
    });
  }
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(fake->ReleaseLease("k", lease.token)->released);
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(Fake, RequestIdIsForgottenAfterTenMinutes) {
  const auto fake = NewFakeClient();
  IncrementOptions options;
  options.request_id = "id";
  options.ttl = absl::Hours(1);
  EXPECT_EQ(fake->Increment("n", 1, options)->value, 1);
  fake->Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_EQ(fake->Increment("n", 1, options)->value, 1);
  fake->Advance(absl::Nanoseconds(1));
  EXPECT_EQ(fake->Increment("n", 1, options)->value, 2);
}

TEST(Fake, DestructionEndsWaitsWithCancelled) {
  auto fake = NewFakeClient();
  ASSERT_TRUE(fake->GetOrLease("k")->lease.has_value());
  absl::Status status;
  fake->GetOrLeaseAsync(
      "k", {}, [&](const absl::StatusOr<LeaseResult>& result) { status = result.status(); });
  fake.reset();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST(Fake, BlockingCallInACallbackIsRefusedAsByARealClient) {
  const auto fake = NewFakeClient();
  absl::Status status;
  fake->GetAsync("k", {},
                 [&](const absl::StatusOr<GetResult>&) { status = fake->Get("k").status(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
}

// A fake with one type `user`, loaded from `origin`.
std::unique_ptr<FakeClient> WithOrigin(
    std::function<absl::StatusOr<Loaded>(const LoadCall&)> origin) {
  FakeOptions options;
  FakeType user;
  user.name = "user";
  user.origin = std::move(origin);
  options.types = {user};
  return NewFakeClient(options);
}

LoadOptions Users() {
  LoadOptions options;
  options.type = "user";
  return options;
}

TEST(FakeOrigin, IsAskedOnceForAllWhoWait) {
  std::mutex mu;
  std::condition_variable changed;
  bool go = false;
  std::atomic<int> loads = 0;
  const auto fake = WithOrigin([&](const LoadCall& call) -> absl::StatusOr<Loaded> {
    ++loads;
    std::unique_lock lock(mu);
    changed.wait(lock, [&] { return go; });
    return Value("value of " + call.key);
  });
  std::atomic<int> right = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      const absl::StatusOr<LeaseResult> result = fake->GetOrLease("k", Users());
      right += result.ok() && result->hit() && result->entry->value == "value of k" &&
               result->entry->tier == Tier::kOrigin;
    });
  }
  while (fake->Stats()->flights.waiting < 8) std::this_thread::yield();
  EXPECT_EQ(fake->Stats()->flights.under_way, 1u);
  {
    std::lock_guard lock(mu);
    go = true;
    changed.notify_all();
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(loads, 1);
  EXPECT_EQ(right, 8);
}

TEST(FakeOrigin, ErrorsReachTheCallerAsAServersWould) {
  absl::Status error;
  const auto fake = WithOrigin([&](const LoadCall&) { return absl::StatusOr<Loaded>(error); });
  const std::pair<absl::StatusCode, std::string> expected[] = {
      {absl::StatusCode::kUnavailable, "ORIGIN_UNAVAILABLE"},
      {absl::StatusCode::kDeadlineExceeded, "ORIGIN_TIMEOUT"},
      {absl::StatusCode::kDataLoss, "ORIGIN_REFUSED"}};
  for (const auto& [code, reason] : expected) {
    error = absl::Status(code, "gone");
    EXPECT_EQ(ErrorReason(fake->GetOrLease("k", Users()).status()), reason);
  }
}

// 1: the origin is read.  2: the key changes.  3: what was read is older than the change.
TEST(FakeOrigin, ValueThatWasReadBeforeAChangeIsNotKept) {
  FakeClient* client = nullptr;
  const auto fake = WithOrigin([&](const LoadCall& call) -> absl::StatusOr<Loaded> {
    client->DeleteAsync(call.key, {}, [](const absl::StatusOr<DeleteResult>&) {});
    return Value("old");
  });
  client = fake.get();
  EXPECT_EQ(fake->GetOrLease("k", Users())->entry->value, "old");
  EXPECT_EQ(fake->Get("k")->miss.reason, MissReason::kInvalidated);
  EXPECT_EQ(fake->Stats()->flights.under_way, 0u);
}

TEST(FakeOrigin, SetDuringALoadAnswersWhoWaits) {
  FakeClient* client = nullptr;
  const auto fake = WithOrigin([&](const LoadCall& call) -> absl::StatusOr<Loaded> {
    client->SetAsync(call.key, "new", {}, [](const absl::StatusOr<SetResult>&) {});
    return Value("old");
  });
  client = fake.get();
  EXPECT_EQ(fake->GetOrLease("k", Users())->entry->value, "new");
  EXPECT_EQ(fake->Get("k")->entry->value, "new");
}

TEST(FakeOrigin, KeepsTtlAndTagsAndLoadsAgainAfterThem) {
  int loads = 0;
  const auto fake = WithOrigin([&](const LoadCall&) -> absl::StatusOr<Loaded> {
    Loaded loaded = Value(absl::StrCat("v", ++loads));
    loaded.ttl = absl::Seconds(7);
    loaded.tags = {"t"};
    return loaded;
  });
  const absl::StatusOr<LeaseResult> first = fake->GetOrLease("k", Users());
  EXPECT_EQ(first->entry->remaining_ttl, absl::Seconds(7));
  EXPECT_EQ(first->entry->tags, std::vector<std::string>{"t"});
  fake->Advance(absl::Seconds(7));
  EXPECT_EQ(fake->GetOrLease("k", Users())->entry->value, "v2");
  EXPECT_EQ(fake->Stats()->total.loads, 2u);
  EXPECT_EQ(fake->Stats()->leases.granted, 0u);
  EXPECT_EQ(fake->ServerInfo()->types.at(1).origin, "fake");
}

TEST(FakeOrigin, WarmFailsAsEveryCallDoes) {
  const auto fake = WithOrigin([](const LoadCall&) { return Value("v"); });
  fake->FailCalls(absl::UnavailableError("down"));
  WarmOptions options;
  options.type = "user";
  EXPECT_EQ(fake->Warm(options).status(), absl::UnavailableError("down"));
}

TEST(GetOrLoad, LoaderRunsWithoutTheCacheOnlyWhenTheCacheDoesNotWork) {
  const auto fake = NewFakeClient();
  for (const auto code : {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
                          absl::StatusCode::kResourceExhausted, absl::StatusCode::kInternal,
                          absl::StatusCode::kDataLoss, absl::StatusCode::kAborted}) {
    fake->FailCalls(absl::Status(code, "down"));
    const absl::StatusOr<LoadResult> result =
        fake->GetOrLoad("k", [](const LoadCall&) { return Value("v"); });
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->entry->value, "v");
    EXPECT_FALSE(result->stored);
    EXPECT_EQ(result->cache_status, absl::Status(code, "down"));
  }
  for (const auto code : {absl::StatusCode::kInvalidArgument, absl::StatusCode::kFailedPrecondition,
                          absl::StatusCode::kPermissionDenied, absl::StatusCode::kUnauthenticated,
                          absl::StatusCode::kCancelled}) {
    fake->FailCalls(absl::Status(code, "no"));
    const absl::StatusOr<LoadResult> result =
        fake->GetOrLoad("k", [](const LoadCall&) -> absl::StatusOr<Loaded> {
          ADD_FAILURE() << "ran";
          return Value("v");
        });
    EXPECT_EQ(result.status(), absl::Status(code, "no"));
  }
}

TEST(GetOrLoad, FailsClosedWhenToldTo) {
  const auto fake = NewFakeClient();
  fake->FailCalls(absl::UnavailableError("down"));
  LoadOptions options;
  options.fail_open = false;
  const auto loader = [](const LoadCall&) -> absl::StatusOr<Loaded> {
    ADD_FAILURE() << "ran";
    return Value("v");
  };
  EXPECT_EQ(fake->GetOrLoad("k", loader, options).status(), absl::UnavailableError("down"));
}

TEST(GetOrLoad, CacheThatFailsDuringTheLoadCostsOnlyTheStore) {
  const auto fake = NewFakeClient();
  const absl::StatusOr<LoadResult> result = fake->GetOrLoad("k", [&](const LoadCall&) {
    fake->FailCalls(absl::UnavailableError("down"));
    return Value("v");
  });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->entry->value, "v");
  EXPECT_FALSE(result->stored);
  EXPECT_EQ(result->cache_status, absl::UnavailableError("down"));
}

TEST(GetOrLoad, LoadThatTakesLongerThanItsLeaseIsFlagged) {
  const auto fake = NewFakeClient();
  LoadOptions options;
  options.lease_ttl = absl::Seconds(1);
  const absl::StatusOr<LoadResult> result = fake->GetOrLoad(
      "k",
      [&](const LoadCall& call) {
        EXPECT_EQ(call.lease_ttl, absl::Seconds(1));
        fake->Advance(absl::Seconds(1));
        return Value("late");
      },
      options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->entry->value, "late");
  EXPECT_EQ(result->not_stored, NotStoredReason::kLeaseLost);
  EXPECT_FALSE(fake->Get("k")->hit());
}

TEST(GetOrLoad, LoaderThatThrowsGivesTheLeaseBack) {
  const auto fake = NewFakeClient();
  const auto throwing = [](const LoadCall&) -> absl::StatusOr<Loaded> {
    throw std::runtime_error("database");
  };
  EXPECT_THROW(fake->GetOrLoad("k", throwing).IgnoreError(), std::runtime_error);
  EXPECT_FALSE(fake->Explain("k")->lease_held);
}

TEST(GetOrLoad, LoadedValueKeepsTtlTagsAndType) {
  FakeOptions fake_options;
  FakeType user;
  user.name = "user";
  fake_options.types = {user};
  const auto fake = NewFakeClient(fake_options);
  LoadOptions options;
  options.type = "user";
  const absl::StatusOr<LoadResult> result = fake->GetOrLoad(
      "k",
      [](const LoadCall&) {
        Loaded loaded = Value("v");
        loaded.ttl = absl::Seconds(7);
        loaded.tags = {"t"};
        loaded.depends_on = {"d"};
        return loaded;
      },
      options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->entry->remaining_ttl, absl::Seconds(7));
  EXPECT_EQ(result->entry->tier, Tier::kOrigin);
  EXPECT_EQ(result->entry->tags, std::vector<std::string>{"t"});
  EXPECT_GT(result->entry->version, 0u);
  EXPECT_EQ(fake->Explain("k")->copies[0].depends_on, std::vector<std::string>{"d"});
}

TEST(GetOrLoad, AsyncLoaderThatDropsItsCallbackFailsTheLoad) {
  const auto fake = NewFakeClient();
  absl::Status status;
  fake->GetOrLoadAsync(
      "k", [](const LoadCall&, LoadDone) {}, {},
      [&](const absl::StatusOr<LoadResult>& result) { status = result.status(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(fake->Explain("k")->lease_held);
}

TEST(GetOrLoad, AsyncLoaderErrorGivesTheLeaseBack) {
  const auto fake = NewFakeClient();
  absl::Status status;
  fake->GetOrLoadAsync(
      "k", [](const LoadCall&, LoadDone done) { done(absl::DataLossError("disk")); }, {},
      [&](const absl::StatusOr<LoadResult>& result) { status = result.status(); });
  EXPECT_EQ(status, absl::DataLossError("disk"));
  EXPECT_FALSE(fake->Explain("k")->lease_held);
}

TEST(GetOrLoad, AsyncFailsOpen) {
  const auto fake = NewFakeClient();
  fake->FailCalls(absl::UnavailableError("down"));
  absl::StatusOr<LoadResult> result;
  fake->GetOrLoadAsync(
      "k", [](const LoadCall&, LoadDone done) { done(Value("v")); }, {},
      [&](absl::StatusOr<LoadResult> answer) { result = std::move(answer); });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->entry->value, "v");
  EXPECT_EQ(result->cache_status, absl::UnavailableError("down"));
}

TEST(GetOrLoad, DestructionRacesWithALoaderThatEnds) {
  for (int round = 0; round < 200; ++round) {
    auto fake = NewFakeClient();
    LoadDone held;
    std::atomic<int> answers = 0;
    fake->GetOrLoadAsync(
        "k", [&](const LoadCall&, LoadDone done) { held = std::move(done); }, {},
        [&](const absl::StatusOr<LoadResult>&) { ++answers; });
    std::thread loader([&] { held(Value("v")); });
    fake.reset();
    EXPECT_EQ(answers, 1);
    loader.join();
    EXPECT_EQ(answers, 1);
  }
}

}  // namespace
}  // namespace larder
