// The server matches the same templates, and neither may include the other: tests/policy compares
// the two on random templates and keys.
//
// Which wildcard takes what is settled in two passes, so that keys that almost match cost no more
// than the others: from the last part to the first, note for each position of the key whether the
// rest can match from there; then, from the first to the last, let each wildcard end where the rest
// can match for the first time.

#include "larder/keys.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/src/checks.h"
#include "client/src/status.h"

namespace larder {
namespace {

constexpr size_t kKeyBytesMax = 1024;

// U+0000 to U+001F and U+007F to U+009F. REQUIRES: `text` is UTF-8.
bool HasControl(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
    if (byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) return true;
  }
  return false;
}

absl::Status CheckMadeKey(const std::string& key) {
  std::string what;
  if (key.size() > kKeyBytesMax)
    what = absl::StrCat("key is ", key.size(), " bytes; at most ", kKeyBytesMax);
  else if (!internal::IsUtf8(key))
    what = "key is not valid UTF-8";
  else if (HasControl(key))
    what = "key contains a control character";
  if (what.empty()) return absl::OkStatus();
  return internal::FieldError("KEY_INVALID", "key", what);
}

size_t CharacterBytes(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

}  // namespace

class KeyTemplate::Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<KeyTemplate> Parse() {
    if (text_.empty()) return Error("template is empty");
    if (text_.size() > kBytesMax) {
      return Error(absl::StrCat("template is ", text_.size(), " bytes; at most ", kBytesMax));
    }
    if (!internal::IsUtf8(text_)) return Error("template is not UTF-8, as keys are");
    if (HasControl(text_)) return Error("template holds a control character, which keys never do");
    while (at_ < text_.size()) {
      if (const absl::Status status = ParseNext(); !status.ok()) return status;
    }
    template_.text_ = std::string(text_);
    return std::move(template_);
  }

 private:
  absl::Status ParseNext() {
    const char c = text_[at_];
    if (c == '{') return ParseCapture();
    if (c == '*') return AddWildcard({Kind::kStar, ""}, at_ + 1);
    if (c == '}') return Wrong(at_, "'}' without '{'; write \\} for a literal one");
    if (c == '\\' && ++at_ == text_.size()) return Wrong(at_ - 1, "'\\' at the end takes no byte");
    const size_t bytes = CharacterBytes(static_cast<unsigned char>(text_[at_]));
    std::vector<Part>& parts = template_.parts_;
    if (parts.empty() || parts.back().kind != Kind::kLiteral) parts.push_back({Kind::kLiteral, ""});
    parts.back().text += text_.substr(at_, bytes);
    at_ += bytes;
    return absl::OkStatus();
  }

  absl::Status ParseCapture() {
    const size_t close = text_.find('}', at_);
    if (close == std::string_view::npos)
      return Wrong(at_, "'{' is not closed; write \\{ for a literal one");
    const std::string name(text_.substr(at_ + 1, close - at_ - 1));
    if (name.empty()) return Wrong(at_, "{} needs a name, such as {id}");
    const bool is_name = !absl::ascii_isdigit(static_cast<unsigned char>(name[0])) &&
                         std::all_of(name.begin(), name.end(), [](unsigned char c) {
                           return absl::ascii_isalnum(c) || c == '_';
                         });
    if (!is_name) {
      return Wrong(at_ + 1,
                   "a name in braces is made of letters, digits and '_', the first no digit");
    }
    for (const Part& part : template_.parts_) {
      if (part.kind == Kind::kCapture && part.text == name)
        return Wrong(at_, absl::StrCat("{", name, "} occurs twice"));
    }
    return AddWildcard({Kind::kCapture, name}, close + 1);
  }

  absl::Status AddWildcard(Part part, size_t behind) {
    if (!template_.parts_.empty() && template_.parts_.back().kind != Kind::kLiteral)
      return Wrong(at_, "two wildcards need a literal between them");
    if (++wildcards_ > kWildcardsMax)
      return Wrong(at_, absl::StrCat("at most ", kWildcardsMax, " wildcards"));
    template_.parts_.push_back(std::move(part));
    at_ = behind;
    return absl::OkStatus();
  }

