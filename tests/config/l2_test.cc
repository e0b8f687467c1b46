#include "config/l2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "config/auto.h"
#include "config/config.h"
#include "tests/config/problems.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Config Load(const std::string& text) {
  const auto config = LoadConfig({.file_name = "f", .text = text}, SomeMachine());
  EXPECT_TRUE(config.ok()) << text << "\n" << config.status().message();
  return config.ok() ? *config : *LoadConfig({}, SomeMachine());
}

absl::StatusOr<L2Options> Options(const std::string& text) {
  return L2OptionsOf(*Load(text).proto);
}

std::string SourceOf(const Config& config, const std::string& path) {
  for (const Setting& setting : config.settings) {
    if (setting.path == path) return absl::StrCat(setting.value, " # ", setting.source);
  }
  return "";
}

TEST(L2ConfigTest, WithoutASectionThereIsATierWhereThereIsAPlaceForIt) {
  EXPECT_EQ(Options("")->kind, L2Options::Kind::kNone);
  EXPECT_EQ(Options("data: {path: /d}")->kind, L2Options::Kind::kRocks);
  EXPECT_EQ(Options("data: {path: /d}")->rocksdb.path, "/d/l2");
  EXPECT_EQ(Options("data: {path: /d}\nl2: none")->kind, L2Options::Kind::kNone);
  EXPECT_EQ(Options("data: {path: /d}\nl2: {none: true}")->kind, L2Options::Kind::kNone);
  EXPECT_EQ(Options("data: {path: /d}\nl2: {rocksdb: false}")->kind, L2Options::Kind::kNone);
  EXPECT_EQ(Options("l2: {rocksdb: {path: /x}}")->kind, L2Options::Kind::kRocks);
  EXPECT_EQ(Options("data: {path: /d}\nl2: {redis: {url: \"redis://a\"}}")->kind,
            L2Options::Kind::kRedis);
}

TEST(L2ConfigTest, SaysWhyThereIsATierOrNone) {
  EXPECT_EQ(SourceOf(Load(""), "l2.rocksdb.enabled"), "false # auto: data.path is empty");
  EXPECT_EQ(SourceOf(Load("data: {path: /d}"), "l2.rocksdb.enabled"),
            "true # auto: data.path is set");
  EXPECT_EQ(SourceOf(Load("data: {path: /d}\nl2: none"), "l2.rocksdb.enabled"),
            "false # auto: l2.none is true");
  EXPECT_EQ(
      SourceOf(Load("data: {path: /d}\nl2: {redis: {url: \"redis://a\"}}"), "l2.rocksdb.enabled"),
      "false # auto: l2.redis is the second tier");
}

TEST(L2ConfigTest, DefaultsAreThoseOfTheParts) {
  const L2Options got = *Options("data: {path: /d}");
  const RocksTierOptions rocks;
  EXPECT_EQ(got.rocksdb.max_bytes, uint64_t{10} << 30);
  EXPECT_EQ(got.rocksdb.threads, rocks.threads);
  EXPECT_EQ(got.rocksdb.life_min, rocks.life_min);
  EXPECT_EQ(got.rocksdb.entry_bytes_min, rocks.entry_bytes_min);
  EXPECT_EQ(got.rocksdb.entry_bytes_max, rocks.entry_bytes_max);
  const GuardOptions guard;
  EXPECT_EQ(got.guard.read_timeout, guard.read_timeout);
  EXPECT_EQ(got.guard.write_timeout, guard.write_timeout);
  EXPECT_EQ(got.guard.in_flight_max, guard.in_flight_max);
  EXPECT_EQ(got.guard.breaker.failures, guard.breaker.failures);
  EXPECT_EQ(got.guard.breaker.slow, guard.breaker.slow);
  EXPECT_EQ(got.guard.breaker.slow_after, guard.breaker.slow_after);
  EXPECT_EQ(got.guard.breaker.window, guard.breaker.window);
  EXPECT_EQ(got.guard.breaker.min_calls, guard.breaker.min_calls);
  EXPECT_EQ(got.guard.breaker.open_min, guard.breaker.open_min);
  EXPECT_EQ(got.guard.breaker.open_max, guard.breaker.open_max);
  EXPECT_EQ(got.guard.retry_budget.ratio, guard.retry_budget.ratio);
  EXPECT_EQ(got.guard.retry_budget.burst, guard.retry_budget.burst);
  const L2Options redis = *Options("l2: {redis: {url: \"redis://a\"}}");
  const Redis::Options options;
  EXPECT_EQ(redis.redis.connections_per_node, options.connections_per_node);
  EXPECT_EQ(redis.redis.connect_timeout, options.connect_timeout);
  const RedisTierOptions tier;
  EXPECT_EQ(redis.redis_tier.prefix, tier.prefix);
  EXPECT_EQ(redis.redis_tier.life_min, tier.life_min);
  EXPECT_EQ(redis.redis_tier.envelope_bytes_max, tier.envelope_bytes_max);
}

