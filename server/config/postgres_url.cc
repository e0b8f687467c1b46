// A value in a list of keywords may stand in single quotes and have blanks round its `=`, so that
// looking for the word `password` would find it in the name of a database too. In a url a password
// stands before the last `@` of the authority, or is a parameter.

#include "config/postgres_url.h"

#include <string_view>

#include "absl/strings/ascii.h"

namespace larder {
namespace {

bool IsSecret(std::string_view keyword) {
  return keyword == "password" || keyword == "sslpassword";
}

bool UrlHoldsPassword(std::string_view url) {
  const size_t end = url.find_first_of("/?");
  const std::string_view authority = url.substr(0, end);
  const size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    const size_t colon = authority.find(':');
    if (colon < at && colon + 1 < at) return true;
  }
  size_t parameter = url.find('?');
  while (parameter != std::string_view::npos) {
    url.remove_prefix(parameter + 1);
    if (IsSecret(url.substr(0, url.find('=')))) return true;
    parameter = url.find('&');
  }
  return false;
}

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

bool KeywordsHoldPassword(std::string_view text) {
  size_t i = 0;
  const auto skip_spaces = [&] {
    while (i < text.size() && IsSpace(text[i])) ++i;
  };
  while (true) {
    skip_spaces();
    const size_t begin = i;
    while (i < text.size() && text[i] != '=' && !IsSpace(text[i])) ++i;
    const std::string_view keyword = text.substr(begin, i - begin);
    skip_spaces();
    if (i == text.size()) return false;
    if (text[i] != '=') continue;  // libpq will say what is wrong
    ++i;
    skip_spaces();
    const size_t value = i;
    const bool quoted = i < text.size() && text[i] == '\'';
    if (quoted) ++i;
    while (i < text.size() && (quoted ? text[i] != '\'' : !IsSpace(text[i])))
      i += text[i] == '\\' ? 2 : 1;
    if (i > text.size()) i = text.size();
    if (quoted && i < text.size()) ++i;
    if (IsSecret(keyword) && i > value + (quoted ? 2 : 0)) return true;
  }
}

}  // namespace

bool HoldsPassword(const std::string& url) {
  for (const std::string_view scheme : {"postgresql://", "postgres://"}) {
    if (url.starts_with(scheme))
      return UrlHoldsPassword(std::string_view(url).substr(scheme.size()));
  }
  return KeywordsHoldPassword(url);
}

}  // namespace larder
