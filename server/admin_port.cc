#include "admin_port.h"

#include <array>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "config/reload.h"
#include "engine/engine.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

// By their numbers in gRPC.
constexpr std::array<std::string_view, Method::kCodes> kCodeNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

std::vector<RpcTally> TallyRpcs(const MethodTable& methods) {
  std::vector<RpcTally> tallies;
  for (const Method& method : methods.methods()) {
    RpcTally& tally = tallies.emplace_back();
    tally.rpc = method.name;
    for (size_t code = 0; code < kCodeNames.size(); ++code) {
      const uint64_t count = method.counters->Sum(Method::kByCode + code);
      // A series that is there from the start shows its first event as an increase; of errors that
      // would be sixteen for each method, nearly all of them nothing for ever.
      if (code == 0 || count > 0) tally.codes.emplace_back(kCodeNames[code], count);
    }
    tally.latency = method.latency->Snap();
  }
  return tallies;
}

std::vector<DeliveryTally> TallyDeliveries(const Journal& journal) {
  std::vector<DeliveryTally> tallies;
  for (JournalTypeStats& type : journal.Stats().types)
    tallies.push_back({std::move(type.type), std::move(type.lag)});
  return tallies;
}

std::vector<BelowTally> TallyTiers(const Engine& engine) {
  EngineStats stats = engine.Stats();
  std::vector<BelowTally> tallies;
  if (!stats.tier.has_value()) return tallies;
  tallies.push_back({"l2", "read", std::move(stats.tier->reads_took)});
  tallies.push_back({"l2", "change", std::move(stats.tier->changes_took)});
  return tallies;
}

std::vector<BelowTally> TallyOrigins(const Engine& engine) {
  EngineStats stats = engine.Stats();
  std::vector<BelowTally> tallies;
  for (OriginStats& origin : stats.origins) {
    tallies.push_back({origin.name, "load", std::move(origin.loads_took)});
    tallies.push_back({origin.name, "store", std::move(origin.stores_took)});
  }
  return tallies;
}

std::vector<ReplicaTally> TallyReplicas(const Engine& engine) {
  const EngineStats stats = engine.Stats();
  std::vector<ReplicaTally> tallies;
  if (!stats.bus.has_value()) return tallies;
  for (const BusPeer& peer : stats.bus->peers)
    tallies.push_back({peer.node, peer.state, peer.heard_ago, peer.frames});
  return tallies;
}

std::vector<ShownSetting> Shown(const std::vector<Setting>& settings) {
  std::vector<ShownSetting> shown;
  for (const Setting& setting : settings) {
    shown.push_back(
        {setting.path, MayBeSecret(setting.path) ? "(not shown)" : setting.value, setting.source});
  }
  return shown;
}

Access::HttpAsk AskOf(const AdminAsk& ask) {
  return {ask.what, ask.authorization, ask.peer, ask.traceparent, ask.changes};
}

AdminView ViewOf(const Config& config, const std::string& version, absl::Time started,
                 const AdminParts& parts) {
  AdminView view;
  view.version = version;
  view.node = config.proto->node().name();
  view.started = started;
  view.settings = [reloader = parts.reloader] { return Shown(reloader->Settings()); };
  view.reloads = [reloader = parts.reloader] {
    const ReloadStats stats = reloader->Stats();
    return ReloadTally{stats.applied, stats.unchanged, stats.refused,
                       stats.last_ok, stats.last_good, stats.trouble};
  };
  view.shed = [admission = parts.admission, quotas = parts.quotas] {
    std::vector<std::pair<std::string_view, uint64_t>> shed = admission->Refused();
    shed.emplace_back("quota", quotas->refused());
    return shed;
  };
  view.calls = [admission = parts.admission] {
    return CallsTally{admission->under_way(), admission->most(), admission->most_per_peer(),
                      admission->waiting(), admission->limit()};
  };
  view.stats = [cache = parts.cache] { return cache->AllStats(); };
  view.replicas = [engine = parts.engine] { return TallyReplicas(*engine); };
  view.rpcs = [methods = parts.methods] { return TallyRpcs(*methods); };
  view.access = [access = parts.access] {
    Access::Stats stats = access->GetStats();
    return AccessTally{std::move(stats.denied), stats.unknown};
  };
  view.certificates = [lanes = parts.lanes] { return lanes->CertificateEnds(); };
  view.authorize = [access = parts.access](const AdminAsk& ask) {
    return access->CheckOperator(AskOf(ask));
  };
  view.refused = [](const AdminAsk& ask, std::string_view why) {
    Access::WriteRefused(AskOf(ask), why);
  };
  view.reload = parts.reload;
  view.memory_tight = [tight = parts.memory_tight] { return tight->load(); };
  view.memory_left = parts.memory_left;
  view.tiers_took = [engine = parts.engine] { return TallyTiers(*engine); };
  view.origins_took = [engine = parts.engine] { return TallyOrigins(*engine); };
  if (parts.journal != nullptr) {
    view.deliveries = [journal = parts.journal] { return TallyDeliveries(*journal); };
    view.journal_room = {config.proto->journal().max_bytes(),
                         config.proto->journal().max_entries()};
  }
  view.reference = [lanes = parts.lanes] {
    const ReferenceLane::Stats stats = lanes->ReferenceStats();
    return LaneTally{stats.connections, stats.accepted, stats.refused};
  };
  if (!config.proto->listen().native().empty())
    view.native = [lanes = parts.lanes] { return lanes->NativeStats(); };
  return view;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AdminServer>> NewAdminPort(const Config& config,
                                                          const std::string& version,
                                                          absl::Time started,
                                                          const AdminParts& parts) {
  const std::string& address = config.proto->listen().admin();
  if (address.empty()) return nullptr;
  absl::StatusOr<std::unique_ptr<AdminServer>> admin =
      AdminServer::Start({.address = address}, ViewOf(config, version, started, parts));
  if (!admin.ok()) {
    return absl::UnavailableError(StrCat("listen.admin: ", ToStd(admin.status().message()),
                                         "; name another address there, or `off`"));
  }
  LogInfo("admin_listening", {{"address", (*admin)->address()}});
  return admin;
}

}  // namespace larder
