// Keys are checked on every call, so the check takes one pass, with a fast loop over printable ASCII, which nearly all
// keys are made of. Control characters are refused because keys end up in logs, terminals and Redis consoles.

#include "core/key.h"

#include <cstring>

#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

// Decodes the UTF-8 sequence at `p`; 0 bytes when it is malformed, overlong, a surrogate or beyond U+10FFFF.
size_t DecodeUtf8(const unsigned char* p, const unsigned char* end, uint32_t* code_point) {
  const unsigned char lead = *p;
  size_t length;
  uint32_t least;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2, least = 0x80, *code_point = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3, least = 0x800, *code_point = lead & 0x0F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4, least = 0x10000, *code_point = lead & 0x07;
  } else {
    return 0;
  }
  if (static_cast<size_t>(end - p) < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((p[i] & 0xC0) != 0x80) return 0;
    *code_point = *code_point << 6 | (p[i] & 0x3F);
  }
  const bool surrogate = *code_point >= 0xD800 && *code_point <= 0xDFFF;
  return *code_point < least || *code_point > 0x10FFFF || surrogate ? 0 : length;
}

enum class TextFault { kNone, kControl, kNotUtf8 };

TextFault CheckText(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    if (*p < 0x80) {
      if (*p < 0x20 || *p == 0x7F) return TextFault::kControl;
      ++p;
      continue;
    }
    uint32_t code_point;
    const size_t length = DecodeUtf8(p, end, &code_point);
    if (length == 0) return TextFault::kNotUtf8;
    if (code_point < 0xA0) return TextFault::kControl;
    p += length;
  }
  return TextFault::kNone;
}

absl::Status CheckBoundedText(std::string_view text, size_t bytes_max, Reason reason, std::string_view what,
                              std::string_view field) {
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
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                         c == '.' || c == '_' || c == '-';
    if (!allowed) {
      return FieldError(Reason::kNAMESPACE_INVALID, "namespace",
                        "namespace may hold only a-z, A-Z, 0-9, '.', '_' and '-'");
    }
  }
  return absl::OkStatus();
}

FullKey::FullKey(std::string_view name_space, std::string_view key) {
  if (name_space.empty()) name_space = kDefaultNamespace;
  bytes_[0] = static_cast<char>(name_space.size());
  std::memcpy(bytes_ + 1, name_space.data(), name_space.size());
  std::memcpy(bytes_ + 1 + name_space.size(), key.data(), key.size());
  size_ = 1 + name_space.size() + key.size();
}

}  // namespace larder
