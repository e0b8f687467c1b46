// The real client against servers that misbehave: repeats, deadlines, failover, error details,
// destruction.

#include <gtest/gtest.h>

#include <optional>

#include "absl/time/clock.h"
#include "larder/client.h"
#include "tests/client/conformance.h"
#include "tests/client/scripted_server.h"

namespace larder::testing {
namespace {

ClientOptions Fast(const std::string& target) {
  ClientOptions options(target, absl::Seconds(10));
  options.retry.backoff_first = absl::Milliseconds(1);
  options.retry.backoff_max = absl::Milliseconds(2);
  return options;
}

std::unique_ptr<Client> MustConnect(const ClientOptions& options) {
  absl::StatusOr<std::unique_ptr<Client>> client = Connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return client.ok() ? *std::move(client) : nullptr;
}

// A free port on which nobody listens.
std::string DeadAddress() { return ScriptedServer().address(); }

const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "scripted");

TEST(GrpcClient, RepeatsAReadUntilItSucceeds) {
  ScriptedServer server;
  server.Next({kUnavailable, kUnavailable, kUnavailable});
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_EQ(ValueOf(client->Get("k")), "v");
  EXPECT_EQ(server.calls(), 4u);
}

TEST(GrpcClient, GivesUpAfterTheAllowedAttempts) {
  ScriptedServer server;
  server.Always(Refusal(grpc::StatusCode::UNAVAILABLE, "DRAINING"));
  ClientOptions options = Fast(server.address());
  options.retry.attempts_max = 3;
  const auto client = MustConnect(options);
  const absl::Status status = client->Get("k").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(status), "DRAINING");
  EXPECT_EQ(server.calls(), 3u);
}

// The repeat may have asked another replica, which knows nothing of the first.
TEST(GrpcClient, AnAttemptOfUnknownEndOutweighsWhatItsRepeatsSayOfThemselves) {
  ScriptedServer server;
  ClientOptions options = Fast(server.address());
  options.retry.attempts_max = 3;
  const auto client = MustConnect(options);
  server.Next({Refusal(grpc::StatusCode::UNAVAILABLE, "WRITE_UNKNOWN")});
  server.Always(Refusal(grpc::StatusCode::UNAVAILABLE, "JOURNAL_UNAVAILABLE"));
  EXPECT_EQ(ErrorReason(client->Set("k", "v").status()), "WRITE_UNKNOWN");
  EXPECT_EQ(server.calls(), 3u);
  EXPECT_EQ(ErrorReason(client->Set("k", "v").status()), "JOURNAL_UNAVAILABLE");
  server.Always(grpc::Status::OK);
  server.Next({Refusal(grpc::StatusCode::UNAVAILABLE, "WRITE_UNKNOWN")});
  EXPECT_TRUE(client->Set("k", "v").ok());
}

TEST(GrpcClient, RepeatsAWriteWithTheSameRequestId) {
  ScriptedServer server;
  server.Next({kUnavailable});
  const auto client = MustConnect(Fast(server.address()));
  ASSERT_TRUE(client->Set("k", "v").ok());
  ASSERT_EQ(server.calls(), 2u);
  v1::SetRequest first, second;
  ASSERT_TRUE(first.ParseFromString(server.call(0)) && second.ParseFromString(server.call(1)));
  EXPECT_NE(first.request_id(), "");
  EXPECT_LE(first.request_id().size(), 64u);
  EXPECT_EQ(first.request_id(), second.request_id());

  ASSERT_TRUE(client->Set("k", "v").ok());
  v1::SetRequest third;
  ASSERT_TRUE(third.ParseFromString(server.call(2)));
  EXPECT_NE(third.request_id(), first.request_id());
}

TEST(GrpcClient, NeverRepeatsAWriteWithoutARequestId) {
  ScriptedServer server;
  server.Always(kUnavailable);
  ClientOptions options = Fast(server.address());
  options.request_ids = false;
  const auto client = MustConnect(options);
  EXPECT_EQ(client->Set("k", "v").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 1u);
  EXPECT_EQ(client->Touch("k").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 2u);
  SetOptions with_id;
  with_id.request_id = "mine";
  EXPECT_EQ(client->Set("k", "v", with_id).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.calls(), 6u);
}

