#include "admin/metrics.h"

#include <algorithm>
#include <array>

#include "admin/metrics_parts.h"
#include "admin/process.h"
#include "base/strings.h"

namespace larder {
namespace {

// From a hit in memory to what a load may take.
constexpr std::array<int64_t, 17> kBoundsMicros = {
    50,     100,     250,     500,     1'000,     2'500,     5'000,     10'000,    25'000,
    50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000};

// The number of the fine bucket in which a bound lies. The histogram itself is asked, so that its
// layout stays its own affair.
std::array<size_t, kBoundsMicros.size()> FindBounds() {
  std::array<size_t, kBoundsMicros.size()> found;
  for (size_t i = 0; i < found.size(); ++i) {
    Histogram probe;
    probe.RecordNanos(kBoundsMicros[i] * 1'000);
    const Histogram::Snapshot snap = probe.Snap();
    found[i] = static_cast<size_t>(std::find(snap.buckets.begin(), snap.buckets.end(), 1) -
                                   snap.buckets.begin());
  }
  return found;
}

void WriteRpcs(const std::vector<RpcTally>& rpcs, Exposition* out) {
  out->Counter("larder_rpc_calls_total",
               "Calls that were answered, by the status code that they ended with.");
  for (const RpcTally& rpc : rpcs) {
    for (const auto& [code, count] : rpc.codes) out->Add({{"rpc", rpc.rpc}, {"code", code}}, count);
  }
  out->Histogram("larder_rpc_duration_seconds",
                 "How long calls took in the server, from the parsed request to the answer.");
  for (const RpcTally& rpc : rpcs) WriteLatency({{"rpc", rpc.rpc}}, rpc.latency, out);
}

void WriteTook(std::string_view name, std::string_view help, std::string_view of,
               const std::vector<BelowTally>& tallies, Exposition* out) {
  if (tallies.empty()) return;
  out->Histogram(name, help);
  for (const BelowTally& tally : tallies)
    WriteLatency({{of, tally.name}, {"operation", tally.operation}}, tally.took, out);
}

void WriteNative(const std::vector<std::pair<std::string_view, uint64_t>>& counts,
                 Exposition* out) {
  for (const auto& [name, count] : counts) {
    if (name == "connections") {
      WriteOne("larder_native_connections", "Connections of the native lane, now.", count, out);
    } else if (name == "calls") {
      WriteOne("larder_native_calls", "Calls of the native lane that are under way, now.", count,
               out);
    }
  }
  out->Counter("larder_native_events_total",
               "What happened on the native lane's connections, by kind.");
  for (const auto& [name, count] : counts) {
    if (name != "connections" && name != "calls") out->Add({{"event", name}}, count);
  }
}

void WriteReference(const LaneTally& lane, Exposition* out) {
  WriteOne("larder_reference_connections", "Connections of the reference lane, now.",
           lane.connections, out);
  out->Counter("larder_reference_accepts_total",
               "Connections that came to the reference lane, by what became of them.");
  out->Add({{"result", "accepted"}}, lane.accepted);
  out->Add({{"result", "refused"}}, lane.refused);
}

void WriteMemoryRoom(const MemoryRoom& room, Exposition* out) {
  WriteOne("larder_memory_left_bytes",
           "What is left below the container's memory limit; 0 where it has none.", room.left_bytes,
           out);
  WriteOne(
      "larder_memory_refused_below_bytes",
      "With less than so much of it left, writes, batches and warming are refused; 0 where there "
      "is no limit.",
      room.tight_bytes, out);
  WriteOne("larder_memory_budget_fixed",
           "1 where memory.l1 is a size, which does not give way when memory is short.",
           uint64_t{room.fixed ? 1u : 0u}, out);
}

void WriteProcess(absl::Time started, Exposition* out) {
  const ProcessUse use = ReadProcessUse();
  WriteOne("larder_process_cpu_seconds_total", "CPU time that the process has used.",
           absl::ToDoubleSeconds(use.cpu), out);
  WriteOne("larder_process_resident_memory_bytes", "Memory of the process that is resident.",
           use.resident_bytes, out);
  WriteOne("larder_process_open_fds", "Open file descriptors.", use.open_descriptors, out);
  WriteOne("larder_process_max_fds", "Most file descriptors that may be open.", use.descriptors_max,
           out);
  WriteOne("larder_process_threads", "Threads of the process.", use.threads, out);
  WriteOne("larder_process_start_time_seconds", "When the process began, since the epoch.",
           absl::ToDoubleSeconds(started - absl::UnixEpoch()), out);
}

void WriteReloads(const ReloadTally& reloads, Exposition* out) {
  out->Counter("larder_config_reloads_total", "Times that the configuration was read again.");
  out->Add({{"result", "applied"}}, reloads.applied);
  out->Add({{"result", "unchanged"}}, reloads.unchanged);
  out->Add({{"result", "refused"}}, reloads.refused);
  WriteOne("larder_config_last_reload_success",
           "1 when the configuration was right the last time that it was read.",
           uint64_t{reloads.last_ok ? 1u : 0u}, out);
  WriteOne("larder_config_last_reload_timestamp_seconds",
           "When the configuration was last found right, since the epoch.",
           absl::ToDoubleSeconds(reloads.last_good - absl::UnixEpoch()), out);
}

void WriteLoad(const AdminView& view, Exposition* out) {
  out->Counter("larder_shed_calls_total",
               "Calls that were refused because there was too much to do.");
  for (const auto& [reason, count] : view.shed()) out->Add({{"reason", reason}}, count);
  const CallsTally calls = view.calls();
  WriteOne("larder_calls_under_way", "Calls under way that memory alone did not answer.",
           calls.under_way, out);
  WriteOne("larder_calls_limit", "How many of them may be under way.", calls.limit, out);
  WriteOne("larder_calls_address_limit", "How many of them may be of one address.",
           calls.limit_per_address, out);
  WriteOne("larder_calls_waiting", "Those of them that wait for a worker.", calls.waiting, out);
  WriteOne("larder_calls_waiting_limit", "How many may wait for a worker now.", calls.waiting_limit,
           out);
}

}  // namespace

void WriteOne(std::string_view name, std::string_view help, uint64_t value, Exposition* out) {
  BeginFamily(name, help, out);
  out->Add({}, value);
}

void WriteOne(std::string_view name, std::string_view help, double value, Exposition* out) {
  BeginFamily(name, help, out);
  out->Add({}, value);
}

void WriteLatency(const Exposition::Labels& labels, const Histogram::Snapshot& latency,
                  Exposition* out) {
  static const std::array<size_t, kBoundsMicros.size()> bounds = FindBounds();
  std::array<Exposition::Bucket, kBoundsMicros.size()> buckets;
  uint64_t count = 0;
  size_t at = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    // The bucket that the bound lies in may hold slower records; what is up to it does not.
    for (; at < std::min(bounds[i], latency.buckets.size()); ++at) count += latency.buckets[at];
    buckets[i] = {static_cast<double>(kBoundsMicros[i]) / 1e6, count};
  }
  out->AddBuckets(labels, buckets, latency.count, static_cast<double>(latency.sum_nanos) * 1e-9);
}

std::string RenderMetrics(const AdminView& view, bool ready, Exposition::Format format) {
  const v1::StatsResponse stats = view.stats();
  Exposition out(format);
  out.Gauge("larder_build_info", "Always 1; says which version of larder this replica runs.");
  out.Add({{"version", view.version}, {"node", view.node}}, uint64_t{1});
  WriteOne("larder_ready", "1 while the replica wants calls, as readiness says.",
           uint64_t{ready ? 1u : 0u}, &out);
  WriteReloads(view.reloads(), &out);
  WriteLoad(view, &out);
  WriteRpcs(view.rpcs(), &out);
  if (view.access != nullptr) WriteAccess(view.access(), &out);
  if (view.certificates != nullptr) WriteCertificates(view.certificates(), &out);
  WriteTypes(stats, &out);
  WriteMemory(stats, &out);
  WriteOne("larder_memory_tight", "1 while writes are refused because memory is short.",
           uint64_t{view.memory_tight != nullptr && view.memory_tight() ? 1u : 0u}, &out);
  if (view.memory_left != nullptr) WriteMemoryRoom(view.memory_left().value_or(MemoryRoom()), &out);
  WriteLoading(stats, &out);
  WriteTiers(stats, &out);
  if (view.tiers_took != nullptr) {
    WriteTook(
        "larder_tier_duration_seconds",
        "How long reads and changes of the tier took, late ones until nobody waited any more.",
        "tier", view.tiers_took(), &out);
  }
  WriteOrigins(stats, &out);
  if (view.origins_took != nullptr) {
    WriteTook("larder_origin_duration_seconds",
              "How long loads and writes took at the origin, without the wait for their turn.",
              "origin", view.origins_took(), &out);
  }
  WriteBus(stats, &out);
  WriteJournal(stats, view.journal_room, &out);
  if (view.deliveries != nullptr) {
    const std::vector<DeliveryTally> deliveries = view.deliveries();
    if (!deliveries.empty()) {
      out.Histogram("larder_journal_delivery_seconds",
                    "From taking a write to the origin's having it, by data type.");
    }
    for (const DeliveryTally& tally : deliveries)
      WriteLatency({{"type", tally.type}}, tally.lag, &out);
  }
  if (view.reference != nullptr) WriteReference(view.reference(), &out);
  if (view.native != nullptr) WriteNative(view.native(), &out);
  WriteProcess(view.started, &out);
  return out.Take();
}

}  // namespace larder
