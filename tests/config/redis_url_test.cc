#include "config/redis_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Topology = Redis::Topology;

TEST(RedisUrlTest, NamesAServer) {
  const auto url = ParseRedisUrl("redis://cache.example:7000/3");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->topology, Topology::kSingle);
  EXPECT_THAT(url->addresses, ElementsAre("cache.example:7000"));
  EXPECT_EQ(url->database, 3);
  EXPECT_FALSE(url->tls);
  EXPECT_EQ(url->user, "");
}

TEST(RedisUrlTest, WhatIsMissingIsTheUsual) {
  for (const char* text : {"redis://cache", "redis://cache/", "redis://cache:6379/0"}) {
    const auto url = ParseRedisUrl(text);
    ASSERT_TRUE(url.ok()) << text << url.status();
    EXPECT_THAT(url->addresses, ElementsAre("cache:6379"));
    EXPECT_EQ(url->database, 0);
  }
  EXPECT_THAT(ParseRedisUrl("redis://[::1]")->addresses, ElementsAre("[::1]:6379"));
  EXPECT_THAT(ParseRedisUrl("redis://[::1]:7000")->addresses, ElementsAre("[::1]:7000"));
}

TEST(RedisUrlTest, NamesAMasterBehindSentinels) {
  const auto url = ParseRedisUrl("redis+sentinel://a,b:1234,[::1]/shop/2");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->topology, Topology::kSentinel);
  EXPECT_THAT(url->addresses, ElementsAre("a:26379", "b:1234", "[::1]:26379"));
  EXPECT_EQ(url->master_name, "shop");
  EXPECT_EQ(url->database, 2);
  EXPECT_EQ(ParseRedisUrl("redis+sentinel://a/shop")->database, 0);
}

TEST(RedisUrlTest, NamesACluster) {
  const auto url = ParseRedisUrl("redis-cluster://a,b:7001");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->topology, Topology::kCluster);
  EXPECT_THAT(url->addresses, ElementsAre("a:6379", "b:7001"));
}

TEST(RedisUrlTest, RedissMeansTls) {
  for (const char* text : {"rediss://a", "rediss+sentinel://a/shop", "rediss-cluster://a"}) {
    const auto url = ParseRedisUrl(text);
    ASSERT_TRUE(url.ok()) << text << url.status();
    EXPECT_TRUE(url->tls) << text;
  }
}

TEST(RedisUrlTest, MayNameAUser) { EXPECT_EQ(ParseRedisUrl("redis://larder@a")->user, "larder"); }

TEST(RedisUrlTest, PasswordIsRefusedAndNotRepeated) {
  for (const char* text : {"redis://:s3cret@a", "redis://user:s3cret@a:6379/0",
                           "redis://u:s3/cret@a", "rediss-cluster://u:s3@cret@a,b",
                           "http://u:s3cret@a", "u:s3cret@a:6379", "redis://u:s3cret@"}) {
    const absl::Status status = ParseRedisUrl(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("l2.redis.password_file")) << text;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3"))) << text;
  }
}

TEST(RedisUrlTest, SaysWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"", "is no url"},
      {"cache:6379", "is no url"},
      {"http://cache", "\"http\" is none of redis"},
      {"redis-sentinel://cache", "\"redis-sentinel\" is none of redis"},
      {"redis://", "a host is missing"},
      {"redis://a,", "a host is missing"},
      {"redis://a,b", "several hosts"},
      {"redis://a:0", "port 0"},
      {"redis://a:65536", "65536"},
      {"redis://a:x", "x"},
      {"redis://::1", "::1"},
      {"redis://a b", "blank"},
      {"redis://a?db=1", "one of ? # % and blank"},
      {"redis://a/x", "\"x\" is no database"},
      {"redis://a/-1", "is no database"},
      {"redis://a/1000001", "0 to 1000000"},
      {"redis://a/1/2", "nothing can follow the database"},
      {"redis+sentinel://a", "the name of the master is missing"},
      {"redis+sentinel://a/", "the name of the master is missing"},
      {"redis+sentinel://a//1", "the name of the master is missing"},
      {"redis-cluster://a/1", "a Cluster has only one database"},
      {"redis://a\nb", "control characters"},
      {absl::StrCat("redis://", std::string(kRedisUrlBytesMax, 'a')), "at most 2048"},
  };
  for (const auto& [text, what] : rows) {
    const absl::Status status = ParseRedisUrl(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what)) << text;
  }
  std::string hosts = "redis-cluster://a";
  for (int i = 0; i < 99; ++i) hosts += ",a";
  EXPECT_TRUE(ParseRedisUrl(hosts).ok());
  EXPECT_THAT(std::string(ParseRedisUrl(hosts + ",a").status().message()),
              HasSubstr("has 101 hosts; at most 100"));
}

}  // namespace
}  // namespace larder
