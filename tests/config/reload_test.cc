#include "config/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"
#include "larder/config/v1/config.pb.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Config Load(const std::string& text) {
  auto config = LoadConfig({.text = text}, SomeMachine());
  EXPECT_TRUE(config.ok()) << config.status().message();
  return *std::move(config);
}

ConfigStep Step(const std::string& before, const std::string& after) {
  auto step = StepToConfig(Load(before), Load(after));
  EXPECT_TRUE(step.ok()) << step.status();
  return *std::move(step);
}

std::vector<std::string> Told(const ConfigStep& step) {
  std::vector<std::string> told;
  for (const ConfigChange& change : step.changes) {
    told.push_back(absl::StrCat(change.path, ": ", change.before, " -> ", change.after,
                                change.needs_restart ? " (restart)" : ""));
  }
  return told;
}

std::string SettingOf(const Config& config, const std::string& path) {
  for (const Setting& setting : config.settings) {
    if (setting.path == path) return setting.value;
  }
  return "";
}

TEST(StepToConfigTest, SameFileChangesNothing) {
  const std::string text = "types: { user: { match: [\"user:*\"], ttl: { base: 5m } } }";
  const ConfigStep step = Step(text, text);
  EXPECT_THAT(step.changes, IsEmpty());
  EXPECT_TRUE(
      google::protobuf::util::MessageDifferencer::Equals(*step.next.proto, *Load(text).proto));
}

TEST(StepToConfigTest, PoliciesAreTakenOver) {
  const ConfigStep step =
      Step("types: { user: { match: [\"user:*\"], ttl: { base: 5m } } }",
           "types: { user: { match: [\"user:*\", \"u:*\"], ttl: { base: 7m } } }\n"
           "log: { level: debug }");
  EXPECT_THAT(Told(step), ElementsAre("log.level: info -> debug",
                                      "types.user.match: [\"user:*\"] -> [\"user:*\", \"u:*\"]",
                                      "types.user.ttl.base: 5m -> 7m"));
  EXPECT_EQ(step.next.types->Resolve("u:1", "")->type->ttl.base, absl::Minutes(7));
  EXPECT_EQ(SettingOf(step.next, "types.user.ttl.base"), "7m");
}

TEST(StepToConfigTest, WhatNeedsARestartStaysAndIsSaid) {
  const ConfigStep step =
      Step("listen: { grpc: \"127.0.0.1:1000\" }\ntypes: { a: { ttl: { base: 5m } } }",
           "listen: { grpc: \"127.0.0.1:2000\" }\n"
           "types: { a: { ttl: { base: 6m }, share: { max: 50% } } }");
  EXPECT_THAT(
      Told(step),
      ElementsAre("listen.grpc: \"127.0.0.1:1000\" -> \"127.0.0.1:2000\" (restart)",
                  // It follows the port of `grpc`.
                  "types.a.ttl.base: 5m -> 6m", "types.a.share.max: 100% -> 50% (restart)"));
  EXPECT_EQ(step.next.proto->listen().grpc(), "127.0.0.1:1000");
  EXPECT_EQ(step.next.proto->listen().native(), "127.0.0.1:1001");
  EXPECT_EQ(SettingOf(step.next, "listen.grpc"), "\"127.0.0.1:1000\"");
  const TypePolicy& a = *step.next.types->Find("a");
  EXPECT_EQ(a.share_max, 1);
  EXPECT_EQ(a.ttl.base, absl::Minutes(6));
  // A second step finds the same things left to do.
  const auto again = StepToConfig(step.next, Load("listen: { grpc: \"127.0.0.1:2000\" }\n"
                                                  "types: { a: { ttl: { base: 6m }, "
                                                  "share: { max: 50% } } }"));
  ASSERT_TRUE(again.ok());
  for (const ConfigChange& change : again->changes) EXPECT_TRUE(change.needs_restart);
}

