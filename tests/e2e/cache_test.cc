// The calls as a client sees them, on a running server.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "tests/e2e/lane_fixture.h"

namespace larder {
namespace {

int64_t Millis(const google::protobuf::Duration& duration) {
  return duration.seconds() * 1000 + duration.nanos() / 1'000'000;
}

int64_t MillisSince(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               then)
      .count();
}

class CacheTest : public LaneFixture {
 protected:
  CacheTest()
      : LaneFixture(
            {"--set", "types.user.match=[\"user:{id}\"]", "--set", "types.user.ttl.base=3m"}) {}

  v1::GetOrLoadResponse Load(const std::string& key, double deadline = 5) {
    v1::GetOrLoadRequest request;
    request.set_key(key);
    v1::GetOrLoadResponse response;
    const grpc::Status status = cache_->GetOrLoad(Within(deadline).get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Waits until so many callers are in line for leases.
  void AwaitWaiting(uint64_t callers) {
    while (Stats().leases().waiting() != callers) std::this_thread::yield();
  }
};

TEST_F(CacheTest, SetThenGetTellsEverythingAboutTheEntry) {
  v1::SetRequest request;
  request.set_key("user:1");
  request.set_value(std::string("\0binary\xff", 8));
  request.add_tags("red");
  v1::SetResponse set;
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(cache_->Set(Within(5).get(), request, &set).ok());
  EXPECT_GT(set.stored().version(), 0u);
  EXPECT_GE(set.stored().ttl().seconds(), 161);
  const v1::GetResponse got = Get("user:1");
  EXPECT_EQ(got.hit().value(), request.value());
  EXPECT_EQ(got.hit().value_bytes(), 8u);
  EXPECT_EQ(got.hit().version(), set.stored().version());
  EXPECT_EQ(got.hit().tier(), v1::TIER_L1);
  EXPECT_FALSE(got.hit().stale());
  EXPECT_EQ(got.hit().tags(0), "red");
  EXPECT_LE(got.hit().remaining_ttl().seconds(), set.stored().ttl().seconds());
  // Its age grows, and takes from what remains. It counts from the millisecond its version names,
  // which began before the call did.
  v1::GetResponse older = got;
  while (Millis(older.hit().age()) < Millis(got.hit().age()) + 20) older = Get("user:1");
  EXPECT_LE(Millis(older.hit().age()), MillisSince(began) + 3);
  for (const v1::GetResponse& each : {got, older}) {
    EXPECT_NEAR(Millis(each.hit().age()) + Millis(each.hit().remaining_ttl()),
                Millis(set.stored().ttl()), 1000);
  }
  v1::GetRequest exists;
  exists.set_key("user:1");
  exists.set_metadata_only(true);
  v1::GetResponse metadata;
  ASSERT_TRUE(cache_->Get(Within(5).get(), exists, &metadata).ok());
  EXPECT_TRUE(metadata.has_hit());
  EXPECT_TRUE(metadata.hit().value().empty());
  EXPECT_EQ(metadata.hit().value_bytes(), 8u);
}

TEST_F(CacheTest, MissesAreAnswersWithAReason) {
  EXPECT_EQ(Get("never").miss().reason(), v1::MISS_REASON_ABSENT);
  ASSERT_TRUE(Set("gone", "x").ok());
  v1::DeleteRequest remove;
  remove.set_key("gone");
  v1::DeleteResponse removed;
  ASSERT_TRUE(cache_->Delete(Within(5).get(), remove, &removed).ok());
  EXPECT_TRUE(removed.existed());
  EXPECT_EQ(Get("gone").miss().reason(), v1::MISS_REASON_INVALIDATED);
}

TEST_F(CacheTest, BatchesAnswerInOrder) {
  v1::BatchSetRequest sets;
  for (int i = 0; i < 10; ++i) {
    v1::BatchSetItem* const item = sets.add_items();
    item->set_key("k" + std::to_string(i));
    item->set_value("v" + std::to_string(i));
    if (i == 3) item->set_if_present(true);
  }
  v1::BatchSetResponse set;
  ASSERT_TRUE(cache_->BatchSet(Within(5).get(), sets, &set).ok());
  ASSERT_EQ(set.results_size(), 10);
  EXPECT_EQ(set.results(3).not_stored().reason(), v1::NOT_STORED_REASON_CONDITION);
  v1::BatchGetRequest gets;
  for (int i = 9; i >= 0; --i) gets.add_keys("k" + std::to_string(i));
  gets.add_keys("k9");
  v1::BatchGetResponse got;
  ASSERT_TRUE(cache_->BatchGet(Within(5).get(), gets, &got).ok());
  ASSERT_EQ(got.results_size(), 11);
  for (int i = 0; i < 10; ++i) {
    if (9 - i == 3) {
      EXPECT_EQ(got.results(i).miss().reason(), v1::MISS_REASON_ABSENT);
    } else {
      EXPECT_EQ(got.results(i).hit().value(), "v" + std::to_string(9 - i));
    }
  }
  EXPECT_EQ(got.results(10).hit().value(), "v9");
  v1::BatchDeleteRequest removes;
  removes.add_keys("k0");
  removes.add_keys("k3");
  v1::BatchDeleteResponse removed;
  ASSERT_TRUE(cache_->BatchDelete(Within(5).get(), removes, &removed).ok());
  EXPECT_TRUE(removed.results(0).existed());
  EXPECT_FALSE(removed.results(1).existed());
}

TEST_F(CacheTest, RequestIdMakesARepeatSafe) {
  v1::IncrementRequest request;
  request.set_key("visits");
  request.set_delta(1);
  request.set_request_id("once");
  v1::IncrementResponse first;
  v1::IncrementResponse again;
  ASSERT_TRUE(cache_->Increment(Within(5).get(), request, &first).ok());
  ASSERT_TRUE(cache_->Increment(Within(5).get(), request, &again).ok());
  EXPECT_EQ(first.SerializeAsString(), again.SerializeAsString());
  EXPECT_EQ(Get("visits").hit().value(), "1");
  request.set_delta(2);
  const grpc::Status reused = cache_->Increment(Within(5).get(), request, &again);
  EXPECT_EQ(ReasonOf(reused), "REQUEST_ID_REUSED");

  // A Set whose repeat comes after somebody else's Set must not bring the old value back.
  v1::SetRequest set;
  set.set_key("a");
  set.set_value("old");
  set.set_request_id("set-1");
  v1::SetResponse stored;
  ASSERT_TRUE(cache_->Set(Within(5).get(), set, &stored).ok());
  ASSERT_TRUE(Set("a", "new").ok());
  ASSERT_TRUE(cache_->Set(Within(5).get(), set, &stored).ok());
  EXPECT_TRUE(stored.has_stored());
  EXPECT_EQ(Get("a").hit().value(), "new");
}

TEST_F(CacheTest, ManyCallersOfAColdKeyGetOneLeaseAndOneValue) {
  const v1::GetOrLoadResponse holder = Load("cold");
  ASSERT_TRUE(holder.has_lease());
  EXPECT_EQ(holder.lease().ttl().seconds(), 10);
  std::atomic<int> served{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 20; ++i) {
    callers.emplace_back([&] {
      const v1::GetOrLoadResponse response = Load("cold", 20);
      if (response.has_hit() && response.hit().value() == "loaded") ++served;
    });
  }
  AwaitWaiting(20);
  v1::SetRequest set;
  set.set_key("cold");
  set.set_value("loaded");
  set.set_lease_token(holder.lease().token());
  v1::SetResponse stored;
  ASSERT_TRUE(cache_->Set(Within(5).get(), set, &stored).ok());
  EXPECT_TRUE(stored.has_stored());
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(served, 20);
  const v1::StatsResponse stats = Stats();
  EXPECT_EQ(stats.leases().granted(), 1u);
  EXPECT_EQ(stats.total().loads_coalesced(), 20u);
}

TEST_F(CacheTest, CallerThatVanishesWhileWaitingFreesItsPlace) {
  const v1::GetOrLoadResponse holder = Load("cold");
  grpc::ClientContext context;
  std::thread caller([&] {
    v1::GetOrLoadRequest request;
    request.set_key("cold");
    v1::GetOrLoadResponse response;
    EXPECT_EQ(cache_->GetOrLoad(&context, request, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  AwaitWaiting(1);
  context.TryCancel();
  caller.join();
  AwaitWaiting(0);
  EXPECT_EQ(Stats().leases().held(), 1u);
}

TEST_F(CacheTest, ProcessThatDiesWhileWaitingFreesItsPlace) {
  const v1::GetOrLoadResponse holder = Load("cold");
  const pid_t child = fork();
  if (child == 0) {
    // A fresh process: no gRPC state of this one may be used after a fork.
    const std::string target = server_.address();
    execl(LARDER_BIN_DIR "/larder", "larder", "--server", target.c_str(), "load", "cold",
          "--deadline", "30s", static_cast<char*>(nullptr));
    _exit(127);
  }
  AwaitWaiting(1);
  kill(child, SIGKILL);
  AwaitWaiting(0);
  int status = 0;
  waitpid(child, &status, 0);
}

TEST_F(CacheTest, LeaseWhoseAnswerReachesNobodyIsGivenBack) {
  // Callers hang up at some moment of their call. When that is between the grant and its answer,
  // the server gives the lease back itself: nobody here calls ReleaseLease, and no lease runs out
  // in the time of this test.
  std::minstd_rand random(7);
  for (int i = 0; i < 20'000 && Stats().leases().released() == 0; ++i) {
    v1::GetOrLoadRequest request;
    request.set_key("cold:" + std::to_string(i));
    request.mutable_lease_ttl()->set_seconds(300);
    v1::GetOrLoadResponse response;
    grpc::ClientContext context;
    std::atomic<bool> done{false};
    cache_->async()->GetOrLoad(&context, &request, &response,
                               [&done](const grpc::Status&) { done = true; });
    for (uint32_t spin = random() % 20'000; spin > 0 && !done; --spin) {
    }
    context.TryCancel();
    while (!done) std::this_thread::yield();
  }
  EXPECT_GT(Stats().leases().released(), 0u);
}

TEST_F(CacheTest, WaitUpToTheDeadlineThenATypedError) {
  const v1::GetOrLoadResponse holder = Load("cold");
  v1::GetOrLoadRequest request;
  request.set_key("cold");
  request.mutable_wait()->set_nanos(1'000'000);
  v1::GetOrLoadResponse response;
  ASSERT_TRUE(cache_->GetOrLoad(Within(5).get(), request, &response).ok());
  EXPECT_EQ(response.miss().reason(), v1::MISS_REASON_LOADING);
  request.clear_wait();
  EXPECT_EQ(cache_->GetOrLoad(Within(0.05).get(), request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitWaiting(0);
}

TEST_F(CacheTest, ExpiredDeadlineDoesNoWork) {
  v1::SetRequest request;
  request.set_key("late");
  request.set_value("x");
  v1::SetResponse response;
  const auto context = Within(-1);
  EXPECT_EQ(cache_->Set(context.get(), request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Get("late").has_miss());
}

TEST_F(CacheTest, ServerInfoAndExplainTellAboutTheServer) {
  v1::ServerInfoResponse info;
  ASSERT_TRUE(admin_->ServerInfo(Within(5).get(), v1::ServerInfoRequest(), &info).ok());
  EXPECT_FALSE(info.version().empty());
  ASSERT_EQ(info.types_size(), 2);
  EXPECT_EQ(info.types(0).name(), "user");
  EXPECT_EQ(info.types(0).match(0), "user:{id}");
  EXPECT_EQ(info.types(1).name(), "default");
  EXPECT_EQ(info.limits().value_bytes(), 1u << 20);

  v1::ExplainRequest request;
  request.set_key("user:42");
  v1::ExplainResponse explained;
  ASSERT_TRUE(admin_->Explain(Within(5).get(), request, &explained).ok());
  EXPECT_EQ(explained.type(), "user");
  EXPECT_EQ(explained.match(), v1::TYPE_MATCH_PATTERN);
  EXPECT_EQ(explained.captures().at("id"), "42");
  EXPECT_EQ(explained.ttl().seconds(), 180);
  EXPECT_EQ(explained.copies_size(), 0);
  EXPECT_EQ(explained.miss_reason(), v1::MISS_REASON_ABSENT);
}

TEST_F(CacheTest, HotKeysAreRankedAndKeptApart) {
  ASSERT_TRUE(Set("user:1", std::string(1000, 'x')).ok());
  ASSERT_TRUE(Set("other", "x").ok());
  for (int i = 0; i < 9; ++i) Get("user:1");
  for (int i = 0; i < 5; ++i) Get("other");
  for (int i = 0; i < 7; ++i) Get("user:2");
  const auto hot_keys = [this](const v1::HotKeysRequest& request) {
    v1::HotKeysResponse response;
    EXPECT_TRUE(admin_->HotKeys(Within(5).get(), request, &response).ok());
    return response;
  };
  v1::HotKeysRequest request;
  const v1::HotKeysResponse all = hot_keys(request);
  ASSERT_EQ(all.keys_size(), 2);
  EXPECT_EQ(all.keys(0).namespace_(), "default");
  EXPECT_EQ(all.keys(0).key(), "user:1");
  EXPECT_EQ(all.keys(0).type(), "user");
  EXPECT_EQ(all.keys(0).hits(), 9u);
  EXPECT_EQ(all.keys(0).hit_ratio(), 1);
  EXPECT_EQ(all.keys(0).bytes(), 9000u);
  EXPECT_EQ(all.keys(0).value_bytes_max(), 1000u);
  EXPECT_EQ(all.keys(1).key(), "other");
  EXPECT_EQ(all.sampled_every(), 1u);
  EXPECT_EQ(all.window().seconds(), 60);
  request.set_order(v1::HOT_KEY_ORDER_MISSES);
  EXPECT_EQ(hot_keys(request).keys(0).key(), "user:2");
  request.clear_order();
  request.set_limit(1);
  EXPECT_EQ(hot_keys(request).keys_size(), 1);
  request.set_type("default");
  EXPECT_EQ(hot_keys(request).keys(0).key(), "other");
  request.set_namespace_("elsewhere");
  EXPECT_EQ(hot_keys(request).keys_size(), 0);
}

TEST_F(CacheTest, HotKeysRefusesWhatItCannotMean) {
  const auto reason = [this](const v1::HotKeysRequest& request) {
    v1::HotKeysResponse response;
    return ReasonOf(admin_->HotKeys(Within(5).get(), request, &response));
  };
  v1::HotKeysRequest limit;
  limit.set_limit(1000);
  EXPECT_EQ(reason(limit), "");
  limit.set_limit(1001);
  EXPECT_EQ(reason(limit), "REQUEST_INVALID");
  v1::HotKeysRequest order;
  order.set_order(static_cast<v1::HotKeyOrder>(99));
  EXPECT_EQ(reason(order), "REQUEST_INVALID");
  v1::HotKeysRequest type;
  type.set_type("usr");
  EXPECT_EQ(reason(type), "TYPE_UNKNOWN");
  v1::HotKeysRequest name_space;
  name_space.set_namespace_("no spaces");
  EXPECT_EQ(reason(name_space), "NAMESPACE_INVALID");
}

TEST_F(CacheTest, StatsAddUp) {
  ASSERT_TRUE(Set("user:1", "x").ok());
  Get("user:1");
  Get("user:2");
  Get("other");
  const v1::StatsResponse stats = Stats();
  EXPECT_EQ(stats.total().hits(), 1u);
  EXPECT_EQ(stats.total().misses(), 2u);
  EXPECT_EQ(stats.total().entries(), 1u);
  ASSERT_EQ(stats.types_size(), 2);
  EXPECT_EQ(stats.types(1).type(), "user");
  EXPECT_EQ(stats.types(1).usage().misses(), 1u);
  EXPECT_LE(stats.tiers(0).bytes(), stats.tiers(0).bytes_max());
  const v1::UsageStats& user = stats.types(1).usage();
  EXPECT_EQ(user.key_bytes(), 6u);
  EXPECT_EQ(user.value_bytes(), 1u);
  EXPECT_EQ(user.plain_bytes(), 1u);
  EXPECT_EQ(user.compression_ratio(), 1);
  EXPECT_EQ(user.bytes(), user.key_bytes() + user.value_bytes() + user.overhead_bytes());
  EXPECT_EQ(stats.types(1).share_max(), 1);
  const v1::MemoryStats& memory = stats.memory();
  EXPECT_EQ(memory.used_bytes(), stats.tiers(0).bytes());
  EXPECT_EQ(memory.budget_bytes(), stats.tiers(0).bytes_max());
  EXPECT_LE(
      memory.segment_bytes() + memory.large_bytes() + memory.index_bytes() + memory.ghost_bytes(),
      memory.used_bytes());
  EXPECT_GT(memory.segment_bytes(), 0u);
  EXPECT_EQ(stats.hot_keys(0).key(), "user:1");
  // Each type's own.
  ASSERT_EQ(stats.types(1).hot_keys_size(), 1);
  EXPECT_EQ(stats.types(1).hot_keys(0).key(), "user:1");
  EXPECT_EQ(stats.types(1).hot_keys(0).hits(), 1u);
  EXPECT_EQ(stats.types(0).hot_keys_size(), 0) << "its one key was never hit";
  bool saw_get = false;
  for (const v1::LatencyStats& latency : stats.latencies()) {
    if (latency.rpc() != "Get") continue;
    saw_get = true;
    EXPECT_EQ(latency.count(), 3u);
    EXPECT_GT(latency.p50().nanos(), 0);
  }
  EXPECT_TRUE(saw_get);
}

}  // namespace
}  // namespace larder
