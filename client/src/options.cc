#include "larder/options.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/src/checks.h"
#include "client/src/status.h"
#include "client/src/targets.h"

namespace larder {
namespace {

absl::Status Outside(absl::string_view field, absl::string_view limits) {
  return internal::FieldError("REQUEST_INVALID", field, absl::StrCat(field, " must be ", limits));
}

absl::Status CheckRetry(const RetryPolicy& retry) {
  if (retry.attempts_max < 1 || retry.attempts_max > 10)
    return Outside("retry.attempts_max", "1 to 10");
  if (retry.backoff_first < absl::Milliseconds(1) || retry.backoff_first > absl::Seconds(10)) {
    return Outside("retry.backoff_first", "1ms to 10s");
  }
  if (retry.backoff_max < retry.backoff_first || retry.backoff_max > absl::Seconds(60)) {
    return Outside("retry.backoff_max", "retry.backoff_first to 60s");
  }
  // Written so that NaN fails.
  if (!(retry.budget_ratio >= 0 && retry.budget_ratio <= 1))
    return Outside("retry.budget_ratio", "0 to 1");
  if (retry.budget_max < 0 || retry.budget_max > 1000)
    return Outside("retry.budget_max", "0 to 1000");
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateClientOptions(const ClientOptions& options) {
  if (auto targets = internal::SplitTargets(options.target); !targets.ok()) return targets.status();
  if (auto status = internal::CheckDeadline("default_deadline", options.default_deadline);
      !status.ok())
    return status;
  if (auto status = internal::CheckNamespace("ns", options.ns); !status.ok()) return status;
  if (options.message_bytes_max < (size_t{64} << 10) ||
      options.message_bytes_max > (size_t{1} << 30)) {
    return Outside("message_bytes_max", "64 KiB to 1 GiB");
  }
  const bool printable = std::all_of(options.user_agent.begin(), options.user_agent.end(),
                                     [](unsigned char c) { return absl::ascii_isprint(c); });
  if (options.user_agent.size() > 128 || !printable) {
    return Outside("user_agent", "at most 128 printable ASCII characters");
  }
  return CheckRetry(options.retry);
}

}  // namespace larder