TEST(StepToConfigTest, TypesComeAndGo) {
  const ConfigStep step = Step("types: { old: { match: [\"old:*\"] }, b: {} }",
                               "types: { b: {}, fresh: { match: [\"fresh:*\"] } }");
  EXPECT_THAT(Told(step), ElementsAre("types.fresh:  -> present", "types.old: present -> "));
  EXPECT_EQ(step.next.types->Resolve("fresh:1", "")->type->name, "fresh");
  EXPECT_EQ(step.next.types->Resolve("old:1", "")->type->name, "default");
  EXPECT_EQ(SettingOf(step.next, "types.old.ttl.base"), "");
}

TEST(StepToConfigTest, TypeThatNeedsARestartInOneFieldWaitsForItAsAWhole) {
  const std::string origin = "origins: { db: { grpc: { target: \"dns:///x:1\" } } }\n";
  const std::string type = "types: { user: { match: [\"user:*\"], origin: db } }";
  const ConfigStep comes = Step(origin, origin + type);
  EXPECT_THAT(Told(comes), ElementsAre("types.user:  -> present (restart)"));
  EXPECT_EQ(comes.next.types->Find("user"), nullptr);
  EXPECT_EQ(SettingOf(comes.next, "types.user.origin"), "");

  const ConfigStep goes = Step(origin + type, origin);
  EXPECT_THAT(Told(goes), ElementsAre("types.user: present ->  (restart)"));
  ASSERT_NE(goes.next.types->Find("user"), nullptr);
  EXPECT_EQ(goes.next.types->Find("user")->origin, "db");
  EXPECT_EQ(SettingOf(goes.next, "types.user.origin"), "\"db\"");

  const ConfigStep both = Step("", origin + type);
  EXPECT_THAT(Told(both), ElementsAre("origins.db:  -> present (restart)",
                                      "types.user:  -> present (restart)"));
  EXPECT_EQ(both.next.proto->origins_size(), 0);
}

TEST(StepToConfigTest, WhatIsKeptAndWhatIsTakenOverMustGoTogether) {
  const std::string origin = "origins: { db: { grpc: { target: \"dns:///x:1\" } } }\n";
  // The type with the origin stays until a restart, and with it its pattern.
  const auto step =
      StepToConfig(Load(origin + "types: { user: { match: [\"user:*\"], origin: db } }"),
                   Load(origin + "types: { people: { match: [\"user:*\"] } }"));
  EXPECT_EQ(step.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(step.status().message()), HasSubstr("not without a restart"));
}

TEST(StepToConfigTest, WhoMayDoWhatIsTakenOver) {
  const std::string sum(64, 'a');
  const ConfigStep step =
      Step("",
           "auth: { roles: { all: { namespaces: [\"*\"], allow: [read] } }, callers: { me: { "
           "roles: [all], token_sha256: [" +
               sum + "] } } }\nquotas: [{ keys_per_second: 5 }]");
  EXPECT_EQ(step.next.proto->auth().callers_size(), 1);
  EXPECT_EQ(step.next.proto->quotas_size(), 1);
  for (const ConfigChange& change : step.changes) EXPECT_FALSE(change.needs_restart) << change.path;
}

TEST(StepToConfigTest, SecretsAreNotShown) {
  const auto with = [](const std::string& token) {
    return "origins: { db: { grpc: { target: \"dns:///x:1\", metadata: { authorization: { value: " +
           token + " } } } } }";
  };
  EXPECT_THAT(
      Told(Step(with("hunter1"), with("hunter2"))),
      ElementsAre("origins.db.grpc.metadata.authorization.value: (not shown) -> (not shown) "
                  "(restart)"));
}

TEST(StepToConfigTest, WhatTheMachineSaysIsNoChange) {
  Machine other = SomeMachine();
  other.cpus = 16;
  const auto step = StepToConfig(Load(""), *LoadConfig({}, other));
  ASSERT_TRUE(step.ok());
  EXPECT_THAT(step->changes, IsEmpty());
  EXPECT_EQ(step->next.proto->workers().threads(), 4u);
}

}  // namespace
}  // namespace larder
