// Conformance: what is refused, by which reason, and what the server tells about itself.

#include <gmock/gmock.h>

#include "tests/client/conformance.h"

namespace larder::testing {
namespace {

using ::testing::Contains;

class ConformanceLimits : public Conformance {
 protected:
  // Expects INVALID_ARGUMENT with the reason and, as its first violation, the field.
  static void ExpectInvalid(const absl::Status& status, const std::string& reason,
                            const std::string& field) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(ErrorReason(status), reason) << status;
    const std::vector<FieldViolation> violations = FieldViolations(status);
    ASSERT_FALSE(violations.empty()) << status;
    EXPECT_EQ(violations[0].field, field) << status;
    EXPECT_NE(violations[0].description, "") << status;
  }
};
INSTANTIATE_TEST_SUITE_P(Client, ConformanceLimits, ::testing::ValuesIn(Backends()), NameOf);

TEST_P(ConformanceLimits, RefusesBadKeys) {
  for (const std::string& key :
       {std::string(), std::string(1025, 'k'), std::string("a\nb"), std::string("\xC2\x85"),
        std::string("\xFF"), std::string("\xC0\x80"), std::string("a\0b", 3)}) {
    ExpectInvalid(client()->Get(key).status(), "KEY_INVALID", "key");
    ExpectInvalid(client()->Set(key, "v").status(), "KEY_INVALID", "key");
    ExpectInvalid(client()->Delete(key).status(), "KEY_INVALID", "key");
    ExpectInvalid(client()->GetOrLease(key).status(), "KEY_INVALID", "key");
  }
  ExpectInvalid(client()->BatchGet({"a", ""}).status(), "KEY_INVALID", "keys[1]");
  ExpectInvalid(client()->BatchDelete({"a", ""}).status(), "KEY_INVALID", "keys[1]");
  ExpectInvalid(client()->Invalidate({"a", ""}).status(), "KEY_INVALID", "keys.keys[1]");
}

TEST_P(ConformanceLimits, TakesTheLongestKey) {
  Set(std::string(1024, 'k'), "v");
  EXPECT_EQ(ValueOf(client()->Get(std::string(1024, 'k'))), "v");
  Set("schlüssel-鍵-🔑", "v");
  EXPECT_EQ(ValueOf(client()->Get("schlüssel-鍵-🔑")), "v");
}

TEST_P(ConformanceLimits, RefusesBadTtls) {
  for (const absl::Duration ttl : {absl::ZeroDuration(), absl::Seconds(-1), absl::Microseconds(999),
                                   -absl::InfiniteDuration(), absl::InfiniteDuration()}) {
    SetOptions options;
    options.ttl = ttl;
    ExpectInvalid(client()->Set("k", "v", options).status(), "TTL_INVALID", "ttl");
  }
  TouchOptions touch;
  touch.ttl = absl::ZeroDuration();
  ExpectInvalid(client()->Touch("k", touch).status(), "TTL_INVALID", "ttl");
  LoadOptions load;
  load.lease_ttl = absl::Milliseconds(9);
  ExpectInvalid(client()->GetOrLease("k", load).status(), "TTL_INVALID", "lease_ttl");
  load.lease_ttl = absl::Minutes(5) + absl::Nanoseconds(1);
  ExpectInvalid(client()->GetOrLease("k", load).status(), "TTL_INVALID", "lease_ttl");
}

TEST_P(ConformanceLimits, CutsATtlToTheTypesMaximum) {
  SetOptions options;
  options.ttl = absl::Hours(24 * 365);
  const absl::StatusOr<SetResult> stored = client()->Set("k", "v", options);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_LE(stored->ttl, absl::Hours(24 * 30));
}

TEST_P(ConformanceLimits, ValueLimitIsExact) {
  Set("k", std::string(1 << 20, 'x'));
  const absl::StatusOr<SetResult> over = client()->Set("k", std::string((1 << 20) + 1, 'x'));
  ExpectInvalid(over.status(), "VALUE_TOO_LARGE", "value");
  EXPECT_EQ(client()->Get("k")->entry->value.size(), 1u << 20);
}

TEST_P(ConformanceLimits, BatchLimitIsExact) {
  std::vector<std::string> keys;
  for (int i = 0; i < 1000; ++i) keys.push_back(absl::StrCat("k", i));
  EXPECT_TRUE(client()->BatchGet(keys).ok());
  keys.push_back("one more");
  ExpectInvalid(client()->BatchGet(keys).status(), "BATCH_INVALID", "keys");
  ExpectInvalid(client()->BatchDelete(keys).status(), "BATCH_INVALID", "keys");
  std::vector<SetItem> items(1001);
  ExpectInvalid(client()->BatchSet(items).status(), "BATCH_INVALID", "items");
}

TEST_P(ConformanceLimits, InvalidItemRefusesTheWholeBatch) {
  std::vector<SetItem> items(2);
  items[0] = {.key = "a", .value = "1"};
  items[1] = {.key = "a", .value = "2"};
  ExpectInvalid(client()->BatchSet(items).status(), "BATCH_INVALID", "items[1].key");
  items[1] = {.key = "b", .value = "2", .ttl = absl::ZeroDuration()};
  ExpectInvalid(client()->BatchSet(items).status(), "TTL_INVALID", "items[1].ttl");
  EXPECT_EQ(ValueOf(client()->Get("a")), "miss: ABSENT");
}

TEST_P(ConformanceLimits, RefusesBadTagsAndDependencies) {
  SetOptions options;
  options.tags.assign(17, "t");
  ExpectInvalid(client()->Set("k", "v", options).status(), "TAG_INVALID", "tags");
  options.tags = {"t", std::string(129, 't')};
  ExpectInvalid(client()->Set("k", "v", options).status(), "TAG_INVALID", "tags");
  options.tags.clear();
  options.depends_on = {"", "a"};
  ExpectInvalid(client()->Set("k", "v", options).status(), "DEPENDENCY_INVALID", "depends_on[0]");
}

TEST_P(ConformanceLimits, RefusesUnknownTypesAndBadNamespaces) {
  GetOptions options;
  options.type = "no-such-type";
  ExpectInvalid(client()->Get("k", options).status(), "TYPE_UNKNOWN", "type");
  options.type.clear();
  for (const std::string& ns : {std::string("a b"), std::string(65, 'n'), std::string("\xFF")}) {
    options.call.ns = ns;
    ExpectInvalid(client()->Get("k", options).status(), "NAMESPACE_INVALID", "namespace");
  }
}

TEST_P(ConformanceLimits, RefusesBadIdsAndTokens) {
  SetOptions options;
  options.request_id = std::string(65, 'i');
  ExpectInvalid(client()->Set("k", "v", options).status(), "REQUEST_ID_INVALID", "request_id");
  options.request_id.clear();
  options.lease_token = std::string(65, 't');
  ExpectInvalid(client()->Set("k", "v", options).status(), "LEASE_TOKEN_INVALID", "lease_token");
  ExpectInvalid(client()->ReleaseLease("k", "").status(), "LEASE_TOKEN_INVALID", "lease_token");
  ExpectInvalid(client()->Invalidate({}).status(), "SELECTOR_INVALID", "keys.keys");
}

TEST_P(ConformanceLimits, RefusesACallWithoutAUsefulDeadline) {
  for (const absl::Duration deadline :
       {absl::ZeroDuration(), absl::InfiniteDuration(), absl::Hours(2)}) {
    GetOptions options;
    options.call.deadline = deadline;
    ExpectInvalid(client()->Get("k", options).status(), "REQUEST_INVALID", "deadline");
  }
}

TEST_P(ConformanceLimits, TellsAboutItself) {
  const absl::StatusOr<ServerInfoResult> info = client()->ServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_NE(info->version, "");
  EXPECT_EQ(info->limits.value_bytes, 1u << 20);
  EXPECT_EQ(info->limits.batch_keys, 1000u);
  ASSERT_FALSE(info->types.empty());
  EXPECT_EQ(info->types.back().name, "default");
  EXPECT_THAT(info->features, Contains("leases"));

  const absl::StatusOr<PingResult> ping = client()->Ping();
  ASSERT_TRUE(ping.ok()) << ping.status();
  EXPECT_TRUE(ping->serving);
  PingOptions unknown;
  unknown.service = "no such service";
  EXPECT_EQ(client()->Ping(unknown).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(ConformanceLimits, ExplainsAKey) {
  const absl::StatusOr<ExplainResult> before = client()->Explain("k");
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->type, "default");
  EXPECT_EQ(before->match, TypeMatch::kDefault);
  EXPECT_EQ(before->miss_reason, MissReason::kAbsent);
  EXPECT_TRUE(before->copies.empty());
  EXPECT_GT(before->ttl, absl::ZeroDuration());
  ASSERT_FALSE(before->factors.empty());
  EXPECT_EQ(before->factors[0].name, "base");

  SetOptions options;
  options.depends_on = {"user:1"};
  Set("k", "value", options);
  const absl::StatusOr<ExplainResult> after = client()->Explain("k");
  ASSERT_TRUE(after.ok());
  ASSERT_EQ(after->copies.size(), 1u);
  EXPECT_EQ(after->copies[0].value_bytes, 5u);
  EXPECT_EQ(after->copies[0].depends_on, std::vector<std::string>{"user:1"});
  EXPECT_EQ(after->miss_reason, MissReason::kUnspecified);
}

TEST_P(ConformanceLimits, CountsWhatItDoes) {
  Set("k", "v");
  ASSERT_TRUE(client()->Get("k").ok());
  ASSERT_TRUE(client()->Get("other").ok());
  TakeLease("third");
  const absl::StatusOr<StatsResult> stats = client()->Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_GE(stats->total.hits, 1u);
  EXPECT_GE(stats->total.misses, 2u);
  EXPECT_GE(stats->leases.held, 1u);
  ASSERT_FALSE(stats->tiers.empty());
  EXPECT_EQ(stats->tiers[0].tier, Tier::kL1);
  EXPECT_EQ(stats->tiers[0].state, "ok");
  const auto mine = std::find_if(stats->namespaces.begin(), stats->namespaces.end(),
                                 [&](const NamedUsage& named) { return named.name == ns(); });
  ASSERT_NE(mine, stats->namespaces.end());
  EXPECT_EQ(mine->usage.hits, 1u);
  EXPECT_EQ(mine->usage.misses, 2u);
  EXPECT_EQ(mine->usage.sets, 1u);
  EXPECT_EQ(mine->usage.loads, 1u);
  EXPECT_EQ(mine->usage.entries, 1u);
  EXPECT_EQ(mine->usage.key_bytes, 1u);
  EXPECT_EQ(mine->usage.value_bytes, 1u);
  EXPECT_EQ(mine->usage.plain_bytes, 1u);
}

TEST_P(ConformanceLimits, RanksHotKeys) {
  Set("often", "v");
  Set("large", std::string(1000, 'v'));
  ASSERT_TRUE(client()->Get("large").ok());
  HotKeysOptions options;
  options.call.ns = ns();
  absl::StatusOr<HotKeysResult> hits;
  std::vector<HotKey> keys;
  auto often = keys.end();
  // A server that has a lot to do looks at a part of the reads.
  for (int i = 0; i < 200 && often == keys.end(); ++i) {
    for (int read = 0; read < 20; ++read) ASSERT_TRUE(client()->Get("often").ok());
    hits = client()->HotKeys(options);
    ASSERT_TRUE(hits.ok()) << hits.status();
    // Windows are of wall time: the reads may lie in both.
    keys = hits->keys;
    keys.insert(keys.end(), hits->previous.begin(), hits->previous.end());
    often = std::find_if(keys.begin(), keys.end(),
                         [](const HotKey& hot) { return hot.key == "often"; });
  }
  ASSERT_NE(often, keys.end());
  EXPECT_EQ(often->ns, ns());
  EXPECT_EQ(often->type, "default");
  EXPECT_GT(often->hits, 0u);
  EXPECT_GT(hits->window, absl::ZeroDuration());
  options.limit = 1;
  const absl::StatusOr<HotKeysResult> one = client()->HotKeys(options);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_LE(one->keys.size(), 1u);
  options.limit = 1001;
  ExpectInvalid(client()->HotKeys(options).status(), "REQUEST_INVALID", "limit");
  options.limit = 1;
  options.type = "no-such-type";
  ExpectInvalid(client()->HotKeys(options).status(), "TYPE_UNKNOWN", "type");
}

}  // namespace
}  // namespace larder::testing
