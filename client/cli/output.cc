#include "client/cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace larder::cli {

Output::Output() : terminal_(isatty(STDOUT_FILENO) == 1) {}

void Output::Bytes(std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stdout); }

void Output::Line(std::string_view text) {
  Bytes(text);
  Bytes("\n");
}

void Output::Print(const Json& object) { Line(object.Text()); }

void Output::Fields(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, name.size());
  for (const auto& [name, value] : fields) Line(fmt::format("{:<{}}  {}", name, width, value));
}

void Output::Table(const Row& header, const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  std::vector<bool> right;
  Row names;
  for (const std::string& name : header) {
    right.push_back(name.starts_with('>'));
    names.push_back(right.back() ? name.substr(1) : name);
    widths.push_back(names.back().size());
  }
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  const auto print = [&](const Row& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      line += right[i] ? fmt::format("{:>{}}", row[i], widths[i])
                       : fmt::format("{:<{}}", row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    Line(line);
  };
  print(names);
  for (const Row& row : rows) print(row);
}

absl::Status Output::Flush() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return absl::OkStatus();
  return absl::UnknownError(absl::StrCat("cannot write to stdout: ", std::strerror(errno)));
}

std::string Shown(std::string_view text) {
  if (IsPrintable(text)) return std::string(text);
  const absl::string_view bytes(text.data(), text.size());
  return IsUtf8(text) ? absl::Utf8SafeCEscape(bytes) : absl::CHexEscape(bytes);
}

std::string Shown(absl::Duration duration) {
  // Nanoseconds say nothing to a reader.
  const absl::Duration unit =
      duration < absl::Seconds(1) ? absl::Microseconds(1) : absl::Milliseconds(1);
  return absl::FormatDuration(absl::Trunc(duration, unit));
}

std::string Shown(const std::vector<std::string>& texts) {
  std::vector<std::string> shown;
  for (const std::string& text : texts) shown.push_back(Shown(text));
  return absl::StrJoin(shown, ", ");
}

std::string ShownBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double size = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (size >= 1024 && unit + 1 < std::size(kUnits)) size /= 1024, ++unit;
  return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

}  // namespace larder::cli
