#include "client/cli/config_report.h"

#include <gtest/gtest.h>

namespace larder::cli {
namespace {

constexpr char kPrinted[] = R"(listen:
  grpc: "0.0.0.0:50051"  # default
  tls:
    key_file: ""  # default
memory:
  l1: auto  # default; now 11.77GiB: half of the machine's memory 23.54GiB
types:
  user:
    match: ["user:{id}", "a  # b"]  # larder.yaml:3:5
    ttl:
      base: 5m  # larder.yaml:4:7
)";

std::vector<std::string> Shown(const std::vector<ConfigChange>& changes) {
  std::vector<std::string> shown;
  for (const ConfigChange& change : changes)
    shown.push_back(change.path + ": " + change.before + " -> " + change.after);
  return shown;
}

using Words = std::vector<std::string>;

TEST(ParsePrintedConfig, ReadsSectionsValuesAndSources) {
  const std::vector<Setting> settings = ParsePrintedConfig(kPrinted);
  ASSERT_EQ(settings.size(), 5u);
  EXPECT_EQ(settings[0].path, "listen.grpc");
  EXPECT_EQ(settings[0].value, "\"0.0.0.0:50051\"");
  EXPECT_EQ(settings[1].path, "listen.tls.key_file");
  EXPECT_EQ(settings[2].path, "memory.l1");
  EXPECT_EQ(settings[3].path, "types.user.match");
  EXPECT_EQ(settings[3].value, R"(["user:{id}", "a  # b"])");
  EXPECT_EQ(settings[3].source, "larder.yaml:3:5");
  EXPECT_EQ(settings[4].path, "types.user.ttl.base");
}

TEST(DifferencesOf, TellsWhatWasChangedAddedAndRemoved) {
  const std::vector<Setting> before = {
      {"a", "1", "file:1:1"}, {"b", "2", "file:2:1"}, {"d", "4", "file:3:1"}};
  const std::vector<Setting> after = {
      {"a", "1", "file:9:1"}, {"b", "3", "file:2:1"}, {"c", "5", "file:3:1"}};
  EXPECT_EQ(Shown(DifferencesOf(before, after)), (Words{"b: 2 -> 3", "c:  -> 5", "d: 4 -> "}));
  EXPECT_TRUE(DifferencesOf(before, before).empty());
}

TEST(DifferencesOf, WhatAMachineWorkedOutIsNoDifference) {
  const std::vector<Setting> here = {{"listen.loops", "2", "auto: 2 CPUs"},
                                     {"node.name", "\"vm\"", "auto: host name"},
                                     {"log.level", "info", "default"}};
  const std::vector<Setting> there = {{"listen.loops", "8", "auto: 8 CPUs"},
                                      {"node.name", "\"pod\"", "--set"},
                                      {"log.level", "info", "default"}};
  EXPECT_EQ(Shown(DifferencesOf(there, here)), (Words{"node.name: \"pod\" -> \"vm\""}));
}

TEST(DifferencesOf, WhatAServerHidesIsNotCompared) {
  const std::vector<Setting> running = {{"token", "(not shown)", "file:1:1"}};
  const std::vector<Setting> file = {{"token", "\"secret\"", "file:1:1"}};
  EXPECT_TRUE(DifferencesOf(running, file).empty());
}

// A type that somebody adds in the first phase, and of which he forgets that it does not inherit.
TEST(RolloutWarning, NamesTypesThatDoNotSayWhileTheDefaultIsBelowAll) {
  const std::vector<Setting> settings = {{"types.default.rollout.reads", "10%", "--set"},
                                         {"types.default.rollout.writes", "0%", "--set"},
                                         {"types.user.rollout.reads", "100%", "default"},
                                         {"types.user.rollout.writes", "0%", "f:1:1"},
                                         {"types.shop.item.rollout.reads", "100%", "default"},
                                         {"types.all.rollout.reads", "100%", "f:2:1"},
                                         {"types.all.rollout.writes", "100%", "f:2:1"}};
  EXPECT_EQ(RolloutWarning(settings),
            "types.default.rollout.reads is 10%, but types without a rollout of their own are at "
            "100%: user, shop.item");
}

TEST(RolloutWarning, SaysNothingWhereAllUseTheCacheOrHaveTheirPart) {
  std::vector<Setting> settings = {{"types.default.rollout.reads", "100%", "default"},
                                   {"types.default.rollout.writes", "100%", "default"},
                                   {"types.user.rollout.reads", "100%", "default"},
                                   {"types.user.rollout.writes", "100%", "default"}};
  EXPECT_EQ(RolloutWarning(settings), "");
  settings[1] = {"types.default.rollout.writes", "10%", "--set"};
  settings[3] = {"types.user.rollout.writes", "10%", "--set"};
  EXPECT_EQ(RolloutWarning(settings), "");
  EXPECT_EQ(RolloutWarning({}), "");
}

TEST(PrintChanges, SaysWhatWaitsForARestart) {
  const std::vector<ConfigChange> changes = {{"types.user.ttl.base", "5m", "10m", false},
                                             {"listen.grpc", "a", "b", true},
                                             {"types.new.match", "", "[x]", false}};
  Output out;
  ::testing::internal::CaptureStdout();
  PrintChanges(changes, FoundBy::kServer, "no difference", &out);
  ASSERT_TRUE(out.Flush().ok());
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "SETTING              RUNS WITH  FILE SAYS  TAKES EFFECT\n"
            "types.user.ttl.base  5m         10m        at once\n"
            "listen.grpc          a          b          after a restart\n"
            "types.new.match      -          [x]        at once\n"
            "1 of 3 take effect only after a restart\n");
  EXPECT_EQ(
      ChangesJson({changes[1]}, FoundBy::kServer).Text(),
      R"({"changes":[{"path":"listen.grpc","before":"a","after":"b","needs_restart":true}]})");
  ::testing::internal::CaptureStdout();
  PrintChanges({}, FoundBy::kServer, "no difference", &out);
  ASSERT_TRUE(out.Flush().ok());
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "no difference\n");
}

