// Problem: `{a}-{b}:x` can split a key in several ways, and trying them one after the other takes
// time exponential in the number of wildcards for keys that almost match. Keys are chosen by
// clients.
//
// So nothing is tried twice. The literals at both ends are compared first, which settles nearly
// every key. What is left between them is wildcard, literal, wildcard, ..., wildcard. From the last
// wildcard to the first, one pass over the key notes for each position whether the rest can still
// match from there; one pass forward then takes, for each wildcard, the nearest end from which the
// rest matches. Time: key bytes x literal bytes of the pattern (256 at most). Cost: a byte per
// wildcard and position, on the stack for ordinary keys. Rejected: std::regex (recursive, slow,
// throws) and greedy matching, which is wrong here because a capture may not cross a ':' (`*a{x}b`
// and the key `a:ba1b`).

#include "policy/pattern.h"

#include <algorithm>

#include "absl/container/fixed_array.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/utf8.h"
#include "core/key.h"

namespace larder {

class Pattern::Parser {
 public:
  explicit Parser(std::string text) : text_(std::move(text)) {}

  absl::StatusOr<Pattern> Parse() {
    if (text_.empty()) return absl::InvalidArgumentError("pattern is empty");
    if (text_.size() > kBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("pattern is ", text_.size(), " bytes; at most ", kBytesMax));
    }
    while (at_ < text_.size()) RETURN_IF_ERROR(ParseNext());
    pattern_.text_ = text_;
    if (pattern_.parts_.front().kind == PartKind::kLiteral)
      pattern_.literal_prefix_ = pattern_.parts_.front().text;
    return std::move(pattern_);
  }

 private:
  absl::Status ParseNext() {
    const char c = text_[at_];
    if (c == '{') return ParseCapture();
    if (c == '*') {
      RETURN_IF_ERROR(AddWildcard({PartKind::kStar, ""}));
      ++at_;
      return absl::OkStatus();
    }
    if (c == '}') return Wrong(at_, "'}' without '{'; write \\} for a literal one");
    if (c == '\\' && ++at_ == text_.size()) return Wrong(at_ - 1, "'\\' at the end takes no byte");
    const Rune rune = DecodeRune(std::string_view(text_).substr(at_));
    if (!rune.valid) return Wrong(at_, "this is not UTF-8, as keys are");
    if (IsControl(rune)) return Wrong(at_, "control characters never occur in keys");
    AddLiteral(std::string_view(text_).substr(at_, rune.bytes));
    at_ += rune.bytes;
    return absl::OkStatus();
  }

  absl::Status ParseCapture() {
    const size_t close = text_.find('}', at_);
    if (close == std::string::npos)
      return Wrong(at_, "'{' is not closed; write \\{ for a literal one");
    const std::string name = text_.substr(at_ + 1, close - at_ - 1);
    if (name.empty()) return Wrong(at_, "{} needs a name, such as {id}");
    const bool is_name = !absl::ascii_isdigit(static_cast<unsigned char>(name[0])) &&
                         std::all_of(name.begin(), name.end(), [](unsigned char c) {
                           return absl::ascii_isalnum(c) || c == '_';
                         });
    if (!is_name) {
      return Wrong(at_ + 1,
                   "a name in braces is made of letters, digits and '_', the first no digit");
    }
    const bool used = std::any_of(
        pattern_.parts_.begin(), pattern_.parts_.end(),
        [&](const Part& part) { return part.kind == PartKind::kCapture && part.text == name; });
    if (used) return Wrong(at_, absl::StrCat("{", name, "} occurs twice"));
    RETURN_IF_ERROR(AddWildcard({PartKind::kCapture, name}));
    at_ = close + 1;
    return absl::OkStatus();
  }

  absl::Status AddWildcard(Part part) {
    if (!pattern_.parts_.empty() && pattern_.parts_.back().kind != PartKind::kLiteral) {
      return Wrong(at_, "two wildcards need a literal between them");
    }
    if (++wildcards_ > kWildcardsMax)
      return Wrong(at_, absl::StrCat("at most ", kWildcardsMax, " wildcards"));
    pattern_.parts_.push_back(std::move(part));
    return absl::OkStatus();
  }

