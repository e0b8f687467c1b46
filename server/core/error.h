// The errors that callers see: an absl::Status that carries a stable reason and, where they help,
// the fields that are wrong and when to try again. The rpc layer turns these into google.rpc
// details; docs/errors.md explains each reason. Thread safety: any function, any thread.

#ifndef LARDER_CORE_ERROR_H_
#define LARDER_CORE_ERROR_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// X(reason, status code). docs/errors.md has one section for each, and a test keeps the two in
// step.
#define LARDER_REASONS(X)                        \
  X(KEY_INVALID, kInvalidArgument)               \
  X(NAMESPACE_INVALID, kInvalidArgument)         \
  X(TYPE_UNKNOWN, kInvalidArgument)              \
  X(VALUE_TOO_LARGE, kInvalidArgument)           \
  X(TTL_INVALID, kInvalidArgument)               \
  X(TAG_INVALID, kInvalidArgument)               \
  X(DEPENDENCY_INVALID, kInvalidArgument)        \
  X(BATCH_INVALID, kInvalidArgument)             \
  X(SELECTOR_INVALID, kInvalidArgument)          \
  X(RULES_FULL, kResourceExhausted)              \
  X(RESUME_TOKEN_INVALID, kInvalidArgument)      \
  X(RESUME_TOKEN_OLD, kFailedPrecondition)       \
  X(WATCHERS_FULL, kResourceExhausted)           \
  X(WATCH_TOO_SLOW, kResourceExhausted)          \
  X(REQUEST_INVALID, kInvalidArgument)           \
  X(REQUEST_ID_INVALID, kInvalidArgument)        \
  X(REQUEST_ID_REUSED, kInvalidArgument)         \
  X(LEASE_TOKEN_INVALID, kInvalidArgument)       \
  X(MESSAGE_MALFORMED, kInvalidArgument)         \
  X(MESSAGE_TOO_LARGE, kResourceExhausted)       \
  X(NAMESPACE_LIMIT, kResourceExhausted)         \
  X(MEMORY_FULL, kResourceExhausted)             \
  X(OVERLOADED, kResourceExhausted)              \
  X(TOO_MANY_WAITERS, kResourceExhausted)        \
  X(NOT_A_COUNTER, kFailedPrecondition)          \
  X(COUNTER_OVERFLOW, kFailedPrecondition)       \
  X(CONTENTION, kAborted)                        \
  X(REQUEST_IN_PROGRESS, kAborted)               \
  X(DRAINING, kUnavailable)                      \
  X(NOT_AUTHENTICATED, kUnauthenticated)         \
  X(NOT_ALLOWED, kPermissionDenied)              \
  X(QUOTA_EXCEEDED, kResourceExhausted)          \
  X(CONFIG_INVALID, kInvalidArgument)            \
  X(TIER_UNAVAILABLE, kUnavailable)              \
  X(TYPE_WITHOUT_ORIGIN, kFailedPrecondition)    \
  X(ORIGIN_UNAVAILABLE, kUnavailable)            \
  X(ORIGIN_TIMEOUT, kDeadlineExceeded)           \
  X(ORIGIN_REFUSED, kFailedPrecondition)         \
  X(ORIGIN_BAD_ANSWER, kFailedPrecondition)      \
  X(WRITE_REFUSED, kFailedPrecondition)          \
  X(WRITE_FAILED, kUnavailable)                  \
  X(WRITE_UNKNOWN, kUnavailable)                 \
  X(WRITE_MODE_UNSUPPORTED, kFailedPrecondition) \
  X(JOURNAL_FULL, kResourceExhausted)            \
  X(JOURNAL_UNAVAILABLE, kUnavailable)           \
  X(DELIVERY_PAUSED, kFailedPrecondition)        \
  X(DEADLINE_EXCEEDED, kDeadlineExceeded)        \
  X(CALL_CANCELLED, kCancelled)                  \
  X(NOT_IN_THIS_VERSION, kUnimplemented)         \
  X(METHOD_UNKNOWN, kUnimplemented)              \
  X(VALUE_CORRUPT, kDataLoss)                    \
  X(BUG, kInternal)

enum class Reason {
#define LARDER_REASON_ENUM(name, code) k##name,
  LARDER_REASONS(LARDER_REASON_ENUM)
#undef LARDER_REASON_ENUM
};

// "KEY_INVALID" and so on, as ErrorInfo.reason says it.
std::string_view ReasonName(Reason reason);

// Every reason's name, in the order above.
std::vector<std::string_view> AllReasonNames();

// An error with the reason's status code.
absl::Status Error(Reason reason, std::string_view message);

// The same for a wrong field of the request. `field` is its path in the proto, such as
// `items[3].key`.
absl::Status FieldError(Reason reason, std::string_view field, std::string_view message);

// The same for an error that goes away by itself after about `retry_after`.
absl::Status RetryableError(Reason reason, absl::Duration retry_after, std::string_view message);

// What an error carries. An error of another origin has an empty reason.
struct ErrorDetails {
  std::string reason;
  std::vector<std::pair<std::string, std::string>> fields;  // (path, what is wrong)
  std::optional<absl::Duration> retry_after;
};
ErrorDetails DetailsOf(const absl::Status& status);

// `status` with `prefix` before its field path, for errors found while looking at a part of a
// request.
absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix);

}  // namespace larder

#endif  // LARDER_CORE_ERROR_H_