TEST(GrpcClient, RepeatsAnInvalidation) {
  ScriptedServer server;
  server.Next({kUnavailable});
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_TRUE(client->Invalidate({"k"}).ok());
  EXPECT_EQ(server.calls(), 2u);
}

TEST(GrpcClient, NeverRepeatsWhatIsNotTransient) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  size_t calls = 0;
  for (const auto code :
       {grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::RESOURCE_EXHAUSTED,
        grpc::StatusCode::ABORTED, grpc::StatusCode::INTERNAL, grpc::StatusCode::DATA_LOSS,
        grpc::StatusCode::DEADLINE_EXCEEDED, grpc::StatusCode::PERMISSION_DENIED}) {
    server.Next({grpc::Status(code, "scripted")});
    EXPECT_EQ(static_cast<int>(client->Get("k").status().code()), static_cast<int>(code));
    EXPECT_EQ(server.calls(), ++calls);
  }
}

TEST(GrpcClient, WaitsAsLongAsTheServerAsks) {
  ScriptedServer server;
  server.Next({Refusal(grpc::StatusCode::RESOURCE_EXHAUSTED, "OVERLOADED", 0.05)});
  const auto client = MustConnect(Fast(server.address()));
  const absl::Time start = absl::Now();
  EXPECT_EQ(ValueOf(client->Get("k")), "v");
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(50));
  EXPECT_EQ(server.calls(), 2u);
}

TEST(GrpcClient, ReturnsTheErrorWhenTheWaitWouldOutliveTheDeadline) {
  ScriptedServer server;
  server.Always(Refusal(grpc::StatusCode::RESOURCE_EXHAUSTED, "OVERLOADED", 0.9));
  const auto client = MustConnect(Fast(server.address()));
  GetOptions options;
  options.call.deadline = absl::Milliseconds(500);
  const absl::Status status = client->Get("k", options).status();
  EXPECT_EQ(ErrorReason(status), "OVERLOADED");
  EXPECT_EQ(RetryAfter(status), absl::Milliseconds(900));
  EXPECT_EQ(server.calls(), 1u);
}

TEST(GrpcClient, BudgetBoundsTheRepeatsOfAllCalls) {
  ScriptedServer server;
  server.Always(kUnavailable);
  ClientOptions options = Fast(server.address());
  options.retry.budget_max = 2;
  options.retry.budget_ratio = 0;
  const auto client = MustConnect(options);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(client->Get("k").ok());
  EXPECT_EQ(server.calls(), 7u);
}