  absl::Status Wrong(size_t at, const std::string& what) const {
    return Error(absl::StrCat("template \"", std::string(text_), "\" is wrong at byte ", at + 1,
                              ": ", what));
  }

  static absl::Status Error(const std::string& what) {
    return internal::FieldError("REQUEST_INVALID", "template", what);
  }

  const std::string_view text_;
  size_t at_ = 0;
  size_t wildcards_ = 0;
  KeyTemplate template_;
};

absl::StatusOr<KeyTemplate> KeyTemplate::Parse(std::string_view text) {
  return Parser(text).Parse();
}

absl::StatusOr<std::string> KeyTemplate::Make(const Captures& captures) const {
  const auto wrong = [this](const std::string& name, const std::string& what) {
    return internal::FieldError("KEY_INVALID", name.empty() ? "template" : "captures." + name,
                                absl::StrCat("template \"", text_, "\": ", what));
  };
  std::string key;
  Captures unused = captures;
  for (const Part& part : parts_) {
    if (part.kind == Kind::kLiteral) {
      key += part.text;
      continue;
    }
    if (part.kind == Kind::kStar) return wrong("", "nothing can be given for its '*'");
    const auto given = captures.find(part.text);
    const std::string name = absl::StrCat("{", part.text, "}");
    if (given == captures.end()) return wrong(part.text, name + " is missing");
    if (given->second.empty()) return wrong(part.text, name + " is empty");
    if (given->second.find(':') != std::string::npos)
      return wrong(part.text, name + " holds a ':', which separates the parts of a key");
    key += given->second;
    unused.erase(part.text);
  }
  if (!unused.empty()) {
    const std::string& name = unused.begin()->first;
    return wrong(name, absl::StrCat("it has no {", name, "}"));
  }
  if (const absl::Status status = CheckMadeKey(key); !status.ok()) return status;
  // `{a}-{b}` makes the same key of x-y and z as of x and y-z, and Match takes it as the latter.
  const std::optional<Captures> read = Match(key);
  if (!read.has_value()) return wrong("", "the key would not match it");
  for (const auto& [name, value] : *read) {
    if (captures.at(name) != value)
      return wrong(name, absl::StrCat("{", name, "} would be read back as \"", value, "\""));
  }
  return key;
}

std::optional<KeyTemplate::Captures> KeyTemplate::Match(std::string_view key) const {
  const size_t n = key.size();
  // fits[i][p]: the parts from i on match the key from position p on.
  std::vector<std::vector<bool>> fits(parts_.size() + 1, std::vector<bool>(n + 1, false));
  fits[parts_.size()][n] = true;
  for (size_t i = parts_.size(); i-- > 0;) {
    const Part& part = parts_[i];
    for (size_t p = n + 1; p-- > 0;) {
      const bool more = p < n;
      switch (part.kind) {
        case Kind::kLiteral:
          fits[i][p] =
              key.substr(p, part.text.size()) == part.text && fits[i + 1][p + part.text.size()];
          break;
        case Kind::kStar:
          fits[i][p] = fits[i + 1][p] || (more && fits[i][p + 1]);
          break;
        case Kind::kCapture:
          fits[i][p] = more && key[p] != ':' && (fits[i + 1][p + 1] || fits[i][p + 1]);
          break;
      }
    }
  }
  if (!fits[0][0]) return std::nullopt;

  Captures captures;
  size_t p = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    size_t end = part.kind == Kind::kLiteral   ? p + part.text.size()
                 : part.kind == Kind::kCapture ? p + 1
                                               : p;
    while (!fits[i + 1][end]) ++end;
    if (part.kind == Kind::kCapture)
      captures.emplace(part.text, std::string(key.substr(p, end - p)));
    p = end;
  }
  return captures;
}

}  // namespace larder
