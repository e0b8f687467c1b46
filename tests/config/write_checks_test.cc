// What LoadConfig says about the journal and about types that write to their origins.

#include "config/write_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/config/problems.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// What follows begins in line 4.
constexpr char kOrigins[] =
    "data: {path: /d}\n"
    "origins:\n"
    "  {db: {sqlite: {path: /x}}, profiles: {grpc: {target: \"dns:///profiles:9000\"}}}\n";

// A type of the gRPC origin, in one line with `write` at its end.
std::string Written(const std::string& write) {
  return absl::StrCat(kOrigins, "types: {a: {origin: profiles, write: {", write, "}}}");
}

TEST(WriteChecksTest, ModesThatWriteNeedAnOrigin) {
  for (const std::string mode : {"through", "invalidate", "around", "behind"}) {
    EXPECT_THAT(
        ProblemsOf(absl::StrCat("data: {path: /d}\ntypes: {a: {write: {mode: ", mode, "}}}")),
        ElementsAre(absl::StrCat("f:2:27: types.a.write.mode is ", mode,
                                 ", which needs an origin, and types.a.origin is empty")));
    EXPECT_THAT(ProblemsOf(Written("mode: " + mode)), IsEmpty()) << mode;
  }
  EXPECT_THAT(ProblemsOf("types: {a: {write: {mode: cache_only}}}"), IsEmpty());
}

TEST(WriteChecksTest, ModeIsOneOfFive) {
  ExpectEach({
      {Written("mode: write_behind"),
       "f:4:45: types.a.write.mode: \"write_behind\" is none of cache_only, through, invalidate, "
       "around, behind"},
      {Written("mode: behind, on_full: wait"),
       "f:4:62: types.a.write.on_full: \"wait\" is none of reject, block, write_through"},
      {Written("mode: behind, sync: always"),
       "f:4:59: types.a.write.sync: \"always\" is none of fsync, os, none"},
      {"journal: {sync: always}", "f:1:17: journal.sync: \"always\" is none of fsync, os, none"},
  });
}

// An origin that has not been named right is one mistake, not two.
TEST(WriteChecksTest, UnknownOriginIsReportedOnce) {
  EXPECT_THAT(
      ProblemsOf(absl::StrCat(kOrigins, "types: {a: {origin: xyz, write: {mode: behind}}}")),
      ElementsAre("f:4:21: types.a.origin: there is no origin \"xyz\"; there is db, "
                  "profiles"));
}

TEST(WriteChecksTest, SqlOriginsNeedTheStatementsThatWrite) {
  const std::string a = absl::StrCat(kOrigins, "types: {a: {origin: db, write: {mode: around}, ");
  EXPECT_THAT(
      ProblemsOf(a + "sql: {load: \"SELECT 1\"}}}"),
      ElementsAre("f:4:39: types.a.write.mode is around, and origins.db is a sqlite origin; it "
                  "needs types.a.sql.store",
                  "f:4:39: types.a.write.mode is around, and origins.db is a sqlite origin; it "
                  "needs types.a.sql.delete"));
  EXPECT_THAT(
      ProblemsOf(a + "sql: {load: \"SELECT 1\", store: \"INSERT INTO t VALUES ($key)\"}}}"),
      ElementsAre("f:4:39: types.a.write.mode is around, and origins.db is a sqlite origin; it "
                  "needs types.a.sql.delete"));
  EXPECT_THAT(ProblemsOf(a + "sql: {load: \"SELECT 1\", store: \"INSERT INTO t VALUES ($key)\", "
                             "delete: \"DELETE FROM t\"}}}"),
              IsEmpty());
}

TEST(WriteChecksTest, SqlThatIsWrittenBehindIsToldTheVersion) {
  const auto config = [](const std::string& mode, const std::string& store,
                         const std::string& remove) {
    return absl::StrCat(kOrigins, "types: {a: {origin: db, write: {mode: ", mode,
                        "}, sql: {load: \"SELECT 1\", store: \"", store, "\", delete: \"", remove,
                        "\"}}}");
  };
  const std::string store = "INSERT INTO t VALUES ($key)", remove = "DELETE FROM t";
  const std::string guarded = " WHERE v < $version";
  const std::string what =
      " has no $version, and types.a.write.mode is behind: a delivery that comes twice, or late "
      "from another replica, would undo a newer write; change nothing unless $version is larger "
      "than the row's";
  EXPECT_THAT(
      ProblemsOf(config("behind", store, remove)),
      ElementsAre("f:4:79: types.a.sql.store" + what, "f:4:118: types.a.sql.delete" + what));
  EXPECT_THAT(ProblemsOf(config("behind", store + guarded, remove)),
              ElementsAre("f:4:137: types.a.sql.delete" + what));
  // In a string or a comment it is none.
  EXPECT_THAT(ProblemsOf(config("behind", store + " -- $version", remove + guarded)),
              ElementsAre("f:4:79: types.a.sql.store" + what));
  EXPECT_THAT(ProblemsOf(config("behind", store + guarded, remove + guarded)), IsEmpty());
  EXPECT_THAT(ProblemsOf(config("through", store, remove)), IsEmpty());
}

