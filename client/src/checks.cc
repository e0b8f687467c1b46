#include "client/src/checks.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/src/status.h"

namespace larder::internal {

// By the table of RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text) {
  const auto* at = reinterpret_cast<const uint8_t*>(text.data());
  const auto* const end = at + text.size();
  while (at < end) {
    const uint8_t lead = *at++;
    if (lead < 0x80) continue;
    if (lead < 0xC2 || lead > 0xF4) return false;
    int more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    uint8_t low = 0x80, high = 0xBF;  // what the second byte may be
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
    for (; more > 0; --more, low = 0x80, high = 0xBF) {
      if (at == end || *at < low || *at > high) return false;
      ++at;
    }
  }
  return true;
}

absl::Status CheckUtf8(absl::string_view reason, absl::string_view field, std::string_view text) {
  if (IsUtf8(text)) return absl::OkStatus();
  return FieldError(reason, field, absl::StrCat(field, " is not UTF-8"));
}

absl::Status CheckUtf8(absl::string_view reason, absl::string_view field,
                       const std::vector<std::string>& texts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (IsUtf8(texts[i])) continue;
    const std::string path = absl::StrCat(field, "[", i, "]");
    return FieldError(reason, path, absl::StrCat(path, " is not UTF-8"));
  }
  return absl::OkStatus();
}

absl::Status CheckDeadline(absl::string_view field, absl::Duration deadline, absl::Duration max) {
  if (deadline >= kDeadlineMin && deadline <= max) return absl::OkStatus();
  return FieldError(
      "REQUEST_INVALID", field,
      absl::StrCat(field, " is ", absl::FormatDuration(deadline), "; it must be ",
                   absl::FormatDuration(kDeadlineMin), " to ", absl::FormatDuration(max)));
}

absl::Status CheckTrace(std::string_view traceparent, std::string_view tracestate) {
  // version-trace-parent-flags, where neither trace nor parent is all zeros and ff is no version.
  const auto is_hex = [](std::string_view text) {
    return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  const auto is_id = [&is_hex](std::string_view text) {
    return is_hex(text) && text.find_first_not_of('0') != std::string_view::npos;
  };
  const std::string_view t = traceparent;
  const bool fine = t.size() == 55 && t[2] == '-' && t[35] == '-' && t[52] == '-' &&
                    is_hex(t.substr(0, 2)) && t.substr(0, 2) != "ff" && is_id(t.substr(3, 32)) &&
                    is_id(t.substr(36, 16)) && is_hex(t.substr(53));
  if (!t.empty() && !fine) {
    return FieldError("REQUEST_INVALID", "traceparent",
                      "traceparent must be VERSION-TRACE-PARENT-FLAGS in lower-case hex");
  }
  const bool printable = std::all_of(tracestate.begin(), tracestate.end(),
                                     [](unsigned char c) { return absl::ascii_isprint(c); });
  if (tracestate.size() <= 512 && printable) return absl::OkStatus();
  return FieldError("REQUEST_INVALID", "tracestate",
                    "tracestate must be at most 512 printable ASCII characters");
}

absl::Status CheckNamespace(absl::string_view field, std::string_view ns) {
  if (ns.size() > 64) {
    return FieldError("NAMESPACE_INVALID", field,
                      absl::StrCat(field, " is ", ns.size(), " bytes; at most 64"));
  }
  const bool fine = std::all_of(ns.begin(), ns.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (fine) return absl::OkStatus();
  return FieldError("NAMESPACE_INVALID", field,
                    absl::StrCat(field, " may hold a-z, A-Z, 0-9, '.', '_' and '-' only"));
}

}  // namespace larder::internal
