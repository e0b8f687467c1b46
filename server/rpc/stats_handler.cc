// Stats: the engine's counts and the latencies of the method table, as a message.

#include <algorithm>

#include "base/status.h"
#include "core/key.h"
#include "rpc/cache_handlers.h"

namespace larder {
namespace {

uint64_t Of(const UsageRow& row, Usage what) { return row.counts[static_cast<size_t>(what)]; }

void FillUsage(const UsageRow& row, v1::UsageStats* to) {
  const uint64_t hits = Of(row, Usage::kHits);
  const uint64_t misses = Of(row, Usage::kMisses);
  to->set_hits(hits);
  to->set_misses(misses);
  if (hits + misses > 0)
    to->set_hit_ratio(static_cast<double>(hits) / static_cast<double>(hits + misses));
  to->set_negative_hits(Of(row, Usage::kNegativeHits));
  to->set_stale_hits(Of(row, Usage::kStaleHits));
  to->set_sets(Of(row, Usage::kSets));
  to->set_sets_refused(Of(row, Usage::kSetsRefused));
  to->set_removals(Of(row, Usage::kRemovals));
  to->set_loads(Of(row, Usage::kLoads));
  to->set_loads_failed(Of(row, Usage::kLoadsFailed));
  to->set_loads_coalesced(Of(row, Usage::kLoadsCoalesced));
  to->set_evictions(row.memory.evictions);
  to->set_expirations(row.memory.expirations);
  to->set_entries(row.memory.entries);
  to->set_bytes(row.memory.bytes);
  to->set_compression_ratio(row.memory.entries > 0 ? 1 : 0);
}

void FillLatency(const Method& method, v1::LatencyStats* to) {
  const Histogram::Snapshot snapshot = method.latency->Snap();
  to->set_rpc(method.name);
  to->set_count(snapshot.count);
  to->set_errors(method.counters->Sum(Method::kErrors));
  ToProto(snapshot.Quantile(0.5), to->mutable_p50());
  ToProto(snapshot.Quantile(0.9), to->mutable_p90());
  ToProto(snapshot.Quantile(0.99), to->mutable_p99());
  ToProto(snapshot.Quantile(0.999), to->mutable_p999());
  ToProto(absl::Nanoseconds(static_cast<int64_t>(snapshot.max_nanos)), to->mutable_max());
}

void FillLeases(const LeaseTotals& totals, v1::LeaseStats* to) {
  to->set_held(totals.held);
  to->set_waiting(totals.waiting);
  to->set_granted(totals.granted);
  to->set_fulfilled(totals.fulfilled);
  to->set_released(totals.released);
  to->set_expired(totals.expired);
  to->set_revoked(totals.revoked);
}

// The rows that `wanted` names (empty = all), sorted by name.
std::vector<UsageRow> Select(std::vector<UsageRow> rows,
                             const google::protobuf::RepeatedPtrField<std::string>& wanted) {
  const auto unwanted = [&wanted](const UsageRow& row) {
    return !wanted.empty() && std::find(wanted.begin(), wanted.end(), row.name) == wanted.end();
  };
  rows.erase(std::remove_if(rows.begin(), rows.end(), unwanted), rows.end());
  std::sort(rows.begin(), rows.end(),
            [](const UsageRow& a, const UsageRow& b) { return a.name < b.name; });
  return rows;
}

}  // namespace

Task<absl::Status> CacheHandlers::Stats(CallContext*, const v1::StatsRequest* request,
                                        v1::StatsResponse* response) {
  for (const std::string& name : request->namespaces()) CO_RETURN_IF_ERROR(CheckNamespace(name));
  for (const std::string& type : request->types()) {
    CO_RETURN_IF_ERROR(CheckType(type));
  }
  EngineStats stats = engine_->Stats();
  response->set_node(options_.node_name);
  ToProto(stats.since, response->mutable_since());
  FillUsage(stats.total, response->mutable_total());
  for (const UsageRow& row : Select(std::move(stats.namespaces), request->namespaces())) {
    v1::NamespaceStats* const to = response->add_namespaces();
    to->set_namespace_(row.name);
    FillUsage(row, to->mutable_usage());
  }
  for (const UsageRow& row : Select(std::move(stats.types), request->types())) {
    v1::TypeStats* const to = response->add_types();
    to->set_type(row.name);
    FillUsage(row, to->mutable_usage());
  }
  v1::TierStats* const memory = response->add_tiers();
  memory->set_tier(v1::TIER_L1);
  memory->set_kind("memory");
  memory->set_hits(Of(stats.total, Usage::kHits));
  memory->set_misses(Of(stats.total, Usage::kMisses));
  memory->set_entries(stats.memory.total.entries);
  memory->set_bytes(stats.memory.bytes);
  memory->set_bytes_max(stats.memory.budget_bytes);
  for (const Method& method : methods_->methods()) {
    if (method.counters->Sum(Method::kCalls) > 0) FillLatency(method, response->add_latencies());
  }
  FillLeases(stats.leases, response->mutable_leases());
  co_return absl::OkStatus();
}

}  // namespace larder
