// What Redis::New refuses.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "redis/redis.h"
#include "tests/redis/redis_fixture.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

TEST(RedisOptionsTest, RefusesWhatCannotWork) {
  const auto executor = ThreadPool::New({1, 10});
  const auto refusal = [&](void (*change)(Redis::Options*)) {
    Redis::Options options;
    options.addresses = {"127.0.0.1:6379"};
    options.executor = executor.get();
    change(&options);
    const auto made = Redis::New(options);
    EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(made.status().message());
  };
  using Options = Redis::Options;
  EXPECT_THAT(refusal([](Options* o) { o->addresses = {}; }), HasSubstr("no address"));
  EXPECT_THAT(refusal([](Options* o) { o->addresses = {"host"}; }), HasSubstr("host:port"));
  EXPECT_THAT(refusal([](Options* o) { o->addresses = {"host:0"}; }), HasSubstr("1 to 65535"));
  EXPECT_THAT(refusal([](Options* o) { o->addresses = {"host:65536"}; }), HasSubstr("host:65536"));
  EXPECT_THAT(refusal([](Options* o) { o->addresses.emplace_back("b:1"); }),
              HasSubstr("it has one"));
  EXPECT_THAT(refusal([](Options* o) { o->topology = Redis::Topology::kSentinel; }),
              HasSubstr("name"));
  EXPECT_THAT(refusal([](Options* o) {
                o->topology = Redis::Topology::kCluster;
                o->database = 1;
              }),
              HasSubstr("database 0"));
  EXPECT_THAT(refusal([](Options* o) { o->connections_per_node = 0; }), HasSubstr("1 to 64"));
  EXPECT_THAT(refusal([](Options* o) { o->connections_per_node = 65; }), HasSubstr("is 65"));
  EXPECT_THAT(refusal([](Options* o) { o->pending_per_connection_max = 0; }),
              HasSubstr("pending_per_connection_max"));
  EXPECT_THAT(refusal([](Options* o) { o->silence_max = absl::ZeroDuration(); }),
              HasSubstr("silence_max is 0"));
  EXPECT_THAT(refusal([](Options* o) { o->reconnect_max = absl::Milliseconds(1); }),
              HasSubstr("reconnect_max"));
  EXPECT_THAT(refusal([](Options* o) { o->redirections_max = 17; }), HasSubstr("0 to 16"));
  EXPECT_THAT(refusal([](Options* o) { o->tls_cert_file = "/c"; }), HasSubstr("needs its key"));
}

#ifndef LARDER_HIREDIS_SSL
TEST(RedisOptionsTest, SaysThatThisBuildHasNoTls) {
  Redis::Options options;
  options.addresses = {"127.0.0.1:6379"};
  options.tls = true;
  const auto made = Redis::New(options);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(made.status().message()), HasSubstr("hiredis 1.0"));
}
#endif

}  // namespace
}  // namespace larder