// Of a file that the server has not read nobody knows it: an empty cell would be read as "at once".
TEST(PrintChanges, DoesNotSayWhatNobodyKnows) {
  const std::vector<ConfigChange> changes = {{"listen.grpc", "a", "b", false}};
  Output out;
  ::testing::internal::CaptureStdout();
  PrintChanges(changes, FoundBy::kHere, "no difference", &out);
  ASSERT_TRUE(out.Flush().ok());
  EXPECT_EQ(::testing::internal::GetCapturedStdout(),
            "SETTING      RUNS WITH  FILE SAYS\n"
            "listen.grpc  a          b\n"
            "what needs a restart is told by `larder config diff` without a file, once this one is "
            "the server's\n");
  EXPECT_EQ(ChangesJson(changes, FoundBy::kHere).Text(),
            R"({"changes":[{"path":"listen.grpc","before":"a","after":"b"}]})");
}

TEST(ParseAdminConfig, ReadsWhatTheAdminPortTells) {
  const auto config = ParseAdminConfig(
      R"({"version":"0.1.0","node":"n","started_ms":1500,"settings":[{"path":"a.b","value":"1","source":"default"}]})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->started, absl::FromUnixMillis(1500));
  ASSERT_EQ(config->settings.size(), 1u);
  EXPECT_EQ(config->settings[0].path, "a.b");
  EXPECT_FALSE(ParseAdminConfig("<html>").ok());
  EXPECT_FALSE(ParseAdminConfig("{}").ok());
}

TEST(DefaultAdmin, IsPort8080OfTheFirstServersHost) {
  EXPECT_EQ(DefaultAdmin("cache:50051,other:50051"), "cache:8080");
  EXPECT_EQ(DefaultAdmin("dns:///cache:50051"), "cache:8080");
  EXPECT_EQ(DefaultAdmin("[::1]:50051"), "[::1]:8080");
  EXPECT_EQ(DefaultAdmin("unix:/run/larder.sock"), "127.0.0.1:8080");
}

}  // namespace
}  // namespace larder::cli
