#include "config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/auto.h"
#include "larder/config/v1/config.pb.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Config Load(const ConfigSource& source, const Machine& machine = SomeMachine()) {
  auto config = LoadConfig(source, machine);
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : Config{};
}

std::string ErrorOf(const ConfigSource& source) {
  const auto config = LoadConfig(source, SomeMachine());
  return config.ok() ? "ok" : std::string(config.status().message());
}

Setting Find(const Config& config, const std::string& path) {
  for (const Setting& setting : config.settings) {
    if (setting.path == path) return setting;
  }
  ADD_FAILURE() << "no setting " << path;
  return {};
}

// Path and value of every setting.
std::vector<std::string> Values(const Config& config) {
  std::vector<std::string> values;
  for (const Setting& setting : config.settings)
    values.push_back(setting.path + "=" + setting.value);
  return values;
}

TEST(ConfigTest, NothingGivesTheDefaults) {
  for (const char* const text : {"", "\n\n# only a comment\n", "{}", "---\n", "\xEF\xBB\xBF"}) {
    const Config config = Load({.text = text});
    ASSERT_NE(config.proto, nullptr) << text;
    EXPECT_EQ(config.proto->listen().grpc(), "0.0.0.0:50051");
    EXPECT_EQ(config.proto->limits().value_bytes(), 1u << 20);
    EXPECT_EQ(config.proto->limits().request_id_ttl().seconds(), 600);
    EXPECT_EQ(config.proto->log().level(), config::v1::LOG_LEVEL_INFO);
    EXPECT_EQ(config.proto->connections().max_idle().seconds(), 0);
    EXPECT_EQ(config.types->size(), 1u);
    EXPECT_EQ(Find(config, "listen.grpc").source, "default");
  }
}

