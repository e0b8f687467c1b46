// All items of a call are one transaction: a load sees one state of the database, and a thousand
// writes are one commit with one fsync. A statement that fails in SQLite undoes itself and leaves
// its transaction alone, so that an item that fails costs the others nothing. The exceptions, such
// as ON CONFLICT ROLLBACK in a user's table or a full disk, end the transaction and undo the writes
// before; then each write is made in a transaction of its own.
//
// A call that has lost its deadline must not hold its thread. SQLite asks every so many steps of
// its machine whether to go on, and while it waits for a lock how long to wait; both look at the
// deadline.

#include "origin/sqlite_connection.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "origin/origin_guard.h"
#include "origin/sqlite_row.h"

namespace larder {
namespace {

// Steps of SQLite's machine between two looks at the time: well below a millisecond.
constexpr int kStepsBetweenLooks = 2'000;
// Between two tries to get a lock.
constexpr auto kLockPause = std::chrono::milliseconds(2);

// Makes a statement ready for its next use, whatever came of this one.
class Resetter {
 public:
  explicit Resetter(sqlite3_stmt* statement) : statement_(statement) {}
  ~Resetter() {
    // Its result is that of the last step, which has been looked at.
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Resetter(const Resetter&) = delete;
  Resetter& operator=(const Resetter&) = delete;

 private:
  sqlite3_stmt* const statement_;
};

// About what a statement was bound to or found, not about the database.
bool IsOfItem(int code) {
  switch (code & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
      return true;
    default:
      return false;
  }
}

// What is missing in the database, for all items alike; SQLite has no code of its own for it.
bool IsOfSchema(std::string_view message) {
  return message.rfind("no such ", 0) == 0 || message.find(" has no column ") != message.npos ||
         message.find(" has been changed") != message.npos;
}

absl::StatusCode CodeOf(int code) {
  using Code = absl::StatusCode;
  switch (code & 0xff) {
    case SQLITE_INTERRUPT:
      return Code::kDeadlineExceeded;
    case SQLITE_NOMEM:
      return Code::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kDataLoss;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Code::kPermissionDenied;
    default:
      return IsOfItem(code) ? Code::kInvalidArgument : Code::kUnavailable;
  }
}

absl::Status TooLarge() {
  return absl::ResourceExhaustedError(
      "the values of the answer are larger than all of one answer may be");
}

}  // namespace

void SqliteDeleter::operator()(sqlite3* database) const { sqlite3_close_v2(database); }
void SqliteDeleter::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

bool SqliteConnection::TimeIsOver() const {
  return stop_.load(std::memory_order_relaxed) || options_.clock->Mono() >= deadline_;
}

bool SqliteConnection::WaitsForLock(int times) {
  if (TimeIsOver() || times * absl::FromChrono(kLockPause) >= options_.busy_timeout) return false;
  std::this_thread::sleep_for(kLockPause);
  return true;
}

absl::Status SqliteConnection::ErrorOf(int code) {
  if ((code & 0xff) == SQLITE_INTERRUPT) {
    return absl::DeadlineExceededError("SQLite: no answer in time");
  }
  const char* const message =
      database_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database_.get());
  // It was the deadline that ended the wait for the lock.
  if ((code & 0xff) == SQLITE_BUSY && TimeIsOver()) {
    return absl::DeadlineExceededError(StrCat("SQLite: ", message, ", no answer in time"));
  }
  return {CodeOf(code), StrCat("SQLite: ", message)};
}

absl::Status SqliteConnection::Open(MonoNanos deadline) {
  deadline_ = deadline;
  // A file that was replaced by another of the same name, as new versions of it are published, is
  // opened anew.
  struct stat file{};
  const bool there = stat(options_.path.c_str(), &file) == 0;
  const std::pair<uint64_t, uint64_t> identity(file.st_dev, file.st_ino);
  if (database_ != nullptr && (!there || identity == identity_)) return absl::OkStatus();
  statements_.clear();
  database_ = nullptr;
  identity_ = identity;
  sqlite3* opened = nullptr;
  const int code = sqlite3_open_v2(options_.path.c_str(), &opened,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<sqlite3, SqliteDeleter> database(opened);
  if (code != SQLITE_OK) {
    return absl::UnavailableError(
        StrCat("SQLite: ", opened == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(opened)));
  }
  sqlite3_extended_result_codes(opened, 1);
  sqlite3_busy_handler(
      opened,
      [](void* self, int times) {
        return static_cast<SqliteConnection*>(self)->WaitsForLock(times) ? 1 : 0;
      },
      this);
  sqlite3_progress_handler(
      opened, kStepsBetweenLooks,
      [](void* self) { return static_cast<SqliteConnection*>(self)->TimeIsOver() ? 1 : 0; }, this);
  database_ = std::move(database);
  // With a write-ahead log readers do not wait for the writer. It stays with the file, so one
  // connection asks for it; where it cannot be had, all works without.
  const absl::Status mode =
      Run(use_ == Use::kRead ? "PRAGMA query_only = ON" : "PRAGMA journal_mode = WAL");
  // A file that is no database shows here first.
  if (mode.code() == absl::StatusCode::kDataLoss) {
    database_ = nullptr;
    return mode;
  }
  statements_.resize(plans_.statements().size());
  return absl::OkStatus();
}

absl::Status SqliteConnection::Run(const char* statement) {
  const int code = sqlite3_exec(database_.get(), statement, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ErrorOf(code);
}

absl::Status SqliteConnection::Begin(MonoNanos deadline, const char* statement) {
  RETURN_IF_ERROR(Open(deadline));
  return Run(statement);
}

void SqliteConnection::Rollback() {
  if (sqlite3_get_autocommit(database_.get()) != 0) return;
  // Must come through, also after the deadline; it waits for nothing.
  deadline_ = MonoAfter(options_.clock->Mono(), absl::Minutes(1));
  // Cannot fail while a transaction is open and no statement runs.
  sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
}

absl::StatusOr<sqlite3_stmt*> SqliteConnection::Prepared(size_t number) {
  auto& statement = statements_[number];
  if (statement != nullptr) return statement.get();
  const std::string& text = plans_.statements()[number].statement.text;
  sqlite3_stmt* prepared = nullptr;
  const int code = sqlite3_prepare_v3(database_.get(), text.data(), static_cast<int>(text.size()),
                                      SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
  if (code != SQLITE_OK) {
    const absl::Status status = ErrorOf(code);
    if (!IsOfItem(code)) return status;
    return absl::FailedPreconditionError(
        StrCat("SQLite refuses the statement: ", sqlite3_errmsg(database_.get())));
  }
  statement.reset(prepared);
  return prepared;
}

absl::Status SqliteConnection::Check(size_t number) {
  RETURN_IF_ERROR(
      Open(MonoAfter(options_.clock->Mono(), options_.busy_timeout + absl::Seconds(1))));
  ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepared(number));
  const SqlPlans::Planned& planned = plans_.statements()[number];
  if (planned.use != SqlUse::kLoad && planned.use != SqlUse::kScan) return absl::OkStatus();
  if (sqlite3_stmt_readonly(statement) == 0) {
    return absl::FailedPreconditionError("it writes, which only store and delete statements may");
  }
  return SqlColumns::Make(SqliteColumnNames(statement), planned.use, planned.statement).status();
}

absl::Status SqliteConnection::Bind(sqlite3_stmt* statement,
                                    const std::vector<SqlArgument>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const SqlArgument& argument = arguments[i];
    const int number = static_cast<int>(i) + 1;
    int code = SQLITE_OK;
    // The arguments live until the statement is reset.
    if (argument.form == SqlArgument::Form::kInteger) {
      code = sqlite3_bind_int64(statement, number, argument.integer);
    } else if (argument.form == SqlArgument::Form::kBytes) {
      code = sqlite3_bind_blob64(statement, number, argument.text.data(), argument.text.size(),
                                 SQLITE_STATIC);
    } else {
      code = sqlite3_bind_text64(statement, number, argument.text.data(), argument.text.size(),
                                 SQLITE_STATIC, SQLITE_UTF8);
    }
    if (code != SQLITE_OK) return ErrorOf(code);
  }
  return absl::OkStatus();
}

SqliteConnection::Step SqliteConnection::Next(sqlite3_stmt* statement) {
  const int code = sqlite3_step(statement);
  if (code == SQLITE_ROW || code == SQLITE_DONE) return {code, absl::OkStatus()};
  // A statement that was right when it was prepared is prepared again by SQLite.
  const std::string message = sqlite3_errmsg(database_.get());
  if ((code & 0xff) == SQLITE_ERROR && IsOfSchema(message))
    return {code, absl::FailedPreconditionError(StrCat("SQLite: ", message))};
  return {code, ErrorOf(code), IsOfItem(code)};
}

// ---- calls

absl::StatusOr<std::vector<OriginLoaded>> SqliteConnection::Load(const OriginLoad& load,
                                                                 const SqlPlans::Plan& plan,
                                                                 MonoNanos deadline) {
  const auto number = static_cast<size_t>(plan.statement[static_cast<size_t>(SqlUse::kLoad)]);
  RETURN_IF_ERROR(Begin(deadline, "BEGIN"));
  std::vector<OriginLoaded> results;
  size_t bytes = 0;
  for (const OriginLoad::Item& item : load.items) {
    auto loaded = LoadItem(load, item, plan, number);
    if (!loaded.ok()) {
      Rollback();
      return loaded.status();
    }
    if (loaded->kind == OriginLoaded::Kind::kFailed &&
        loaded->error.code() == absl::StatusCode::kDataLoss) {
      ++counts_.bad_answers;
    }
    bytes += loaded->value.size();
    if (bytes > options_.answer_bytes_max) {
      bytes -= loaded->value.size();
      *loaded = FailedLoad(TooLarge());
    }
    results.push_back(*std::move(loaded));
  }
  Rollback();
  return results;
}

absl::StatusOr<OriginLoaded> SqliteConnection::LoadItem(const OriginLoad& load,
                                                        const OriginLoad::Item& item,
                                                        const SqlPlans::Plan& plan, size_t number) {
  const SqlStatement& planned = plans_.statements()[number].statement;
  SqlInput input{.call = &load.call, .keys = {item.key}};
  input.validator = item.validator;
  const auto arguments = SqlPlans::Bind(plan, planned, input);
  if (!arguments.ok()) return FailedLoad(arguments.status());
  ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepared(number));
  const Resetter resetter(statement);
  RETURN_IF_ERROR(Bind(statement, *arguments));
  Step step = Next(statement);
  if (step.code == SQLITE_DONE) return OriginLoaded{.kind = OriginLoaded::Kind::kAbsent};
  if (step.code != SQLITE_ROW) {
    if (!step.of_item) return step.status;
    return FailedLoad(std::move(step.status));
  }
  ASSIGN_OR_RETURN(const SqlColumns columns,
                   SqlColumns::Make(SqliteColumnNames(statement), SqlUse::kLoad, planned));
  OriginLoaded loaded = ReadSqlRow(columns, SqliteCurrentRow(statement), item.validator, true);
  // A second row for one key is ignored.
  if (Next(statement).code == SQLITE_ROW) ++counts_.bad_answers;
  return loaded;
}

absl::StatusOr<std::vector<OriginStored>> SqliteConnection::Store(const OriginStore& store,
                                                                  MonoNanos deadline) {
  std::vector<size_t> all(store.writes.size());
  std::iota(all.begin(), all.end(), size_t{0});
  auto results = StoreTogether(store, all, deadline);
  // Only when a statement has ended the transaction: else the items say for themselves.
  if (results.ok() || results.status().code() != absl::StatusCode::kAborted) return results;
  results = std::vector<OriginStored>();
  for (const size_t i : all) {
    auto alone = StoreTogether(store, {i}, deadline);
    if (!alone.ok() && alone.status().code() != absl::StatusCode::kAborted) {
      // Those before it are written.
      if (i != all.front()) return absl::Status(alone.status().code(), alone.status().message());
      return alone.status();
    }
    results->push_back(alone.ok() ? std::move(alone->front())
                                  : OriginStored{OriginStored::Kind::kReject, alone.status()});
  }
  return results;
}

absl::StatusOr<std::vector<OriginStored>> SqliteConnection::StoreTogether(
    const OriginStore& store, const std::vector<size_t>& which, MonoNanos deadline) {
  const absl::Status begun = Begin(deadline, "BEGIN IMMEDIATE");
  if (!begun.ok()) return NotAsked(begun);
  std::vector<OriginStored> results;
  for (const size_t i : which) {
    auto stored = StoreItem(store, store.writes[i]);
    if (!stored.ok()) {
      Rollback();
      return stored.status();
    }
    if (sqlite3_get_autocommit(database_.get()) != 0) {
      return absl::AbortedError(
          StrCat("a statement ended the transaction: ", ToStd(stored->error.message())));
    }
    results.push_back(*std::move(stored));
  }
  const absl::Status committed = Run("COMMIT");
  if (committed.ok()) return results;
  Rollback();
  // A deferred constraint: which write it is of shows when each is alone.
  if (committed.code() == absl::StatusCode::kInvalidArgument) {
    return absl::AbortedError(ToAbsl(ToStd(committed.message())));
  }
  return committed;
}

absl::StatusOr<OriginStored> SqliteConnection::StoreItem(const OriginStore& store,
                                                         const OriginStore::Write& write) {
  const SqlUse use = write.remove ? SqlUse::kDelete : SqlUse::kStore;
  const auto plan = plans_.Find(store.call.type, use);
  if (!plan.ok()) return OriginStored{OriginStored::Kind::kReject, plan.status()};
  const auto number = static_cast<size_t>((*plan)->statement[static_cast<size_t>(use)]);
  SqlInput input{.call = &store.call, .keys = {write.key}};
  input.value = write.value;
  input.version = write.version;
  const auto arguments = SqlPlans::Bind(**plan, plans_.statements()[number].statement, input);
  if (!arguments.ok()) return OriginStored{OriginStored::Kind::kReject, arguments.status()};
  ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepared(number));
  const Resetter resetter(statement);
  RETURN_IF_ERROR(Bind(statement, *arguments));
  while (true) {
    Step step = Next(statement);
    if (step.code == SQLITE_ROW) continue;  // of RETURNING, for nobody
    if (step.code == SQLITE_DONE) return OriginStored{OriginStored::Kind::kDone};
    if (!step.of_item) return step.status;
    return OriginStored{OriginStored::Kind::kReject, std::move(step.status)};
  }
}

