#include "config/origin_checks.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "config/checker.h"
#include "config/origins.h"
#include "config/postgres_url.h"
#include "config/sql_problem.h"
#include "config/types.h"
#include "core/suggest.h"
#include "larder/config/v1/config.pb.h"
#include "origin/sql.h"

namespace larder {
namespace {

namespace v1 = config::v1;

class OriginChecks : private Checker {
 public:
  OriginChecks(const Reading& reading, Problems* problems)
      : Checker(reading, problems), reading_(reading) {}

  void Run() {
    for (const std::string& name : reading_.origin_names)
      CheckOrigin(reading_.proto.origins().at(name), absl::StrCat("origins.", name));
    for (const std::string& name : reading_.type_names)
      CheckType(name, reading_.proto.types().at(name), absl::StrCat("types.", name));
  }

 private:
  void CheckOrigin(const v1::Origin& origin, const std::string& path) {
    const std::string postgres = path + ".postgres", grpc = path + ".grpc";
    const std::string sqlite = path + ".sqlite";
    const auto both = [&](bool a, const std::string& a_path, bool b, const std::string& b_path) {
      if (!a || !b) return;
      Add({b_path, a_path},
          absl::StrCat(a_path, " and ", b_path, " exclude each other; an origin is one of them"));
    };
    both(origin.postgres().enabled(), postgres, origin.grpc().enabled(), grpc);
    both(origin.postgres().enabled(), postgres, origin.sqlite().enabled(), sqlite);
    both(origin.grpc().enabled(), grpc, origin.sqlite().enabled(), sqlite);
    if (!OriginKindOf(origin)) {
      Add({path, postgres, grpc, sqlite},
          absl::StrCat(path, " needs one of postgres, grpc and sqlite"));
    }
    CheckPostgres(origin.postgres(), postgres);
    CheckGrpc(origin.grpc(), grpc);
    CheckSqlite(origin.sqlite(), sqlite);
    CheckCalls(origin, path);
  }

  void CheckPostgres(const v1::PostgresOrigin& postgres, const std::string& path) {
    const std::string url = path + ".url", url_file = path + ".url_file";
    if (!postgres.enabled()) return NoEffect(path + ".", absl::StrCat(path, ".enabled is false"));
    if (postgres.url().empty() && postgres.url_file().empty())
      Add({path, url, url_file}, absl::StrCat(path, " needs ", url, " or ", url_file));
    if (!postgres.url().empty() && !postgres.url_file().empty())
      Add({url_file, url}, absl::StrCat(url, " and ", url_file, " exclude each other"));
    if (HoldsPassword(postgres.url())) {
      Add({url}, absl::StrCat(url, ": holds a password; write it into a file and name that in ",
                              path, ".password_file"));
    }
  }

  void CheckGrpc(const v1::GrpcOrigin& grpc, const std::string& path) {
    if (!grpc.enabled()) return NoEffect(path + ".", absl::StrCat(path, ".enabled is false"));
    if (grpc.target().empty())
      Add({path, path + ".target"}, absl::StrCat(path, " needs ", path, ".target"));
    const v1::GrpcOriginTls& tls = grpc.tls();
    const std::string cert = path + ".tls.cert_file", key = path + ".tls.key_file";
    if (!tls.enabled()) {
      NoEffect(path + ".tls.", absl::StrCat(path, ".tls.enabled is false"));
    } else if (tls.cert_file().empty() != tls.key_file().empty()) {
      Add({cert, key}, absl::StrCat(cert, " and ", key, " belong together"));
    }
    for (const auto& [name, metadata] : grpc.metadata())
      CheckMetadata(metadata, absl::StrCat(path, ".metadata.", name));
  }

  void CheckMetadata(const v1::MetadataValue& metadata, const std::string& path) {
    const std::string value = path + ".value", file = path + ".file";
    if (metadata.value().empty() && metadata.file().empty())
      Add({path, value, file}, absl::StrCat(path, " needs ", value, " or ", file));
    if (!metadata.value().empty() && !metadata.file().empty())
      Add({file, value}, absl::StrCat(value, " and ", file, " exclude each other"));
    const absl::Status well = CheckMetadataValue(metadata.value());
    if (!well.ok()) Add({value}, absl::StrCat(value, ": ", std::string(well.message())));
  }

