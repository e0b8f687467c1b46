#include "origin/postgres_origin.h"

#include <optional>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "origin/origin_guard.h"
#include "origin/postgres_pool.h"
#include "origin/postgres_rounds.h"
#include "origin/postgres_session.h"
#include "origin/sql_counts.h"
#include "origin/sql_plan.h"

namespace larder {
namespace {

// What the origin and the calls under way share: a call may outlive the origin.
struct Core {
  Core(const PostgresOptions& o, SqlPlans p)
      : options(o), plans(std::make_shared<const SqlPlans>(std::move(p))), pool(options, plans) {}

  const PostgresOptions options;
  const std::shared_ptr<const SqlPlans> plans;
  SqlCounts counts;
  PostgresPool pool;
};

using Loads = absl::StatusOr<std::vector<OriginLoaded>>;
using Stores = absl::StatusOr<std::vector<OriginStored>>;
using Page = absl::StatusOr<OriginPage>;

Task<Loads> Load(std::shared_ptr<Core> core, OriginLoad load, MonoNanos deadline) {
  SqlCounts& counts = core->counts;
  ++counts.load_calls;
  counts.load_items += load.items.size();
  if (load.items.empty()) co_return std::vector<OriginLoaded>();
  absl::Status status =
      CheckSqlCall(load.items.size(), kOriginItemsMax, deadline, *core->options.clock);
  if (!status.ok()) co_return counts.Failed(std::move(status));
  const auto plan = core->plans->Find(load.call.type, SqlUse::kLoad);
  if (!plan.ok()) co_return counts.Failed(plan.status());
  const auto number = static_cast<size_t>((*plan)->statement[static_cast<size_t>(SqlUse::kLoad)]);
  PostgresLoad rounds(std::move(load), *plan, number, &core->plans->statements()[number].statement,
                      core->options.answer_bytes_max);
  for (const PostgresRound round : {PostgresRound::kTogether, PostgresRound::kAlone}) {
    PostgresBatch batch = rounds.Ask(round, deadline);
    if (batch.executions.empty()) break;
    const PostgresPool::Outcome outcome = co_await core->pool.Run(std::move(batch));
    status = outcome->status;
    if (status.ok()) status = rounds.Take(round, std::move(outcome->answers));
    if (!status.ok()) co_return counts.Failed(std::move(status));
  }
  counts.bad_answers += rounds.bad_answers();
  std::vector<OriginLoaded> results = rounds.TakeResults();
  for (const OriginLoaded& each : results) {
    if (each.kind == OriginLoaded::Kind::kFailed) ++counts.item_errors;
  }
  co_return results;
}

Task<Stores> Store(std::shared_ptr<Core> core, OriginStore store, MonoNanos deadline) {
  SqlCounts& counts = core->counts;
  ++counts.store_calls;
  counts.store_items += store.writes.size();
  if (store.writes.empty()) co_return std::vector<OriginStored>();
  absl::Status status =
      CheckSqlCall(store.writes.size(), kOriginItemsMax, deadline, *core->options.clock);
  if (status.ok()) status = core->plans->CheckWrites(store);
  if (!status.ok()) co_return counts.Failed(std::move(status));
  PostgresStore rounds(std::move(store), core->plans.get());
  // An earlier round may have written something.
  bool begun = false;
  for (;;) {
    PostgresBatch batch = rounds.Ask(deadline);
    if (batch.executions.empty()) break;
    const PostgresPool::Outcome outcome = co_await core->pool.Run(std::move(batch));
    begun = begun || outcome->begun;
    if (!outcome->status.ok()) {
      const absl::Status failed = counts.Failed(outcome->status);
      co_return begun ? failed : NotAsked(failed);
    }
    const auto again = rounds.Take(std::move(outcome->answers));
    if (!again.ok()) co_return counts.Failed(again.status());
    if (!*again) break;
  }
  std::vector<OriginStored> results = rounds.TakeResults();
  for (const OriginStored& each : results) {
    if (each.kind != OriginStored::Kind::kDone) ++counts.item_errors;
  }
  co_return results;
}

// How many rows the scan has in all; nothing when that cannot be told, or not soon.
Task<std::optional<uint64_t>> Count(std::shared_ptr<Core> core, const OriginScan* scan,
                                    const SqlPlans::Plan* plan, MonoNanos deadline) {
  const auto number = static_cast<size_t>(plan->count);
  auto arguments = SqlPlans::Bind(*plan, core->plans->statements()[number].statement,
                                  SqlScanInput(*scan, /*counts=*/true));
  if (!arguments.ok()) co_return std::nullopt;
  PostgresBatch batch;
  batch.executions.push_back({number, *std::move(arguments)});
  batch.deadline = SqlCountDeadline(deadline, *core->options.clock);
  const PostgresPool::Outcome outcome = co_await core->pool.Run(std::move(batch));
  if (!outcome->status.ok()) co_return std::nullopt;
  const PostgresAnswer& answer = outcome->answers.front();
  if (answer.kind != PostgresAnswer::Kind::kOk) co_return std::nullopt;
  co_return ReadPostgresCount(answer.result.get());
}

Task<Page> Scan(std::shared_ptr<Core> core, OriginScan scan, MonoNanos deadline) {
  SqlCounts& counts = core->counts;
  ++counts.scan_calls;
  absl::Status status = CheckSqlCall(scan.limit, kOriginPageMax, deadline, *core->options.clock);
  if (scan.limit == 0) status = absl::InvalidArgumentError("a page of no entries");
  if (!status.ok()) co_return counts.Failed(std::move(status));
  const auto plan = core->plans->Find(scan.call.type, SqlUse::kScan);
  if (!plan.ok()) co_return counts.Failed(plan.status());
  const auto number = static_cast<size_t>((*plan)->statement[static_cast<size_t>(SqlUse::kScan)]);
  const SqlStatement& statement = core->plans->statements()[number].statement;
  std::optional<uint64_t> total;
  if (scan.count_to > 0) total = co_await Count(core, &scan, *plan, deadline);
  auto arguments = SqlPlans::Bind(**plan, statement, SqlScanInput(scan, /*counts=*/false));
  if (!arguments.ok()) co_return counts.Failed(arguments.status());
  PostgresBatch batch;
  batch.executions.push_back({number, *std::move(arguments)});
  batch.deadline = deadline;
  const PostgresPool::Outcome outcome = co_await core->pool.Run(std::move(batch));
  if (!outcome->status.ok()) co_return counts.Failed(outcome->status);
  PostgresAnswer& answer = outcome->answers.front();
  if (answer.kind != PostgresAnswer::Kind::kOk) co_return counts.Failed(std::move(answer.error));
  uint64_t bad = 0;
  auto page =
      ReadPostgresPage(scan, statement, answer.result.get(), core->options.answer_bytes_max, &bad);
  counts.bad_answers += bad;
  if (page.ok()) {
    page->total = total;
  } else {
    ++counts.errors;
  }
  co_return page;
}

class PostgresOrigin : public Origin {
 public:
  explicit PostgresOrigin(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~PostgresOrigin() override { core_->pool.Close(); }

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
    stats.kind = "postgres";
    stats.state = core_->pool.state();
    stats.connections = core_->pool.connections();
    core_->counts.Fill(&stats);
    return stats;
  }

