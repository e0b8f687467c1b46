#include "policy/name_template.h"

#include <algorithm>

#include "absl/status/status.h"
#include "base/strings.h"
#include "core/key.h"

namespace larder {

absl::StatusOr<NameTemplate> NameTemplate::Parse(std::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("the template is empty");
  if (text.size() > kBytesMax)
    return absl::InvalidArgumentError(
        StrCat("the template is ", text.size(), " bytes; at most ", kBytesMax));
  NameTemplate made;
  made.text_ = std::string(text);
  std::string literal;
  const auto end_literal = [&] {
    if (!literal.empty()) made.parts_.push_back({false, std::exchange(literal, {})});
  };
  for (size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
      case '\\':
        if (++i == text.size()) return absl::InvalidArgumentError("a backslash ends the template");
        literal += text[i];
        break;
      case '{': {
        const size_t close = text.find('}', i);
        if (close == text.npos)
          return absl::InvalidArgumentError(StrCat("byte ", i, ": the brace is not closed"));
        if (close == i + 1)
          return absl::InvalidArgumentError(StrCat("byte ", i, ": nothing is between the braces"));
        end_literal();
        made.parts_.push_back({true, std::string(text.substr(i + 1, close - i - 1))});
        i = close;
        break;
      }
      case '}':
        return absl::InvalidArgumentError(StrCat("byte ", i, ": no brace is open"));
      case '*':
        if (i + 1 != text.size())
          return absl::InvalidArgumentError(
              StrCat("byte ", i, ": a * stands at the end of a template only"));
        made.is_prefix_ = true;
        break;
      default:
        literal += text[i];
    }
  }
  end_literal();
  if (made.parts_.empty())
    return absl::InvalidArgumentError("a lone * would match every key; say what keys begin with");
  return made;
}

std::vector<std::string> NameTemplate::Needs() const {
  std::vector<std::string> names;
  for (const Part& part : parts_) {
    if (part.capture) names.push_back(part.text);
  }
  return names;
}

bool NameTemplate::Make(const Captures& captures, std::string* made) const {
  made->clear();
  for (const Part& part : parts_) {
    if (!part.capture) {
      *made += part.text;
      continue;
    }
    const auto it = std::find_if(captures.begin(), captures.end(),
                                 [&](const auto& capture) { return capture.first == part.text; });
    if (it == captures.end()) return false;
    *made += it->second;
  }
  return made->size() <= kKeyBytesMax;
}

}  // namespace larder
