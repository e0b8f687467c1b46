#include "redis/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <system_error>
#include <thread>
#include <utility>

#include "base/strings.h"
#include "base/thread_name.h"

namespace larder {
namespace {

RedisIps Ask(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0) {
    return absl::UnavailableError(
        StrCat("cannot look up \"", host, "\": ", std::string_view(gai_strerror(error))));
  }
  std::vector<std::string> ips;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    char text[NI_MAXHOST];
    if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      ips.emplace_back(text);
    }
  }
  freeaddrinfo(found);
  if (ips.empty()) return absl::UnavailableError(StrCat("\"", host, "\" has no address"));
  return ips;
}

}  // namespace

bool IsIp(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

void LookUp(std::string host, std::function<void(RedisIps)> done) {
  try {
    std::thread([host, done] {
      NameThisThread("redis-dns");
      done(Ask(host));
    }).detach();
  } catch (const std::system_error& error) {
    done(absl::UnavailableError(
        StrCat("cannot look up \"", host, "\": ", std::string_view(error.what()))));
  }
}

}  // namespace larder
