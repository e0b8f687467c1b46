#include "larder/options.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/src/checks.h"
#include "client/src/status.h"
#include "client/src/targets.h"
#include "client/src/tls.h"
#include "client/src/token.h"

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

absl::Status CheckResilience(const ClientOptions& options) {
  if (options.breaker.failures < 0 || options.breaker.failures > 1000)
    return Outside("breaker.failures", "0 to 1000");
  if (options.breaker.open_for < absl::Milliseconds(10) ||
      options.breaker.open_for > absl::Seconds(60)) {
    return Outside("breaker.open_for", "10ms to 60s");
  }
  const HedgePolicy& hedge = options.hedge;
  if (hedge.percentile != 0 && !(hedge.percentile >= 0.5 && hedge.percentile <= 0.999))
    return Outside("hedge.percentile", "0, or 0.5 to 0.999");
  if (!(hedge.budget_ratio >= 0 && hedge.budget_ratio <= 1))
    return Outside("hedge.budget_ratio", "0 to 1");
  if (hedge.delay_min < absl::Microseconds(100) || hedge.delay_min > absl::Seconds(10))
    return Outside("hedge.delay_min", "100us to 10s");
  const absl::Duration window = options.batch.window;
  if (window != absl::ZeroDuration() &&
      (window < absl::Microseconds(1) || window > absl::Milliseconds(10))) {
    return Outside("batch.window", "0, or 1us to 10ms");
  }
  if (options.batch.keys_max < 2 || options.batch.keys_max > 1000)
    return Outside("batch.keys_max", "2 to 1000");
  return absl::OkStatus();
}

absl::Status CheckWho(const ClientOptions& options) {
  if (auto status = internal::CheckTls(options.tls); !status.ok()) return status;
  if (options.token.empty() && options.token_file.empty()) return absl::OkStatus();
  const auto wrong = [](absl::string_view field, absl::string_view what) {
    return internal::FieldError("REQUEST_INVALID", field, what);
  };
  if (!options.token.empty() && !options.token_file.empty())
    return wrong("token_file", "only one of token and token_file can be set");
  if (!options.token.empty()) {
    if (auto status = internal::CheckToken(options.token); !status.ok())
      return wrong("token", status.message());
  } else if (auto token = internal::ReadToken(options.token_file); !token.ok()) {
    return wrong("token_file", token.status().message());
  }
  if (options.tls.enabled || options.token_without_tls) return absl::OkStatus();
  const auto targets = internal::SplitTargets(options.target);
  for (const std::string& target : *targets) {
    if (internal::IsThisMachine(target)) continue;
    return wrong("token", absl::StrCat("a token is not sent to ", target,
                                       " in plain text: set tls.enabled, or token_without_tls"));
  }
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
  if (auto status = CheckWho(options); !status.ok()) return status;
  if (auto status = CheckRetry(options.retry); !status.ok()) return status;
  if (options.batch.window > absl::ZeroDuration() && options.routing == Routing::kByKey) {
    return Outside("batch.window", "0 with Routing::kByKey, as several keys have no one replica");
  }
  return CheckResilience(options);
}

}  // namespace larder
