// SqlPlans are the statements of all data types of one SQL origin, ready to be bound: which there
// are, and what each parameter of one call is. Immutable once made. Thread safety: any method, any
// thread. Never asks a database.

#ifndef LARDER_ORIGIN_SQL_PLAN_H_
#define LARDER_ORIGIN_SQL_PLAN_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "core/version.h"
#include "origin/origin.h"
#include "origin/sql.h"
#include "origin/sql_statement.h"

namespace larder {

// What one parameter is bound to.
struct SqlArgument {
  enum class Form : uint8_t {
    kText,
    kBytes,    // a value: bytes where the database wants bytes, else its text
    kInteger,  // `integer`, also as `text`
    kCursor,   // text; empty at the start of a scan
  };
  Form form = Form::kText;
  std::string text = {};
  int64_t integer = 0;
};

// What a statement is bound to; what it does not use may be left out.
struct SqlInput {
  const OriginCall* call = nullptr;
  std::vector<std::string_view> keys = {};  // of $keys; otherwise one
  std::string_view value = {};
  Version version = kNoVersion;
  std::string_view validator = {};
  uint64_t limit = 0;
  std::string_view cursor = {};
  bool keys_only = false;
};

class SqlPlans {
 public:
  struct Planned {
    std::string type;
    SqlUse use;
    SqlStatement statement;
    // Made of the user's scan: how many rows it has. Nothing is wrong if a database refuses it.
    bool counts = false;
  };
  struct Plan {
    std::string type;
    std::vector<Pattern> match;
    // Of `statements`; -1: the type cannot do that.
    std::array<int, kSqlUses> statement;
    // Of `statements`: counts what the scan lists; -1 without a scan.
    int count = -1;
  };

  // InvalidArgument: the first problem that CheckSqlTypes finds.
  static absl::StatusOr<SqlPlans> Make(const std::vector<SqlType>& types, SqlDialect dialect);

  // FailedPrecondition when there is no such type here, or it has no such statement.
  absl::StatusOr<const Plan*> Find(std::string_view type, SqlUse use) const;
  // FailedPrecondition when no write of the call can be made here.
  absl::Status CheckWrites(const OriginStore& store) const;
  // Number 0 first.
  const std::vector<Planned>& statements() const { return statements_; }

  // The captures of the first pattern of the type that matches. InvalidArgument when none does.
  static absl::StatusOr<std::vector<std::pair<std::string, std::string_view>>> Captures(
      const Plan& plan, std::string_view key);
  // The arguments in the order of the parameters. InvalidArgument as above.
  static absl::StatusOr<std::vector<SqlArgument>> Bind(const Plan& plan,
                                                       const SqlStatement& statement,
                                                       const SqlInput& input);

 private:
  SqlPlans() = default;

  std::vector<Planned> statements_;
  absl::flat_hash_map<std::string, Plan> plans_;
};

// What is wrong with a call before any database is asked: InvalidArgument, DeadlineExceeded.
absl::Status CheckSqlCall(size_t items, size_t most, MonoNanos deadline, const Clock& clock);

// What a scan binds; to count what it lists, `counts`.
SqlInput SqlScanInput(const OriginScan& scan, bool counts);

// Until when the rows of a scan may be counted that ends at `deadline`: the page matters more.
MonoNanos SqlCountDeadline(MonoNanos deadline, const Clock& clock);

// The statement of a type for a use, with all that CheckSqlTypes looks at.
absl::StatusOr<SqlStatement> PlanSqlStatement(const SqlType& type, SqlUse use, SqlDialect dialect);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_PLAN_H_
