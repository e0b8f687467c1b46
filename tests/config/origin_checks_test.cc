// What LoadConfig says about origins, and about types that are loaded from them or stay beyond
// their TTL.

#include "config/origin_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/config/problems.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Three origins that are right, in three lines; what follows begins in line 4.
constexpr char kOrigins[] =
    "origins:\n"
    "  shop-db: {postgres: {url: \"postgresql://db/shop\"}}\n"
    "  profiles: {grpc: {target: \"dns:///profiles:9000\"}}\n";

TEST(OriginChecksTest, OriginIsOneOfThree) {
  ExpectEach({
      {"origins: {a: {}}", "f:1:11: origins.a needs one of postgres, grpc and sqlite"},
      {"origins: {a: {grpc: false}}", "f:1:11: origins.a needs one of postgres, grpc and sqlite"},
      {"origins: {a: {postgres: {url: x}, grpc: {target: y}}}",
       "f:1:41: origins.a.postgres and origins.a.grpc exclude each other; an origin is one of "
       "them"},
      {"origins: {a: {sqlite: {path: /x}, grpc: {target: y}}}",
       "f:1:23: origins.a.grpc and origins.a.sqlite exclude each other; an origin is one of them"},
      {"origins: {a: {sqlite: {path: /x}, postgres: {url: y}}}",
       "f:1:23: origins.a.postgres and origins.a.sqlite exclude each other; an origin is one of "
       "them"},
      {"origins: {A: {}}",
       "f:1:11: \"A\" is no name for an origin: a-z, then up to 63 of a-z, 0-9, '_' and '-'"},
      {"origins: {a: {sqlite: {path: /x}}, a: {sqlite: {path: /y}}}",
       "f:1:36: duplicate name \"a\" in origins; it stands also in line 1"},
      {"origins: [a]", "f:1:10: origins must be a section, not a list"},
      {"origins: {a: {sqlite: {path: /x}, concurency: 3}}",
       "f:1:35: unknown field \"concurency\" in origins.a; did you mean \"concurrency\"?"},
  });
}

TEST(OriginChecksTest, EachKindNeedsToKnowWhereItIs) {
  ExpectEach({
      {"origins: {a: {postgres: {}}}",
       "f:1:25: origins.a.postgres needs origins.a.postgres.url or origins.a.postgres.url_file"},
      {"origins: {a: {postgres: {url: x, url_file: /y}}}",
       "f:1:44: origins.a.postgres.url and origins.a.postgres.url_file exclude each other"},
      {"origins:\n  a:\n    postgres:\n      url: \"postgresql://larder:s3cret@db/shop\"",
       "f:4:12: origins.a.postgres.url: holds a password; write it into a file and name that in "
       "origins.a.postgres.password_file"},
      {"origins: {a: {grpc: true}}", "f:1:21: origins.a.grpc needs origins.a.grpc.target"},
      {"origins: {a: {sqlite: true}}", "f:1:23: origins.a.sqlite needs origins.a.sqlite.path"},
      {"origins: {a: {sqlite: {path: /x}, postgres: {enabled: false, pool: 2}}}",
       "f:1:68: origins.a.postgres.pool has no effect, because origins.a.postgres.enabled is "
       "false"},
      {"origins: {a: {sqlite: {path: /x}, grpc: {enabled: false, target: y}}}",
       "f:1:66: origins.a.grpc.target has no effect, because origins.a.grpc.enabled is false"},
      {"origins: {a: {grpc: {target: y}, sqlite: {enabled: false, path: /x}}}",
       "f:1:65: origins.a.sqlite.path has no effect, because origins.a.sqlite.enabled is false"},
  });
}

