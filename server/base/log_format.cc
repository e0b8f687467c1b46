// Keys, error texts and addresses come from clients. A log that prints them as they are lets a
// client forge lines, break the parser behind it, or send escape sequences to the operator's
// terminal. So every string goes through one function, which knows only two results: characters
// that are safe everywhere, or a JSON escape. Unsafe are control characters (C0, DEL, and C1, which
// terminals obey as well), the line and paragraph separators, and the marks that reverse the
// direction of text. Text format writes the same quoted strings, and bare words only for plain
// ASCII.

#include "base/log_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/strings.h"
#include "base/utf8.h"

namespace larder {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";     // U+2026
// What FormatLogLine adds after the fields: `,"fields_cut":` with a 64-bit number, brace and line
// feed.
constexpr size_t kTailBytesMax = 40;

bool IsUnsafe(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

std::string EscapeRune(uint32_t code) {
  switch (code) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return StrCat("\\u", absl::Hex(code, absl::kZeroPad4));
  }
}

// Appends `text` as a JSON string, whose inside is at most `bytes_max` long.
void AppendQuoted(std::string_view text, size_t bytes_max, std::string& out) {
  out += '"';
  const size_t begin = out.size();
  size_t last_cut = begin;  // The last length at which an ellipsis would still fit.
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    if (!rune.valid) {
      out += kReplacement;
    } else if (rune.code == '"' || rune.code == '\\' || IsUnsafe(rune.code)) {
      out += EscapeRune(rune.code);
    } else {
      out.append(text, 0, rune.bytes);
    }
    text.remove_prefix(rune.bytes);
    const size_t length = out.size() - begin;
    if (length > bytes_max) {
      out.resize(last_cut);
      out += kEllipsis;
      break;
    }
    if (length + kEllipsis.size() <= bytes_max) last_cut = out.size();
  }
  out += '"';
}

bool IsBareWord(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c <= '~' && c != '"' && c != '=' && c != '\\';
  });
}

void AppendString(LogOptions::Format format, std::string_view text, size_t bytes_max,
                  std::string& out) {
  if (format == LogOptions::Format::kText && text.size() <= bytes_max && IsBareWord(text)) {
    out += text;
  } else {
    AppendQuoted(text, bytes_max, out);
  }
}

struct ValueAppender {
  LogOptions::Format format;
  std::string& out;

  void operator()(const std::string& value) const {
    AppendString(format, value, kLogValueBytesMax, out);
  }
  void operator()(int64_t value) const { StrAppend(&out, value); }
  void operator()(uint64_t value) const { StrAppend(&out, value); }
  void operator()(bool value) const { out += value ? "true" : "false"; }
  void operator()(double value) const {
    // JSON has no numbers for these.
    if (std::isnan(value)) return AppendString(format, "nan", kLogValueBytesMax, out);
    if (std::isinf(value)) {
      return AppendString(format, value > 0 ? "inf" : "-inf", kLogValueBytesMax, out);
    }
    std::array<char, 32> digits;  // The shortest form that reads back as `value` takes at most 24.
    out.append(digits.data(), std::to_chars(digits.begin(), digits.end(), value).ptr);
  }
};

void AppendField(LogOptions::Format format, const LogField& field, std::string& out) {
  if (format == LogOptions::Format::kJson) {
    out += ',';
    AppendQuoted(field.key, kLogNameBytesMax, out);
    out += ':';
  } else {
    out += ' ';
    AppendString(format, field.key, kLogNameBytesMax, out);
    out += '=';
  }
  std::visit(ValueAppender{format, out}, field.value);
}

std::string_view JsonLevel(LogLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};
  return kNames[static_cast<size_t>(level)];
}

std::string_view TextLevel(LogLevel level) {
  constexpr std::array<std::string_view, 4> kNames = {"DEBUG", "INFO ", "WARN ", "ERROR"};
  return kNames[static_cast<size_t>(level)];
}

}  // namespace

std::string FormatLogLine(LogOptions::Format format, const LogLine& line) {
  const bool json = format == LogOptions::Format::kJson;
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", line.time, absl::UTCTimeZone());
  std::string out;
  out.reserve(256);
  if (json) {
    StrAppend(&out, "{\"ts\":\"", time, "\",\"level\":\"", JsonLevel(line.level), "\",\"event\":");
  } else {
    StrAppend(&out, time, " ", TextLevel(line.level), " ");
  }
  AppendString(format, line.event, kLogNameBytesMax, out);
  if (line.suppressed > 0) AppendField(format, {"suppressed", line.suppressed}, out);

  uint64_t cut = 0;
  for (const LogField& field : line.fields) {
    const size_t before = out.size();
    AppendField(format, field, out);
    if (out.size() + kTailBytesMax > kLogLineBytesMax) {
      out.resize(before);
      ++cut;
    }
  }
  if (cut > 0) AppendField(format, {"fields_cut", cut}, out);
  out += json ? "}\n" : "\n";
  return out;
}

}  // namespace larder
