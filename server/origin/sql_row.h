// Reads what a statement answered: columns by their names, rows as what an origin says of a key.
// Thread safety: values and pure functions. Errors: a row that makes no sense is a failed
// OriginLoaded with DATA_LOSS.

#ifndef LARDER_ORIGIN_SQL_ROW_H_
#define LARDER_ORIGIN_SQL_ROW_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "origin/origin.h"
#include "origin/sql.h"
#include "origin/sql_statement.h"

namespace larder {

struct SqlCell {
  enum class Form : uint8_t { kText, kHex, kArray, kInterval };
  bool null = true;
  std::string_view text = {};  // lives as long as the row
  Form form = Form::kText;
};

class SqlRow {
 public:
  virtual ~SqlRow() = default;
  virtual SqlCell Cell(int column) const = 0;
};

// The place of each column that has a meaning; -1: there is none.
struct SqlColumns {
  int value = -1;
  int ttl = -1;
  int tags = -1;
  int depends_on = -1;
  int validator = -1;
  int key = -1;
  int cursor = -1;
  // Of a batch that is answered without `key`: the column of each capture that the statement uses,
  // in the order of `identity`.
  std::vector<int> captures;
  std::vector<std::string> identity;

  // FailedPrecondition: a load without a value, a batch whose rows do not say which key they
  // are of, a scan without a key.
  static absl::StatusOr<SqlColumns> Make(const std::vector<std::string>& names, SqlUse use,
                                         const SqlStatement& statement);

  // What tells the rows of a batch apart; joined by a byte that no key has. Nothing when one of it
  // is NULL.
  std::optional<std::string> Identity(const SqlRow& row) const;
};

inline constexpr char kSqlIdentityGlue = '\x1f';

// The row as an answer for a key whose held copy has this validator. `with_value` false: what there
// is besides the value, kFound.
OriginLoaded ReadSqlRow(const SqlColumns& columns, const SqlRow& row, std::string_view validator,
                        bool with_value);

// The page of a scan: at most `limit` rows, the cursor empty after the last. Rows without a value
// or with keys that cannot be are left out; of the latter `bad` counts how many, and of those that
// make no sense otherwise. DataLoss: the page ends where it began.
absl::StatusOr<OriginPage> ReadSqlPage(const SqlColumns& columns,
                                       const std::vector<const SqlRow*>& rows,
                                       const OriginScan& scan, uint64_t* bad);

OriginLoaded FailedLoad(absl::Status error);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_ROW_H_
