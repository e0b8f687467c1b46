// Values travel as text. PostgreSQL could send them in its binary formats, which halves the bytes
// of a bytea; but the format is chosen for a whole row, and then a validator that is a timestamp,
// or a ttl that is a numeric, would have to be decoded as well, one format for each type there is.
// The text of every type is what its users know from psql.

#include "origin/sql_value.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr double kSecondsMax = 100 * 365.25 * 86'400;

// What a digit is worth; -1 for what is none.
constexpr std::array<int8_t, 256> HexDigits() {
  std::array<int8_t, 256> worth{};
  for (int c = 0; c < 256; ++c) {
    if (c >= '0' && c <= '9') {
      worth[static_cast<size_t>(c)] = static_cast<int8_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      worth[static_cast<size_t>(c)] = static_cast<int8_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      worth[static_cast<size_t>(c)] = static_cast<int8_t>(c - 'A' + 10);
    } else {
      worth[static_cast<size_t>(c)] = -1;
    }
  }
  return worth;
}
constexpr std::array<int8_t, 256> kHexDigits = HexDigits();

absl::Status TooMany(size_t most) {
  return absl::DataLossError(StrCat("more than ", most, " elements"));
}

// Reads the parts of a text one after the other.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  void SkipBlanks() {
    while (!rest_.empty() && absl::ascii_isspace(rest_.front())) rest_.remove_prefix(1);
  }
  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool TakeChar(char* c) {
    if (rest_.empty()) return false;
    *c = rest_.front();
    rest_.remove_prefix(1);
    return true;
  }
  bool TakeNumber(double* number) {
    const auto read = std::from_chars(rest_.data(), rest_.data() + rest_.size(), *number);
    if (read.ec != std::errc()) return false;
    rest_.remove_prefix(static_cast<size_t>(read.ptr - rest_.data()));
    return true;
  }
  bool TakeHex4(uint32_t* code) {
    if (rest_.size() < 4) return false;
    *code = 0;
    for (int i = 0; i < 4; ++i) {
      const int8_t digit = kHexDigits[static_cast<uint8_t>(rest_[static_cast<size_t>(i)])];
      if (digit < 0) return false;
      *code = *code * 16 + static_cast<uint32_t>(digit);
    }
    rest_.remove_prefix(4);
    return true;
  }
  // Up to the next of these bytes, which must come.
  bool TakeUntil(std::string_view ends, std::string_view* taken) {
    const size_t end = rest_.find_first_of(ends);
    if (end == std::string_view::npos) return false;
    *taken = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return true;
  }
  bool AtEnd() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
    return;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  constexpr std::array<uint32_t, 4> kLead = {0, 0xc0, 0xe0, 0xf0};
  out->push_back(static_cast<char>(kLead[static_cast<size_t>(more)] | code >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) {
    out->push_back(static_cast<char>(0x80 | (code >> (6 * i) & 0x3f)));
  }
}

// After the backslash.
bool TakeJsonEscape(Reader* reader, std::string* out) {
  char c;
  if (!reader->TakeChar(&c)) return false;
  constexpr std::string_view kNames = "\"\\/bfnrt";
  constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
  if (const size_t at = kNames.find(c); at != std::string_view::npos) {
    out->push_back(kMeant[at]);
    return true;
  }
  uint32_t code;
  if (c != 'u' || !reader->TakeHex4(&code)) return false;
  if (code >= 0xd800 && code < 0xdc00) {
    uint32_t low;
    if (!reader->TakeWord("\\u") || !reader->TakeHex4(&low) || low < 0xdc00 || low > 0xdfff) {
      return false;
    }
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    return false;
  }
  AppendUtf8(code, out);
  return true;
}

// After the quote, up to and with the one that ends it.
bool TakeJsonString(Reader* reader, std::string* out) {
  while (true) {
    std::string_view plain;
    if (!reader->TakeUntil("\"\\", &plain)) return false;
    out->append(plain);
    if (reader->Take('"')) return true;
    reader->Take('\\');
    if (!TakeJsonEscape(reader, out)) return false;
  }
}

// After the quote, up to and with the one that ends it.
bool TakeArrayString(Reader* reader, std::string* out) {
  while (true) {
    std::string_view plain;
    if (!reader->TakeUntil("\"\\", &plain)) return false;
    out->append(plain);
    if (reader->Take('"')) return true;
    reader->Take('\\');
    char c;
    if (!reader->TakeChar(&c)) return false;
    out->push_back(c);
  }
}

absl::StatusOr<absl::Duration> InLimits(double seconds) {
  if (!std::isfinite(seconds)) return absl::DataLossError("is no finite number");
  if (seconds <= 0) return absl::DataLossError("is not more than zero");
  if (seconds > kSecondsMax) return absl::DataLossError("is more than a hundred years");
  const absl::Duration time = absl::Seconds(seconds);
  if (time <= absl::ZeroDuration()) return absl::DataLossError("is not more than zero");
  return time;
}

}  // namespace

