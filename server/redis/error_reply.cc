#include "redis/error_reply.h"

#include <charconv>

#include "absl/strings/ascii.h"
#include "base/strings.h"

namespace larder {
namespace {

std::string_view FirstWord(std::string_view text) { return text.substr(0, text.find(' ')); }

bool IsCode(std::string_view word) {
  if (word.size() < 2) return false;
  for (const char c : word) {
    if (!absl::ascii_isupper(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

}  // namespace

std::string_view RedisErrorCode(std::string_view text) {
  // Redis 6 and older: "ERR Error running script (call to f_1b2c): @user_script:1: @user_script: 1:
  // -OOM command not allowed ...".
  constexpr std::string_view kWrapped = "ERR Error running script";
  if (text.substr(0, kWrapped.size()) == kWrapped) {
    if (const size_t at = text.rfind(": -"); at != std::string_view::npos) {
      const std::string_view inner = FirstWord(text.substr(at + 3));
      if (IsCode(inner)) return inner;
    }
  }
  return FirstWord(text);
}

absl::Status RedisErrorStatus(std::string_view text) {
  const std::string_view code = RedisErrorCode(text);
  const absl::string_view message = ToAbsl(text);
  if (code == "OOM") return absl::ResourceExhaustedError(message);
  if (code == "NOAUTH" || code == "NOPERM" || code == "WRONGPASS") {
    return absl::PermissionDeniedError(message);
  }
  for (const std::string_view unavailable :
       {"LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "MOVED", "ASK", "BUSY",
        "NOREPLICAS", "MISCONF", "UNBLOCKED", "NOMASTERLINK"}) {
    if (code == unavailable) return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

std::optional<RedisRedirect> ParseRedisRedirect(std::string_view text) {
  RedisRedirect redirect;
  const std::string_view code = FirstWord(text);
  if (code != "MOVED" && code != "ASK") return std::nullopt;
  redirect.ask = code == "ASK";
  if (text.size() <= code.size()) return std::nullopt;
  text.remove_prefix(code.size() + 1);
  const std::string_view slot = FirstWord(text);
  const auto [end, error] = std::from_chars(slot.data(), slot.data() + slot.size(), redirect.slot);
  if (error != std::errc() || end != slot.data() + slot.size() || redirect.slot >= 16384 ||
      text.size() <= slot.size() + 1) {
    return std::nullopt;
  }
  redirect.address = std::string(text.substr(slot.size() + 1));
  return redirect;
}

}  // namespace larder
