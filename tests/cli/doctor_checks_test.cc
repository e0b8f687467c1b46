#include "client/cli/doctor_checks.h"

#include <gtest/gtest.h>

namespace larder::cli {
namespace {

Replica At(const std::string& address, absl::Duration ahead, absl::Duration within) {
  Replica replica;
  replica.address = address;
  replica.info.version = "0.1.0";
  replica.info.node = address;
  replica.clock_ahead = ahead;
  replica.clock_within = within;
  return replica;
}

Level Worst(const Findings& findings) {
  Level worst = Level::kOk;
  for (const Finding& finding : findings) worst = std::max(worst, finding.level);
  return worst;
}

std::string Said(const Findings& findings, Level level) {
  for (const Finding& finding : findings) {
    if (finding.level == level) return finding.check + ": " + finding.what;
  }
  return "";
}

TEST(JudgeClocks, JudgesTheReplicasAgainstEachOtherAndNotAgainstThisMachine) {
  Findings findings;
  JudgeClocks({At("a", absl::Seconds(30), absl::Milliseconds(1)),
               At("b", absl::Seconds(30), absl::Milliseconds(1))},
              &findings);
  EXPECT_LE(Worst(findings), Level::kNote);
  findings.clear();
  JudgeClocks({At("a", absl::Milliseconds(200), absl::Milliseconds(1)),
               At("b", absl::ZeroDuration(), absl::Milliseconds(1))},
              &findings);
  EXPECT_EQ(Worst(findings), Level::kWarn);
  EXPECT_NE(Said(findings, Level::kWarn).find("a is ahead of b by 198ms"), std::string::npos)
      << Said(findings, Level::kWarn);
  findings.clear();
  JudgeClocks({At("a", absl::ZeroDuration(), absl::Milliseconds(1)),
               At("b", absl::Seconds(3), absl::Milliseconds(1))},
              &findings);
  EXPECT_EQ(Worst(findings), Level::kBad);
}

TEST(JudgeClocks, DoubtsSpeakForAReplica) {
  Findings findings;
  JudgeClocks(
      {At("a", absl::Seconds(3), absl::Seconds(2)), At("b", absl::ZeroDuration(), absl::Seconds(1)),
       At("old", absl::Hours(9), absl::InfiniteDuration())},
      &findings);
  EXPECT_EQ(Worst(findings), Level::kNote);
  EXPECT_EQ(Said(findings, Level::kNote), "clock: its version does not tell the time");
}

TEST(JudgeVersions, SeesARolloutThatIsNotOver) {
  Findings findings;
  std::vector<Replica> replicas = {At("a", {}, {}), At("b", {}, {})};
  JudgeVersions(replicas, "0.1.0", &findings);
  EXPECT_EQ(Worst(findings), Level::kOk);
  replicas[1].info.version = "0.2.0";
  findings.clear();
  JudgeVersions(replicas, "0.1.0", &findings);
  EXPECT_EQ(Said(findings, Level::kWarn), "version: the replicas are of different versions");
  EXPECT_EQ(Said(findings, Level::kNote), "version: b runs 0.2.0; this command is 0.1.0");
}

TEST(JudgeLikeness, SeesSharedNodeIdsAndConfigurationsThatDiffer) {
  std::vector<Replica> replicas = {At("a", {}, {}), At("b", {}, {})};
  replicas[0].info.node_id = 1;
  replicas[1].info.node_id = 2;
  Findings findings;
  JudgeLikeness(replicas, &findings);
  EXPECT_EQ(Worst(findings), Level::kOk);
  replicas[1].info.node_id = 1;
  replicas[1].info.limits.value_bytes = 7;
  TypeInfo type;
  type.name = "user";
  replicas[1].info.types = {type};
  findings.clear();
  JudgeLikeness(replicas, &findings);
  EXPECT_EQ(Count(findings, Level::kBad), 3u);
  replicas[1] = replicas[0];
  replicas[1].address = "the same by another name";
  findings.clear();
  JudgeLikeness(replicas, &findings);
  EXPECT_EQ(Worst(findings), Level::kNote);
}

TEST(JudgeLimits, AnswersThatClientsCannotTake) {
  Replica replica = At("a", {}, {});
  replica.info.limits.message_bytes = 64 << 20;
  Findings findings;
  JudgeLimits(replica, 64 << 20, &findings);
  EXPECT_EQ(Worst(findings), Level::kOk);
  JudgeLimits(replica, (64 << 20) - 1, &findings);
  EXPECT_EQ(Worst(findings), Level::kWarn);
}

TEST(JudgeCertificate, TellsTheEndAndWhoIsMeant) {
  const absl::Time now = absl::UnixEpoch() + absl::Hours(24 * 365);
  TlsLook look;
  look.protocol = "TLSv1.3";
  look.h2 = true;
  look.not_before = now - absl::Hours(1);
  look.not_after = now + absl::Hours(24 * 60);
  look.for_host = true;
  Findings findings;
  JudgeCertificate("s", "cache", look, now, &findings);
  EXPECT_EQ(Worst(findings), Level::kOk);
  look.not_after = now + absl::Hours(24 * 10);
  findings.clear();
  JudgeCertificate("s", "cache", look, now, &findings);
  EXPECT_EQ(Said(findings, Level::kWarn),
            "certificate: expires in 10 days, on 1971-01-11 00:00 UTC");
  EXPECT_FALSE(findings[0].mend.empty());
  look.not_after = now - absl::Seconds(1);
  look.for_host = false;
  look.names = {"other", "10.0.0.1"};
  look.untrusted = "unable to get local issuer certificate";
  look.h2 = false;
  findings.clear();
  JudgeCertificate("s", "cache", look, now, &findings);
  EXPECT_EQ(Count(findings, Level::kBad), 4u);
  EXPECT_EQ(findings[1].what, "is not valid for cache, but for other, 10.0.0.1");
  look.not_before = now + absl::Hours(1);
  findings.clear();
  JudgeCertificate("s", "cache", look, now, &findings);
  EXPECT_EQ(findings[0].what.substr(0, 22), "is not valid before 19");
}

TEST(JudgeStats, SaysWhatIsUnwellAndHowToMendIt) {
  StatsResult stats;
  Findings findings;
  JudgeStats("s", stats, &findings);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].level, Level::kOk);
  TierStats tier;
  tier.tier = Tier::kL2;
  tier.state = "cannot connect";
  tier.owed = 3;
  stats.tiers = {tier};
  OriginStats origin;
  origin.name = "shop";
  origin.state = "breaker open";
  stats.origins = {origin};
  BreakerStats breaker;
  breaker.name = "l2";
  breaker.state = BreakerState::kOpen;
  stats.breakers = {breaker};
  JournalStats journal;
  journal.state = "full";
  journal.dead_letters = 2;
  journal.paused = {"shop"};
  stats.journal = journal;
  FleetStats fleet;
  fleet.state = "lost: no answer";
  fleet.node_id_shared = 1;
  stats.fleet = fleet;
  findings.clear();
  JudgeStats("s", stats, &findings);
  EXPECT_EQ(Count(findings, Level::kBad), 6u);
  EXPECT_EQ(Count(findings, Level::kWarn), 3u);
  for (const Finding& finding : findings) EXPECT_FALSE(finding.mend.empty()) << finding.what;
}