TEST(ConfigTest, FillsTheProtoAndTheTypeTable) {
  const Config config = Load({.text = R"(
listen: { grpc: "[::1]:0" }
memory: { l1: 2GiB }
connections:
  max_age: off
log: { level: warn, format: json }
types:
  user:
    match: ["user:{id}", "u:*"]
    ttl:
      { base: 1h30m, multiplier: 1.5, jitter: 20%, min: 30s, max: 1d, absent: 250ms,
        adapt: { access: true, size: { bands: [{below: 1kB, factor: 2}, {factor: 0.5}] } } }
  otp:
    ttl: { adapt: { access: { steps: [{hits: 10, ttl: 10m}, {hits: 100, ttl: 1h}] } } }
  keep: { ttl: { forever: true } }
  secret:
    ttl: { sliding: true, adapt: { access: { half_life: 90s } } }
    share: { min: 5%, max: 0.25 }
    tiers: { l2: false }
)"});
  EXPECT_EQ(config.proto->listen().grpc(), "[::1]:0");
  EXPECT_EQ(config.proto->memory().l1(), uint64_t{2} << 30);
  EXPECT_EQ(config.proto->connections().max_age().seconds(), 0);
  EXPECT_EQ(config.proto->log().level(), config::v1::LOG_LEVEL_WARN);
  EXPECT_EQ(config.proto->log().format(), config::v1::LOG_FORMAT_JSON);

  std::vector<std::string> names;
  for (const TypePolicy& type : config.types->types()) names.push_back(type.name);
  EXPECT_THAT(names, ElementsAre("default", "user", "otp", "keep", "secret"));
  const TypePolicy& user = *config.types->Find("user");
  EXPECT_EQ(user.match[1].text(), "u:*");
  EXPECT_EQ(user.ttl.base, absl::Minutes(90));
  EXPECT_EQ(user.ttl.multiplier, 1.5);
  EXPECT_EQ(user.ttl.jitter, 0.2);
  EXPECT_TRUE(user.ttl.adapt_access);
  EXPECT_EQ(user.ttl.access_gain, 0.5);
  EXPECT_TRUE(user.ttl.adapt_size) << "a section that is written out is enabled";
  ASSERT_EQ(user.ttl.size_bands.size(), 2u);
  EXPECT_EQ(user.ttl.size_bands[0].below_bytes, 1000u);
  EXPECT_EQ(user.ttl.size_bands[1].below_bytes, UINT64_MAX);
  EXPECT_EQ(user.ttl.absent, absl::Milliseconds(250));
  const TypePolicy& otp = *config.types->Find("otp");
  ASSERT_EQ(otp.ttl.access_steps.size(), 2u);
  EXPECT_EQ(otp.ttl.access_steps[1].ttl, absl::Hours(1));
  EXPECT_TRUE(config.types->Find("keep")->ttl.forever);
  const TypePolicy& secret = *config.types->Find("secret");
  EXPECT_TRUE(secret.ttl.sliding);
  EXPECT_TRUE(secret.ttl.adapt_access);
  EXPECT_EQ(secret.ttl.access_half_life, absl::Seconds(90));
  EXPECT_EQ(secret.share_min, 0.05);
  EXPECT_EQ(secret.share_max, 0.25);
  EXPECT_FALSE(secret.second_tier);
}

TEST(ConfigTest, SaysWhereEachValueCameFrom) {
  const Config config =
      Load({.file_name = "larder.yaml",
            .text = "log:\n  level: warn\nlimits: {queue: 5}\n",
            .environment = {{"LARDER_LIMITS_QUEUE", "6"}, {"LARDER_LISTEN_GRPC", "[::]:1"}},
            .overrides = {{"listen.grpc", "[::]:2"}}});
  EXPECT_EQ(Find(config, "log.level").source, "larder.yaml:2:10");
  EXPECT_EQ(Find(config, "limits.queue").source, "env LARDER_LIMITS_QUEUE");
  EXPECT_EQ(Find(config, "limits.queue").value, "6");
  EXPECT_EQ(Find(config, "listen.grpc").source, "--set");
  EXPECT_EQ(Find(config, "listen.grpc").value, "\"[::]:2\"");
  EXPECT_EQ(Find(config, "memory.l1").source,
            "default; now 4GiB: half of the machine's memory 8GiB");
  EXPECT_EQ(Find(config, "limits.leases").source, "default");
}

TEST(ConfigTest, ResolvesAutoFromTheMachine) {
  const Config config = Load({});
  EXPECT_EQ(config.proto->node().name(), "larder-7");
  EXPECT_EQ(config.proto->node().id(), 7u);
  EXPECT_EQ(Find(config, "node.id").source, "auto: the number at the end of larder-7");
  EXPECT_EQ(config.proto->workers().threads(), 4u);

  Machine container = SomeMachine();
  container.cpus = 1;
  EXPECT_EQ(Load({}, container).proto->workers().threads(), 2u);
  EXPECT_EQ(Load({}, container).proto->listen().loops(), 1u);
  Machine huge = SomeMachine();
  huge.cpus = 512;
  EXPECT_EQ(Load({}, huge).proto->workers().threads(), 256u);
  EXPECT_EQ(Load({}, huge).proto->listen().loops(), 256u);
}

TEST(ConfigTest, AutomaticMemoryStaysAutomaticAndSaysWhatItMeansNow) {
  const auto now = [](const MemoryReading& memory, const std::string& text = "") {
    Machine machine = SomeMachine();
    machine.memory = memory;
    const Config config = Load({.text = text}, machine);
    EXPECT_EQ(config.proto->memory().l1(), 0u);
    EXPECT_EQ(Find(config, "memory.l1").value, "auto");
    return Find(config, "memory.l1").source;
  };
  EXPECT_EQ(now(MemoryOf(512 << 20, MemorySource::kCgroupV2)),
            "default; now 448MiB: cgroup v2 limit 512MiB, 64MiB kept for the rest of the process "
            "(the least)");
  EXPECT_EQ(now(MemoryOf(64 << 20, MemorySource::kCgroupV1), "memory: {l1: auto}"),
            "larder.yaml:1:14; now 32MiB: cgroup v1 limit 64MiB, 32MiB kept for the rest of the "
            "process (the least)");
  EXPECT_EQ(now(MemoryOf(uint64_t{8} << 30), "memory: {max: 1GiB, min: 512MiB}"),
            "default; now 1GiB: half of the machine's memory 8GiB, at most 1GiB (memory.max)");
  EXPECT_THAT(now(MemoryOf(4 << 20)), HasSubstr("now 8MiB: "));
  EXPECT_EQ(now({}), "default; now 256MiB: the machine's memory is unknown");
}

TEST(ConfigTest, MemoryOptionsAreThoseOfTheFile) {
  GovernorOptions options = MemoryOptionsOf(*Load({}).proto);
  EXPECT_EQ(options.fixed_bytes, 0u);
  EXPECT_EQ(options.min_bytes, 0u);
  EXPECT_EQ(options.max_bytes, 0u);
  EXPECT_EQ(options.floor_bytes, 8u << 20) << "eight values of 1MiB";
  options = MemoryOptionsOf(
      *Load({.text = "memory: {min: 64MiB, max: 2GiB}\nlimits: {value_bytes: 4MiB}"}).proto);
  EXPECT_EQ(options.min_bytes, 64u << 20);
  EXPECT_EQ(options.max_bytes, uint64_t{2} << 30);
  EXPECT_EQ(options.floor_bytes, 32u << 20);
  options =
      MemoryOptionsOf(*Load({.text = "memory: {l1: 1MiB}\nlimits: {value_bytes: 1KiB}"}).proto);
  EXPECT_EQ(options.fixed_bytes, 1u << 20);
  EXPECT_EQ(options.floor_bytes, 1u << 20);
}

TEST(ConfigTest, NodeIdFollowsTheNameThatIsInEffect) {
  EXPECT_EQ(Load({.text = "node: {name: cache-12}"}).proto->node().id(), 12u);
  EXPECT_EQ(Load({.text = "node: {id: 3, name: cache-12}"}).proto->node().id(), 3u);
  EXPECT_EQ(Load({.text = "node: {id: auto, name: cache-12}"}).proto->node().id(), 12u);
}

TEST(ConfigTest, NodeIdIsTheOrdinalOrAStableHash) {
  EXPECT_EQ(NodeIdOf("larder-0").text, "0");
  EXPECT_EQ(NodeIdOf("larder-1023").text, "1023");
  EXPECT_EQ(NodeIdOf("larder-1024").why, "a hash of the name larder-1024");
  EXPECT_EQ(NodeIdOf("web").why, "a hash of the name web");
  EXPECT_EQ(NodeIdOf("web-").why, "a hash of the name web-");
  EXPECT_EQ(NodeIdOf("web-7x").why, "a hash of the name web-7x");
  // Versions that are stored carry this id: it may never change for a name.
  EXPECT_EQ(NodeIdOf("web").text, "1000");
}

TEST(ConfigTest, OverridesWinOverTheFileAndTheLastOneWins) {
  const Config config = Load({.text = "types: {user: {match: ['user:*'], ttl: {base: 5m}}}",
                              .overrides = {{"types.user.ttl.base", "10m"},
                                            {"types.user.ttl.base", "20m"},
                                            {"types.otp.match", "['otp:*', \"o:{id}\"]"},
                                            {"types.user.ttl.adapt.access", "true"},
                                            {"types.user.ttl.adapt.size", "{bands: [{factor: 3}]}"},
                                            {"limits.value_bytes", "2MiB"}}});
  EXPECT_EQ(config.types->Find("user")->ttl.base, absl::Minutes(20));
  EXPECT_EQ(config.types->Find("user")->match.size(), 1u);
  EXPECT_EQ(config.types->Find("otp")->match[1].text(), "o:{id}");
  EXPECT_TRUE(config.types->Find("user")->ttl.adapt_access);
  EXPECT_EQ(config.types->Find("user")->ttl.size_bands.size(), 1u);
  EXPECT_EQ(config.proto->limits().value_bytes(), 2u << 20);
}

TEST(ConfigTest, AnOverrideOpensAShorthand) {
  const Config config = Load({.text = "types: {user: {ttl: {adapt: {access: true}}}}",
                              .overrides = {{"types.user.ttl.adapt.access.gain", "2"}}});
  EXPECT_TRUE(config.types->Find("user")->ttl.adapt_access);
  EXPECT_EQ(config.types->Find("user")->ttl.access_gain, 2);
}

TEST(ConfigTest, WrongOverridesAreReportedByTheirPath) {
  EXPECT_EQ(
      ErrorOf({.overrides = {{"types.user.ttll.base", "1m"}}}),
      "--set types.user.ttll.base: unknown field \"ttll\" in types.user; did you mean \"ttl\"?");
  EXPECT_EQ(ErrorOf({.overrides = {{"limits.queue", "many"}}}),
            "--set limits.queue: limits.queue: \"many\" is no whole number");
  EXPECT_EQ(ErrorOf({.overrides = {{"", "1"}}}),
            "--set : is no path; write it like types.user.ttl.base=10m");
  EXPECT_EQ(ErrorOf({.overrides = {{"a..b", "1"}}}),
            "--set a..b: is no path; write it like types.user.ttl.base=10m");
  EXPECT_EQ(ErrorOf({.overrides = {{"types.user.match", "[a"}}}),
            "--set types.user.match: not YAML: end of sequence flow not found");
  EXPECT_EQ(ErrorOf({.overrides = {{"types.user.match", "user:*"}}}),
            "--set types.user.match: types.user.match must be a list, not a single value");
  EXPECT_EQ(ErrorOf({.overrides = {{"data.path", "\xFF"}}}),
            "--set data.path: data.path: must be UTF-8 text without control characters");
}

TEST(ConfigTest, EnvironmentSetsSingleValues) {
  const Config config = Load({.text = "log: {level: debug}",
                              .environment = {{"LARDER_LOG_LEVEL", "error"},
                                              {"LARDER_CONNECTIONS_MAX_AGE", "off"},
                                              {"LARDER_MEMORY_L1", "64MiB"},
                                              {"LARDER_DATA_PATH", "/var/lib/larder"},
                                              {"LARDER_NODE_NAME", ""}}});
  EXPECT_EQ(config.proto->log().level(), config::v1::LOG_LEVEL_ERROR);
  EXPECT_EQ(config.proto->connections().max_age().seconds(), 0);
  EXPECT_EQ(config.proto->memory().l1(), 64u << 20);
  EXPECT_EQ(config.proto->data().path(), "/var/lib/larder");
  EXPECT_EQ(config.proto->node().name(), "larder-7") << "an empty variable counts as none";
}

TEST(ConfigTest, EnvironmentReportsMisspeltSettingsOnly) {
  EXPECT_EQ(ErrorOf({.environment = {{"LARDER_LOG_LEVLE", "info"}}}),
            "LARDER_LOG_LEVLE: the variable names no setting; did you mean LARDER_LOG_LEVEL?");
  EXPECT_EQ(ErrorOf({.environment = {{"LARDER_TYPES_USER_TTL_BASE", "5m"}}}),
            "LARDER_TYPES_USER_TTL_BASE: the variable names no setting; lists, origins and data "
            "types cannot be set from the "
            "environment");
  EXPECT_EQ(ErrorOf({.environment = {{"LARDER_LOG_LEVEL", "loud"}}}),
            "LARDER_LOG_LEVEL: log.level: \"loud\" is none of debug, info, warn, error");
  EXPECT_EQ(ErrorOf({.environment = {{"LARDER_ADDRESS", "x"}, {"PATH", "/bin"}, {"LARDER", "x"}}}),
            "ok");
}

// A Service named `larder` or `larder-data` puts these into every container of its namespace.
TEST(ConfigTest, EnvironmentIgnoresWhatKubernetesMakesForServices) {
  EXPECT_EQ(ErrorOf({.environment = {{"LARDER_SERVICE_HOST", "10.0.0.1"},
                                     {"LARDER_PORT", "tcp://10.0.0.1:50051"},
                                     {"LARDER_DATA_SERVICE_HOST", "10.0.0.2"},
                                     {"LARDER_DATA_SERVICE_PORT_GRPC", "50051"},
                                     {"LARDER_DATA_PORT", "tcp://10.0.0.2:50051"},
                                     {"LARDER_DATA_PORT_50051_TCP_ADDR", "10.0.0.2"}}}),
            "ok");
}

TEST(ConfigTest, PrintedConfigLoadsToTheSameValues) {
  const Config first = Load({.text = R"(
listen: { grpc: "127.0.0.1:0" }
node: { name: auto, id: 77 }
data: { path: "/tmp/with \"quotes\" and \\ and # and é" }
connections: { max_age: off, max_idle: 1m30s }
types:
  zebra:
    match: ["z:{id}", 'a\*b', "q: # \" x"]
    ttl:
      { jitter: 7%, max: 1m,
        adapt: { access: { steps: [{hits: 3, ttl: 1.5s}] }, size: true } }
  default: { ttl: { base: 2.25ms } }
  keep: { ttl: { forever: true, sliding: true }, share: { min: 12.5%, max: 0.3 }, tiers: { l2: false } }
)"});
  const std::string printed = PrintConfig(first);
  const Config second =
      Load({.file_name = "printed.yaml", .text = printed}, Machine{.hostname = "elsewhere"});
  EXPECT_EQ(Values(first), Values(second)) << printed;
  EXPECT_EQ(first.proto->SerializeAsString().size(), second.proto->SerializeAsString().size());
  EXPECT_THAT(printed, HasSubstr("  max_age: off  # larder.yaml:5:25\n"));
  EXPECT_THAT(
      printed,
      HasSubstr("memory:\n  l1: auto  # default; now 3.5GiB: half of the machine's memory 8GiB, "
                "512MiB kept for the second tier\n"));
}

TEST(ConfigTest, PrintedDefaultsLoadToTheSameValues) {
  const Config first = Load({});
  EXPECT_EQ(Values(first), Values(Load({.text = PrintConfig(first)}, Machine{})));
}

class ConfigFileTest : public testing::Test {
 protected:
  ConfigFileTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-config-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  ~ConfigFileTest() override {
    unsetenv("LARDER_LIMITS_QUEUE");
    std::filesystem::remove_all(directory_);
  }

  std::filesystem::path directory_;
};

TEST_F(ConfigFileTest, ReadsTheFileTheEnvironmentAndTheMachine) {
  const std::string path = (directory_ / "my.yaml").string();
  std::ofstream(path) << "limits: {batch_keys: 7, queue: 8}\n";
  setenv("LARDER_LIMITS_QUEUE", "9", 1);
  const auto config = LoadConfigFile(path, {{"limits.waiters", "10"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->proto->limits().batch_keys(), 7u);
  EXPECT_EQ(config->proto->limits().queue(), 9u);
  EXPECT_EQ(config->proto->limits().waiters(), 10u);
  EXPECT_EQ(Find(*config, "limits.batch_keys").source, path + ":1:22");
  EXPECT_EQ(config->proto->memory().l1(), 0u) << "auto";
  EXPECT_THAT(Find(*config, "memory.l1").source, HasSubstr("default; now "));
}

TEST_F(ConfigFileTest, NoFileIsNoError) {
  const auto config = LoadConfigFile("", {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->types->size(), 1u);
}

TEST_F(ConfigFileTest, FileThatCannotBeReadIsOneClearLine) {
  const std::string missing = (directory_ / "missing.yaml").string();
  const auto config = LoadConfigFile(missing, {});
  EXPECT_TRUE(absl::IsNotFound(config.status()));
  EXPECT_EQ(std::string(config.status().message()),
            missing + " cannot be read: No such file or directory");
  EXPECT_THAT(std::string(LoadConfigFile(directory_.string(), {}).status().message()),
              HasSubstr("cannot be read: Is a directory"));
}

TEST_F(ConfigFileTest, FileOver4MiBIsRefused) {
  const std::string path = (directory_ / "big.yaml").string();
  const std::string comment = "#" + std::string(4 << 20, 'x');
  std::ofstream(path) << comment.substr(0, 4 << 20);
  EXPECT_TRUE(LoadConfigFile(path, {}).ok());
  std::ofstream(path) << comment;
  EXPECT_EQ(std::string(LoadConfigFile(path, {}).status().message()),
            path + ": the text is more than 4194304 bytes, which is the limit");
}

}  // namespace
}  // namespace larder
