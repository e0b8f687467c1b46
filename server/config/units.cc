// Durations and sizes are computed in 128-bit integers: no value that an operator can write is
// rounded on the way, and none overflows before it is compared with its limit.

#include "config/units.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "config/problem.h"
#include "core/suggest.h"

namespace larder {
namespace {

using Wide = __int128;

struct UnitName {
  const char* name;
  int64_t factor;
};

constexpr int64_t kMillisecond = 1'000'000;  // nanoseconds
constexpr int64_t kSecond = 1000 * kMillisecond;
constexpr UnitName kDurationUnits[] = {{"d", 86'400 * kSecond},
                                       {"h", 3'600 * kSecond},
                                       {"m", 60 * kSecond},
                                       {"s", kSecond},
                                       {"ms", kMillisecond}};
constexpr int64_t kDurationMax = 100'000 * (86'400 * kSecond);

constexpr UnitName kByteUnits[] = {{"TiB", int64_t{1} << 40},
                                   {"GiB", int64_t{1} << 30},
                                   {"MiB", int64_t{1} << 20},
                                   {"KiB", int64_t{1} << 10},
                                   {"TB", 1'000'000'000'000},
                                   {"GB", 1'000'000'000},
                                   {"MB", 1'000'000},
                                   {"kB", 1'000},
                                   {"B", 1}};

absl::Status Wrong(const std::string& text, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " ", what));
}

// A number with up to nine decimals: value x 10^-9.
constexpr int64_t kNano = 1'000'000'000;

// Takes digits, optionally with decimals, off the front of `text`. Nothing when there are none, or
// too many decimals.
std::optional<Wide> TakeNumber(std::string_view* text) {
  // More are taken for 10^15, which is past every limit and still leaves room for the factor of any
  // unit.
  constexpr size_t kWholeDigitsMax = 15;
  constexpr size_t kDecimalsMax = 9;
  const auto digits = [](std::string_view s) {
    return std::find_if_not(s.begin(), s.end(),
                            [](unsigned char c) { return absl::ascii_isdigit(c); }) -
           s.begin();
  };
  const size_t whole_digits = digits(*text);
  if (whole_digits == 0) return std::nullopt;
  Wide value = whole_digits > kWholeDigitsMax ? 1'000'000'000'000'000 : 0;
  if (value == 0) {
    for (const char c : text->substr(0, whole_digits)) value = value * 10 + (c - '0');
  }
  value *= kNano;
  text->remove_prefix(whole_digits);
  if (!text->starts_with('.')) return value;
  const size_t decimals = digits(text->substr(1));
  if (decimals == 0 || decimals > kDecimalsMax) return std::nullopt;
  int64_t place = kNano;
  for (const char c : text->substr(1, decimals)) value += (c - '0') * (place /= 10);
  text->remove_prefix(1 + decimals);
  return value;
}

std::string_view TakeWord(std::string_view* text) {
  const auto end = std::find_if_not(text->begin(), text->end(),
                                    [](unsigned char c) { return absl::ascii_isalpha(c); });
  const std::string_view word = text->substr(0, end - text->begin());
  text->remove_prefix(word.size());
  return word;
}

}  // namespace

absl::StatusOr<absl::Duration> ParseDuration(const std::string& text) {
  constexpr char kHow[] = "is no duration; write it like 250ms, 30s, 5m, 2h, 7d or 1h30m";
  if (text == "0") return absl::ZeroDuration();
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative) rest.remove_prefix(1);
  if (rest.empty()) return Wrong(text, kHow);
  Wide total = 0;
  size_t next_unit = 0;
  while (!rest.empty()) {
    const std::optional<Wide> number = TakeNumber(&rest);
    if (!number) return Wrong(text, kHow);
    const std::string_view word = TakeWord(&rest);
    if (word.empty()) return Wrong(text, "needs a unit: ms, s, m, h or d");
    const auto unit = std::find_if(std::begin(kDurationUnits), std::end(kDurationUnits),
                                   [&](const UnitName& u) { return word == u.name; });
    if (unit == std::end(kDurationUnits)) {
      return Wrong(text,
                   absl::StrCat("has an unknown unit ", Quoted(word), "; use ms, s, m, h or d"));
    }
    const size_t index = unit - std::begin(kDurationUnits);
    if (index < next_unit)
      return Wrong(text, "must name each unit once, the largest first, like 1h30m");
    next_unit = index + 1;
    const Wide scaled = *number * unit->factor;
    if (scaled % kNano != 0) return Wrong(text, "is finer than a nanosecond");
    total += scaled / kNano;
  }
  if (negative || total > kDurationMax) return absl::OutOfRangeError("");
  return absl::Nanoseconds(static_cast<int64_t>(total));
}

std::string WriteDuration(absl::Duration duration) {
  if (duration == absl::ZeroDuration()) return "0s";
  int64_t left = absl::ToInt64Nanoseconds(duration);
  std::string text;
  for (const UnitName& unit : kDurationUnits) {
    const int64_t count = left / unit.factor;
    const bool last = unit.factor == kMillisecond;
    if (last && left > 0) {
      std::string fraction = absl::StrCat(left % unit.factor + unit.factor);  // a 1 and six digits
      fraction[0] = '.';
      fraction.erase(fraction.find_last_not_of('0') + 1);
      absl::StrAppend(&text, count, fraction == "." ? "" : fraction, unit.name);
    } else if (count > 0) {
      absl::StrAppend(&text, count, unit.name);
    }
    left -= count * unit.factor;
  }
  return text;
}

absl::StatusOr<uint64_t> ParseBytes(const std::string& text) {
  constexpr char kUnits[] = "B, KiB, MiB, GiB, TiB (or kB, MB, GB, TB in powers of 1000)";
  if (text == "0") return 0;
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative) rest.remove_prefix(1);
  const std::optional<Wide> number = TakeNumber(&rest);
  if (!number) return Wrong(text, "is no size; write it like 256B, 64KiB, 2MiB or 20GiB");
  if (rest.empty()) return Wrong(text, absl::StrCat("needs a unit: ", kUnits));
  const auto unit = std::find_if(std::begin(kByteUnits), std::end(kByteUnits),
                                 [&](const UnitName& u) { return rest == u.name; });
  if (unit == std::end(kByteUnits)) {
    return Wrong(text, absl::StrCat("has an unknown unit ", Quoted(rest), "; use ", kUnits));
  }
  const Wide scaled = *number * unit->factor;
  if (scaled % kNano != 0) return Wrong(text, "is no whole number of bytes");
  if (negative || scaled / kNano > std::numeric_limits<int64_t>::max())
    return absl::OutOfRangeError("");
  return static_cast<uint64_t>(scaled / kNano);
}

