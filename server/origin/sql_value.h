// How databases write what larder reads from a row: bytes, arrays, JSON arrays, seconds, intervals.
// Thread safety: pure functions. Errors: DataLoss says what the text is not; it never repeats more
// than a few bytes of it.

#ifndef LARDER_ORIGIN_SQL_VALUE_H_
#define LARDER_ORIGIN_SQL_VALUE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder {

// `\x00ff`, as PostgreSQL writes a bytea.
absl::StatusOr<std::string> ParseSqlHex(std::string_view text);

// `{red,"with space",NULL}`, as PostgreSQL writes an array of one dimension; NULLs are left out. At
// most `most` elements.
absl::StatusOr<std::vector<std::string>> ParseSqlArray(std::string_view text, size_t most);
// The other way.
std::string FormatSqlArray(const std::vector<std::string>& elements);

// `["red", "a\nb"]`: a JSON array of strings; nulls are left out. At most `most` elements.
absl::StatusOr<std::vector<std::string>> ParseJsonStrings(std::string_view text, size_t most);

// `1.5`. More than zero, and no more than a hundred years.
absl::StatusOr<absl::Duration> ParseSqlSeconds(std::string_view text);
// `P1DT2H3M4.5S`, an interval in the style ISO 8601, within the same limits. A month counts 30
// days, a year 365.25.
absl::StatusOr<absl::Duration> ParseSqlInterval(std::string_view text);

}  // namespace larder

#endif  // LARDER_ORIGIN_SQL_VALUE_H_