TEST(WriteChecksTest, OnlyWritesBehindUseTheJournal) {
  for (const auto& [field, column] :
       {std::pair("delay: 1s", 61), std::pair("batch: 7", 61), std::pair("coalesce: false", 64),
        std::pair("attempts: 3", 64), std::pair("on_full: block", 63),
        std::pair("max_bytes: 1MiB", 65), std::pair("max_entries: 7", 67),
        std::pair("max_age: 1h", 63), std::pair("sync: os", 60)}) {
    const std::string text = field;
    EXPECT_THAT(
        ProblemsOf(Written("mode: through, " + text)),
        ElementsAre(absl::StrCat("f:4:", column, ": types.a.write.", text.substr(0, text.find(':')),
                                 " has no effect, because types.a.write.mode is through")));
    EXPECT_THAT(ProblemsOf(Written("mode: behind, " + text)), IsEmpty()) << text;
  }
  ExpectEach({
      {Written("mode: around, backoff: {first: 1s}"),
       "f:4:70: types.a.write.backoff.first has no effect, because types.a.write.mode is around"},
      {Written("timeout: 1s"),
       "f:4:48: types.a.write.timeout has no effect, because types.a.write.mode is cache_only"},
      {"types: {a: {write: {batch: 9}}}",
       "f:1:28: types.a.write.batch has no effect, because types.a.write.mode is cache_only"},
  });
  // As PrintConfig writes them.
  EXPECT_THAT(ProblemsOf(absl::StrCat("journal: {sync: os}\n", Written("sync: os"))), IsEmpty());
  EXPECT_THAT(ProblemsOf(Written("mode: through, sync: fsync, delay: 50ms")), IsEmpty());
}

TEST(WriteChecksTest, LimitsOfAType) {
  ExpectEach({
      {Written("mode: through, timeout: 6m"),
       "f:4:63: types.a.write.timeout: \"6m\" is out of range; allowed is 1ms to 5m"},
      {Written("mode: behind, batch: 1001"),
       "f:4:60: types.a.write.batch: \"1001\" is out of range; allowed is 1 to 1000"},
      {Written("mode: behind, attempts: 0"),
       "f:4:63: types.a.write.attempts: \"0\" is out of range; allowed is 1 to 1000"},
      {Written("mode: behind, max_bytes: 1KiB"),
       "f:4:64: types.a.write.max_bytes: \"1KiB\" is out of range; allowed is 64KiB to 1TiB, or "
       "unlimited"},
      {Written("mode: behind, backoff: {first: 2m}"),
       "f:4:70: types.a.write.backoff.first is 2m, more than types.a.write.backoff.max, which is "
       "30s"},
      {Written("mode: behind, delay: 1m, max_age: 30s"),
       "f:4:60: types.a.write.delay is 1m, more than types.a.write.max_age, which is 30s"},
      {absl::StrCat("journal: {max_age: 30s}\n", Written("mode: behind, delay: 1m")),
       "f:5:60: types.a.write.delay is 1m, more than journal.max_age, which is 30s"},
      {Written("mode: behind, max_bytes: 5GiB"),
       "f:4:64: types.a.write.max_bytes is 5GiB, more than journal.max_bytes, which is 4GiB"},
      {Written("mode: behind, max_entries: 2000000"),
       "f:4:66: types.a.write.max_entries is 2000000, more than journal.max_entries, which is "
       "1000000"},
  });
  EXPECT_THAT(ProblemsOf(Written("mode: behind, max_bytes: unlimited, max_entries: unlimited, "
                                 "max_age: unlimited, delay: 1h")),
              IsEmpty());
}

TEST(WriteChecksTest, LimitsOfTheJournal) {
  ExpectEach({
      {"journal: {max_bytes: 2TiB}",
       "f:1:22: journal.max_bytes: \"2TiB\" is out of range; allowed is 1MiB to 1TiB"},
      {"journal: {max_entries: 0}",
       "f:1:24: journal.max_entries: \"0\" is out of range; allowed is 1 to 100000000"},
      {"journal: {deliveries: 65}",
       "f:1:23: journal.deliveries: \"65\" is out of range; allowed is 1 to 64"},
      {"journal: {depth: 1}",
       "f:1:11: unknown field \"depth\" in journal; there is path, max_bytes, max_entries, sync, "
       "deliveries, max_age"},
  });
}

TEST(WriteChecksTest, JournalHasRoomForTheLargestValue) {
  const std::string behind = Written("mode: behind");
  EXPECT_THAT(ProblemsOf(behind + "\njournal: {max_bytes: 1MiB}"),
              ElementsAre("f:5:22: journal.max_bytes is 1MiB; limits.value_bytes of 1MiB needs at "
                          "least 1026KiB"));
  EXPECT_THAT(ProblemsOf(behind + "\njournal: {max_bytes: 1026KiB}"), IsEmpty());
  // Nobody writes behind.
  EXPECT_THAT(ProblemsOf("journal: {max_bytes: 1MiB}"), IsEmpty());
}

TEST(WriteChecksTest, JournalNeedsAPlaceOfItsOwn) {
  const std::string types =
      "origins: {p: {grpc: {target: x}}}\ntypes: {a: {origin: p, write: {mode: behind}}}\n";
  ExpectEach({
      {types,
       "f:2:38: types.a.write.mode is behind, and the journal has no place on the disk; set "
       "data.path or journal.path"},
      {types + "data: {path: /d}\njournal: {path: /d}",
       "f:4:17: journal.path and data.path are the same; the journal needs a directory of its own"},
      {types + "data: {path: /d}\njournal: {path: /d/l2}",
       "f:4:17: journal.path and l2.rocksdb.path are the same, \"/d/l2\"; the journal needs a "
       "directory of its own"},
      {types + "l2: {rocksdb: {path: /j}}\njournal: {path: /j}",
       "f:4:17: journal.path and l2.rocksdb.path are the same, \"/j\"; the journal needs a "
       "directory of its own"},
  });
  EXPECT_THAT(ProblemsOf(types + "data: {path: /d}"), IsEmpty());
  EXPECT_THAT(ProblemsOf(types + "journal: {path: /j}"), IsEmpty());
  // Nobody writes behind: it may wait for somebody who does.
  EXPECT_THAT(ProblemsOf("journal: {deliveries: 8}"), IsEmpty());
}

}  // namespace
}  // namespace larder
