// By names and forms, and so that a new setting errs on the safe side: whatever is called like a
// secret is left out, unless it is the name of a file.

#include "client/cli/redact.h"

#include <openssl/evp.h>

#include <array>
#include <cctype>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace larder::cli {
namespace {

constexpr char kLeftOut[] = "(left out)";
constexpr size_t kHashBytes = 8;
constexpr std::array<std::string_view, 12> kSecretNames = {
    "password", "passwd", "secret", "token", "credential",    "private",
    "api_key",  "apikey", "sha256", "hash",  "authorization", "cookie"};

bool IsFile(std::string_view name) {
  return name.ends_with("_file") || name.ends_with("_files") || name.ends_with("path");
}

bool IsSecretName(const std::string& name) {
  const std::string lower = absl::AsciiStrToLower(name);
  for (const std::string_view secret : kSecretNames) {
    if (lower.find(secret) != std::string::npos) return true;
  }
  return false;
}

// Whether a setting is a secret by its path.
bool IsSecret(const std::string& path) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  if (IsFile(names.back())) return false;
  for (const std::string& name : names) {
    if (IsSecretName(name)) return true;
  }
  // Metadata for an origin: `authorization` and the like, under any name.
  return path.find(".metadata.") != std::string::npos && names.back() == "value";
}

// What stands between `://` and the last `@` of the word.
std::string WithoutLogins(const std::string& text) {
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t scheme = text.find("://", at);
    if (scheme == std::string::npos) return out + text.substr(at);
    const size_t begin = scheme + 3;
    // To the end of the word and not of the host: a password may hold a slash that nobody escaped.
    const size_t end = text.find_first_of(" \t\n\"'", begin);
    const size_t sign = text.rfind('@', end == std::string::npos ? end : end - 1);
    out += text.substr(at, begin - at);
    at = begin;
    if (sign != std::string::npos && sign >= begin && (end == std::string::npos || sign < end)) {
      out += "***";
      at = sign;
    }
  }
}

// `password=...` and its like, as in URLs and in connection strings.
std::string WithoutAssignments(const std::string& text) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const size_t equals = text.find('=', at);
    if (equals == std::string::npos) break;
    size_t name = equals;
    while (name > at &&
           (std::isalnum(static_cast<unsigned char>(text[name - 1])) != 0 || text[name - 1] == '_'))
      --name;
    out += text.substr(at, equals + 1 - at);
    at = equals + 1;
    if (IsSecretName(text.substr(name, equals - name)) &&
        !IsFile(text.substr(name, equals - name))) {
      out += "***";
      at = std::min(text.find_first_of("&; \t\n\"'", at), text.size());
    }
  }
  return out + text.substr(std::min(at, text.size()));
}

// Between each pair of these marks.
std::string WithoutBetween(const std::string& text, char open, char close) {
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t begin = text.find(open, at);
    const size_t end = begin == std::string::npos ? begin : text.find(close, begin + 1);
    if (end == std::string::npos) return out + text.substr(at);
    out += text.substr(at, begin + 1 - at) + "***" + close;
    at = end + 1;
  }
}

}  // namespace

std::string Redactor::Key(const std::string& key) const {
  if (with_keys_) return key;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  const std::string salted = salt_ + key;
  if (EVP_Digest(salted.data(), salted.size(), digest, &size, EVP_sha256(), nullptr) != 1)
    return "key#unknown";
  return absl::StrCat("key#", absl::BytesToHexString(absl::string_view(
                                  reinterpret_cast<const char*>(digest), kHashBytes)));
}

std::string Redactor::Text(const std::string& text) const {
  std::string out = WithoutAssignments(WithoutLogins(text));
  // Databases say `Key (id)=(42) already exists`, and quote what does not fit a column.
  size_t at = 0;
  while ((at = out.find(")=(", at)) != std::string::npos) {
    const size_t begin = at + 3;
    const size_t end = out.find(')', begin);
    if (end == std::string::npos) break;
    out.replace(begin, end - begin, "***");
    at = begin;
  }
  out = WithoutBetween(out, '"', '"');
  return WithoutBetween(out, '\'', '\'');
}

std::string Redactor::Value(const Setting& setting) const {
  if (setting.value.empty() || setting.value == "\"\"") return setting.value;
  if (IsSecret(setting.path)) return kLeftOut;
  return WithoutAssignments(WithoutLogins(setting.value));
}

void Redactor::Redact(StatsResult* stats) const {
  for (HotKey& hot : stats->hot_keys) hot.key = Key(hot.key);
  for (TypeStats& type : stats->types) {
    for (HotKey& hot : type.hot_keys) hot.key = Key(hot.key);
  }
  for (TierStats& tier : stats->tiers) tier.state = Text(tier.state);
  for (OriginStats& origin : stats->origins) origin.state = Text(origin.state);
  for (BreakerStats& breaker : stats->breakers) breaker.reason = Text(breaker.reason);
  for (OriginWarmStats& warm : stats->origin_warm) warm.state = Text(warm.state);
  if (stats->fleet.has_value()) stats->fleet->state = Text(stats->fleet->state);
  if (stats->warm.has_value()) stats->warm->state = Text(stats->warm->state);
  if (!stats->journal.has_value()) return;
  stats->journal->state = Text(stats->journal->state);
  if (stats->journal->damage.has_value())
    stats->journal->damage->last = Text(stats->journal->damage->last);
}

void Redactor::Redact(HotKeysResult* hot) const {
  for (HotKey& key : hot->keys) key.key = Key(key.key);
  for (HotKey& key : hot->previous) key.key = Key(key.key);
}

void Redactor::Redact(Findings* findings) const {
  for (Finding& finding : *findings) finding.what = Text(finding.what);
}

}  // namespace larder::cli