TEST(GrpcClient, DeadlineEndsACallThatIsNotAnswered) {
  ScriptedServer server;
  server.Hang();
  const auto client = MustConnect(Fast(server.address()));
  GetOptions options;
  options.call.deadline = absl::Milliseconds(50);
  const absl::Time start = absl::Now();
  EXPECT_EQ(client->Get("k", options).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST(GrpcClient, NobodyListeningIsUnavailableWithinTheDeadline) {
  const auto client = MustConnect(Fast(DeadAddress()));
  EXPECT_EQ(client->Get("k").status().code(), absl::StatusCode::kUnavailable);
}

TEST(GrpcClient, MovesToTheNextTargetAndStaysThere) {
  ScriptedServer second;
  const auto client = MustConnect(Fast(DeadAddress() + ", " + second.address()));
  EXPECT_EQ(ValueOf(client->Get("k")), "v");
  EXPECT_EQ(ValueOf(client->Get("k")), "v");
  EXPECT_EQ(second.calls(), 2u);
}

TEST(GrpcClient, UsesOneTargetAtATime) {
  ScriptedServer first, second;
  const auto client = MustConnect(Fast(first.address() + "," + second.address()));
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(client->Get("k").ok());
  EXPECT_EQ(first.calls(), 10u);
  EXPECT_EQ(second.calls(), 0u);
}

TEST(GrpcClient, AnswersThatBreakTheApiAreInternalErrors) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_EQ(client->BatchGet({"a", "b"}).status().code(), absl::StatusCode::kInternal);
  server.AnswerNothing();
  EXPECT_EQ(client->Get("k").status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(client->Set("k", "v").status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(client->GetOrLease("k").status().code(), absl::StatusCode::kInternal);
}

TEST(GrpcClient, GarbageInTheDetailsIsNoHarm) {
  ScriptedServer server;
  server.Always(grpc::Status(grpc::StatusCode::ABORTED, "scripted", "\xFF\xFFgarbage"));
  const auto client = MustConnect(Fast(server.address()));
  const absl::Status status = client->Get("k").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ErrorReason(status), "");
  EXPECT_TRUE(FieldViolations(status).empty());
  EXPECT_EQ(RetryAfter(status), std::nullopt);
}

TEST(GrpcClient, SendsNamespaceTypeAndUserAgent) {
  ScriptedServer server;
  ClientOptions options = Fast(server.address());
  options.ns = "shop";
  options.user_agent = "checkout/1.2";
  const auto client = MustConnect(options);
  GetOptions get;
  get.type = "user";
  ASSERT_TRUE(client->Get("k", get).ok());
  v1::GetRequest request;
  ASSERT_TRUE(request.ParseFromString(server.call(0)));
  EXPECT_EQ(request.namespace_(), "shop");
  EXPECT_EQ(request.type(), "user");
  EXPECT_EQ(server.user_agent().rfind("checkout/1.2", 0), 0u) << server.user_agent();
}

TEST(GrpcClient, AsksTheServerToAnswerBeforeItsOwnDeadline) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  LoadOptions options;
  options.call.deadline = absl::Seconds(1);
  ASSERT_TRUE(client->GetOrLease("k", options).ok());
  v1::GetOrLoadRequest request;
  ASSERT_TRUE(request.ParseFromString(server.call(0)));
  EXPECT_EQ(request.wait().seconds(), 0);
  EXPECT_LE(request.wait().nanos(), 900'000'000);
  EXPECT_GT(request.wait().nanos(), 500'000'000);
}

TEST(GrpcClient, WaitsForTheFleetAsAskedAndNoLongerThanItsOwnDeadline) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  const auto wait_of = [&](bool fleet, std::optional<absl::Duration> wait,
                           absl::Duration deadline) {
    InvalidateOptions options;
    options.fleet = fleet;
    options.wait = wait;
    options.call.deadline = deadline;
    EXPECT_TRUE(client->Invalidate({"k"}, options).ok());
    v1::InvalidateRequest request;
    EXPECT_TRUE(request.ParseFromString(server.call(server.calls() - 1)));
    EXPECT_EQ(request.wait() == v1::INVALIDATE_WAIT_FLEET, fleet);
    if (!request.has_wait_timeout()) return absl::InfiniteDuration();
    return absl::Seconds(request.wait_timeout().seconds()) +
           absl::Nanoseconds(request.wait_timeout().nanos());
  };
  EXPECT_EQ(wait_of(false, std::nullopt, absl::Seconds(1)), absl::InfiniteDuration());
  EXPECT_EQ(wait_of(true, std::nullopt, absl::Minutes(1)), absl::InfiniteDuration());
  EXPECT_EQ(wait_of(true, absl::Seconds(10), absl::Minutes(1)), absl::Seconds(10));
  for (const std::optional<absl::Duration> wait :
       {std::optional<absl::Duration>(), {absl::Seconds(10)}}) {
    const absl::Duration asked = wait_of(true, wait, absl::Seconds(1));
    EXPECT_LE(asked, absl::Milliseconds(900));
    EXPECT_GT(asked, absl::Milliseconds(500));
  }
}

