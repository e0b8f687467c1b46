#include "client/cli/redact.h"

#include <gtest/gtest.h>

namespace larder::cli {
namespace {

TEST(Redactor, HashesKeysAlikeWithinABundleAndNotBetweenThem) {
  const Redactor one(false, "salt");
  const Redactor other(false, "pepper");
  EXPECT_EQ(one.Key("user:42"), one.Key("user:42"));
  EXPECT_NE(one.Key("user:42"), one.Key("user:43"));
  EXPECT_NE(one.Key("user:42"), other.Key("user:42"));
  EXPECT_EQ(one.Key("user:42").size(), 4u + 16u);
  EXPECT_EQ(Redactor(true, "salt").Key("user:42"), "user:42");
}

TEST(Redactor, TakesSecretsOutOfSentences) {
  const Redactor redactor(false, "salt");
  const auto text = [&](const std::string& in) { return redactor.Text(in); };
  EXPECT_EQ(text("redis://:canary@host:6379/0 is away"), "redis://***@host:6379/0 is away");
  EXPECT_EQ(text("postgresql://u:c@nary@db/x?password=canary&a=b"),
            "postgresql://***@db/x?password=***&a=b");
  EXPECT_EQ(text("host=db password=canary user=x"), "host=db password=*** user=x");
  EXPECT_EQ(text("Key (id)=(canary) already exists"), "Key (id)=(***) already exists");
  EXPECT_EQ(text("value \"canary\" of 'canary' in `shop`"), "value \"***\" of '***' in `shop`");
  EXPECT_EQ(text("9 of the last 10 calls failed"), "9 of the last 10 calls failed");
  EXPECT_EQ(text("x://"), "x://");
  EXPECT_EQ(text("a=b"), "a=b");
}

TEST(Redactor, LeavesOutSettingsThatMayBeSecrets) {
  const Redactor redactor(true, "salt");  // keys may be shown, secrets never
  const auto value = [&](const std::string& path, const std::string& text) {
    return redactor.Value({path, text, "larder.yaml:1:1"});
  };
  EXPECT_EQ(value("l2.redis.password", "\"canary\""), "(left out)");
  EXPECT_EQ(value("auth.tokens.ci.sha256", "\"canary\""), "(left out)");
  EXPECT_EQ(value("origins.a.grpc.metadata.0.value", "\"canary\""), "(left out)");
  EXPECT_EQ(value("l2.redis.url", "\"redis://u:canary@h\""), "\"redis://***@h\"");
  EXPECT_EQ(value("l2.redis.password_file", "\"/run/secrets/redis\""), "\"/run/secrets/redis\"");
  EXPECT_EQ(value("types.user.ttl.base", "5m"), "5m");
  EXPECT_EQ(value("l2.redis.password", "\"\""), "\"\"");
}

TEST(Redactor, GoesThroughAllThatServersSay) {
  const Redactor redactor(false, "salt");
  StatsResult stats;
  HotKey hot;
  hot.key = "canary";
  stats.hot_keys = {hot};
  TypeStats type;
  type.hot_keys = {hot};
  stats.types = {type};
  TierStats tier;
  tier.state = "\"canary\"";
  stats.tiers = {tier};
  OriginStats origin;
  origin.state = "'canary'";
  stats.origins = {origin};
  BreakerStats breaker;
  breaker.reason = "Key (id)=(canary)";
  stats.breakers = {breaker};
  JournalStats journal;
  journal.state = "password=canary";
  JournalDamage damage;
  damage.last = "\"canary\"";
  journal.damage = damage;
  stats.journal = journal;
  FleetStats fleet;
  fleet.state = "redis://:canary@h";
  stats.fleet = fleet;
  redactor.Redact(&stats);
  for (const std::string& text :
       {stats.hot_keys[0].key, stats.types[0].hot_keys[0].key, stats.tiers[0].state, stats.origins[0].state,
        stats.breakers[0].reason, stats.journal->state, stats.journal->damage->last,
        stats.fleet->state}) {
    EXPECT_EQ(text.find("canary"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace larder::cli
