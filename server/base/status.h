// Macros that return early on a failed absl::Status or StatusOr, so that each line of a function is
// its next step.
//   RETURN_IF_ERROR(Check(key));
//   ASSIGN_OR_RETURN(const Config config, LoadConfig(path));
// The CO_ forms do the same inside a coroutine.

#ifndef LARDER_BASE_STATUS_H_
#define LARDER_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define LARDER_STATUS_CONCAT_INNER(a, b) a##b
#define LARDER_STATUS_CONCAT(a, b) LARDER_STATUS_CONCAT_INNER(a, b)

// An expression in a declaration cannot be put in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)

#define RETURN_IF_ERROR(expr)                                                           \
  do {                                                                                  \
    if (absl::Status larder_status = (expr); !larder_status.ok()) return larder_status; \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(LARDER_STATUS_CONCAT(larder_statusor_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr) \
  auto statusor = (expr);                          \
  if (!statusor.ok()) return statusor.status();    \
  lhs = *std::move(statusor)

#define CO_RETURN_IF_ERROR(expr)                                                           \
  do {                                                                                     \
    if (absl::Status larder_status = (expr); !larder_status.ok()) co_return larder_status; \
  } while (false)

#define CO_ASSIGN_OR_RETURN(lhs, expr) \
  CO_ASSIGN_OR_RETURN_IMPL(LARDER_STATUS_CONCAT(larder_statusor_, __LINE__), lhs, expr)
#define CO_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expr) \
  auto statusor = (expr);                             \
  if (!statusor.ok()) co_return statusor.status();    \
  lhs = *std::move(statusor)

// NOLINTEND(bugprone-macro-parentheses)

#endif  // LARDER_BASE_STATUS_H_
