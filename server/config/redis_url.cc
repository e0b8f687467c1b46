// A url with a password is refused, also when it comes from a file: what stands in a url is printed
// by --print-config, lies in shell histories and process lists, and is read once. A password file
// is none of that. So the first question is whether there may be one, before any message can quote
// a part of the text.

#include "config/redis_url.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "config/problem.h"
#include "config/units.h"
#include "config/yaml.h"

namespace larder {
namespace {

constexpr int kDatabaseMax = 1'000'000;
constexpr size_t kAddressesMax = 100;
constexpr char kRedisPort[] = "6379";
constexpr char kSentinelPort[] = "26379";

struct Scheme {
  const char* name;
  Redis::Topology topology;
  bool tls;
};
constexpr std::array<Scheme, 6> kSchemes = {{
    {"redis", Redis::Topology::kSingle, false},
    {"rediss", Redis::Topology::kSingle, true},
    {"redis+sentinel", Redis::Topology::kSentinel, false},
    {"rediss+sentinel", Redis::Topology::kSentinel, true},
    {"redis-cluster", Redis::Topology::kCluster, false},
    {"rediss-cluster", Redis::Topology::kCluster, true},
}};

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// `host` or `host:port` with a port.
absl::StatusOr<std::string> Address(std::string text, const char* usual_port) {
  if (text.empty()) return Wrong("a host is missing");
  const size_t colon = text.rfind(':');
  const bool bracketed = text.back() == ']';
  if (colon == std::string::npos || bracketed) absl::StrAppend(&text, ":", usual_port);
  RETURN_IF_ERROR(CheckAddress(text));
  if (text.ends_with(":0")) return Wrong(absl::StrCat(Quoted(text), " has port 0"));
  return text;
}

absl::StatusOr<int> Database(const std::string& text) {
  int database = 0;
  if (text.find_first_not_of("0123456789") != std::string::npos ||
      !absl::SimpleAtoi(text, &database) || database > kDatabaseMax) {
    return Wrong(
        absl::StrCat(Quoted(text), " is no database; it is a number from 0 to ", kDatabaseMax));
  }
  return database;
}

// What follows the hosts: the name of a master, a database.
absl::Status ParsePath(std::vector<std::string> path, RedisUrl* url) {
  if (!path.empty() && path.back().empty()) path.pop_back();  // a slash at the end
  if (url->topology == Redis::Topology::kSentinel) {
    if (path.empty() || path.front().empty()) {
      return Wrong("the name of the master is missing: redis+sentinel://host:port/master-name");
    }
    url->master_name = path.front();
    path.erase(path.begin());
  }
  if (path.empty()) return absl::OkStatus();
  if (url->topology == Redis::Topology::kCluster) {
    return Wrong("a Cluster has only one database, so nothing can follow its hosts");
  }
  if (path.size() > 1) return Wrong("nothing can follow the database");
  ASSIGN_OR_RETURN(url->database, Database(path.front()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RedisUrl> ParseRedisUrl(const std::string& text) {
  if (text.size() > kRedisUrlBytesMax) {
    return Wrong(absl::StrCat("is ", text.size(), " bytes; at most ", kRedisUrlBytesMax));
  }
  if (!IsCleanText(text)) return Wrong("must be UTF-8 text without control characters");
  const size_t scheme_end = text.find("://");
  const size_t hosts_begin = scheme_end == std::string::npos ? 0 : scheme_end + 3;
  const size_t at = text.rfind('@');
  if (at != std::string::npos && at >= hosts_begin &&
      text.substr(hosts_begin, at - hosts_begin).find(':') != std::string::npos) {
    return Wrong("holds a password; write it into a file and name that in l2.redis.password_file");
  }
  if (scheme_end == std::string::npos) return Wrong("is no url; write it like redis://host:6379/0");

  RedisUrl url;
  const std::string name = text.substr(0, scheme_end);
  const auto* const scheme = std::find_if(kSchemes.begin(), kSchemes.end(),
                                          [&](const Scheme& s) { return s.name == name; });
  if (scheme == kSchemes.end()) {
    return Wrong(absl::StrCat(Quoted(name),
                              " is none of redis, redis+sentinel and redis-cluster, and rediss in "
                              "their place for TLS"));
  }
  url.topology = scheme->topology;
  url.tls = scheme->tls;
  const bool sentinel = url.topology == Redis::Topology::kSentinel;

  std::string rest = text.substr(hosts_begin);
  if (rest.find_first_of("?#% ") != std::string::npos) {
    return Wrong("has a character that no url of a Redis has: one of ? # % and blank");
  }
  std::vector<std::string> path = absl::StrSplit(rest, '/');
  std::string hosts = path.front();
  path.erase(path.begin());
  if (const size_t user_end = hosts.rfind('@'); user_end != std::string::npos) {
    url.user = hosts.substr(0, user_end);
    hosts.erase(0, user_end + 1);
  }
  const std::vector<std::string> addresses = absl::StrSplit(hosts, ',');
  if (addresses.size() > kAddressesMax) {
    return Wrong(absl::StrCat("has ", addresses.size(), " hosts; at most ", kAddressesMax));
  }
  for (const std::string& address : addresses) {
    ASSIGN_OR_RETURN(std::string whole, Address(address, sentinel ? kSentinelPort : kRedisPort));
    url.addresses.push_back(std::move(whole));
  }
  if (url.topology == Redis::Topology::kSingle && url.addresses.size() > 1) {
    return Wrong("has several hosts, which only redis+sentinel and redis-cluster have");
  }
  RETURN_IF_ERROR(ParsePath(std::move(path), &url));
  return url;
}

}  // namespace larder