  void AddLiteral(std::string_view character) {
    if (pattern_.parts_.empty() || pattern_.parts_.back().kind != PartKind::kLiteral) {
      pattern_.parts_.push_back({PartKind::kLiteral, ""});
    }
    pattern_.parts_.back().text += character;
    pattern_.literal_bytes_ += character.size();
  }

  static bool IsControl(const Rune& rune) {
    return rune.code < 0x20 || (rune.code >= 0x7F && rune.code < 0xA0);
  }

  absl::Status Wrong(size_t at, const std::string& what) const {
    std::string shown;
    for (size_t i = 0; i < text_.size();) {
      const Rune rune = DecodeRune(std::string_view(text_).substr(i));
      const bool fit = rune.valid && !IsControl(rune);
      shown += fit ? text_.substr(i, rune.bytes) : "?";
      i += fit ? rune.bytes : 1;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("pattern \"", shown, "\" is wrong at byte ", at + 1, ": ", what));
  }

  const std::string text_;
  size_t at_ = 0;
  size_t wildcards_ = 0;
  Pattern pattern_;
};

absl::StatusOr<Pattern> Pattern::Parse(std::string_view text) {
  return Parser(std::string(text)).Parse();
}

bool Pattern::Matches(std::string_view key) const { return Match(key, nullptr); }

bool Pattern::Match(std::string_view key,
                    std::vector<std::pair<std::string, std::string_view>>* captures) const {
  size_t first = 0;
  size_t last = parts_.size();  // one past the last wildcard
  if (parts_.front().kind == PartKind::kLiteral) {
    if (!key.starts_with(literal_prefix_)) return false;
    key.remove_prefix(literal_prefix_.size());
    first = 1;
  }
  if (first == last) {
    if (!key.empty()) return false;
    if (captures != nullptr) captures->clear();
    return true;
  }
  if (parts_.back().kind == PartKind::kLiteral) {
    const std::string& suffix = parts_.back().text;
    if (!key.ends_with(suffix)) return false;
    key.remove_suffix(suffix.size());
    --last;
  }
  std::vector<std::string_view> taken;
  const size_t wildcards = (last - first + 1) / 2;
  if (!MatchMiddle(key, first, wildcards, captures == nullptr ? nullptr : &taken)) return false;
  if (captures == nullptr) return true;
  captures->clear();
  for (size_t i = 0; i < wildcards; ++i) {
    const Part& part = parts_[first + 2 * i];
    if (part.kind == PartKind::kCapture) captures->emplace_back(part.text, taken[i]);
  }
  return true;
}

