// An SqliteConnection is one open database file with its prepared statements: it makes whole calls,
// one at a time. Thread safety: none; one thread. Blocks, for no longer than a call's deadline and
// a few milliseconds.

#ifndef LARDER_ORIGIN_SQLITE_CONNECTION_H_
#define LARDER_ORIGIN_SQLITE_CONNECTION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "origin/origin.h"
#include "origin/sql_counts.h"
#include "origin/sql_plan.h"
#include "origin/sql_row.h"
#include "origin/sqlite_origin.h"

struct sqlite3;
struct sqlite3_stmt;

namespace larder {

struct SqliteDeleter {
  void operator()(sqlite3* database) const;
  void operator()(sqlite3_stmt* statement) const;
};

class SqliteConnection {
 public:
  enum class Use : uint8_t { kRead, kWrite };

  // All of them outlive it. `stop` true ends what it does at once.
  SqliteConnection(const SqliteOptions* options, const SqlPlans* plans, SqlCounts* counts,
                   const std::atomic<bool>* stop, Use use)
      : options_(*options), plans_(*plans), counts_(*counts), stop_(*stop), use_(use) {}
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  absl::StatusOr<std::vector<OriginLoaded>> Load(const OriginLoad& load, const SqlPlans::Plan& plan,
                                                 MonoNanos deadline);
  absl::StatusOr<std::vector<OriginStored>> Store(const OriginStore& store, MonoNanos deadline);
  absl::StatusOr<OriginPage> Scan(const OriginScan& scan, const SqlPlans::Plan& plan,
                                  MonoNanos deadline);

  // Opens the file, if it is not open.
  absl::Status Open(MonoNanos deadline);
  // Why SQLite refuses the statement, or what its rows lack.
  absl::Status Check(size_t number);

  // The callbacks of SQLite.
  bool WaitsForLock(int times);
  bool TimeIsOver() const;

 private:
  struct Step {
    int code;
    absl::Status status;  // of an error
    // The error is about what the statement was bound to, not about the database.
    bool of_item = false;
  };

  absl::Status Begin(MonoNanos deadline, const char* statement);
  absl::Status Run(const char* statement);
  // Undoes what was begun and not ended.
  void Rollback();
  absl::StatusOr<sqlite3_stmt*> Prepared(size_t number);
  absl::Status Bind(sqlite3_stmt* statement, const std::vector<SqlArgument>& arguments);
  Step Next(sqlite3_stmt* statement);
  absl::Status ErrorOf(int code);
  absl::StatusOr<OriginLoaded> LoadItem(const OriginLoad& load, const OriginLoad::Item& item,
                                        const SqlPlans::Plan& plan, size_t number);
  // Writes of one transaction.
  absl::StatusOr<std::vector<OriginStored>> StoreTogether(const OriginStore& store,
                                                          const std::vector<size_t>& which,
                                                          MonoNanos deadline);
  // How many rows the scan has in all; nothing when that cannot be told, or not soon.
  std::optional<uint64_t> Count(const OriginScan& scan, const SqlPlans::Plan& plan,
                                MonoNanos deadline);
  absl::StatusOr<OriginStored> StoreItem(const OriginStore& store, const OriginStore::Write& write);

  const SqliteOptions& options_;
  const SqlPlans& plans_;
  SqlCounts& counts_;
  const std::atomic<bool>& stop_;
  const Use use_;
  MonoNanos deadline_ = 0;
  // Of the open file: device and inode.
  std::pair<uint64_t, uint64_t> identity_ = {0, 0};

  // In this order: statements go before their database.
  std::unique_ptr<sqlite3, SqliteDeleter> database_;
  std::vector<std::unique_ptr<sqlite3_stmt, SqliteDeleter>> statements_;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_SQLITE_CONNECTION_H_
