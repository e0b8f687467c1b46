// SQLite is a library that blocks, so calls run on threads of their own: a few that read, each with
// its own connection, and one that writes, for SQLite lets one write at a time anyway and two would
// only wait for each other's lock. A caller whose deadline comes first gets its answer from a
// timer; the thread notices by itself soon after.

#include "origin/sqlite_origin.h"

#include <atomic>
#include <utility>

#include "base/race.h"
#include "base/status.h"
#include "base/strings.h"
#include "origin/sql_counts.h"
#include "origin/sql_plan.h"
#include "origin/sqlite_connection.h"
#include "origin/sqlite_threads.h"

namespace larder {
namespace {

// What the origin and the calls under way share: a call may outlive the origin.
struct Core {
  Core(const SqliteOptions& o, SqlPlans p)
      : options(o),
        plans(std::move(p)),
        readers(&options, &plans, &counts, SqliteConnection::Use::kRead, options.readers),
        writer(&options, &plans, &counts, SqliteConnection::Use::kWrite, 1) {}

  const SqliteOptions options;
  const SqlPlans plans;
  SqlCounts counts;
  Mutex mu;
  std::string state ABSL_GUARDED_BY(mu) = "ok";
  SqliteThreads readers;
  SqliteThreads writer;
};

using Loads = absl::StatusOr<std::vector<OriginLoaded>>;
using Stores = absl::StatusOr<std::vector<OriginStored>>;
using Page = absl::StatusOr<OriginPage>;

absl::Status Closing() { return absl::UnavailableError("SQLite: the origin is shutting down"); }

// What a database says of itself rather than of a call.
void SetState(Core* core, const absl::Status& status) {
  const bool unwell = status.code() == absl::StatusCode::kUnavailable ||
                      status.code() == absl::StatusCode::kDataLoss ||
                      status.code() == absl::StatusCode::kFailedPrecondition;
  if (!status.ok() && !unwell) return;
  MutexLock lock(&core->mu);
  core->state = status.ok() ? "ok" : std::string(ToStd(status.message()));
}

// Runs `call` on one of the threads; the answer, or that the deadline came first.
template <typename Answer, typename Call>
Task<Answer> OnThread(std::shared_ptr<Core> core, SqliteThreads* threads, MonoNanos deadline,
                      Call call) {
  const auto race = std::make_shared<Race<Answer>>();
  Executor* const executor = core->options.executor;
  const auto run = [core, race, executor, deadline,
                    call = std::move(call)](SqliteConnection& connection) mutable {
    // Whoever asked has gone.
    if (race->finished()) return;
    Answer answer = deadline <= core->options.clock->Mono()
                        ? Answer(absl::DeadlineExceededError("SQLite: no answer in time"))
                        : call(connection);
    SetState(core.get(), answer.status());
    executor->Post(
        [race, answer = std::move(answer)]() mutable { race->Finish(std::move(answer)); });
  };
  const SqliteThreads::Taken taken = threads->TryRun(run);
  if (taken == SqliteThreads::Taken::kStopped) co_return Closing();
  if (taken == SqliteThreads::Taken::kFull) {
    co_return absl::ResourceExhaustedError(
        StrCat("SQLite: ", core->options.queue_max, " calls wait already"));
  }
  const absl::Duration left = absl::Nanoseconds(deadline - core->options.clock->Mono());
  const TimerId timer = executor->After(left, Alarm<Answer>(race, executor));
  std::optional<Answer> answer = co_await *race;
  executor->Cancel(timer);
  if (!answer.has_value()) co_return absl::DeadlineExceededError("SQLite: no answer in time");
  co_return *std::move(answer);
}

Task<Loads> Load(std::shared_ptr<Core> core, OriginLoad load, MonoNanos deadline) {
  SqlCounts& counts = core->counts;
  ++counts.load_calls;
  counts.load_items += load.items.size();
  if (load.items.empty()) co_return std::vector<OriginLoaded>();
  absl::Status status =
      CheckSqlCall(load.items.size(), kOriginItemsMax, deadline, *core->options.clock);
  if (!status.ok()) co_return counts.Failed(std::move(status));
  const auto plan = core->plans.Find(load.call.type, SqlUse::kLoad);
  if (!plan.ok()) co_return counts.Failed(plan.status());
  const auto shared = std::make_shared<const OriginLoad>(std::move(load));
  const auto call = [shared, plan = *plan, deadline](SqliteConnection& connection) {
    return connection.Load(*shared, *plan, deadline);
  };
  Loads loaded = co_await OnThread<Loads>(core, &core->readers, deadline, call);
  if (!loaded.ok()) co_return counts.Failed(loaded.status());
  for (const OriginLoaded& each : *loaded) {
    if (each.kind == OriginLoaded::Kind::kFailed) ++counts.item_errors;
  }
  co_return loaded;
}

Task<Stores> Store(std::shared_ptr<Core> core, OriginStore store, MonoNanos deadline) {
  SqlCounts& counts = core->counts;
  ++counts.store_calls;
  counts.store_items += store.writes.size();
  if (store.writes.empty()) co_return std::vector<OriginStored>();
  absl::Status status =
      CheckSqlCall(store.writes.size(), kOriginItemsMax, deadline, *core->options.clock);
  if (status.ok()) status = core->plans.CheckWrites(store);
  if (!status.ok()) co_return counts.Failed(std::move(status));
  const auto shared = std::make_shared<const OriginStore>(std::move(store));
  const auto call = [shared, deadline](SqliteConnection& connection) {
    return connection.Store(*shared, deadline);
  };
  Stores stored = co_await OnThread<Stores>(core, &core->writer, deadline, call);
  if (!stored.ok()) co_return counts.Failed(stored.status());
  for (const OriginStored& each : *stored) {
    if (each.kind != OriginStored::Kind::kDone) ++counts.item_errors;
  }
  co_return stored;
}

Task<Page> Scan(std::shared_ptr<Core> core, OriginScan scan, MonoNanos deadline) {
  SqlCounts& counts = core->counts;
  ++counts.scan_calls;
  absl::Status status = CheckSqlCall(scan.limit, kOriginPageMax, deadline, *core->options.clock);
  if (scan.limit == 0) status = absl::InvalidArgumentError("a page of no entries");
  if (!status.ok()) co_return counts.Failed(std::move(status));
  const auto plan = core->plans.Find(scan.call.type, SqlUse::kScan);
  if (!plan.ok()) co_return counts.Failed(plan.status());
  const auto shared = std::make_shared<const OriginScan>(std::move(scan));
  const auto call = [shared, plan = *plan, deadline](SqliteConnection& connection) {
    return connection.Scan(*shared, *plan, deadline);
  };
  Page page = co_await OnThread<Page>(core, &core->readers, deadline, call);
  if (!page.ok()) co_return counts.Failed(page.status());
  co_return page;
}

class SqliteOrigin : public Origin {
 public:
  explicit SqliteOrigin(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~SqliteOrigin() override {
    core_->readers.Stop();
    core_->writer.Stop();
  }

  Task<Loads> Load(OriginLoad load, MonoNanos deadline) override {
    return larder::Load(core_, std::move(load), deadline);
  }
  Task<Stores> Store(OriginStore store, MonoNanos deadline) override {
    return larder::Store(core_, std::move(store), deadline);
  }
  Task<Page> Scan(OriginScan scan, MonoNanos deadline) override {
    return larder::Scan(core_, std::move(scan), deadline);
  }
  OriginStats Stats() const override {
    OriginStats stats;
    stats.name = core_->options.name;
    stats.kind = "sqlite";
    {
      MutexLock lock(&core_->mu);
      stats.state = core_->state;
    }
    core_->counts.Fill(&stats);
    return stats;
  }

 private:
  const std::shared_ptr<Core> core_;
};

absl::Status CheckOptions(const SqliteOptions& options) {
  if (options.path.empty()) {
    return absl::InvalidArgumentError(StrCat("origin ", options.name, ": there is no path"));
  }
  if (options.readers < 1 || options.readers > 64 || options.queue_max < 1 ||
      options.queue_max > 100'000 || options.answer_bytes_max < (1 << 10) ||
      options.answer_bytes_max > (1 << 30)) {
    return absl::InvalidArgumentError(
        StrCat("origin ", options.name, ": readers is from 1 to 64, queue_max from 1 to 100,000, ",
               "answer_bytes_max from 1 KiB to 1 GiB"));
  }
  if (options.busy_timeout < absl::ZeroDuration() || options.busy_timeout > absl::Minutes(1)) {
    return absl::InvalidArgumentError(StrCat("origin ", options.name, ": busy_timeout is ",
                                             absl::FormatDuration(options.busy_timeout),
                                             "; from 0 to 1m"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Origin>> NewSqliteOrigin(const SqliteOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(SqlPlans plans, SqlPlans::Make(options.types, SqlDialect::kSqlite));
  return std::make_unique<SqliteOrigin>(std::make_shared<Core>(options, std::move(plans)));
}

absl::StatusOr<std::vector<SqlProblem>> CheckSqliteStatements(const SqliteOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const SqlPlans plans, SqlPlans::Make(options.types, SqlDialect::kSqlite));
  SqlCounts counts;
  const std::atomic<bool> stop{false};
  SqliteConnection connection(&options, &plans, &counts, &stop, SqliteConnection::Use::kRead);
  RETURN_IF_ERROR(
      connection.Open(MonoAfter(options.clock->Mono(), options.busy_timeout + absl::Seconds(1))));
  std::vector<SqlProblem> problems;
  for (size_t i = 0; i < plans.statements().size(); ++i) {
    const SqlPlans::Planned& planned = plans.statements()[i];
    if (planned.counts) continue;
    const absl::Status status = connection.Check(i);
    if (status.code() == absl::StatusCode::kFailedPrecondition) {
      problems.push_back({planned.type, planned.use, std::string(ToStd(status.message()))});
    } else if (!status.ok()) {
      return status;
    }
  }
  return problems;
}

}  // namespace larder
