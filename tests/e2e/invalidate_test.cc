// Invalidations by everything but keys, through whole larderds and stock gRPC clients: one replica
// with RocksDB over restarts, and a fleet over a real Redis.

#include <gtest/gtest.h>

#include <string>

#include "tests/e2e/fleet_fixture.h"

namespace larder {
namespace {

constexpr char kTypes[] =
    "types:\n"
    "  user: { match: [\"user:{id}\"], on_change: { invalidate: [\"user:{id}:*\"] } }\n"
    "  page: { match: [\"page:*\"], tags: [pages], freshness: { stale_while_revalidate: 1m } }\n";

grpc::Status SetTagged(Replica& replica, const std::string& key, const std::string& tag) {
  v1::SetRequest request;
  request.set_key(key);
  request.set_value("value of " + key);
  if (!tag.empty()) request.add_tags(tag);
  v1::SetResponse response;
  return replica.Set(request, &response);
}

v1::GetResponse Get(Replica& replica, const std::string& key) {
  v1::GetRequest request;
  request.set_key(key);
  v1::GetResponse response;
  const grpc::Status status = replica.stub().Get(Replica::Within().get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}
bool Hits(Replica& replica, const std::string& key) { return Get(replica, key).has_hit(); }

grpc::Status Invalidate(Replica& replica, const v1::InvalidateRequest& request,
                        v1::InvalidateResponse* response = nullptr) {
  v1::InvalidateResponse ignored;
  return replica.stub().Invalidate(Replica::Within().get(), request,
                                   response != nullptr ? response : &ignored);
}
v1::InvalidateRequest ByTag(const std::string& tag) {
  v1::InvalidateRequest request;
  request.mutable_tags()->add_tags(tag);
  return request;
}

class InvalidateRocksTest : public testing::Test {
 protected:
  const TempDir directory_;
  // A disk that is busy for a moment makes no misses.
  Replica replica_{"data: { path: \"" + directory_.path() +
                   "\" }\nl2: { read_timeout: 10s, write_timeout: 10s, "
                   "breaker: { slow_after: 10s } }\n" +
                   kTypes};
};

TEST_F(InvalidateRocksTest, RulesSurviveAKillWithTheEntriesThatTheyCover) {
  ASSERT_TRUE(SetTagged(replica_, "a", "red").ok());
  ASSERT_TRUE(SetTagged(replica_, "b", "blue").ok());
  v1::InvalidateResponse response;
  ASSERT_TRUE(Invalidate(replica_, ByTag("red"), &response).ok());
  EXPECT_EQ(response.estimated_entries(), 1u);
  EXPECT_NE(response.version(), 0u);
  EXPECT_EQ(response.replicas_acknowledged(), 1u);
  EXPECT_EQ(Get(replica_, "a").miss().reason(), v1::MISS_REASON_INVALIDATED);
  replica_.Kill();
  ASSERT_TRUE(replica_.Start());
  EXPECT_FALSE(Hits(replica_, "a"));
  EXPECT_TRUE(Hits(replica_, "b"));
  ASSERT_TRUE(SetTagged(replica_, "a", "red").ok());
  EXPECT_TRUE(Hits(replica_, "a"));
}

TEST_F(InvalidateRocksTest, EverySelectorCoversWhatItSays) {
  const auto fill = [&] {
    for (const char* key : {"user:1", "user:1:posts", "page:1", "other"})
      ASSERT_TRUE(SetTagged(replica_, key, "").ok());
  };
  const auto left = [&] {
    std::string text;
    for (const char* key : {"user:1", "user:1:posts", "page:1", "other"})
      text += Hits(replica_, key) ? '+' : '-';
    return text;
  };
  fill();
  v1::InvalidateRequest request;
  request.set_prefix("user:");
  request.set_dry_run(true);
  v1::InvalidateResponse response;
  ASSERT_TRUE(Invalidate(replica_, request, &response).ok());
  EXPECT_EQ(response.estimated_entries(), 2u);
  EXPECT_EQ(left(), "++++");
  request.set_dry_run(false);
  ASSERT_TRUE(Invalidate(replica_, request).ok());
  EXPECT_EQ(left(), "--++");
  fill();
  request.set_glob("*:?");
  ASSERT_TRUE(Invalidate(replica_, request).ok());
  EXPECT_EQ(left(), "-+-+");
  fill();
  request.set_type("user");
  ASSERT_TRUE(Invalidate(replica_, request).ok());
  EXPECT_EQ(left(), "-+++");
  fill();
  ASSERT_TRUE(Invalidate(replica_, ByTag("pages")).ok());
  EXPECT_EQ(left(), "++-+");
  fill();
  request.set_all(true);
  request.set_mode(v1::INVALIDATE_MODE_MARK_STALE);
  ASSERT_TRUE(Invalidate(replica_, request).ok());
  EXPECT_EQ(left(), "--+-");
  EXPECT_TRUE(Get(replica_, "page:1").hit().stale());
  fill();
  EXPECT_FALSE(Get(replica_, "page:1").hit().stale());
  ASSERT_TRUE(SetTagged(replica_, "user:1", "").ok());
  EXPECT_EQ(left(), "+-++") << "what user:1 makes out of date";
}

TEST_F(InvalidateRocksTest, WhatSelectsNothingOrTooMuchIsATypedError) {
  const auto reason = [&](const v1::InvalidateRequest& request) {
    return ReasonOf(Invalidate(replica_, request));
  };
  v1::InvalidateRequest request;
  request.mutable_tags();
  EXPECT_EQ(reason(request), "SELECTOR_INVALID");
  for (int i = 0; i < 101; ++i) request.mutable_tags()->add_tags("t" + std::to_string(i));
  EXPECT_EQ(reason(request), "SELECTOR_INVALID");
  EXPECT_EQ(reason(ByTag("")), "TAG_INVALID");
  EXPECT_EQ(reason(ByTag(std::string(129, 'x'))), "TAG_INVALID");
  request.set_prefix("");
  EXPECT_EQ(reason(request), "SELECTOR_INVALID");
  request.set_prefix(std::string(1025, 'x'));
  EXPECT_EQ(reason(request), "SELECTOR_INVALID");
  for (const char* glob : {"", "[", "*", "**", "a\\"}) {
    request.set_glob(glob);
    EXPECT_EQ(reason(request), "SELECTOR_INVALID") << glob;
  }
  request.set_type("usr");
  EXPECT_EQ(reason(request), "TYPE_UNKNOWN");
  request.set_type("");
  EXPECT_EQ(reason(request), "SELECTOR_INVALID");
  request.set_all(false);
  EXPECT_EQ(reason(request), "SELECTOR_INVALID");
  // A glob more than there may be.
  std::string said;
  for (int i = 0; i <= 100 && said.empty(); ++i) {
    request.set_glob("g" + std::to_string(i) + "*x");
    said = reason(request);
  }
  EXPECT_EQ(said, "RULES_FULL");
}

class InvalidateFleetRedisTest : public testing::Test {
 protected:
  std::string Config(int id) { return FleetConfig(id, "redis://" + redis_.address()); }

  RedisServer redis_;
};

TEST_F(InvalidateFleetRedisTest, ATagIsGoneOnEveryReplicaAndForThoseThatWereDown) {
  Replica one(Config(0)), two(Config(1));
  ASSERT_TRUE(SetTagged(one, "a", "red").ok());
  ASSERT_TRUE(Hits(two, "a"));
  two.Kill();
  Replica three(Config(2));
  ASSERT_TRUE(Hits(three, "a"));
  v1::InvalidateRequest request = ByTag("red");
  request.set_wait(v1::INVALIDATE_WAIT_FLEET);
  ASSERT_TRUE(Invalidate(one, request).ok());
  EXPECT_FALSE(Hits(one, "a"));
  EXPECT_TRUE(Eventually([&] { return !Hits(three, "a"); }));
  ASSERT_TRUE(two.Start());
  EXPECT_FALSE(Hits(two, "a"));
  ASSERT_TRUE(SetTagged(two, "a", "red").ok());
  EXPECT_TRUE(Eventually([&] { return Hits(one, "a") && Hits(three, "a"); }))
      << Get(one, "a").DebugString() << one.Stats().DebugString() << "\nthree:\n"
      << Get(three, "a").DebugString() << three.Stats().DebugString() << "\ntwo:\n"
      << Get(two, "a").DebugString() << two.Stats().DebugString();
}

TEST_F(InvalidateFleetRedisTest, RulesAreThereAgainWhenRedisComesBackEmpty) {
  Replica one(Config(0));
  ASSERT_TRUE(SetTagged(one, "a", "red").ok());
  ASSERT_TRUE(Invalidate(one, ByTag("red")).ok());
  // An entry of before, as a backup of Redis would bring it back.
  redis_.Run({"FLUSHALL"});
  ASSERT_TRUE(SetTagged(one, "b", "blue").ok());
  ASSERT_TRUE(Invalidate(one, ByTag("green")).ok());
  Replica two(Config(1));
  EXPECT_TRUE(Hits(two, "b"));
  EXPECT_TRUE(Eventually([&] {
    v1::StatsResponse stats;
    return two.stub().Stats(Replica::Within().get(), {}, &stats).ok() &&
           stats.rules().rules() >= 1 && stats.rules().known();
  }));
}

}  // namespace
}  // namespace larder
