#include "config/problem.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace larder {

std::string Source::Place() const {
  switch (kind) {
    case Kind::kDefault:
      return "default";
    case Kind::kFile:
      break;
    case Kind::kEnvironment:
      return std::string(label);
    case Kind::kSet:
      return absl::StrCat("--set ", std::string(label));
  }
  return line == 0 ? std::string(label) : absl::StrCat(std::string(label), ":", line, ":", column);
}

std::string Source::Origin() const {
  if (kind == Kind::kEnvironment) return absl::StrCat("env ", std::string(label));
  return kind == Kind::kSet ? "--set" : Place();
}

std::string Quoted(std::string_view text) {
  constexpr size_t kBytesMax = 64;
  const bool cut = text.size() > kBytesMax;
  if (cut) {
    size_t end = kBytesMax;
    while (end > kBytesMax - 4 && (text[end] & 0xC0) == 0x80) --end;  // not inside a character
    text = text.substr(0, end);
  }
  std::string quoted = "\"";
  for (const unsigned char c : text) {
    if (c < 0x20 || c == 0x7F) {
      absl::StrAppendFormat(&quoted, "\\x%02x", c);
    } else {
      quoted += static_cast<char>(c);
    }
  }
  return quoted + (cut ? "...\"" : "\"");
}

void Problems::Add(const Source& source, std::string message) {
  if (list_.size() < kKeptMax) {
    list_.push_back({source, list_.size(), std::move(message)});
  } else {
    ++dropped_;
  }
}

void Problems::Add(const Problems& others) {
  for (const Problem& problem : others.list_) Add(problem.source, problem.message);
  dropped_ += others.dropped_;
}

absl::Status Problems::ToStatus() const {
  if (list_.empty()) return absl::OkStatus();
  std::vector<Problem> sorted = list_;
  std::sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.source.kind, a.source.line, a.source.column, a.number) <
           std::tie(b.source.kind, b.source.line, b.source.column, b.number);
  });
  std::string text;
  for (size_t i = 0; i < std::min(sorted.size(), kShownMax); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : "\n", sorted[i].source.Place(), ": ", sorted[i].message);
  }
  const size_t hidden = sorted.size() + dropped_ - std::min(sorted.size(), kShownMax);
  if (hidden > 0) absl::StrAppend(&text, "\nand ", hidden, " more");
  return absl::InvalidArgumentError(text);
}

}  // namespace larder
