#include "client/cli/admin_port.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/cli/http.h"
#include "client/cli/socket.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace larder::cli {
namespace {

using google::protobuf::Struct;

std::string Text(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? "" : found->second.string_value();
}

}  // namespace

void AddAdmin(CLI::App* command, std::string* admin) {
  command
      ->add_option("--admin", *admin,
                   "Admin port of the server; default: port 8080 of the host of --server")
      ->envname("LARDER_ADMIN")
      ->type_name("HOST:PORT");
}

std::string DefaultAdmin(const std::string& servers) {
  std::string first = servers.substr(0, servers.find(','));
  // dns:///cache:50051, ipv4:10.0.0.7:50051
  if (const size_t scheme = first.rfind("/"); scheme != std::string::npos)
    first = first.substr(scheme + 1);
  for (const char* scheme : {"dns:", "ipv4:", "ipv6:"}) {
    if (first.starts_with(scheme)) first = first.substr(std::string(scheme).size());
  }
  const absl::StatusOr<HostPort> name = SplitHostPort(first);
  if (!name.ok()) return "127.0.0.1:8080";
  return name->host.find(':') == std::string::npos ? absl::StrCat(name->host, ":8080")
                                                   : absl::StrCat("[", name->host, "]:8080");
}

absl::StatusOr<AdminConfig> ParseAdminConfig(const std::string& json) {
  Struct all;
  if (!google::protobuf::util::JsonStringToMessage(json, &all).ok())
    return absl::InternalError("/config.json is no JSON: is this the admin port?");
  AdminConfig config;
  config.version = Text(all, "version");
  config.node = Text(all, "node");
  if (const auto found = all.fields().find("started_ms"); found != all.fields().end())
    config.started = absl::FromUnixMillis(std::llround(found->second.number_value()));
  const auto settings = all.fields().find("settings");
  if (settings == all.fields().end())
    return absl::InternalError(
        "/config.json lists no settings: is this the admin port of larderd?");
  for (const auto& value : settings->second.list_value().values()) {
    const Struct& one = value.struct_value();
    config.settings.push_back({Text(one, "path"), Text(one, "value"), Text(one, "source")});
  }
  return config;
}

absl::StatusOr<AdminConfig> ReadAdminConfig(const std::string& address, const HttpCall& call) {
  const absl::StatusOr<std::string> json = HttpGet(address, "/config.json", call);
  if (!json.ok()) {
    return absl::Status(json.status().code(),
                        absl::StrCat("the admin port: ", json.status().message()));
  }
  return ParseAdminConfig(*json);
}

absl::Status CheckAdminOf(const std::string& address, const ServerInfoResult& info,
                          const HttpCall& call) {
  // Connecting to nobody on the same machine fails at once; through a firewall it would not, and
  // nobody is to wait for a port that he did not ask for.
  HttpCall soon = call;
  soon.deadline = std::min(call.deadline, absl::Seconds(2));
  const absl::StatusOr<AdminConfig> config = ReadAdminConfig(address, soon);
  if (!config.ok()) return config.status();
  const absl::Duration apart = config->started - info.started;
  if (config->node == info.node && absl::AbsDuration(apart) < absl::Milliseconds(2))
    return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(address, " is the admin port of another server: it is of node ", config->node,
                   ", started ", absl::FormatTime(config->started), "; the server is node ",
                   info.node, ", started ", absl::FormatTime(info.started)));
}

}  // namespace larder::cli
