// What an SQLSTATE, PostgreSQL's code of an error, means for larder.
// Thread safety: pure functions.

#ifndef LARDER_ORIGIN_POSTGRES_ERROR_H_
#define LARDER_ORIGIN_POSTGRES_ERROR_H_

#include <string_view>

#include "absl/status/status.h"

namespace larder {

// `message` is what the server said, in one line.
absl::Status PostgresStatus(std::string_view sqlstate, std::string_view message);

// The error is about what this statement was bound to, so that others of the call may well work.
// Otherwise it is about the statement or the server, and none will.
bool PostgresBlamesItem(std::string_view sqlstate);

// The write can never work.
bool PostgresRejects(std::string_view sqlstate);

// The session is no longer what it was: its statements, or its server. It is to be replaced.
bool PostgresSessionIsStale(std::string_view sqlstate);

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_ERROR_H_