std::string WriteBytes(uint64_t bytes) {
  UnitName best = {"B", 1};
  for (const UnitName& unit : kByteUnits) {
    if (bytes % unit.factor == 0 && unit.factor > best.factor) best = unit;
  }
  return bytes == 0 ? "0B" : absl::StrCat(bytes / best.factor, best.name);
}

absl::StatusOr<double> ParseReal(const std::string& text) {
  constexpr std::string_view kCharacters = "0123456789.eE+-";
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool plain = text.find_first_not_of(kCharacters) == std::string::npos;
  if (!plain || end != text.data() + text.size() || error == std::errc::invalid_argument) {
    return Wrong(text, "is no number");
  }
  if (error == std::errc::result_out_of_range || !std::isfinite(value))
    return absl::OutOfRangeError("");
  return value;
}

std::string WriteReal(double value) {
  char buffer[32];
  const auto result = std::to_chars(std::begin(buffer), std::end(buffer), value);
  return std::string(std::begin(buffer), result.ptr);
}

absl::StatusOr<double> ParseRatio(const std::string& text) {
  const bool percent = text.ends_with('%');
  absl::StatusOr<double> value = ParseReal(percent ? text.substr(0, text.size() - 1) : text);
  if (absl::IsInvalidArgument(value.status()))
    return Wrong(text, "is no ratio; write it like 10% or 0.1");
  if (!value.ok()) return value;
  return percent ? *value / 100 : *value;
}

