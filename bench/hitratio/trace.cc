#include "bench/hitratio/trace.h"

#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "base/strings.h"

namespace larder::bench {

namespace {

constexpr size_t kColumns = 5;

// Splits at blanks. Returns the number of columns, kColumns + 1 for more than that.
size_t Split(std::string_view line, std::array<std::string_view, kColumns>* columns) {
  size_t count = 0;
  for (size_t at = 0;;) {
    at = line.find_first_not_of(" \t\r", at);
    if (at == std::string_view::npos) return count;
    const size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
    if (count == kColumns) return kColumns + 1;
    (*columns)[count++] = line.substr(at, end - at);
    at = end;
  }
}

// A number from 0 to `most`.
bool Parse(std::string_view text, double most, double* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value >= 0 && *value <= most;
}

bool ParseTimed(const std::array<std::string_view, kColumns>& columns, Request* request) {
  constexpr double kBytesMost = 1e9;
  constexpr double kSecondsMost = 1e9;  // 30 years
  double bytes, ttl, time;
  if (!Parse(columns[1], kBytesMost, &bytes) || !Parse(columns[2], kSecondsMost, &ttl) ||
      !Parse(columns[4], kSecondsMost, &time) || (columns[3] != "g" && columns[3] != "s")) {
    return false;
  }
  request->bytes = static_cast<uint32_t>(bytes);
  request->ttl = static_cast<MonoNanos>(ttl * 1e9);
  request->time = static_cast<MonoNanos>(time * 1e9);
  request->set = columns[3] == "s";
  return true;
}

std::string ReadAll(std::FILE* file) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), file)) {
    text.append(buffer.data(), got);
  }
  return text;
}

}  // namespace

absl::StatusOr<Trace> Trace::Read(std::FILE* file) {
  const std::string text = ReadAll(file);
  Trace trace;
  absl::flat_hash_map<std::string, uint32_t> ids;
  std::array<std::string_view, kColumns> columns;
  size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    ++number;
    const size_t count = Split(line, &columns);
    if (count == 0) continue;
    if (trace.requests.empty()) trace.timed = count == kColumns;
    Request request;
    if (count != (trace.timed ? kColumns : 1) || (trace.timed && !ParseTimed(columns, &request)) ||
        (!trace.requests.empty() && request.time < trace.requests.back().time)) {
      return absl::InvalidArgumentError(StrCat(
          "line ", number,
          " is neither `key` nor `key size ttl op time` in order of time: ", line.substr(0, 100)));
    }
    const auto found = ids.find(ToAbsl(columns[0]));
    if (found != ids.end()) {
      request.id = found->second;
    } else {
      request.id = trace.distinct++;
      ids.emplace(std::string(columns[0]), request.id);
    }
    trace.requests.push_back(request);
  }
  if (trace.requests.empty()) return absl::InvalidArgumentError("no requests");
  return trace;
}

}  // namespace larder::bench