TEST(GrpcClient, TellsOfTiersThatAreUnwellAndOfTheFleet) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_FALSE(client->Stats()->fleet.has_value());
  v1::StatsResponse answer;
  v1::TierStats* const tier = answer.add_tiers();
  tier->set_tier(v1::TIER_L2);
  tier->set_kind("redis");
  tier->set_state("circuit breaker open");
  tier->set_errors(9);
  tier->set_timeouts(1);
  tier->set_retries(2);
  tier->set_rejected(3);
  tier->set_damaged(4);
  tier->set_outdated(5);
  tier->set_skipped(6);
  tier->set_evictions(7);
  tier->set_memory_bytes(8);
  tier->set_owed(10);
  tier->set_owed_total(11);
  tier->set_settled(12);
  tier->set_full(13);
  tier->set_owed_forgotten(14);
  tier->set_owed_again(15);
  tier->set_outdated_reads(16);
  tier->set_dropped_damaged(17);
  tier->set_dropped_power_loss(18);
  v1::FleetStats* const fleet = answer.mutable_fleet();
  fleet->set_state("following");
  fleet->set_replicas(2);
  fleet->mutable_lag()->set_nanos(3'000'000);
  fleet->set_suspect(true);
  fleet->set_leases_without(4);
  fleet->set_received_again(5);
  fleet->set_bad_messages(6);
  fleet->set_append_errors(7);
  fleet->set_read_errors(8);
  fleet->set_node_id_shared(9);
  fleet->set_waits_short(10);
  server.SetStats(answer);
  const absl::StatusOr<StatsResult> stats = client->Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_EQ(stats->tiers.size(), 1u);
  const TierStats& got = stats->tiers[0];
  EXPECT_EQ(got.tier, Tier::kL2);
  EXPECT_EQ(got.kind + ", " + got.state, "redis, circuit breaker open");
  EXPECT_EQ((std::vector<uint64_t>{got.timeouts, got.retries, got.rejected, got.damaged,
                                   got.outdated, got.skipped, got.evictions, got.memory_bytes,
                                   got.errors, got.owed, got.owed_total, got.settled, got.full,
                                   got.owed_forgotten, got.owed_again, got.outdated_reads,
                                   got.dropped_damaged, got.dropped_power_loss}),
            (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}));
  ASSERT_TRUE(stats->fleet.has_value());
  EXPECT_EQ(stats->fleet->state, "following");
  EXPECT_EQ(stats->fleet->replicas, 2u);
  EXPECT_EQ(stats->fleet->lag, absl::Milliseconds(3));
  EXPECT_TRUE(stats->fleet->suspect);
  const FleetStats& others = *stats->fleet;
  EXPECT_EQ((std::vector<uint64_t>{others.leases_without, others.received_again,
                                   others.bad_messages, others.append_errors, others.read_errors,
                                   others.node_id_shared, others.waits_short}),
            (std::vector<uint64_t>{4, 5, 6, 7, 8, 9, 10}));
}

TEST(GrpcClient, TellsHowMemoryWasWarmed) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_FALSE(client->Stats()->warm.has_value());
  v1::StatsResponse answer;
  v1::WarmStats* const warm = answer.mutable_warm();
  warm->set_state("done");
  warm->set_total(1);
  warm->set_loaded(2);
  warm->set_present(3);
  warm->set_missing(4);
  warm->set_outdated(5);
  warm->set_again(6);
  warm->set_bad_files(7);
  warm->mutable_took()->set_seconds(8);
  warm->set_saves(9);
  warm->set_saves_failed(10);
  warm->set_saved_keys(11);
  server.SetStats(answer);
  const absl::StatusOr<StatsResult> stats = client->Stats();
  ASSERT_TRUE(stats.ok() && stats->warm.has_value()) << stats.status();
  const WarmStats& got = *stats->warm;
  EXPECT_EQ(got.state, "done");
  EXPECT_EQ(got.took, absl::Seconds(8));
  EXPECT_EQ((std::vector<uint64_t>{got.total, got.loaded, got.present, got.missing, got.outdated,
                                   got.again, got.bad_files, got.saves, got.saves_failed,
                                   got.saved_keys}),
            (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 9, 10, 11}));
}

TEST(GrpcClient, ValueLargerThanTheMessageLimitIsAnError) {
  ScriptedServer server;
  ClientOptions options = Fast(server.address());
  options.message_bytes_max = 64 << 10;
  const auto client = MustConnect(options);
  EXPECT_EQ(client->Set("k", std::string(65 << 10, 'x')).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server.calls(), 0u);
}

TEST(GrpcClient, DestructionCancelsCallsAndWaitsForTheirCallbacks) {
  ScriptedServer server;
  server.Hang();
  auto client = MustConnect(Fast(server.address()));
  std::vector<Answer<GetResult>> answers(10);
  for (auto& answer : answers) client->GetAsync("k", {}, answer.Done());
  server.WaitForCalls(10);
  client.reset();
  for (auto& answer : answers) {
    ASSERT_TRUE(answer.Here());
    EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  }
}