 private:
  const std::shared_ptr<Core> core_;
};

absl::Status CheckOptions(const PostgresOptions& options) {
  const auto within = [&options](std::string_view what, absl::Duration value, absl::Duration least,
                                 absl::Duration most) {
    if (least <= value && value <= most) return absl::OkStatus();
    return absl::InvalidArgumentError(
        StrCat("origin ", options.name, ": ", what, " is ", absl::FormatDuration(value), "; from ",
               absl::FormatDuration(least), " to ", absl::FormatDuration(most)));
  };
  RETURN_IF_ERROR(
      within("connect_timeout", options.connect_timeout, absl::Milliseconds(1), absl::Minutes(1)));
  RETURN_IF_ERROR(within("statement_timeout", options.statement_timeout, absl::Milliseconds(1),
                         absl::Hours(1)));
  RETURN_IF_ERROR(
      within("cancel_wait", options.cancel_wait, absl::ZeroDuration(), absl::Minutes(1)));
  if (options.pool < 1 || options.pool > 256 || options.queue_max < 1 ||
      options.queue_max > 100'000 || options.answer_bytes_max < (1 << 10) ||
      options.answer_bytes_max > (1 << 30)) {
    return absl::InvalidArgumentError(
        StrCat("origin ", options.name, ": pool is from 1 to 256, queue_max from 1 to 100,000, ",
               "answer_bytes_max from 1 KiB to 1 GiB"));
  }
  if (const absl::Status url = CheckPostgresUrl(options.url); !url.ok()) {
    return absl::InvalidArgumentError(
        StrCat("origin ", options.name, ": url: ", ToStd(url.message())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Origin>> NewPostgresOrigin(const PostgresOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(SqlPlans plans, SqlPlans::Make(options.types, SqlDialect::kPostgres));
  return std::make_unique<PostgresOrigin>(std::make_shared<Core>(options, std::move(plans)));
}

absl::StatusOr<std::vector<SqlProblem>> CheckPostgresStatements(const PostgresOptions& options,
                                                                MonoNanos deadline) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const SqlPlans plans, SqlPlans::Make(options.types, SqlDialect::kPostgres));
  ASSIGN_OR_RETURN(const PostgresSession session, OpenPostgresSession(options, plans, deadline));
  std::vector<SqlProblem> problems;
  for (size_t i = 0; i < plans.statements().size(); ++i) {
    const SqlPlans::Planned& planned = plans.statements()[i];
    if (planned.counts) continue;
    absl::Status status = session.prepared[i].status;
    if (status.ok() && (planned.use == SqlUse::kLoad || planned.use == SqlUse::kScan)) {
      status =
          SqlColumns::Make(session.prepared[i].columns, planned.use, planned.statement).status();
    }
    if (!status.ok()) {
      problems.push_back({planned.type, planned.use, std::string(ToStd(status.message()))});
    }
  }
  return problems;
}

}  // namespace larder
