#include "sources.h"

#include <string>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "config/origins.h"
#include "config/sql_problem.h"
#include "origin/grpc_origin.h"
#include "origin/origin_guard.h"
#include "origin/postgres_origin.h"
#include "origin/sqlite_origin.h"

namespace larder {
namespace {

// How long the start waits for a database to look at its statements.
constexpr absl::Duration kCheckMost = absl::Seconds(3);

absl::StatusOr<std::unique_ptr<Origin>> MakeInner(OriginConfig* config, Executor* executor) {
  switch (config->kind) {
    case OriginKind::kPostgres:
      config->postgres.executor = executor;
      return NewPostgresOrigin(config->postgres);
    case OriginKind::kGrpc:
      config->grpc.executor = executor;
      return NewGrpcOrigin(config->grpc);
    case OriginKind::kSqlite:
      config->sqlite.executor = executor;
      return NewSqliteOrigin(config->sqlite);
  }
  return absl::InternalError("an origin of no kind");
}

// Statements that the origin's database refuses.
absl::StatusOr<std::vector<SqlProblem>> Problems(const OriginConfig& config) {
  switch (config.kind) {
    case OriginKind::kPostgres:
      return CheckPostgresStatements(config.postgres,
                                     MonoAfter(Clock::System()->Mono(), kCheckMost));
    case OriginKind::kSqlite:
      return CheckSqliteStatements(config.sqlite);
    case OriginKind::kGrpc:
      break;
  }
  return std::vector<SqlProblem>();
}

}  // namespace

absl::StatusOr<Sources> NewSources(const Config& config, Executor* executor) {
  ASSIGN_OR_RETURN(std::vector<OriginConfig> configured, OriginsOf(config));
  Sources sources;
  std::string wrong;
  for (OriginConfig& one : configured) {
    ASSIGN_OR_RETURN(std::unique_ptr<Origin> inner, MakeInner(&one, executor));
    const absl::StatusOr<std::vector<SqlProblem>> problems = Problems(one);
    if (problems.ok()) {
      for (const SqlProblem& problem : *problems)
        wrong += StrCat(wrong.empty() ? "" : "\n", SqlProblemLine(config, problem));
    } else {
      LogWarning("origin_away", {{"origin", one.name}, {"error", problems.status()}});
    }
    one.guard.executor = executor;
    std::unique_ptr<Origin> origin = NewOriginGuard(std::move(inner), one.guard);
    OriginLink link;
    link.name = one.name;
    link.origin = origin.get();
    link.batch_max = one.batch_keys;
    link.delay = one.batch_delay;
    link.calls_max = one.guard.concurrency;
    sources.links.push_back(std::move(link));
    sources.origins.push_back(std::move(origin));
    LogInfo("origin_ready", {{"origin", one.name}, {"kind", OriginKindName(one.kind)}});
  }
  if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
  return sources;
}

}  // namespace larder
