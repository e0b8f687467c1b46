// An Origin in an SQLite database file: each data type's statements say how a key is loaded,
// stored, deleted and listed. docs/origins.md is the reference of what statements get and answer.
// Thread safety and errors: origin.h. The file is not created: where it is missing calls fail with
// UNAVAILABLE until it is there.

#ifndef LARDER_ORIGIN_SQLITE_ORIGIN_H_
#define LARDER_ORIGIN_SQLITE_ORIGIN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "origin/origin.h"
#include "origin/sql.h"

namespace larder {

struct SqliteOptions {
  std::string name;  // as the configuration calls the origin
  std::string path;  // of the database file
  // Connections for loads and scans, each on a thread of its own; there is one more for writes.
  // 1 to 64.
  int readers = 2;
  // How long a statement waits for a lock that another process holds; 0 to 1 minute.
  absl::Duration busy_timeout = absl::Seconds(1);
  // Calls that wait for a thread, readers and writer each; beyond it RESOURCE_EXHAUSTED. 1 to
  // 100,000.
  size_t queue_max = 1'000;
  // Sum of what the values of one Load or Scan may be; items beyond it fail with
  // RESOURCE_EXHAUSTED. 1 KiB to 1 GiB.
  size_t answer_bytes_max = 64 << 20;
  std::vector<SqlType> types;
  Clock* clock = Clock::System();
  Executor* executor = nullptr;  // outlives the origin and the calls under way
};

// Does not open the file. InvalidArgument: a bad option, the first problem that CheckSqlTypes
// finds.
absl::StatusOr<std::unique_ptr<Origin>> NewSqliteOrigin(const SqliteOptions& options);

// Opens the file and lets SQLite look at every statement: what it refuses, and what answers without
// the columns that larder needs. An error says why it could not be asked. Blocks for at most
// busy_timeout.
absl::StatusOr<std::vector<SqlProblem>> CheckSqliteStatements(const SqliteOptions& options);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQLITE_ORIGIN_H_
