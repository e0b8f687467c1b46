// The limits of the API that the client itself has to know: those without which it cannot form a
// message, and those of its options. Everything else is the server's to refuse.
// Thread safety: any function, any thread.
// Errors: INVALID_ARGUMENT with a reason and the field's path. Here and in status.h, text for
// messages is absl::string_view: Debian's absl does not take std's.

#ifndef LARDER_CLIENT_SRC_CHECKS_H_
#define LARDER_CLIENT_SRC_CHECKS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace larder::internal {

inline constexpr absl::Duration kDeadlineMin = absl::Milliseconds(1);
inline constexpr absl::Duration kDeadlineMax = absl::Hours(1);
inline constexpr absl::Duration kWarmDeadlineMax = absl::Hours(24);

bool IsUtf8(std::string_view text);

// protobuf cannot carry a `string` that is not UTF-8.
absl::Status CheckUtf8(absl::string_view reason, absl::string_view field, std::string_view text);
absl::Status CheckUtf8(absl::string_view reason, absl::string_view field,
                       const std::vector<std::string>& texts);

absl::Status CheckDeadline(absl::string_view field, absl::Duration deadline,
                           absl::Duration max = kDeadlineMax);

// Of W3C trace context; empty is fine and means none.
absl::Status CheckTrace(std::string_view traceparent, std::string_view tracestate);

// Empty is fine and means `default`.
absl::Status CheckNamespace(absl::string_view field, std::string_view ns);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_CHECKS_H_