absl::StatusOr<std::string> ParseSqlHex(std::string_view text) {
  if (text.substr(0, 2) != "\\x" || text.size() % 2 != 0) {
    return absl::DataLossError("is not bytes in hex");
  }
  std::string bytes;
  bytes.resize((text.size() - 2) / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = kHexDigits[static_cast<uint8_t>(text[2 * i + 2])];
    const int low = kHexDigits[static_cast<uint8_t>(text[2 * i + 3])];
    if ((high | low) < 0) return absl::DataLossError("is not bytes in hex");
    bytes[i] = static_cast<char>(high << 4 | low);
  }
  return bytes;
}

absl::StatusOr<std::vector<std::string>> ParseSqlArray(std::string_view text, size_t most) {
  const absl::Status bad = absl::DataLossError("is not an array of one dimension");
  std::vector<std::string> elements;
  Reader reader(text);
  if (!reader.Take('{')) return bad;
  if (reader.Take('}')) {
    if (!reader.AtEnd()) return bad;
    return elements;
  }
  do {
    std::string element;
    if (reader.Take('"')) {
      if (!TakeArrayString(&reader, &element)) return bad;
    } else {
      std::string_view plain;
      if (!reader.TakeUntil(",}{\"", &plain) || plain.empty()) return bad;
      if (plain == "NULL") continue;
      Reader word(plain);
      char c;
      while (word.TakeChar(&c)) {
        if (c == '\\' && !word.TakeChar(&c)) return bad;
        element.push_back(c);
      }
    }
    if (elements.size() == most) return TooMany(most);
    elements.push_back(std::move(element));
  } while (reader.Take(','));
  if (!reader.Take('}') || !reader.AtEnd()) return bad;
  return elements;
}

std::string FormatSqlArray(const std::vector<std::string>& elements) {
  std::string text = "{";
  for (const std::string& element : elements) {
    if (text.size() > 1) text.push_back(',');
    text.push_back('"');
    for (const char c : element) {
      if (c == '"' || c == '\\') text.push_back('\\');
      text.push_back(c);
    }
    text.push_back('"');
  }
  text.push_back('}');
  return text;
}

absl::StatusOr<std::vector<std::string>> ParseJsonStrings(std::string_view text, size_t most) {
  const absl::Status bad = absl::DataLossError("is not a JSON array of strings");
  std::vector<std::string> elements;
  Reader reader(text);
  reader.SkipBlanks();
  if (!reader.Take('[')) return bad;
  reader.SkipBlanks();
  if (!reader.Take(']')) {
    do {
      reader.SkipBlanks();
      if (!reader.TakeWord("null")) {
        std::string element;
        if (!reader.Take('"') || !TakeJsonString(&reader, &element)) return bad;
        if (elements.size() == most) return TooMany(most);
        elements.push_back(std::move(element));
      }
      reader.SkipBlanks();
    } while (reader.Take(','));
    if (!reader.Take(']')) return bad;
  }
  reader.SkipBlanks();
  if (!reader.AtEnd()) return bad;
  return elements;
}

absl::StatusOr<absl::Duration> ParseSqlSeconds(std::string_view text) {
  Reader reader(ToStd(absl::StripAsciiWhitespace(ToAbsl(text))));
  double seconds;
  if (!reader.TakeNumber(&seconds) || !reader.AtEnd()) {
    return absl::DataLossError("is no number of seconds");
  }
  return InLimits(seconds);
}

absl::StatusOr<absl::Duration> ParseSqlInterval(std::string_view text) {
  const absl::Status bad = absl::DataLossError("is no interval");
  constexpr double kMinute = 60, kHour = 3600, kDay = 86'400;
  Reader reader(text);
  if (!reader.Take('P')) return bad;
  double seconds = 0;
  bool time = false;
  bool any = false;
  while (!reader.AtEnd()) {
    if (reader.Take('T')) {
      if (std::exchange(time, true)) return bad;
      continue;
    }
    double number;
    char unit;
    if (!reader.TakeNumber(&number) || !reader.TakeChar(&unit)) return bad;
    any = true;
    if (unit == 'Y' && !time) {
      seconds += number * 365.25 * kDay;
    } else if (unit == 'M' && !time) {
      seconds += number * 30 * kDay;
    } else if (unit == 'D' && !time) {
      seconds += number * kDay;
    } else if (unit == 'H' && time) {
      seconds += number * kHour;
    } else if (unit == 'M' && time) {
      seconds += number * kMinute;
    } else if (unit == 'S' && time) {
      seconds += number;
    } else {
      return bad;
    }
  }
  if (!any) return bad;
  return InLimits(seconds);
}

}  // namespace larder
