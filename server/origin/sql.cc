#include "origin/sql.h"

#include "base/strings.h"
#include "origin/sql_plan.h"

namespace larder {

std::string_view SqlUseName(SqlUse use) {
  switch (use) {
    case SqlUse::kLoad:
      return "load";
    case SqlUse::kStore:
      return "store";
    case SqlUse::kDelete:
      return "delete";
    case SqlUse::kScan:
      break;
  }
  return "scan";
}

const std::string& SqlType::Statement(SqlUse use) const {
  switch (use) {
    case SqlUse::kLoad:
      return load;
    case SqlUse::kStore:
      return store;
    case SqlUse::kDelete:
      return remove;
    case SqlUse::kScan:
      break;
  }
  return scan;
}

std::vector<SqlProblem> CheckSqlTypes(const std::vector<SqlType>& types, SqlDialect dialect) {
  std::vector<SqlProblem> problems;
  for (const SqlType& type : types) {
    for (const SqlUse use : kAllSqlUses) {
      if (type.Statement(use).empty()) continue;
      const auto statement = PlanSqlStatement(type, use, dialect);
      if (statement.ok()) continue;
      problems.push_back({type.name, use, std::string(ToStd(statement.status().message()))});
    }
  }
  return problems;
}

}  // namespace larder
