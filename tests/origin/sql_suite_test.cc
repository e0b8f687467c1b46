// The conformance suite on the SQL origins: SQLite, and PostgreSQL with each kind of load
// statement.

#include "tests/conformance/origin_suite.h"
#include "tests/origin/postgres_rig.h"
#include "tests/origin/sqlite_rig.h"

namespace larder {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Sql, OriginSuite,
    testing::Values(OriginMaker{"Sqlite", &NewSqliteRig, "sqlite", {OriginFault::kStoreRetries}},
                    OriginMaker{"Postgres", &NewPostgresRig, "postgres"},
                    OriginMaker{"PostgresKeys", &NewPostgresKeysRig, "postgres"},
                    OriginMaker{"PostgresCaptures", &NewPostgresCapturesRig, "postgres"}),
    OriginSuite::Name);

}  // namespace
}  // namespace larder
