#include <fmt/format.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/info_json.h"

namespace larder::cli {
namespace {

void PrintInfo(const ServerInfoResult& info, Output* out) {
  const ServerLimits& limits = info.limits;
  out->Fields({{"version", info.version},
               {"node", fmt::format("{} ({})", info.node, info.node_id)},
               {"started", absl::FormatTime(absl::RFC3339_sec, info.started, absl::UTCTimeZone())},
               {"features", absl::StrJoin(info.features, ", ")},
               {"key", ShownBytes(limits.key_bytes)},
               {"value", ShownBytes(limits.value_bytes)},
               {"message", ShownBytes(limits.message_bytes)},
               {"batch", fmt::format("{} keys", limits.batch_keys)},
               {"tags", absl::StrCat(limits.tags)},
               {"namespaces", absl::StrCat(limits.namespaces)}});
  std::vector<Row> types;
  for (const TypeInfo& type : info.types) {
    types.push_back({type.name, Shown(type.base_ttl), type.origin.empty() ? "leases" : type.origin,
                     type.write_mode, absl::StrJoin(type.match, " ")});
  }
  out->Line("");
  out->Table({"TYPE", ">TTL", "LOADS FROM", "WRITES", "MATCHES"}, types);
}

}  // namespace

void AddPing(CLI::App* app, Session* session) {
  auto options = std::make_shared<PingOptions>();
  CLI::App* command =
      AddCommand(app, session, "ping", "Ask whether the server serves", [session, options] {
        const absl::StatusOr<PingResult> result = session->client->Ping(*options);
        if (!result.ok()) return session->Fail(result.status());
        if (session->json) {
          Json answer;
          answer.Field("serving", result->serving);
          answer.Field("round_trip_seconds", result->round_trip);
          session->out.Print(answer);
        } else {
          session->out.Line(fmt::format("{} in {}", result->serving ? "serving" : "not serving",
                                        Shown(result->round_trip)));
        }
        return result->serving ? kOk : kUnavailable;
      });
  command
      ->add_option("--service", options->service,
                   "liveness or readiness; default: the server in all")
      ->type_name("NAME");
}

void AddInfo(CLI::App* app, Session* session) {
  AddCommand(app, session, "info", "Version, limits, types and features of the server", [session] {
    const absl::StatusOr<ServerInfoResult> info = session->client->ServerInfo();
    if (!info.ok()) return session->Fail(info.status());
    if (session->json) {
      session->out.Print(InfoJson(*info));
    } else {
      PrintInfo(*info, &session->out);
    }
    return kOk;
  });
}

}  // namespace larder::cli