TEST(OriginChecksTest, TlsAndMetadataOfAService) {
  ExpectEach({
      {"origins: {a: {grpc: {target: y, tls: {key_file: /k}}}}",
       "f:1:49: origins.a.grpc.tls.cert_file and origins.a.grpc.tls.key_file belong together"},
      {"origins: {a: {grpc: {target: y, tls: {enabled: false, ca_file: /c}}}}",
       "f:1:64: origins.a.grpc.tls.ca_file has no effect, because origins.a.grpc.tls.enabled is "
       "false"},
      {"origins: {a: {grpc: {target: y, metadata: {x: {}}}}}",
       "f:1:44: origins.a.grpc.metadata.x needs origins.a.grpc.metadata.x.value or "
       "origins.a.grpc.metadata.x.file"},
      {"origins: {a: {grpc: {target: y, metadata: {x: {value: v, file: /f}}}}}",
       "f:1:64: origins.a.grpc.metadata.x.value and origins.a.grpc.metadata.x.file exclude each "
       "other"},
      {"origins: {a: {grpc: {target: y, metadata: {x: {value: \"\xC3\xA9\"}}}}}",
       "f:1:55: origins.a.grpc.metadata.x.value: must be printable ASCII"},
      {"origins: {a: {grpc: {target: y, metadata: {grpc-timeout: {value: 1s}}}}}",
       "f:1:44: \"grpc-timeout\" is no name for metadata: a-z or 0-9, then up to 63 of a-z, 0-9, "
       "'_' and '-', neither grpc-... nor ...-bin"},
      {"origins: {a: {grpc: {target: y, metadata: {x-bin: {value: v}}}}}",
       "f:1:44: \"x-bin\" is no name for metadata: a-z or 0-9, then up to 63 of a-z, 0-9, '_' and "
       "'-', neither grpc-... nor ...-bin"},
  });
  EXPECT_THAT(ProblemsOf(absl::StrCat("origins: {a: {grpc: {target: y, metadata: {x: {value: ",
                                      std::string(4097, 'v'), "}}}}}")),
              ElementsAre("f:1:55: origins.a.grpc.metadata.x.value: is 4097 bytes; at most 4096"));
  EXPECT_THAT(ProblemsOf(absl::StrCat("origins: {a: {grpc: {target: y, metadata: {x: {value: ",
                                      std::string(4096, 'v'), "}}}}}")),
              ElementsAre());
}

TEST(OriginChecksTest, LimitsOfCalls) {
  ExpectEach({
      {"origins: {a: {sqlite: {path: /x}, concurrency: 0}}",
       "f:1:48: origins.a.concurrency: \"0\" is out of range; allowed is 1 to 10000"},
      {"origins: {a: {sqlite: {path: /x}, batch: {keys: 1001}}}",
       "f:1:49: origins.a.batch.keys: \"1001\" is out of range; allowed is 1 to 1000"},
      {"origins: {a: {sqlite: {path: /x}, batch: {keys: 1, delay: 1ms}}}",
       "f:1:59: origins.a.batch.delay has no effect, because origins.a.batch.keys is 1"},
      {"origins: {a: {sqlite: {path: /x}, breaker: {open_min: 2s}}}",
       "f:1:55: origins.a.breaker.open_min is 2s, more than origins.a.breaker.open_max, which is "
       "1s250ms"},
      {"origins: {a: {sqlite: {path: /x}, breaker: {slow: 20%}}}",
       "f:1:51: origins.a.breaker.slow has no effect, because origins.a.breaker.slow_after is "
       "off"},
      {"origins: {a: {sqlite: {path: /x}, retry_budget: {ratio: 30%}}}",
       "f:1:57: origins.a.retry_budget.ratio: \"30%\" is out of range; allowed is 0% to 20%"},
      {"origins: {a: {sqlite: {path: /x}, retry_budget: {ratio: 0%, burst: 3}}}",
       "f:1:68: origins.a.retry_budget.burst has no effect, because origins.a.retry_budget.ratio "
       "is 0%"},
  });
}

TEST(OriginChecksTest, TypeNamesAnOriginThatIsThere) {
  const std::string origins = kOrigins;
  ExpectEach({
      {"types: {a: {origin: db}}", "f:1:21: types.a.origin: there is no origin \"db\""},
      {origins + "types: {a: {origin: shop-bd}}",
       "f:4:21: types.a.origin: there is no origin \"shop-bd\"; did you mean \"shop-db\"?"},
      {origins + "types: {a: {origin: warehouse}}",
       "f:4:21: types.a.origin: there is no origin \"warehouse\"; there is shop-db, profiles"},
      {"origins: {a: {}}\ntypes: {a: {origin: a}}",
       "f:1:11: origins.a needs one of postgres, grpc and sqlite"},
  });
  EXPECT_THAT(ProblemsOf(origins + "types: {a: {origin: profiles}, b: {}}"), ElementsAre());
}

TEST(OriginChecksTest, StatementsAreThoseOfTheKindOfOrigin) {
  const std::string origins = kOrigins;
  ExpectEach({
      {origins + "types: {a: {origin: shop-db}}",
       "f:4:21: types.a.origin is shop-db, a postgres origin; it needs types.a.sql.load"},
      {"origins: {db: {sqlite: {path: /x}}}\ntypes: {a: {origin: db, sql: {scan: \"SELECT $limit, "
       "$cursor\"}}}",
       "f:2:21: types.a.origin is db, a sqlite origin; it needs types.a.sql.load"},
      {origins + "types: {a: {origin: profiles, sql: {load: \"SELECT 1\"}}}",
       "f:4:43: types.a.sql.load has no effect, because origins.profiles is a gRPC service"},
      {"types: {a: {sql: {delete: \"SELECT 1\"}}}",
       "f:1:27: types.a.sql.delete has no effect, because types.a.origin is empty"},
  });
}

