// The limits of the API, as a server enforces them, for the fake. The same reasons and field paths.
// Thread safety: any function, any thread.
// Errors: INVALID_ARGUMENT.

#ifndef LARDER_CLIENT_SRC_FAKE_CHECKS_H_
#define LARDER_CLIENT_SRC_FAKE_CHECKS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "larder/options.h"

namespace larder::internal {

inline constexpr size_t kBatchKeysMax = 1000;

absl::Status CheckKey(absl::string_view field, std::string_view key);
absl::Status CheckKeyList(absl::string_view field, const std::vector<std::string>& keys);
absl::Status CheckTtl(absl::string_view field, const std::optional<absl::Duration>& ttl);
absl::Status CheckRequestId(std::string_view id);
absl::Status CheckLeaseToken(absl::string_view field, std::string_view token);
// Of a HotKeys call.
absl::Status CheckLimit(uint32_t limit);
absl::Status CheckLoadOptions(const LoadOptions& options);

// `prefix` goes before field names, such as `items[3].`.
absl::Status CheckItem(absl::string_view prefix, const SetItem& item, size_t value_bytes_max);
absl::Status CheckItems(const std::vector<SetItem>& items, size_t value_bytes_max);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FAKE_CHECKS_H_
