// The real client's batches of loads, its Warm and what it tells of origins, against servers that
// misbehave. What a working server does is in conformance_load_test.cc.

#include <gtest/gtest.h>

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

const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "scripted");

v1::WarmResponse Told(uint64_t loaded, bool done = false) {
  v1::WarmResponse progress;
  progress.set_loaded(loaded);
  progress.set_failed(1);
  progress.set_total(100);
  progress.mutable_elapsed()->set_seconds(2);
  progress.set_done(done);
  progress.set_full(done);
  return progress;
}

WarmOptions Users() {
  WarmOptions options;
  options.type = "user";
  return options;
}

TEST(GrpcWarm, TellsTheServerWhatToLoadAndTheCallerHowItGoes) {
  ScriptedServer server;
  server.admin().Next({{Told(10), Told(20), Told(99, true)}, grpc::Status::OK});
  const auto client = MustConnect(Fast(server.address()));
  WarmOptions options = Users();
  options.keys = {"a", "b"};
  options.limit = 7;
  options.rate = 8;
  options.call.ns = "shop";
  std::vector<uint64_t> heard;
  const absl::StatusOr<WarmProgress> done = client->Warm(options, [&](const WarmProgress& so_far) {
    heard.push_back(so_far.loaded);
    return true;
  });
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(heard, (std::vector<uint64_t>{10, 20, 99}));
  EXPECT_EQ(done->loaded, 99u);
  EXPECT_EQ(done->failed, 1u);
  EXPECT_EQ(done->total, 100u);
  EXPECT_EQ(done->elapsed, absl::Seconds(2));
  EXPECT_TRUE(done->done && done->full);
  const v1::WarmRequest request = server.admin().requests().at(0);
  EXPECT_EQ(request.namespace_() + "/" + request.type(), "shop/user");
  EXPECT_EQ(request.keys(0) + request.keys(1), "ab");
  EXPECT_EQ(request.limit(), 7u);
  EXPECT_EQ(request.rate(), 8u);
}

TEST(GrpcWarm, RepeatsAnAttemptOfWhichNothingWasHeard) {
  ScriptedServer server;
  server.admin().Next({{}, kUnavailable});
  server.admin().Next({{Told(99, true)}, grpc::Status::OK});
  const auto client = MustConnect(Fast(server.address()));
  const absl::StatusOr<WarmProgress> done = client->Warm(Users());
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(server.admin().requests().size(), 2u);
}