TEST(OriginChecksTest, StatementThatCanNeverWorkIsReportedWhereItStands) {
  const std::string a = absl::StrCat(
      kOrigins, "types:\n  a:\n    match: [\"user:{id}\"]\n    origin: shop-db\n    sql:\n");
  EXPECT_THAT(ProblemsOf(a + "      load: SELECT body FROM users WHERE id = $key.ids"),
              ElementsAre(testing::AllOf(testing::StartsWith("f:9:13: types.a.sql.load: "),
                                         HasSubstr("ids"))));
  EXPECT_THAT(ProblemsOf(a + "      load: |\n"
                             "        SELECT body\n"
                             "        FROM users WHERE id = $kye\n"
                             "      store: INSERT INTO users VALUES ($key, $value, $vrsion)\n"),
              ElementsAre(testing::AllOf(testing::StartsWith("f:9:"),
                                         HasSubstr(": types.a.sql.load: "), HasSubstr("kye")),
                          testing::AllOf(testing::StartsWith("f:12:14: types.a.sql.store: "),
                                         HasSubstr("vrsion"))));
  EXPECT_THAT(ProblemsOf(a + "      load: SELECT body FROM users WHERE id = $key.id"),
              ElementsAre());
}

// SQLite has no arrays.
TEST(OriginChecksTest, StatementsAreReadAsTheirDatabaseReadsThem) {
  const std::string statement =
      "types: {a: {origin: a, sql: {load: \"SELECT k AS key, v FROM t WHERE k = ANY($keys)\"}}}";
  EXPECT_THAT(ProblemsOf("origins: {a: {postgres: {url: x}}}\n" + statement), ElementsAre());
  EXPECT_THAT(ProblemsOf("origins: {a: {sqlite: {path: /x}}}\n" + statement),
              ElementsAre(testing::StartsWith("f:2:36: types.a.sql.load: ")));
}

TEST(OriginChecksTest, FilterAndWarmingNeedTheListOfKeys) {
  const std::string origins = kOrigins;
  const std::string a = origins + "types: {a: {origin: shop-db, sql: {load: \"SELECT 1\"}, ";
  ExpectEach({
      {a + "filter: {bloom: true}}}",
       "f:4:71: types.a.filter.bloom needs types.a.sql.scan, by which the origin lists its keys"},
      {a + "warm: {on_start: true}}}",
       "f:4:72: types.a.warm.on_start needs types.a.sql.scan, by which the origin lists its keys"},
      {"types: {a: {filter: {bloom: true}}}",
       "f:1:29: types.a.filter.bloom needs an origin that lists its keys, and types.a.origin is "
       "empty"},
      {"types: {a: {warm: {on_start: true}}}",
       "f:1:30: types.a.warm.on_start needs an origin that lists its keys, and types.a.origin is "
       "empty"},
      {"types: {a: {warm: {limit: 5}}}",
       "f:1:27: types.a.warm.limit has no effect, because types.a.origin is empty"},
      {origins + "types: {a: {origin: profiles, filter: {error: 2%}}}",
       "f:4:47: types.a.filter.error has no effect, because types.a.filter.bloom is false"},
      {origins + "types: {a: {origin: profiles, warm: {ready_share: 20%}}}",
       "f:4:51: types.a.warm.ready_share has no effect, because types.a.warm.on_start is false"},
      {origins + "types: {a: {origin: profiles, warm: {on_start: true, ready_timeout: 20s}}}",
       "f:4:69: types.a.warm.ready_timeout has no effect, because types.a.warm.ready_share is 0%"},
      {origins + "types: {a: {origin: profiles, filter: {bloom: true, error: 60%}}}",
       "f:4:60: types.a.filter.error: \"60%\" is out of range; allowed is 0.01% to 50%"},
  });
  EXPECT_THAT(ProblemsOf(origins + "types: {a: {origin: profiles, filter: {bloom: true}, warm: "
                                   "{on_start: true, ready_share: 50%, rate: unlimited}}}"),
              ElementsAre());
  EXPECT_THAT(ProblemsOf(origins + "types: {a: {origin: profiles, warm: {limit: 5}}}"),
              ElementsAre());
}

