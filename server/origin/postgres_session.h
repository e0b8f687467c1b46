// A PostgresSession is a connection that is ready for work: logged in, its settings made, every
// statement prepared, in pipeline mode, and not blocking. Thread safety: none; one thread at a
// time.

#ifndef LARDER_ORIGIN_POSTGRES_SESSION_H_
#define LARDER_ORIGIN_POSTGRES_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "origin/postgres_origin.h"
#include "origin/sql_plan.h"

// libpq's PGconn and PGresult.
struct pg_conn;
struct pg_result;

namespace larder {

struct PostgresDeleter {
  void operator()(pg_conn* connection) const;
  void operator()(pg_result* result) const;
};
using PostgresHandle = std::unique_ptr<pg_conn, PostgresDeleter>;
using PostgresResult = std::unique_ptr<pg_result, PostgresDeleter>;

struct PostgresPrepared {
  absl::Status status;  // why the server refuses the statement
  std::vector<uint32_t> parameter_types;
  std::vector<std::string> columns;
};

struct PostgresSession {
  PostgresHandle connection;
  std::vector<PostgresPrepared> prepared;  // as SqlPlans::statements
};

// Blocks until `deadline`, of that at most connect_timeout to connect, and as long as it takes to
// find the host. A statement that the server
// refuses is no error here. Unavailable: everything else.
absl::StatusOr<PostgresSession> OpenPostgresSession(const PostgresOptions& options,
                                                    const SqlPlans& plans, MonoNanos deadline);

// InvalidArgument when libpq makes nothing of it. The message does not hold the URL.
absl::Status CheckPostgresUrl(const std::string& url);

// The name under which a statement is prepared.
std::string PostgresStatementName(size_t number);

// The error in `result`: its SQLSTATE, and the server's words in one line.
std::string PostgresSqlState(const pg_result* result);
std::string PostgresMessage(const pg_result* result);
// What libpq says of a connection, in one line.
std::string PostgresMessage(const pg_conn* connection);

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_SESSION_H_
