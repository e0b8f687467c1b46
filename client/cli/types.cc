// `types`: what each data type is, by the configuration, and what it holds and does.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/info_json.h"
#include "client/cli/stats_json.h"

namespace larder::cli {
namespace {

struct TypeRow {
  TypeInfo info;
  UsageStats usage;
};

// In the order of the configuration, or the largest first.
std::vector<TypeRow> Rows(const ServerInfoResult& info, const StatsResult& stats,
                          const std::string& order) {
  std::vector<TypeRow> rows;
  for (const TypeInfo& type : info.types) {
    TypeRow row{type, {}};
    for (const TypeStats& of : stats.types) {
      if (of.name == type.name) row.usage = of.usage;
    }
    rows.push_back(std::move(row));
  }
  const auto by = [&order](const UsageStats& usage) -> uint64_t {
    if (order == "bytes") return usage.bytes;
    if (order == "reads") return usage.hits + usage.misses;
    if (order == "misses") return usage.misses;
    if (order == "evictions") return usage.evictions;
    return 0;
  };
  std::stable_sort(rows.begin(), rows.end(),
                   [&by](const TypeRow& a, const TypeRow& b) { return by(a.usage) > by(b.usage); });
  return rows;
}

void PrintRows(const std::vector<TypeRow>& rows, Output* out) {
  std::vector<Row> table;
  for (const TypeRow& row : rows) {
    const UsageStats& usage = row.usage;
    const bool read = usage.hits + usage.misses > 0;
    table.push_back({row.info.name, Shown(row.info.base_ttl),
                     row.info.origin.empty() ? "leases" : row.info.origin, row.info.write_mode,
                     absl::StrCat(usage.entries), ShownBytes(usage.bytes),
                     read ? fmt::format("{:.1f}%", 100 * usage.hit_ratio) : "-",
                     absl::StrCat(usage.loads), absl::StrCat(usage.evictions),
                     row.info.match.empty() ? "-" : absl::StrJoin(row.info.match, " ")});
  }
  out->Table({"TYPE", ">TTL", "LOADS FROM", "WRITES", ">ENTRIES", ">BYTES", ">HIT RATIO", ">LOADS",
              ">EVICTED", "MATCHES"},
             table);
}

ExitCode RunTypes(Session* session, const std::string& order) {
  const absl::StatusOr<ServerInfoResult> info = session->client->ServerInfo();
  if (!info.ok()) return session->Fail(info.status());
  const absl::StatusOr<StatsResult> stats = session->client->Stats();
  if (!stats.ok()) return session->Fail(stats.status());
  const std::vector<TypeRow> rows = Rows(*info, *stats, order);
  if (!session->json) {
    PrintRows(rows, &session->out);
    return kOk;
  }
  Json answer;
  answer.Array("types", rows, [](const TypeRow& row, Json* object) {
    AddTypeInfo(row.info, object);
    AddUsage(row.usage, object);
  });
  session->out.Print(answer);
  return kOk;
}

}  // namespace

void AddTypes(CLI::App* app, Session* session) {
  auto order = std::make_shared<std::string>("config");
  CLI::App* command = AddCommand(app, session, "types", "What each data type is, holds and does",
                                 [session, order] { return RunTypes(session, *order); });
  command->add_option("--order", *order, "config, bytes, reads, misses or evictions")
      ->check(CLI::IsMember({"config", "bytes", "reads", "misses", "evictions"}))
      ->capture_default_str()
      ->type_name("ORDER");
}

}  // namespace larder::cli
