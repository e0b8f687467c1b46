// What SQL origins (PostgreSQL, SQLite) are told of each data type: its statements, with named
// parameters. docs/origins.md is the reference for those who write them. Thread safety: values.

#ifndef LARDER_ORIGIN_SQL_H_
#define LARDER_ORIGIN_SQL_H_

#include <string>
#include <string_view>
#include <vector>

#include "policy/pattern.h"

namespace larder {

enum class SqlUse : uint8_t { kLoad, kStore, kDelete, kScan };

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

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_H_
