// SqlStatement is a user's statement as a database takes it: the named parameters, such as
// `$key.id`, are replaced by numbered ones, and a list says what each number stands for.
// Thread safety: values and pure functions. Never asks a database.

#ifndef LARDER_ORIGIN_SQL_STATEMENT_H_
#define LARDER_ORIGIN_SQL_STATEMENT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "origin/sql.h"

namespace larder {

struct SqlParameter {
  enum class Kind : uint8_t {
    kKey,
    kCapture,   // $key.NAME
    kKeys,      // an array of what kKey is
    kCaptures,  // $keys.NAME
    kNamespace,
    kType,
    kValue,
    kVersion,
    kValidator,
    kLimit,
    kCursor,
    kKeysOnly,
  };
  Kind kind;
  std::string capture;  // NAME
  bool operator==(const SqlParameter&) const = default;
};

struct SqlStatement {
  static constexpr size_t kBytesMax = 64 << 10;
  static constexpr size_t kParametersMax = 64;

  std::string text;                      // `$1` in PostgreSQL, `?1` in SQLite
  std::vector<SqlParameter> parameters;  // number 1 first; each once

  bool Has(SqlParameter::Kind kind) const;
  // Answers a whole batch of keys.
  bool batch() const {
    return Has(SqlParameter::Kind::kKeys) || Has(SqlParameter::Kind::kCaptures);
  }
};

// InvalidArgument: an unknown parameter, or one that this use has not; a quote or comment that does
// not end; more than one statement, none, or one that is too long. Captures are not looked at.
absl::StatusOr<SqlStatement> ParseSqlStatement(std::string_view text, SqlUse use,
                                               SqlDialect dialect);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_STATEMENT_H_
