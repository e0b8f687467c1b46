#include "redis/environment.h"

#include <charconv>
#include <fstream>

#include "base/strings.h"

namespace larder {
namespace {

constexpr std::streamsize kPasswordBytesMax = 4096;

}  // namespace

absl::StatusOr<RedisHostPort> ParseRedisAddress(std::string_view address) {
  const size_t colon = address.rfind(':');
  RedisHostPort parsed;
  if (colon != std::string_view::npos) {
    std::string_view host = address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
      host = host.substr(1, host.size() - 2);
    }
    const std::string_view port = address.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), parsed.port);
    parsed.host = std::string(host);
    if (error == std::errc() && end == port.data() + port.size() && !host.empty() &&
        parsed.port >= 1 && parsed.port <= 65535) {
      return parsed;
    }
  }
  return absl::InvalidArgumentError(
      StrCat("\"", address, "\" is no host:port; the port is 1 to 65535"));
}

std::string RedisAddress(std::string_view host, int64_t port) {
  const bool v6 = host.find(':') != std::string_view::npos;
  return v6 ? StrCat("[", host, "]:", port) : StrCat(host, ":", port);
}

absl::StatusOr<std::string> ReadRedisPassword(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::string text(kPasswordBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad()) {
    return absl::UnavailableError(StrCat("cannot read the password file \"", path, "\""));
  }
  if (file.gcount() > kPasswordBytesMax) {
    return absl::UnavailableError(
        StrCat("the password file \"", path, "\" has more than ", kPasswordBytesMax, " bytes"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  text.resize(std::min(text.size(), text.find_first_of("\r\n")));
  return text;
}

}  // namespace larder
