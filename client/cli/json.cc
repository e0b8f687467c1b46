#include "client/cli/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"

namespace larder::cli {
namespace {

// The length of the UTF-8 sequence that `text` begins with; 0 when it begins with none.
size_t SequenceLength(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool surrogate = lead == 0xED && second > 0x9F;
  const bool too_large = lead == 0xF4 && second > 0x8F;
  return overlong || surrogate || too_large ? 0 : length;
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    const char c = text[0];
    if (length == 0) {
      quoted += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      quoted += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return quoted + "\"";
}

}  // namespace

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool IsPrintable(std::string_view text) {
  // A terminal also obeys the control characters U+0080 to U+009F, which UTF-8 writes as C2 and a
  // byte below A0.
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) return false;
    if (c == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0)
      return false;
  }
  return IsUtf8(text);
}

void Json::Raw(std::string_view name, std::string_view json) {
  if (!fields_.empty()) fields_ += ",";
  fields_ += Quoted(name);
  fields_ += ":";
  fields_ += json;
}

void Json::Field(std::string_view name, std::string_view text) { Raw(name, Quoted(text)); }

void Json::Field(std::string_view name, double number) {
  // JSON has neither infinity nor NaN.
  Raw(name, std::isfinite(number) ? fmt::format("{}", number) : "null");
}

void Json::Field(std::string_view name, absl::Duration duration) {
  Field(name, absl::ToDoubleSeconds(duration));
}

void Json::Field(std::string_view name, absl::Time time) {
  Field(name, std::string_view(absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone())));
}

void Json::Field(std::string_view name, const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ",") + Quoted(text);
  Raw(name, "[" + list + "]");
}

void Json::Value(std::string_view value) {
  if (IsUtf8(value)) {
    Field("value", value);
  } else {
    Field("value_base64",
          std::string_view(absl::Base64Escape(absl::string_view(value.data(), value.size()))));
  }
}

}  // namespace larder::cli