TEST(L2ConfigTest, EveryFieldArrives) {
  const L2Options rocks = *Options(
      "l2:\n"
      "  rocksdb: {path: /x, max_bytes: 1GiB, memory: 64MiB, threads: 3, life_min: 4s, entry_min: "
      "5B, entry_max: 6MiB}\n"
      "  read_timeout: 7ms\n"
      "  write_timeout: 8ms\n"
      "  calls: 9\n"
      "  breaker: {failures: 10%, slow: 11%, slow_after: 12ms, window: 13s, min_calls: 14, "
      "open_min: "
      "15ms, open_max: 16s}\n"
      "  retry_budget: {ratio: 17%, burst: 18}\n");
  EXPECT_EQ(rocks.rocksdb.path, "/x");
  EXPECT_EQ(rocks.rocksdb.max_bytes, 1u << 30);
  EXPECT_EQ(rocks.rocksdb.memory_bytes, 64u << 20);
  EXPECT_EQ(rocks.rocksdb.threads, 3);
  EXPECT_EQ(rocks.rocksdb.life_min, absl::Seconds(4));
  EXPECT_EQ(rocks.rocksdb.entry_bytes_min, 5u);
  EXPECT_EQ(rocks.rocksdb.entry_bytes_max, 6u << 20);
  EXPECT_EQ(rocks.guard.read_timeout, absl::Milliseconds(7));
  EXPECT_EQ(rocks.guard.write_timeout, absl::Milliseconds(8));
  EXPECT_EQ(rocks.guard.in_flight_max, 9u);
  EXPECT_EQ(rocks.guard.breaker.failures, 0.10);
  EXPECT_EQ(rocks.guard.breaker.slow, 0.11);
  EXPECT_EQ(rocks.guard.breaker.slow_after, absl::Milliseconds(12));
  EXPECT_EQ(rocks.guard.breaker.window, absl::Seconds(13));
  EXPECT_EQ(rocks.guard.breaker.min_calls, 14u);
  EXPECT_EQ(rocks.guard.breaker.open_min, absl::Milliseconds(15));
  EXPECT_EQ(rocks.guard.breaker.open_max, absl::Seconds(16));
  EXPECT_EQ(rocks.guard.retry_budget.ratio, 0.17);
  EXPECT_EQ(rocks.guard.retry_budget.burst, 18u);

  const L2Options redis = *Options(
      "l2:\n"
      "  redis:\n"
      "    url: \"redis+sentinel://a,b/shop/2\"\n"
      "    user: u\n"
      "    password_file: /p\n"
      "    sentinel_password_file: /s\n"
      "    prefix: shop\n"
      "    connections: 3\n"
      "    connect_timeout: 4s\n"
      "    entry_max: 32MiB\n"
      "    life_min: 6ms\n");
  EXPECT_EQ(redis.redis.topology, Redis::Topology::kSentinel);
  EXPECT_THAT(redis.redis.addresses, ElementsAre("a:26379", "b:26379"));
  EXPECT_EQ(redis.redis.master_name, "shop");
  EXPECT_EQ(redis.redis.database, 2);
  EXPECT_EQ(redis.redis.user, "u");
  EXPECT_EQ(redis.redis.password_file, "/p");
  EXPECT_EQ(redis.redis.sentinel_password_file, "/s");
  EXPECT_EQ(redis.redis_tier.prefix, "shop");
  EXPECT_EQ(redis.redis.connections_per_node, 3);
  EXPECT_EQ(redis.redis.connect_timeout, absl::Seconds(4));
  EXPECT_EQ(redis.redis_tier.envelope_bytes_max, 32u << 20);
  EXPECT_GE(redis.redis.pending_bytes_max, 32u << 20);
  EXPECT_EQ(redis.redis_tier.life_min, absl::Milliseconds(6));
}

// What CheckLogBusOptions says of them, once they have an executor.
absl::Status Check(BusOptions options) {
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  options.bus.executor = &executor;
  return CheckLogBusOptions(options.bus);
}