std::optional<uint64_t> SqliteConnection::Count(const OriginScan& scan, const SqlPlans::Plan& plan,
                                                MonoNanos deadline) {
  const auto number = static_cast<size_t>(plan.count);
  const auto arguments = SqlPlans::Bind(plan, plans_.statements()[number].statement,
                                        SqlScanInput(scan, /*counts=*/true));
  if (!arguments.ok() || !Open(SqlCountDeadline(deadline, *options_.clock)).ok()) return {};
  const absl::StatusOr<sqlite3_stmt*> statement = Prepared(number);
  if (!statement.ok()) return {};
  const Resetter resetter(*statement);
  if (!Bind(*statement, *arguments).ok() || Next(*statement).code != SQLITE_ROW) return {};
  return static_cast<uint64_t>(sqlite3_column_int64(*statement, 0));
}

absl::StatusOr<OriginPage> SqliteConnection::Scan(const OriginScan& scan,
                                                  const SqlPlans::Plan& plan, MonoNanos deadline) {
  const auto number = static_cast<size_t>(plan.statement[static_cast<size_t>(SqlUse::kScan)]);
  const SqlStatement& planned = plans_.statements()[number].statement;
  ASSIGN_OR_RETURN(const auto arguments,
                   SqlPlans::Bind(plan, planned, SqlScanInput(scan, /*counts=*/false)));
  std::optional<uint64_t> total;
  if (scan.count_to > 0) total = Count(scan, plan, deadline);
  RETURN_IF_ERROR(Open(deadline));
  ASSIGN_OR_RETURN(sqlite3_stmt* const statement, Prepared(number));
  const Resetter resetter(statement);
  RETURN_IF_ERROR(Bind(statement, arguments));
  std::vector<SqliteKeptRow> rows;
  size_t bytes = 0;
  while (rows.size() < scan.limit) {
    const Step step = Next(statement);
    if (step.code == SQLITE_DONE) break;
    if (step.code != SQLITE_ROW) return step.status;
    rows.emplace_back(statement);
    bytes += rows.back().bytes();
    if (bytes > options_.answer_bytes_max) return TooLarge();
  }
  ASSIGN_OR_RETURN(const SqlColumns columns,
                   SqlColumns::Make(SqliteColumnNames(statement), SqlUse::kScan, planned));
  std::vector<const SqlRow*> pointers;
  for (const SqliteKeptRow& row : rows) pointers.push_back(&row);
  uint64_t bad = 0;
  auto page = ReadSqlPage(columns, pointers, scan, &bad);
  counts_.bad_answers += bad;
  if (page.ok()) page->total = total;
  return page;
}

}  // namespace larder