  void CheckSqlite(const v1::SqliteOrigin& sqlite, const std::string& path) {
    if (!sqlite.enabled()) return NoEffect(path + ".", absl::StrCat(path, ".enabled is false"));
    if (sqlite.path().empty())
      Add({path, path + ".path"}, absl::StrCat(path, " needs ", path, ".path"));
  }

  void CheckCalls(const v1::Origin& origin, const std::string& path) {
    const std::string breaker = path + ".breaker";
    NotAbove(breaker + ".open_min", D(origin.breaker().open_min()), breaker + ".open_max",
             D(origin.breaker().open_max()));
    if (D(origin.breaker().slow_after()) == absl::ZeroDuration())
      NoEffect(breaker + ".slow", absl::StrCat(breaker, ".slow_after is off"));
    if (origin.batch().keys() == 1)
      NoEffect(path + ".batch.delay", absl::StrCat(path, ".batch.keys is 1"));
    if (origin.retry_budget().ratio() == 0)
      NoEffect(path + ".retry_budget.burst", absl::StrCat(path, ".retry_budget.ratio is 0%"));
  }

  void CheckType(const std::string& name, const v1::Type& type, const std::string& path) {
    const std::string origin = path + ".origin";
    CheckFreshness(type, path);
    CheckFilterAndWarm(type, path);
    if (type.origin().empty()) return CheckWithoutOrigin(type, path);
    const auto found = reading_.proto.origins().find(type.origin());
    if (found == reading_.proto.origins().end()) return ReportUnknownOrigin(type.origin(), origin);
    const std::optional<OriginKind> kind = OriginKindOf(found->second);
    if (!kind) return;  // reported there
    CheckLearning(type, path);
    if (*kind == OriginKind::kGrpc) {
      return NoEffect(path + ".sql.",
                      absl::StrCat("origins.", type.origin(), " is a gRPC service"));
    }
    CheckSql(name, type, *kind, path);
  }

  void ReportUnknownOrigin(const std::string& name, const std::string& path) {
    std::vector<std::string_view> known(reading_.origin_names.begin(), reading_.origin_names.end());
    std::string message = absl::StrCat(path, ": there is no origin ", Quoted(name));
    if (const std::optional<std::string> near = Suggest(name, known)) {
      absl::StrAppend(&message, "; did you mean ", Quoted(*near), "?");
    } else if (!known.empty()) {
      absl::StrAppend(&message, "; there is ", absl::StrJoin(reading_.origin_names, ", "));
    }
    Add({path}, std::move(message));
  }

  // Nothing that needs somebody to load but the callers.
  void CheckWithoutOrigin(const v1::Type& type, const std::string& path) {
    const std::string why = absl::StrCat(path, ".origin is empty");
    for (const char* const field : {".sql.", ".freshness.refresh_ahead", ".freshness.hard_timeout",
                                    ".ttl.adapt.change.enabled", ".warm.limit", ".warm.rate"}) {
      NoEffect(path + field, why);
    }
    for (const auto& [needed, field] : {std::pair(type.filter().bloom(), ".filter.bloom"),
                                        std::pair(type.warm().on_start(), ".warm.on_start")}) {
      if (needed) {
        Add({path + field},
            absl::StrCat(path, field, " needs an origin that lists its keys, and ", why));
      }
    }
  }

  // A value that has ended is not there any more when the next one is loaded.
  void CheckLearning(const v1::Type& type, const std::string& path) {
    const FreshnessPolicy policy = FreshnessPolicyOf(type.freshness());
    if (policy.refresh_ahead > 0 || policy.any_stale() || type.ttl().forever()) return;
    NoEffect(path + ".ttl.adapt.change.enabled",
             absl::StrCat(path,
                          ".freshness has neither refresh_ahead nor a stale window: there is "
                          "nothing left to compare a loaded value with"));
  }