TEST(OriginChecksTest, FreshnessWithoutContradictions) {
  const std::string a = absl::StrCat(kOrigins, "types: {a: {origin: profiles, ");
  ExpectEach({
      {a + "freshness: {stale_if_error: 1m, soft_timeout: 6s}}}",
       "f:4:77: types.a.freshness.soft_timeout is 6s, more than types.a.freshness.hard_timeout, "
       "which is 5s"},
      {a + "freshness: {soft_timeout: 1s}}}",
       "f:4:57: types.a.freshness.soft_timeout has no effect, because "
       "types.a.freshness.stale_while_revalidate and types.a.freshness.stale_if_error are off"},
      {a + "freshness: {stale_while_revalidate: 1m, stale_if_error: 1m, soft_timeout: 1s}}}",
       "f:4:105: types.a.freshness.soft_timeout has no effect, because "
       "types.a.freshness.stale_if_error is not longer than "
       "types.a.freshness.stale_while_revalidate: whoever waits has no stale value to get"},
      {a + "freshness: {error_pause: 2s}}}",
       "f:4:56: types.a.freshness.error_pause has no effect, because "
       "types.a.freshness.stale_while_revalidate and types.a.freshness.stale_if_error are off"},
      {a + "freshness: {errors: [unavailable]}}}",
       "f:4:51: types.a.freshness.errors has no effect, because "
       "types.a.freshness.stale_while_revalidate and types.a.freshness.stale_if_error are off"},
      {a + "freshness: {stale_if_error: 1m, errors: []}}}",
       "f:4:71: types.a.freshness.stale_if_error needs at least one of types.a.freshness.errors"},
      {a + "freshness: {stale_if_error: 1m, errors: [unavailble]}}}",
       "f:4:72: types.a.freshness.errors[0]: \"unavailble\" is no error code; did you mean "
       "\"unavailable\"?"},
      {a + "freshness: {stale_if_error: 1m, errors: [ok]}}}",
       "f:4:72: types.a.freshness.errors[0]: \"ok\" is no error code of gRPC, such as "
       "unavailable"},
      {a + "freshness: {refresh_ahead: 100%}}}",
       "f:4:58: types.a.freshness.refresh_ahead: \"100%\" is out of range; allowed is 1% to 99%, "
       "or off"},
      {a + "freshness: {refresh_ahead: 80%}, ttl: {sliding: true}}}",
       "f:4:58: types.a.freshness.refresh_ahead and types.a.ttl.sliding exclude each other: every "
       "hit moves the end of the TTL"},
      {a + "freshness: {refresh_ahead: 80%}, ttl: {forever: true}}}",
       "f:4:58: types.a.freshness.refresh_ahead has no effect, because types.a.ttl.forever is "
       "true"},
      {a + "freshness: {stale_while_revalidate: 1m}, ttl: {forever: true}}}",
       "f:4:67: types.a.freshness.stale_while_revalidate has no effect, because "
       "types.a.ttl.forever is true"},
      {a + "freshness: {stale_if_error: 1m}, ttl: {forever: true}}}",
       "f:4:59: types.a.freshness.stale_if_error has no effect, because types.a.ttl.forever is "
       "true"},
      {a + "ttl: {adapt: {change: {target: 10%}}}}}",
       "f:4:53: types.a.ttl.adapt.change.enabled has no effect, because types.a.freshness has "
       "neither refresh_ahead nor a stale window: there is nothing left to compare a loaded value "
       "with"},
      {a + "ttl: {forever: true, adapt: {change: true}}}}",
       "f:4:68: types.a.ttl.adapt.change.enabled has no effect, because types.a.ttl.forever is "
       "true"},
  });
  EXPECT_THAT(ProblemsOf(a + "ttl: {adapt: {change: true}}, freshness: {stale_if_error: 1m}}}"),
              ElementsAre());
  EXPECT_THAT(ProblemsOf(a + "freshness: {refresh_ahead: off, stale_if_error: 1m, soft_timeout: "
                             "1s, hard_timeout: 1s, errors: [not_found, unavailable]}}}"),
              ElementsAre());
}

TEST(OriginChecksTest, WhereCallersLoadOnlyStaleWindowsHaveAMeaning) {
  ExpectEach({
      {"types: {a: {freshness: {refresh_ahead: 80%}}}",
       "f:1:40: types.a.freshness.refresh_ahead has no effect, because types.a.origin is empty"},
      {"types: {a: {freshness: {hard_timeout: 2s}}}",
       "f:1:39: types.a.freshness.hard_timeout has no effect, because types.a.origin is empty"},
      {"types: {a: {ttl: {adapt: {change: true}}}}",
       "f:1:35: types.a.ttl.adapt.change.enabled has no effect, because types.a.origin is empty"},
  });
  EXPECT_THAT(ProblemsOf("types: {a: {freshness: {stale_while_revalidate: 30s, stale_if_error: "
                         "1h, soft_timeout: 100ms}}}"),
              ElementsAre());
}

}  // namespace
}  // namespace larder