std::string WriteRatio(double ratio) {
  // Not every ratio is a short percentage: 0.07 x 100 is 7.000000000000001.
  const std::string percent = absl::StrCat(WriteReal(ratio * 100), "%");
  const absl::StatusOr<double> again = ParseRatio(percent);
  return percent.size() <= 8 && again.ok() && *again == ratio ? percent : WriteReal(ratio);
}

absl::StatusOr<uint64_t> ParseWhole(const std::string& text) {
  const bool negative = text.starts_with('-') && text.size() > 1;
  const std::string_view digits = std::string_view(text).substr(negative ? 1 : 0);
  const bool all_digits = std::all_of(digits.begin(), digits.end(),
                                      [](unsigned char c) { return absl::ascii_isdigit(c); });
  if (digits.empty() || !all_digits) return Wrong(text, "is no whole number");
  uint64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec != std::errc() || negative) return absl::OutOfRangeError("");
  return value;
}

absl::Status CheckHostName(const std::string& text) {
  const bool allowed = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (text.empty() || text.size() > 253 || !allowed) {
    return Wrong(text, "is no host name: 1 to 253 letters, digits, '.', '_' and '-'");
  }
  return absl::OkStatus();
}

absl::Status CheckAddress(const std::string& text) {
  constexpr char kHow[] = "is no address; write host:port, such as 0.0.0.0:50051 or [::1]:50051";
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return Wrong(text, kHow);
  const absl::StatusOr<uint64_t> port = ParseWhole(text.substr(colon + 1));
  if (absl::IsInvalidArgument(port.status())) return Wrong(text, kHow);
  if (!port.ok() || *port > 65535) return Wrong(text, "has a port beyond 65535");
  const std::string host = text.substr(0, colon);
  unsigned char binary[sizeof(in6_addr)];
  if (host.front() == '[') {
    const bool valid = host.back() == ']' &&
                       inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), binary) == 1;
    return valid ? absl::OkStatus() : Wrong(text, kHow);
  }
  const bool numeric = host.find_first_not_of("0123456789.") == std::string::npos;
  if (numeric ? inet_pton(AF_INET, host.c_str(), binary) != 1 : !CheckHostName(host).ok())
    return Wrong(text, kHow);
  return absl::OkStatus();
}

absl::StatusOr<absl::StatusCode> ParseErrorCode(const std::string& text) {
  constexpr int kCodes = 16;  // from CANCELLED to UNAUTHENTICATED
  std::vector<std::string> names;
  for (int code = 1; code <= kCodes; ++code) {
    names.push_back(
        absl::AsciiStrToLower(absl::StatusCodeToString(static_cast<absl::StatusCode>(code))));
    if (names.back() == text) return static_cast<absl::StatusCode>(code);
  }
  const std::optional<std::string> near = Suggest(text, {names.begin(), names.end()});
  return Wrong(text, near ? absl::StrCat("is no error code; did you mean ", Quoted(*near), "?")
                          : "is no error code of gRPC, such as unavailable");
}

absl::Status CheckPermission(const std::string& text) {
  const std::vector<std::string> names = {"read", "write", "invalidate", "admin"};
  if (std::find(names.begin(), names.end(), text) != names.end()) return absl::OkStatus();
  const std::optional<std::string> near = Suggest(text, {names.begin(), names.end()});
  return Wrong(text, near ? absl::StrCat("is no permission; did you mean ", Quoted(*near), "?")
                          : "is no permission: read, write, invalidate or admin");
}

absl::Status CheckSha256(const std::string& text) {
  constexpr size_t kDigits = 64;
  if (text.size() == kDigits && std::all_of(text.begin(), text.end(), absl::ascii_isxdigit))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      "is no SHA-256 sum: 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` prints them");
}

bool IsMetadataName(const std::string& text) {
  const auto allowed = [](unsigned char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= 64 && text[0] != '_' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), allowed) && !text.starts_with("grpc-") &&
         !text.ends_with("-bin");
}

}  // namespace larder