  void CheckSql(const std::string& name, const v1::Type& type, OriginKind kind,
                const std::string& path) {
    const std::string load = path + ".sql.load", scan = path + ".sql.scan";
    if (type.sql().load().empty()) {
      Add({path + ".origin", load}, absl::StrCat(path, ".origin is ", type.origin(), ", a ",
                                                 OriginKindName(kind), " origin; it needs ", load));
    }
    if (type.sql().scan().empty()) {
      for (const auto& [needed, field] : {std::pair(type.filter().bloom(), ".filter.bloom"),
                                          std::pair(type.warm().on_start(), ".warm.on_start")}) {
        if (needed) {
          Add({path + field, scan},
              absl::StrCat(path, field, " needs ", scan, ", by which the origin lists its keys"));
        }
      }
    }
    if (Broken(path + ".match") || Broken(path + ".sql")) return;
    const SqlDialect dialect =
        kind == OriginKind::kPostgres ? SqlDialect::kPostgres : SqlDialect::kSqlite;
    for (const SqlProblem& problem : CheckSqlTypes({SqlTypeOf(name, type)}, dialect)) {
      const std::string statement = SqlPath(problem);
      Add({statement}, absl::StrCat(statement, ": ", problem.what));
    }
  }

  void CheckFreshness(const v1::Type& type, const std::string& path) {
    const v1::Freshness& freshness = type.freshness();
    const std::string here = path + ".freshness", soft = here + ".soft_timeout";
    const std::string ahead = here + ".refresh_ahead", serve = here + ".stale_while_revalidate";
    const std::string error = here + ".stale_if_error", hard = here + ".hard_timeout";
    NotAbove(soft, D(freshness.soft_timeout()), hard, D(freshness.hard_timeout()));
    if (type.ttl().forever()) {
      for (const std::string& field : {ahead, serve, error})
        NoEffect(field, absl::StrCat(path, ".ttl.forever is true"));
    }
    if (type.ttl().sliding() && freshness.refresh_ahead() > 0) {
      Add({ahead, path + ".ttl.sliding"},
          absl::StrCat(ahead, " and ", path,
                       ".ttl.sliding exclude each other: every hit moves the end of the TTL"));
    }
    const FreshnessPolicy policy = FreshnessPolicyOf(freshness);
    if (!policy.any_stale()) {
      const std::string why = absl::StrCat(serve, " and ", error, " are off");
      NoEffect(here + ".error_pause", why);
      NoEffect(soft, why);
      if (policy.errors != FreshnessPolicy().errors)
        Add({here + ".errors"}, absl::StrCat(here, ".errors has no effect, because ", why));
    } else if (policy.stale_if_error <= policy.stale_while_revalidate) {
      NoEffect(soft, absl::StrCat(error, " is not longer than ", serve,
                                  ": whoever waits has no stale value to get"));
    }
    if (policy.stale_if_error > absl::ZeroDuration() && policy.errors == ErrorSet()) {
      Add({here + ".errors", error},
          absl::StrCat(error, " needs at least one of ", here, ".errors"));
    }
  }

  void CheckFilterAndWarm(const v1::Type& type, const std::string& path) {
    if (!type.filter().bloom()) {
      for (const char* const field : {".filter.error", ".filter.keys_max", ".filter.rebuild"})
        NoEffect(path + field, absl::StrCat(path, ".filter.bloom is false"));
    }
    if (!type.warm().on_start()) {
      for (const char* const field : {".warm.ready_share", ".warm.ready_timeout"})
        NoEffect(path + field, absl::StrCat(path, ".warm.on_start is false"));
    } else if (type.warm().ready_share() == 0) {
      NoEffect(path + ".warm.ready_timeout", absl::StrCat(path, ".warm.ready_share is 0%"));
    }
  }

  const Reading& reading_;
};

}  // namespace

void CheckOrigins(const Reading& reading, Problems* problems) {
  OriginChecks(reading, problems).Run();
}

}  // namespace larder