TEST(JudgeSettings, PingsThatAServerDoesNotAllow) {
  Findings findings;
  JudgeSettings("s",
                {{"connections.ping_interval_min", "10s", "default"},
                 {"connections.keepalive_time", "2m", "default"}},
                &findings);
  EXPECT_EQ(Worst(findings), Level::kOk);
  findings.clear();
  JudgeSettings("s",
                {{"connections.ping_interval_min", "1m", "f:1:1"},
                 {"connections.keepalive_time", "1h", "f:2:1"}},
                &findings);
  EXPECT_EQ(Count(findings, Level::kBad), 1u);
  EXPECT_EQ(Count(findings, Level::kWarn), 1u);
  findings.clear();
  JudgeSettings("s", {}, &findings);
  EXPECT_TRUE(findings.empty());
}

TEST(JudgeEnvironment, AProxyIsNamedAndItsPasswordIsNot) {
  Findings findings;
  JudgeEnvironment({{"http_proxy", "http://user:canary@proxy:3128"}}, 65'536, &findings);
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].what, "http_proxy is set: gRPC goes through that proxy");
  findings.clear();
  JudgeEnvironment({}, 256, &findings);
  EXPECT_EQ(Worst(findings), Level::kWarn);
}

TEST(FindingLines, EachWithItsMend) {
  const Findings findings = {{Level::kOk, "dns", "a", "fine", ""},
                             {Level::kBad, "clock", "", "off", "mend it"}};
  EXPECT_EQ(FindingLines(findings, Level::kNote).size(), 2u);
  EXPECT_EQ(FindingLines(findings, Level::kOk).size(), 3u);
  EXPECT_EQ(FindingLines(findings, Level::kNote)[1], "                        mend: mend it");
}

}  // namespace
}  // namespace larder::cli
