// Keys are checked on every call, so the check takes one pass, with a fast loop over printable
// ASCII, which nearly all keys are made of. Control characters are refused because keys end up in
// logs, terminals and Redis consoles.

#include "core/key.h"

#include <cstring>

#include "base/strings.h"
#include "base/utf8.h"
#include "core/error.h"

namespace larder {
namespace {

enum class TextFault { kNone, kControl, kNotUtf8 };

TextFault CheckText(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      if (byte < 0x20 || byte == 0x7F) return TextFault::kControl;
      ++i;
      continue;
    }
    const Rune rune = DecodeRune(text.substr(i));
    if (!rune.valid) return TextFault::kNotUtf8;
    if (rune.code < 0xA0) return TextFault::kControl;
    i += rune.bytes;
  }
  return TextFault::kNone;
}

absl::Status CheckBoundedText(std::string_view text, size_t bytes_max, Reason reason,
                              std::string_view what, std::string_view field) {
  if (text.empty()) return FieldError(reason, field, StrCat(what, " is empty"));
  if (text.size() > bytes_max) {
    return FieldError(reason, field,
                      StrCat(what, " is ", text.size(), " bytes; at most ", bytes_max));
  }
  switch (CheckText(text)) {
    case TextFault::kControl:
      return FieldError(reason, field, StrCat(what, " contains a control character"));
    case TextFault::kNotUtf8:
      return FieldError(reason, field, StrCat(what, " is not valid UTF-8"));
    case TextFault::kNone:
      break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckKey(std::string_view key) {
  return CheckBoundedText(key, kKeyBytesMax, Reason::kKEY_INVALID, "key", "key");
}

absl::Status CheckTag(std::string_view tag) {
  return CheckBoundedText(tag, kTagBytesMax, Reason::kTAG_INVALID, "tag", "tags");
}

absl::Status CheckNamespace(std::string_view name) {
  if (name.size() > kNamespaceBytesMax) {
    return FieldError(Reason::kNAMESPACE_INVALID, "namespace",
                      StrCat("namespace is ", name.size(), " bytes; at most ", kNamespaceBytesMax));
  }
  for (const char c : name) {
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!allowed) {
      return FieldError(Reason::kNAMESPACE_INVALID, "namespace",
                        "namespace may hold only a-z, A-Z, 0-9, '.', '_' and '-'");
    }
  }
  return absl::OkStatus();
}

}  // namespace larder