TEST(GrpcClient, DestructionEndsACallThatWaitsForItsRepeat) {
  ScriptedServer server;
  server.Always(Refusal(grpc::StatusCode::UNAVAILABLE, "DRAINING", 0.9));
  auto client = MustConnect(Fast(server.address()));
  Answer<GetResult> answer;
  client->GetAsync("k", {}, answer.Done());
  server.WaitForCalls(1);
  const absl::Time start = absl::Now();
  client.reset();
  ASSERT_TRUE(answer.Here());
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(absl::Now() - start, absl::Milliseconds(800));
}

TEST(GrpcClient, DestructionWhileCallsBeginAndEnd) {
  ScriptedServer server;
  for (int round = 0; round < 20; ++round) {
    auto client = MustConnect(Fast(server.address()));
    std::vector<Answer<GetResult>> answers(20);
    for (auto& answer : answers) client->GetAsync("k", {}, answer.Done());
    client.reset();
    for (auto& answer : answers) EXPECT_TRUE(answer.Here());
  }
}

// Once the last channel died on gRPC's own thread, in the moment after the answer, and the process
// aborted. No other server or client may live in this process meanwhile, or the channel is not the
// last one.
TEST(GrpcClient, DestructionRightAfterAnAnswerLeavesNothingToGrpcsThreads) {
  ClientOptions options = Fast(DeadAddress());
  options.retry.attempts_max = 1;
  for (int round = 0; round < 500; ++round) {
    const auto client = MustConnect(options);
    EXPECT_EQ(client->Get("k").status().code(), absl::StatusCode::kUnavailable);
  }
}

TEST(GrpcClient, DestructionEndsALoadWhoseLoaderStillRuns) {
  ScriptedServer server;
  auto client = MustConnect(Fast(server.address()));
  Answer<LoadResult> answer;
  std::mutex mu;
  std::condition_variable changed;
  LoadDone held;
  client->GetOrLoadAsync(
      "k",
      [&](const LoadCall&, LoadDone done) {
        std::lock_guard lock(mu);
        held = std::move(done);
        changed.notify_all();
      },
      {}, answer.Done());
  {
    std::unique_lock lock(mu);
    changed.wait(lock, [&] { return held != nullptr; });
  }
  client.reset();
  ASSERT_TRUE(answer.Here());
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  held(Loaded{"too late"});  // does nothing
}

TEST(GrpcClient, CallbackMayBeginTheNextCall) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  Answer<GetResult> second;
  client->GetAsync("k", {}, [&](const absl::StatusOr<GetResult>& first) {
    EXPECT_TRUE(first.ok());
    client->GetAsync("k", {}, second.Done());
  });
  EXPECT_EQ(ValueOf(second.Wait()), "v");
}

TEST(GrpcClient, BlockingCallInACallbackIsRefused) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  Answer<GetResult> answer;
  client->GetAsync("k", {}, [&, done = answer.Done()](const absl::StatusOr<GetResult>&) mutable {
    done(client->Get("k"));
  });
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(GrpcClientDeathTest, CallbackThatDestroysItsClientCrashes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ScriptedServer server;
        auto client = MustConnect(Fast(server.address()));
        Answer<GetResult> never;
        client->GetAsync("k", {}, [&](const absl::StatusOr<GetResult>&) { client.reset(); });
        never.Wait().IgnoreError();
      },
      "a callback destroyed the client");
}

TEST(GrpcClient, LoaderRunsWithoutTheCacheWhenTheServerIsGone) {
  const auto client = MustConnect(Fast(DeadAddress()));
  const absl::StatusOr<LoadResult> result =
      client->GetOrLoad("k", [](const LoadCall& call) -> absl::StatusOr<Loaded> {
        EXPECT_FALSE(call.lease_ttl.has_value());
        return Loaded{"v"};
      });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->entry->value, "v");
  EXPECT_EQ(result->entry->version, 0u);
  EXPECT_TRUE(result->loaded);
  EXPECT_FALSE(result->stored);
  EXPECT_EQ(result->cache_status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace larder::testing
