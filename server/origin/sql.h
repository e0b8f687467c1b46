// What SQL origins (PostgreSQL, SQLite) are told of each data type: its statements, with named
// parameters. docs/origins.md is the reference for those who write them. Thread safety: values.

#ifndef LARDER_ORIGIN_SQL_H_
#define LARDER_ORIGIN_SQL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/pattern.h"

namespace larder {

enum class SqlDialect : uint8_t { kPostgres, kSqlite };

enum class SqlUse : uint8_t { kLoad, kStore, kDelete, kScan };
inline constexpr int kSqlUses = 4;
inline constexpr SqlUse kAllSqlUses[kSqlUses] = {SqlUse::kLoad, SqlUse::kStore, SqlUse::kDelete,
                                                 SqlUse::kScan};

// `load`, `store`, `delete`, `scan`.
std::string_view SqlUseName(SqlUse use);

struct SqlType {
  std::string name;
  // A key takes its captures from the first that matches.
  std::vector<Pattern> match;
  // Empty: the type cannot do that.
  std::string load;
  std::string store;
  std::string remove;  // `delete` in the configuration
  std::string scan;

  const std::string& Statement(SqlUse use) const;
};

// A statement that can never work, found before or at the first connection.
struct SqlProblem {
  std::string type;
  SqlUse use;
  std::string what;
};

// What can be found without a database: parameters that are none, that the use has not, or whose
// captures not all patterns of the type have; what is not exactly one statement; a scan without
// $limit and $cursor, which would give the same page for ever.
std::vector<SqlProblem> CheckSqlTypes(const std::vector<SqlType>& types, SqlDialect dialect);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_H_