TEST(GrpcWarm, NeverRepeatsAnAttemptThatHadBegunToTell) {
  ScriptedServer server;
  server.admin().Next({{Told(10)}, kUnavailable});
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_EQ(client->Warm(Users()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.admin().requests().size(), 1u);
}

TEST(GrpcWarm, StreamThatEndsWithoutItsLastMessageIsAnError) {
  ScriptedServer server;
  server.admin().Next({{Told(10)}, grpc::Status::OK});
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_EQ(client->Warm(Users()).status().code(), absl::StatusCode::kInternal);
}

TEST(GrpcWarm, KeepsTheReasonOfAnError) {
  ScriptedServer server;
  server.admin().Next(
      {{Told(10)}, Refusal(grpc::StatusCode::FAILED_PRECONDITION, "ORIGIN_REFUSED")});
  const auto client = MustConnect(Fast(server.address()));
  EXPECT_EQ(ErrorReason(client->Warm(Users()).status()), "ORIGIN_REFUSED");
}

TEST(GrpcWarm, CallbackThatWantsNoMoreEndsTheStream) {
  ScriptedServer server;
  server.admin().Next({{Told(10), Told(20)}, grpc::Status::OK, /*hang=*/true});
  const auto client = MustConnect(Fast(server.address()));
  int calls = 0;
  const absl::StatusOr<WarmProgress> ended = client->Warm(Users(), [&](const WarmProgress&) {
    ++calls;
    return false;
  });
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_FALSE(ended->done);
  EXPECT_EQ(calls, 1);
}

TEST(GrpcWarm, DeadlineIsItsOwn) {
  ScriptedServer server;
  server.admin().Next({{Told(10)}, grpc::Status::OK, /*hang=*/true});
  ClientOptions options = Fast(server.address());
  options.default_deadline = absl::Milliseconds(20);
  const auto client = MustConnect(options);
  WarmOptions warm = Users();
  warm.call.deadline = absl::Milliseconds(300);
  const absl::Time start = absl::Now();
  EXPECT_EQ(client->Warm(warm).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(299));
}

TEST(GrpcWarm, DestructionEndsItAndLetsGoOfTheCallback) {
  ScriptedServer server;
  server.admin().Next({{Told(10)}, grpc::Status::OK, /*hang=*/true});
  auto client = MustConnect(Fast(server.address()));
  auto held = std::make_shared<Answer<WarmProgress>>();
  Answer<WarmProgress> first, outcome;
  client->WarmAsync(
      Users(),
      [held, told = first.Done()](const WarmProgress& so_far) mutable {
        told(so_far);
        return true;
      },
      outcome.Done());
  EXPECT_EQ(first.Wait()->loaded, 10u);
  client.reset();
  ASSERT_TRUE(outcome.Here());
  EXPECT_EQ(outcome.Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(GrpcWarm, BlockingCallInItsCallbackIsRefused) {
  ScriptedServer server;
  server.admin().Next({{Told(99, true)}, grpc::Status::OK});
  const auto client = MustConnect(Fast(server.address()));
  absl::Status status;
  ASSERT_TRUE(client
                  ->Warm(Users(),
                         [&](const WarmProgress&) {
                           status = client->Get("k").status();
                           return true;
                         })
                  .ok());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
}

TEST(GrpcLoad, BatchIsRepeatedAndAskedToAnswerBeforeTheDeadline) {
  ScriptedServer server;
  server.Next({kUnavailable});
  v1::BatchGetOrLoadResponse answer;
  answer.add_results()->mutable_hit()->set_value("v");
  server.SetLoads(answer);
  const auto client = MustConnect(Fast(server.address()));
  LoadOptions options;
  options.type = "user";
  options.lease_ttl = absl::Seconds(3);
  options.call.deadline = absl::Seconds(1);
  const absl::StatusOr<BatchLeaseResult> results = client->BatchGetOrLease({"k"}, options);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0]->entry->value, "v");
  ASSERT_EQ(server.calls(), 2u);
  v1::BatchGetOrLoadRequest request;
  ASSERT_TRUE(request.ParseFromString(server.call(1)));
  EXPECT_EQ(request.type() + "/" + request.keys(0), "user/k");
  EXPECT_EQ(request.lease_ttl().seconds(), 3);
  EXPECT_EQ(request.wait().seconds(), 0);
  EXPECT_GT(request.wait().nanos(), 500'000'000);
  EXPECT_LE(request.wait().nanos(), 900'000'000);
}

TEST(GrpcLoad, BatchTellsWhatEachKeyCameTo) {
  ScriptedServer server;
  v1::BatchGetOrLoadResponse answer;
  v1::Hit* const hit = answer.add_results()->mutable_hit();
  hit->set_tier(v1::TIER_ORIGIN);
  hit->set_stale(true);
  hit->mutable_age()->set_seconds(5);
  hit->mutable_remaining_ttl()->set_seconds(6);
  v1::LoadError* const error = answer.add_results()->mutable_error();
  error->set_code(14);
  error->set_reason("ORIGIN_UNAVAILABLE");
  error->set_message("the origin `shop` is away");
  answer.add_results()->mutable_error()->set_code(0);
  answer.add_results()->mutable_error()->set_code(1000);
  answer.add_results();
  server.SetLoads(answer);
  const auto client = MustConnect(Fast(server.address()));
  const absl::StatusOr<BatchLeaseResult> results =
      client->BatchGetOrLease({"a", "b", "c", "d", "e"});
  ASSERT_TRUE(results.ok()) << results.status();
  const Entry& entry = *(*results)[0]->entry;
  EXPECT_EQ(entry.tier, Tier::kOrigin);
  EXPECT_TRUE(entry.stale);
  EXPECT_EQ(entry.age, absl::Seconds(5));
  EXPECT_EQ(entry.remaining_ttl, absl::Seconds(6));
  EXPECT_EQ((*results)[1].status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason((*results)[1].status()), "ORIGIN_UNAVAILABLE");
  EXPECT_EQ((*results)[1].status().message(), "the origin `shop` is away");
  EXPECT_EQ((*results)[2].status().code(), absl::StatusCode::kUnknown);
  EXPECT_EQ((*results)[3].status().code(), absl::StatusCode::kUnknown);
  EXPECT_EQ((*results)[4].status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(client->BatchGetOrLease({"a"}).status().code(), absl::StatusCode::kInternal);
}

TEST(GrpcLoad, LoaderOfManyRunsWithoutTheCacheWhenTheServerDoesNotAnswer) {
  ScriptedServer server;
  server.Always(kUnavailable);
  const auto client = MustConnect(Fast(server.address()));
  const auto loader = [](const std::vector<LoadCall>& calls) {
    EXPECT_FALSE(calls[0].lease_ttl.has_value());
    std::vector<absl::StatusOr<Loaded>> loaded(calls.size(), Loaded{"v"});
    loaded[1] = absl::DataLossError("disk gone");
    return loaded;
  };
  const absl::StatusOr<BatchLoadResult> results = client->BatchGetOrLoad({"a", "b"}, loader);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ((*results)[0]->entry->value, "v");
  EXPECT_EQ((*results)[0]->cache_status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*results)[1].status(), absl::DataLossError("disk gone"));
  LoadOptions closed;
  closed.fail_open = false;
  EXPECT_EQ(client->BatchGetOrLoad({"a", "b"}, loader, closed).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(GrpcLoad, LeaseOfAnItemThatWasNotStoredIsGivenBack) {
  ScriptedServer server;
  v1::BatchGetOrLoadResponse leases;
  for (const char* token : {"1", "2", "3"}) leases.add_results()->mutable_lease()->set_token(token);
  server.SetLoads(leases);
  v1::BatchSetResponse stored;
  stored.add_results()->mutable_stored()->set_version(7);
  stored.add_results()->mutable_not_stored()->set_reason(v1::NOT_STORED_REASON_MEMORY_FULL);
  stored.add_results()->mutable_not_stored()->set_reason(v1::NOT_STORED_REASON_LEASE_LOST);
  server.SetStored(stored);
  const auto client = MustConnect(Fast(server.address()));
  const absl::StatusOr<BatchLoadResult> results =
      client->BatchGetOrLoad({"a", "b", "c"}, [](const std::vector<LoadCall>& calls) {
        return std::vector<absl::StatusOr<Loaded>>(calls.size(), Loaded{"v"});
      });
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_TRUE((*results)[0]->stored);
  EXPECT_EQ((*results)[1]->not_stored, NotStoredReason::kMemoryFull);
  EXPECT_EQ((*results)[2]->not_stored, NotStoredReason::kLeaseLost);
  ASSERT_EQ(server.calls(), 3u);  // the third is the release
  v1::ReleaseLeaseRequest release;
  ASSERT_TRUE(release.ParseFromString(server.call(2)));
  EXPECT_EQ(release.key() + release.lease_token(), "b2");
}

// The server works, so the next one would do no better; and the loader would go round the breaker.
TEST(GrpcLoad, OriginThatIsAwayNeitherChangesTheTargetNorRunsTheLoader) {
  ScriptedServer first, second;
  first.Next({Refusal(grpc::StatusCode::UNAVAILABLE, "ORIGIN_UNAVAILABLE")});
  const auto client = MustConnect(Fast(first.address() + "," + second.address()));
  EXPECT_TRUE(client->GetOrLease("k").ok());
  EXPECT_EQ(first.calls(), 2u);
  EXPECT_EQ(second.calls(), 0u);
  for (const auto code : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::DEADLINE_EXCEEDED}) {
    const std::string reason =
        code == grpc::StatusCode::UNAVAILABLE ? "ORIGIN_UNAVAILABLE" : "ORIGIN_TIMEOUT";
    first.Always(Refusal(code, reason));
    const auto loader = [](const LoadCall&) -> absl::StatusOr<Loaded> {
      ADD_FAILURE() << "ran";
      return Loaded{"v"};
    };
    EXPECT_EQ(ErrorReason(client->GetOrLoad("k", loader).status()), reason);
  }
}

TEST(GrpcStats, TellsOfOriginsFiltersAndStaleValues) {
  ScriptedServer server;
  const auto client = MustConnect(Fast(server.address()));
  v1::StatsResponse answer;
  v1::UsageStats* const usage = answer.mutable_total();
  usage->set_refreshes(1);
  usage->set_loads_unchanged(2);
  usage->set_stale_on_error(3);
  usage->set_filtered(4);
  usage->set_filter_false(5);
  answer.add_types()->set_type("plain");
  v1::FilterStats* const filter = answer.add_types()->mutable_filter();
  filter->set_ready(true);
  filter->set_keys(6);
  filter->set_bytes(7);
  filter->set_builds(8);
  filter->set_builds_failed(9);
  filter->mutable_built()->set_seconds(10);
  v1::OriginStats* const origin = answer.add_origins();
  origin->set_name("shop");
  origin->set_kind("sqlite");
  origin->set_state("away");
  origin->set_load_calls(1);
  origin->set_load_items(2);
  origin->set_store_calls(3);
  origin->set_store_items(4);
  origin->set_scan_calls(5);
  origin->set_errors(6);
  origin->set_item_errors(7);
  origin->set_bad_answers(8);
  origin->set_connections(9);
  origin->set_under_way(10);
  origin->set_queued(11);
  origin->set_timeouts(12);
  origin->set_retries(13);
  origin->set_refused(14);
  answer.mutable_flights()->set_under_way(15);
  answer.mutable_flights()->set_waiting(16);
  v1::OriginWarmStats* const warm = answer.add_origin_warm();
  warm->set_type("user");
  warm->set_state("done");
  warm->set_loaded(17);
  warm->set_failed(18);
  warm->mutable_took()->set_seconds(19);
  server.SetStats(answer);
  const absl::StatusOr<StatsResult> stats = client->Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  using Numbers = std::vector<uint64_t>;
  const UsageStats& total = stats->total;
  EXPECT_EQ((Numbers{total.refreshes, total.loads_unchanged, total.stale_on_error, total.filtered,
                     total.filter_false}),
            (Numbers{1, 2, 3, 4, 5}));
  EXPECT_FALSE(stats->types.at(0).filter.has_value());
  const FilterStats& keys = *stats->types.at(1).filter;
  EXPECT_TRUE(keys.ready);
  EXPECT_EQ((Numbers{keys.keys, keys.bytes, keys.builds, keys.builds_failed}),
            (Numbers{6, 7, 8, 9}));
  EXPECT_EQ(keys.built, absl::FromUnixSeconds(10));
  const OriginStats& shop = stats->origins.at(0);
  EXPECT_EQ(shop.name + ", " + shop.kind + ", " + shop.state, "shop, sqlite, away");
  EXPECT_EQ((Numbers{shop.load_calls, shop.load_items, shop.store_calls, shop.store_items,
                     shop.scan_calls, shop.errors, shop.item_errors, shop.bad_answers,
                     shop.connections, shop.under_way, shop.queued, shop.timeouts, shop.retries,
                     shop.refused, stats->flights.under_way, stats->flights.waiting}),
            (Numbers{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
  const OriginWarmStats& user = stats->origin_warm.at(0);
  EXPECT_EQ(user.type + ", " + user.state, "user, done");
  EXPECT_EQ((Numbers{user.loaded, user.failed}), (Numbers{17, 18}));
  EXPECT_EQ(user.took, absl::Seconds(19));
}

}  // namespace
}  // namespace larder::testing
