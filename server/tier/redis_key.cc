// Redis Cluster places a key by the bytes between its first '{' and the '}' behind it. Keys are
// chosen by clients, and one who writes {x} into all of his would load one node with them, by
// accident or on purpose. Escaping braces would make such keys longer and every console session
// harder; a hash tag of our own would cost bytes in every key. But a tag with nothing in it means
// "no tag" and ends the search, so that an empty one in front switches tags off for all that
// follows, for two bytes. Who really wants one slot can still try names until their CRC16 falls
// where he likes; that takes 16,384 attempts a key and nothing that keeps Redis' own placement can
// prevent it.
//
// Patterns are made here and hold no wildcard but the last '*': Redis matches patterns with many
// stars in exponential time (before 7.0.9), in its only thread, so none that a client chose gets
// there.

#include "tier/redis_key.h"

#include <charconv>
#include <cstdint>
#include <system_error>

#include "base/strings.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr std::string_view kNoHashTag = "{}";

void AppendEscaped(std::string_view text, std::string* out) {
  for (const char c : text) {
    if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\' || c == '^') *out += '\\';
    *out += c;
  }
}

}  // namespace

absl::Status RedisKeys::CheckPrefix(std::string_view prefix) {
  if (prefix.empty()) return absl::InvalidArgumentError("the prefix of Redis keys is empty");
  if (prefix.size() > kPrefixBytesMax) {
    return absl::InvalidArgumentError(
        StrCat("the prefix of Redis keys is ", prefix.size(), " bytes; at most ", kPrefixBytesMax));
  }
  for (const char c : prefix) {
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == ':';
    if (!allowed) {
      return absl::InvalidArgumentError(
          "the prefix of Redis keys may hold only a-z, A-Z, 0-9, '.', '_', '-' and ':'");
    }
  }
  return absl::OkStatus();
}

RedisKeys::RedisKeys(std::string_view prefix, Part part)
    : start_(StrCat(prefix, kNoHashTag, ":", std::string(1, static_cast<char>(part)), ":")) {}

std::string RedisKeys::Of(std::string_view full_key) const {
  const std::string_view name_space = FullKey::NamespaceOf(full_key);
  char digits[4];
  const auto end = std::to_chars(digits, digits + sizeof(digits), name_space.size()).ptr;
  std::string name;
  name.reserve(start_.size() + sizeof(digits) + full_key.size() + 2);
  name.append(start_);
  name.append(digits, end);
  name += ':';
  name.append(name_space);
  name += ':';
  name.append(FullKey::KeyOf(full_key));
  return name;
}

std::optional<std::string> RedisKeys::FullKeyOf(std::string_view name) const {
  if (!name.starts_with(start_)) return std::nullopt;
  name.remove_prefix(start_.size());
  size_t bytes = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), bytes);
  if (error != std::errc() || bytes == 0 || bytes > kNamespaceBytesMax || name[0] == '0') {
    return std::nullopt;
  }
  name.remove_prefix(end - name.data());
  // The colons round the namespace and at least one byte of key.
  if (name.size() < bytes + 3 || name[0] != ':' || name[1 + bytes] != ':') return std::nullopt;
  std::string full_key(1, static_cast<char>(bytes));
  full_key.append(name.substr(1, bytes));
  full_key.append(name.substr(2 + bytes));
  return full_key;
}

absl::StatusOr<std::string> RedisKeys::MatchUnder(std::string_view full_prefix) const {
  std::string match;
  if (full_prefix.empty()) {
    AppendEscaped(start_, &match);
  } else if (full_prefix.size() < 1 + static_cast<size_t>(static_cast<uint8_t>(full_prefix[0]))) {
    return absl::InvalidArgumentError("half a namespace to scan under");
  } else {
    AppendEscaped(Of(full_prefix), &match);
  }
  match += '*';
  return match;
}

}  // namespace larder
