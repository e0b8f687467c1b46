// An Origin in a PostgreSQL database: each data type's statements say how a key is loaded, stored,
// deleted and listed. docs/origins.md is the reference of what statements get and answer.
// Thread safety and errors: origin.h. Never shows the URL or a password in an error or a log line.

#ifndef LARDER_ORIGIN_POSTGRES_ORIGIN_H_
#define LARDER_ORIGIN_POSTGRES_ORIGIN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "origin/origin.h"
#include "origin/sql.h"
#include "policy/retry_budget.h"

namespace larder {

struct PostgresOptions {
  std::string name;  // as the configuration calls the origin
  // `postgresql://user@host/database?sslmode=require`, or words as `host=... dbname=...`.
  std::string url;
  // Holds the password, which is read for every new connection; empty: the URL's, or none.
  std::string password_file = {};
  // Connections, each of which runs one call at a time; 1 to 256. Opened when they are needed.
  int pool = 8;
  // What it may take to connect and log in; 1 ms to 1 minute.
  absl::Duration connect_timeout = absl::Seconds(1);
  // After which the server gives a statement up, whatever callers allow; 1 ms to 1 hour.
  absl::Duration statement_timeout = absl::Seconds(5);
  // Calls that wait for a connection; beyond it RESOURCE_EXHAUSTED. 1 to 100,000.
  size_t queue_max = 1'000;
  // Sum of what the values of one Load or Scan may be; items beyond it fail with
  // RESOURCE_EXHAUSTED. 1 KiB to 1 GiB.
  size_t answer_bytes_max = 64 << 20;
  // The pause after a connection could not be opened.
  Backoff backoff = {.first = absl::Milliseconds(100), .max = absl::Seconds(1)};
  // How long a statement whose caller has gone may take to obey its cancellation before the
  // connection is closed over it; 0 to 1 minute.
  absl::Duration cancel_wait = absl::Seconds(1);
  std::vector<SqlType> types;
  Clock* clock = Clock::System();
  Random* random = Random::System();
  Executor* executor = nullptr;  // outlives the origin and the calls under way
};

// Does not connect: a database that is away is no reason not to start. InvalidArgument: a bad
// option, a URL that is none, the first problem that CheckSqlTypes finds.
absl::StatusOr<std::unique_ptr<Origin>> NewPostgresOrigin(const PostgresOptions& options);

// Connects once and lets the server look at every statement: what it refuses, and what answers
// without the columns that larder needs. An error says why it could not be asked. Blocks, until
// `deadline` and as long as it takes to find the host.
absl::StatusOr<std::vector<SqlProblem>> CheckPostgresStatements(const PostgresOptions& options,
                                                                MonoNanos deadline);

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_ORIGIN_H_
