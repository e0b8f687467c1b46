#include "origin/postgres_error.h"

#include "base/strings.h"

namespace larder {
namespace {

bool IsClass(std::string_view sqlstate, std::string_view of) { return sqlstate.substr(0, 2) == of; }

absl::StatusCode CodeOf(std::string_view sqlstate) {
  using Code = absl::StatusCode;
  // The statement was cancelled: its time, the server's or ours, was over.
  if (sqlstate == "57014") return Code::kDeadlineExceeded;
  // The server has no room for one more connection now; it is not this call that is too much.
  if (sqlstate == "53300") return Code::kUnavailable;
  if (sqlstate == "42501") return Code::kPermissionDenied;
  if (PostgresSessionIsStale(sqlstate)) return Code::kUnavailable;
  if (IsClass(sqlstate, "53") || IsClass(sqlstate, "54")) return Code::kResourceExhausted;
  for (const std::string_view again : {"08", "40", "55", "57", "28"}) {
    if (IsClass(sqlstate, again)) return Code::kUnavailable;
  }
  for (const std::string_view never : {"21", "22", "23", "44", "P0"}) {
    if (IsClass(sqlstate, never)) return Code::kInvalidArgument;
  }
  for (const std::string_view statement : {"42", "0A", "25", "3D", "3F"}) {
    if (IsClass(sqlstate, statement)) return Code::kFailedPrecondition;
  }
  if (IsClass(sqlstate, "58")) return Code::kUnavailable;
  if (IsClass(sqlstate, "XX")) return Code::kInternal;
  return Code::kUnknown;
}

}  // namespace

absl::Status PostgresStatus(std::string_view sqlstate, std::string_view message) {
  return {CodeOf(sqlstate), StrCat("PostgreSQL: ", message, " (", sqlstate, ")")};
}

bool PostgresBlamesItem(std::string_view sqlstate) {
  for (const std::string_view of : {"21", "22", "23", "40", "44", "55", "P0"}) {
    if (IsClass(sqlstate, of)) return true;
  }
  return sqlstate == "57014";
}

bool PostgresRejects(std::string_view sqlstate) {
  // P0001 is what a trigger or function of the user's raises: it means to refuse.
  for (const std::string_view of : {"22", "23", "44"}) {
    if (IsClass(sqlstate, of)) return true;
  }
  return sqlstate == "P0001";
}

bool PostgresSessionIsStale(std::string_view sqlstate) {
  // 26000: there is no such prepared statement. 0A000 at this point: its rows have other columns
  // than when it was prepared. 25006: it only reads, for the server is a standby now; a new session
  // may find the primary.
  return sqlstate == "26000" || sqlstate == "0A000" || sqlstate == "25006";
}

}  // namespace larder