// Matches `wildcards` wildcards, the first of them parts_[first], and the literals between them
// with the whole `key`. Fills `taken`, unless it is null, with what each wildcard takes.
bool Pattern::MatchMiddle(std::string_view key, size_t first, size_t wildcards,
                          std::vector<std::string_view>* taken) const {
  const size_t n = key.size();
  const auto is_star = [&](size_t i) { return parts_[first + 2 * i].kind == PartKind::kStar; };
  if (wildcards == 1) {
    if (!is_star(0) && (key.empty() || key.find(':') != std::string_view::npos)) return false;
    if (taken != nullptr) taken->push_back(key);
    return true;
  }

  // ends[i * (n + 1) + p]: wildcard i may end before position p, for the literal behind it and all
  // that follows match from there. can_start[p]: wildcard i and all that follows match from
  // position p.
  absl::FixedArray<bool, 1024> ends((wildcards - 1) * (n + 1), false);
  absl::FixedArray<bool, 256> can_start(n + 1, false);
  for (size_t i = wildcards; i-- > 0;) {
    bool* const ends_here = i + 1 < wildcards ? &ends[i * (n + 1)] : nullptr;
    if (ends_here != nullptr) {
      const std::string& literal = parts_[first + 2 * i + 1].text;
      for (size_t p = 0; p + literal.size() <= n; ++p) {
        ends_here[p] =
            can_start[p + literal.size()] && key.compare(p, literal.size(), literal) == 0;
      }
    }
    // The last wildcard ends only where the key does.
    const auto may_end = [&](size_t p) { return ends_here != nullptr ? ends_here[p] : p == n; };
    can_start[n] = is_star(i) && may_end(n);
    for (size_t p = n; p-- > 0;) {
      can_start[p] = is_star(i) ? may_end(p) || can_start[p + 1]
                                : key[p] != ':' && (may_end(p + 1) || can_start[p + 1]);
    }
  }
  if (!can_start[0]) return false;
  if (taken == nullptr) return true;

  size_t p = 0;
  for (size_t i = 0; i + 1 < wildcards; ++i) {
    size_t end = is_star(i) ? p : p + 1;
    while (!ends[i * (n + 1) + end]) ++end;
    taken->push_back(key.substr(p, end - p));
    p = end + parts_[first + 2 * i + 1].text.size();
  }
  taken->push_back(key.substr(p));
  return true;
}

absl::StatusOr<std::string> Pattern::Make(
    const std::vector<std::pair<std::string, std::string_view>>& captures) const {
  const auto wrong = [this](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("pattern \"", text_, "\": ", what));
  };
  std::string key;
  size_t used = 0;
  for (const Part& part : parts_) {
    if (part.kind == PartKind::kLiteral) {
      key += part.text;
      continue;
    }
    if (part.kind == PartKind::kStar) return wrong("nothing can be given for its '*'");
    const auto given = std::find_if(captures.begin(), captures.end(),
                                    [&](const auto& one) { return one.first == part.text; });
    const std::string name = absl::StrCat("{", part.text, "}");
    if (given == captures.end()) return wrong(name + " is missing");
    if (given->second.empty()) return wrong(name + " is empty");
    if (given->second.find(':') != std::string_view::npos)
      return wrong(name + " holds a ':', which separates the parts of a key");
    key += given->second;
    ++used;
  }
  if (used != captures.size()) return wrong(NotItsOwn(captures));
  RETURN_IF_ERROR(CheckKey(key));
  // `{a}-{b}` makes the same key of x-y and z as of x and y-z, and Match takes it as the latter.
  std::vector<std::pair<std::string, std::string_view>> read;
  if (!Match(key, &read)) return wrong("the key would not match it");
  for (const auto& one : read) {
    if (std::find(captures.begin(), captures.end(), one) != captures.end()) continue;
    return wrong(
        absl::StrCat("{", one.first, "} would be read back as \"", std::string(one.second), "\""));
  }
  return key;
}

// What is wrong with captures of which the pattern does not use all.
std::string Pattern::NotItsOwn(
    const std::vector<std::pair<std::string, std::string_view>>& captures) const {
  for (auto one = captures.begin(); one != captures.end(); ++one) {
    const auto same = [&](const auto& other) { return other.first == one->first; };
    if (std::any_of(captures.begin(), one, same))
      return absl::StrCat("{", one->first, "} is given twice");
    const bool known = std::any_of(parts_.begin(), parts_.end(), [&](const Part& part) {
      return part.kind == PartKind::kCapture && part.text == one->first;
    });
    if (!known) return absl::StrCat("it has no {", one->first, "}");
  }
  return "too many captures";
}

std::string Pattern::Shape() const {
  std::string shape;
  for (const Part& part : parts_) {
    switch (part.kind) {
      case PartKind::kLiteral:
        for (const char c : part.text) {
          if (c == '{' || c == '*' || c == '\\') shape += '\\';
          shape += c;
        }
        break;
      case PartKind::kCapture:
        shape += '{';
        break;
      case PartKind::kStar:
        shape += '*';
        break;
    }
  }
  return shape;
}

}  // namespace larder
