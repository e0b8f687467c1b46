#include "client/src/fake_checks.h"

#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "client/src/checks.h"
#include "client/src/status.h"

namespace larder::internal {
namespace {

constexpr size_t kKeyBytesMax = 1024;
constexpr size_t kTagsMax = 16;
constexpr size_t kTagBytesMax = 128;
constexpr size_t kRequestIdBytesMax = 64;
constexpr size_t kLeaseTokenBytesMax = 64;
constexpr uint32_t kHotKeysMax = 1000;
constexpr absl::Duration kTtlMin = absl::Milliseconds(1);
// What a server takes for a duration at all; a type's maximum is far below.
constexpr absl::Duration kDurationMax = absl::Hours(24 * 365 * 100);
constexpr absl::Duration kLeaseTtlMin = absl::Milliseconds(10);
constexpr absl::Duration kLeaseTtlMax = absl::Minutes(5);

// U+0000 to U+001F and U+007F to U+009F; the latter are two bytes in UTF-8, C2 and the number
// itself.
bool HasControl(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7F) return true;
    if (c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0)
      return true;
  }
  return false;
}

absl::Status CheckText(absl::string_view reason, absl::string_view what, absl::string_view field,
                       std::string_view text, size_t bytes_max) {
  if (text.empty()) return FieldError(reason, field, absl::StrCat(what, " is empty"));
  if (text.size() > bytes_max) {
    return FieldError(reason, field,
                      absl::StrCat(what, " is ", text.size(), " bytes; at most ", bytes_max));
  }
  if (!IsUtf8(text)) return FieldError(reason, field, absl::StrCat(what, " is not valid UTF-8"));
  if (HasControl(text))
    return FieldError(reason, field, absl::StrCat(what, " contains a control character"));
  return absl::OkStatus();
}

absl::Status CheckTagsAndDependencies(absl::string_view prefix, const SetItem& item) {
  const std::string tags = absl::StrCat(prefix, "tags");
  if (item.tags.size() > kTagsMax) {
    return FieldError("TAG_INVALID", tags,
                      absl::StrCat(item.tags.size(), " tags; at most ", kTagsMax));
  }
  for (size_t i = 0; i < item.tags.size(); ++i) {
    auto status = CheckText("TAG_INVALID", "tag", tags, item.tags[i], kTagBytesMax);
    if (!status.ok()) return status;
  }
  const std::string depends_on = absl::StrCat(prefix, "depends_on");
  if (item.depends_on.size() > kTagsMax) {
    return FieldError("DEPENDENCY_INVALID", depends_on,
                      absl::StrCat(item.depends_on.size(), " keys; at most ", kTagsMax));
  }
  for (size_t i = 0; i < item.depends_on.size(); ++i) {
    auto status = CheckText("DEPENDENCY_INVALID", "key", absl::StrCat(depends_on, "[", i, "]"),
                            item.depends_on[i], kKeyBytesMax);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckKey(absl::string_view field, std::string_view key) {
  return CheckText("KEY_INVALID", "key", field, key, kKeyBytesMax);
}

absl::Status CheckKeyList(absl::string_view field, const std::vector<std::string>& keys) {
  if (keys.size() > kBatchKeysMax) {
    return FieldError("BATCH_INVALID", field,
                      absl::StrCat(keys.size(), " keys; at most ", kBatchKeysMax));
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (auto status = CheckKey(absl::StrCat(field, "[", i, "]"), keys[i]); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

absl::Status CheckTtl(absl::string_view field, const std::optional<absl::Duration>& ttl) {
  if (!ttl.has_value() || (*ttl >= kTtlMin && *ttl <= kDurationMax)) return absl::OkStatus();
  return FieldError("TTL_INVALID", field,
                    absl::StrCat("ttl is ", absl::FormatDuration(*ttl), "; 1ms to 100 years"));
}

absl::Status CheckRequestId(std::string_view id) {
  if (id.size() <= kRequestIdBytesMax) return absl::OkStatus();
  return FieldError(
      "REQUEST_ID_INVALID", "request_id",
      absl::StrCat("request_id is ", id.size(), " bytes; at most ", kRequestIdBytesMax));
}

absl::Status CheckLeaseToken(absl::string_view field, std::string_view token) {
  if (!token.empty() && token.size() <= kLeaseTokenBytesMax) return absl::OkStatus();
  return FieldError(
      "LEASE_TOKEN_INVALID", field,
      absl::StrCat("lease_token is ", token.size(), " bytes; 1 to ", kLeaseTokenBytesMax));
}

absl::Status CheckLimit(uint32_t limit) {
  if (limit <= kHotKeysMax) return absl::OkStatus();
  return FieldError("REQUEST_INVALID", "limit",
                    absl::StrCat("limit is ", limit, "; at most ", kHotKeysMax));
}

absl::Status CheckLoadOptions(const LoadOptions& options) {
  if (options.lease_ttl.has_value() &&
      (*options.lease_ttl < kLeaseTtlMin || *options.lease_ttl > kLeaseTtlMax)) {
    return FieldError(
        "TTL_INVALID", "lease_ttl",
        absl::StrCat("lease_ttl is ", absl::FormatDuration(*options.lease_ttl), "; 10ms to 5m"));
  }
  if (options.wait.has_value() && *options.wait < absl::ZeroDuration()) {
    return FieldError(
        "REQUEST_INVALID", "wait",
        absl::StrCat("wait is ", absl::FormatDuration(*options.wait), "; at least 0s"));
  }
  return absl::OkStatus();
}

absl::Status CheckItem(absl::string_view prefix, const SetItem& item, size_t value_bytes_max) {
  if (auto status = CheckKey(absl::StrCat(prefix, "key"), item.key); !status.ok()) return status;
  if (item.value.size() > value_bytes_max) {
    return FieldError(
        "VALUE_TOO_LARGE", absl::StrCat(prefix, "value"),
        absl::StrCat("value is ", item.value.size(), " bytes; at most ", value_bytes_max));
  }
  if (auto status = CheckTtl(absl::StrCat(prefix, "ttl"), item.ttl); !status.ok()) return status;
  if (auto status = CheckTagsAndDependencies(prefix, item); !status.ok()) return status;
  if (item.lease_token.empty()) return absl::OkStatus();
  return CheckLeaseToken(absl::StrCat(prefix, "lease_token"), item.lease_token);
}

absl::Status CheckItems(const std::vector<SetItem>& items, size_t value_bytes_max) {
  if (items.size() > kBatchKeysMax) {
    return FieldError("BATCH_INVALID", "items",
                      absl::StrCat(items.size(), " items; at most ", kBatchKeysMax));
  }
  std::unordered_set<std::string_view> keys;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string prefix = absl::StrCat("items[", i, "].");
    if (auto status = CheckItem(prefix, items[i], value_bytes_max); !status.ok()) return status;
    if (!keys.insert(items[i].key).second) {
      return FieldError("BATCH_INVALID", absl::StrCat(prefix, "key"),
                        "the key is in the batch twice");
    }
  }
  return absl::OkStatus();
}

}  // namespace larder::internal