TEST(L2ConfigTest, BusAndWarm) {
  const std::string redis = "l2: {redis: {url: \"redis://a\"}}\ndata: {path: /d}\n";
  const BusOptions usual = BusOptionsOf(*Load(redis).proto);
  EXPECT_EQ(usual.messages, 100'000u);
  EXPECT_TRUE(usual.serve_suspect);
  EXPECT_EQ(usual.fleet_wait, absl::Seconds(2));
  EXPECT_EQ(usual.bus.node, 7u);
  EXPECT_EQ(Check(usual), absl::OkStatus());
  const BusOptions bus = BusOptionsOf(
      *Load(redis + "bus: {messages: 2000, heartbeat: 30ms, trust: 100ms, when_lost: miss, "
                    "fleet_wait: 5s}")
           .proto);
  EXPECT_EQ(bus.messages, 2000u);
  EXPECT_EQ(bus.bus.heartbeat, absl::Milliseconds(30));
  EXPECT_EQ(bus.bus.lost_after, absl::Milliseconds(100));
  EXPECT_FALSE(bus.serve_suspect);
  EXPECT_EQ(bus.fleet_wait, absl::Seconds(5));
  // Whatever the checks let through, the bus takes.
  EXPECT_EQ(Check(bus), absl::OkStatus());
  const BusOptions slow = BusOptionsOf(*Load(redis + "bus: {heartbeat: 10s, trust: 5m}").proto);
  EXPECT_EQ(Check(slow), absl::OkStatus());

  const WarmOptions warm =
      WarmOptionsOf(*Load(redis + "warm: {limit: 3, before_ready: 4s, rate: 5, save: 6s}").proto);
  EXPECT_EQ(warm.limit, 3u);
  EXPECT_EQ(warm.before_ready, absl::Seconds(4));
  EXPECT_EQ(warm.rate, 5u);
  EXPECT_EQ(warm.save, absl::Seconds(6));
  const WarmOptions off =
      WarmOptionsOf(*Load(redis + "warm: {limit: off, before_ready: off}").proto);
  EXPECT_EQ(off.limit, 0u);
  EXPECT_EQ(off.before_ready, absl::ZeroDuration());
}

TEST(L2ConfigTest, TypesHaveWhatTheEngineAsks) {
  const Config config = Load("types: {a: {tiers: {l1_ttl_max: 1s, require_l2: true}}, b: {}}");
  EXPECT_EQ(config.types->Find("a")->l1_ttl_max, absl::Seconds(1));
  EXPECT_TRUE(config.types->Find("a")->require_l2);
  EXPECT_EQ(config.types->Find("b")->l1_ttl_max, TypePolicy().l1_ttl_max);
  const Config without = Load(
      "l2: {redis: {url: \"redis://a\"}}\n"
      "types: {a: {tiers: {l1: false}}, b: {tiers: {l1: true, l2: false}}}");
  EXPECT_EQ(without.types->Find("a")->l1_ttl_max, absl::ZeroDuration());
  EXPECT_FALSE(without.types->Find("b")->second_tier);
  EXPECT_EQ(config.types->Find("b")->require_l2, TypePolicy().require_l2);
}

// What PrintConfig prints is a configuration that says the same, whatever the tier.
TEST(L2ConfigTest, PrintedConfigurationLoadsAgain) {
  for (const char* text :
       {"", "l2: none", "data: {path: /d}", "l2: {rocksdb: {path: /x}}",
        "data: {path: /d}\nl2: none", "l2: {redis: {url_file: /u}}\nbus: {trust: 2s}"}) {
    const Config config = Load(text);
    const Config again = Load(PrintConfig(config));
    EXPECT_EQ(again.proto->DebugString(), config.proto->DebugString()) << text;
  }
}

TEST(L2ConfigTest, EnvironmentAndCommandLineChooseTheTier) {
  const auto from_environment =
      LoadConfig({.environment = {{"LARDER_L2_REDIS_URL", "redis://a"}}}, SomeMachine());
  ASSERT_TRUE(from_environment.ok()) << from_environment.status().message();
  EXPECT_EQ(L2KindOf(*from_environment->proto), L2Options::Kind::kRedis);
  const auto from_command =
      LoadConfig({.text = "data: {path: /d}", .overrides = {{"l2", "none"}}}, SomeMachine());
  ASSERT_TRUE(from_command.ok()) << from_command.status().message();
  EXPECT_EQ(L2KindOf(*from_command->proto), L2Options::Kind::kNone);
}

TEST(L2ConfigTest, MemoryOfTheTierIsKeptFromTheEntriesInMemory) {
  const Config config = Load("data: {path: /d}\nl2: {rocksdb: {memory: 1GiB}}");
  const GovernorOptions options = MemoryOptionsOf(*config.proto);
  EXPECT_EQ(options.beside_bytes, uint64_t{1} << 30);
  EXPECT_THAT(SourceOf(config, "memory.l1"),
              HasSubstr("now 3GiB: half of the machine's memory 8GiB, 1GiB kept for the second "
                        "tier"));
  EXPECT_EQ(MemoryOptionsOf(*Load("l2: none").proto).beside_bytes, 0u);
  EXPECT_EQ(MemoryOptionsOf(*Load("l2: {redis: {url: \"redis://a\"}}").proto).beside_bytes, 0u);
}

TEST(L2ConfigTest, MemoryOfTheTierFollowsTheMachine) {
  EXPECT_EQ(SourceOf(Load("data: {path: /d}"), "l2.rocksdb.memory"),
            "512MiB # auto: an eighth of what the limits leave, 8MiB to 512MiB: half of the "
            "machine's memory 8GiB");
  const auto in_container = [](uint64_t bytes) {
    const Machine machine{.memory = MemoryOf(bytes, MemorySource::kCgroupV2)};
    return LoadConfig({.text = "data: {path: /d}"}, machine)->proto->l2().rocksdb().memory();
  };
  EXPECT_EQ(in_container(uint64_t{1} << 30), 112u << 20);
  EXPECT_EQ(in_container(64 << 20), 8u << 20);
}

class UrlFileTest : public testing::Test {
 protected:
  UrlFileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-url-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  ~UrlFileTest() override { std::filesystem::remove_all(root_); }

  absl::StatusOr<L2Options> With(const std::string& content) {
    std::ofstream(root_ / "url") << content;
    return Options("l2: {redis: {url_file: \"" + (root_ / "url").string() + "\"}}");
  }

  std::filesystem::path root_;
};

TEST_F(UrlFileTest, UrlMayComeFromAFile) {
  const auto options = With("  redis-cluster://a,b\n");
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(options->redis.addresses, ElementsAre("a:6379", "b:6379"));
}

TEST_F(UrlFileTest, WhatIsWrongWithItIsSaidWithItsName) {
  absl::Status status = With("redis://u:s3cret@a").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("password_file"));
  EXPECT_THAT(std::string(status.message()), HasSubstr((root_ / "url").string()));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
  EXPECT_TRUE(absl::IsInvalidArgument(With("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(With(std::string(100'000, 'x')).status()));
  status = Options("l2: {redis: {url_file: /nowhere/at/all}}").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("l2.redis.url_file: /nowhere/at/all cannot be read: No such file"));
}

TEST(L2ChecksTest, RulesBetweenFields) {
  ExpectEach({
      {"l2: {redis: {url: \"redis://a\"}, rocksdb: {path: /x}}",
       "f:1:42: l2.redis and l2.rocksdb exclude each other; there is one second tier"},
      {"l2: {none: true, rocksdb: {path: /x}}",
       "f:1:27: l2.none and l2.rocksdb exclude each other; there is one second tier"},
      {"l2: {none: true, redis: {url: \"redis://a\"}}",
       "f:1:25: l2.none and l2.redis exclude each other; there is one second tier"},
      {"l2: redis", "f:1:5: l2 must be a section, not a single value"},
      {"l2: \"none\"", "f:1:5: l2 must be a section, not a single value"},
      {"l2: true", "f:1:5: l2 must be a section, not a single value"},
      {"l2: {rocks: {}}", "f:1:6: unknown field \"rocks\" in l2; did you mean \"rocksdb\"?"},
      {"l2: {rocksdb: true}",
       "f:1:15: l2.rocksdb has no place on the disk; set data.path or l2.rocksdb.path"},
      {"l2: {rocksdb: {path: /x, entry_min: 1MiB, entry_max: 512KiB}}",
       "f:1:37: l2.rocksdb.entry_min is 1MiB, more than l2.rocksdb.entry_max, which is 512KiB"},
      {"l2: {rocksdb: {path: /x, memory: 8GiB}}",
       "f:1:34: l2.rocksdb.memory is 8GiB, which does not fit into the machine's memory 8GiB"},
      {"l2: {redis: true}", "f:1:13: l2.redis needs l2.redis.url or l2.redis.url_file"},
      {"l2: {redis: {url: \"redis://a\", url_file: /u}}",
       "f:1:42: l2.redis.url and l2.redis.url_file exclude each other"},
      {"l2:\n  redis:\n    url: \"redis://larder:s3cret@a\"",
       "f:3:10: l2.redis.url: holds a password; write it into a file and name that in "
       "l2.redis.password_file"},
      {"l2: {redis: {url: \"http://a\"}}",
       "f:1:19: l2.redis.url: \"http\" is none of redis, redis+sentinel and redis-cluster, and "
       "rediss in their place for TLS"},
      {"l2: {redis: {url: \"redis://u@a\", user: v}}",
       "f:1:40: l2.redis.user is there, and l2.redis.url has a user too"},
      {"l2: {redis: {url: \"redis://a\", sentinel_password_file: /p}}",
       "f:1:56: l2.redis.sentinel_password_file has no effect, because l2.redis.url names no "
       "Sentinels"},
      {"l2: {redis: {url: \"redis://a\", tls: {ca_file: /c}}}",
       "f:1:47: l2.redis.tls.ca_file has no effect, because l2.redis.url does not begin with "
       "rediss"},
      {"l2: {redis: {url_file: /u, tls: {cert_file: /c}}}",
       "f:1:45: l2.redis.tls.cert_file and l2.redis.tls.key_file belong together"},
      {"l2: {breaker: {open_min: 2s, open_max: 1s}, rocksdb: {path: /x}}",
       "f:1:26: l2.breaker.open_min is 2s, more than l2.breaker.open_max, which is 1s"},
      {"l2: {read_timeout: 10ms}",
       "f:1:20: l2.read_timeout has no effect, because there is no second tier"},
      {"l2: {breaker: {window: 2s}}",
       "f:1:24: l2.breaker.window has no effect, because there is no second tier"},
      {"data: {path: /d}\nbus: {heartbeat: 100ms}",
       "f:2:18: bus.heartbeat has no effect, because the second tier is not l2.redis, which "
       "replicas would share"},
      {"l2: {redis: {url: \"redis://a\"}}\nbus: {heartbeat: 5s}",
       "f:2:18: bus.trust is 2s; with a bus.heartbeat of 5s it needs at least 15s"},
      {"l2: {redis: {url: \"redis://a\"}}\nbus: {when_lost: fail}",
       "f:2:18: bus.when_lost: \"fail\" is none of serve, miss"},
      {"warm: {limit: 5}",
       "f:1:15: warm.limit has no effect, because there is no second tier, and no type has "
       "warm.on_start"},
      {"l2: {redis: {url: \"redis://a\"}}\nwarm: {limit: 5}",
       "f:2:15: warm.limit has no effect, because data.path is empty"},
      {"types: {a: {tiers: {l2: false, l1_ttl_max: 1s}}}",
       "f:1:44: types.a.tiers.l1_ttl_max has no effect, because types.a.tiers.l2 is false"},
      {"types: {a: {tiers: {l1: false}}}",
       "f:1:25: types.a.tiers.l1 is false, and there is no l2.redis to keep entries in"},
      {"l2: {redis: {url: \"redis://a\"}}\ntypes: {a: {tiers: {l1: false, l1_ttl_max: 1s}}}",
       "f:2:44: types.a.tiers.l1_ttl_max has no effect, because types.a.tiers.l1 is false"},
      {"types: {a: {tiers: {l2: false, require_l2: true}}}",
       "f:1:44: types.a.tiers.require_l2 is true, but types.a.tiers.l2 is false"},
  });
}

TEST(L2ChecksTest, PrefixIsThatOfNamesInRedis) {
  EXPECT_THAT(ProblemsOf("l2: {redis: {url: \"redis://a\", prefix: \"a b\"}}"),
              ElementsAre(HasSubstr("f:1:40: l2.redis.prefix: ")));
  EXPECT_THAT(ProblemsOf("l2: {redis: {url: \"redis://a\", prefix: \"\"}}"),
              ElementsAre(HasSubstr("f:1:40: l2.redis.prefix: ")));
  EXPECT_THAT(ProblemsOf("l2: {redis: {url: \"redis://a\", prefix: \"shop:eu-1\"}}"),
              ElementsAre());
}

TEST(L2ChecksTest, TlsIsAnErrorWhereTheBuildHasNone) {
  const std::vector<std::string> problems = ProblemsOf("l2: {redis: {url: \"rediss://a\"}}");
  if (RedisTlsOfThisBuild().ok()) {
    EXPECT_THAT(problems, ElementsAre());
  } else {
    EXPECT_THAT(problems, ElementsAre("f:1:19: l2.redis.url: TLS to Redis needs hiredis 1.0 or "
                                      "later with libhiredis_ssl; this larder was built without "
                                      "it"));
  }
}

}  // namespace
}  // namespace larder
