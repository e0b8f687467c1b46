// Stats: the engine's counts and the latencies of the method table, as a message.
//
// Where callers are known, one who does not operate the server is shown the rows of the namespaces
// and types in which it may read something, whole as they are, and the hot keys that it may read.
// The total is shown to those who may read everything: from the difference to the rows anybody else
// would learn of what they may not see. A little long, because each part of the answer has its few
// lines here.

#include <algorithm>

#include "base/status.h"
#include "core/key.h"
#include "rpc/access_table.h"
#include "rpc/cache_handlers.h"
#include "rpc/journal_convert.h"

namespace larder {
namespace {

constexpr size_t kHotKeysMax = 20;
constexpr size_t kHotKeysOfTypeMax = 5;

uint64_t Of(const UsageRow& row, Usage what) { return row.counts[static_cast<size_t>(what)]; }

double CompressionRatio(const L1Tally& tally) {
  if (tally.entries == 0) return 0;
  if (tally.value_bytes == 0) return 1;
  return static_cast<double>(tally.plain_bytes) / static_cast<double>(tally.value_bytes);
}

void FillEvictions(const L1Tally& tally, v1::EvictionStats* to) {
  const auto of = [&tally](EvictionCause cause) {
    return tally.evictions[static_cast<size_t>(cause)];
  };
  to->set_unread(of(EvictionCause::kUnread));
  to->set_cold(of(EvictionCause::kCold));
  to->set_type_full(of(EvictionCause::kTypeFull));
  to->set_shrink(of(EvictionCause::kShrink));
  to->set_bytes(tally.evicted_bytes);
  const uint64_t evicted = tally.evicted();
  const uint64_t mean_ms = evicted == 0 ? 0 : tally.evicted_age_ms / evicted;
  ToProto(absl::Milliseconds(mean_ms), to->mutable_mean_age());
}

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
  to->set_refreshes(Of(row, Usage::kRefreshes));
  to->set_loads_unchanged(Of(row, Usage::kLoadsUnchanged));
  to->set_stale_on_error(Of(row, Usage::kStaleOnError));
  to->set_filtered(Of(row, Usage::kFiltered));
  to->set_filter_false(Of(row, Usage::kFilterFalse));
  to->set_past(Of(row, Usage::kPast));
  to->set_evictions(row.memory.evicted());
  to->set_expirations(row.memory.expirations);
  to->set_entries(row.memory.entries);
  to->set_bytes(row.memory.bytes());
  to->set_key_bytes(row.memory.key_bytes);
  to->set_value_bytes(row.memory.value_bytes);
  to->set_overhead_bytes(row.memory.overhead_bytes);
  to->set_compressed_bytes(row.memory.encoded_bytes);
  to->set_plain_bytes(row.memory.plain_bytes);
  to->set_compression_ratio(CompressionRatio(row.memory));
  FillEvictions(row.memory, to->mutable_eviction());
  const auto entries = std::max<int64_t>(static_cast<int64_t>(row.memory.entries), 1);
  ToProto(absl::Milliseconds(row.memory.ages_ms / entries), to->mutable_mean_age());
}

void FillCompression(const CompressionStats& stats, v1::CompressionStats* to) {
  to->set_lz4_values(stats.lz4_values);
  to->set_zstd_values(stats.zstd_values);
  to->set_dictionary_values(stats.dictionary_values);
  to->set_small_values(stats.small_values);
  to->set_resting_values(stats.resting_values);
  to->set_gainless_values(stats.gainless_values);
  to->set_plain_bytes(stats.plain_bytes);
  to->set_stored_bytes(stats.stored_bytes);
  to->set_saved_bytes(stats.plain_bytes - stats.stored_bytes);
  to->set_ratio(stats.ratio());
  ToProto(absl::Nanoseconds(stats.encode_nanos), to->mutable_encode_time());
  ToProto(absl::Nanoseconds(stats.decode_nanos), to->mutable_decode_time());
  to->set_decodes(stats.decodes);
  to->set_decodes_failed(stats.decodes_failed);
  to->set_trainings(stats.trainings);
  to->set_trainings_refused(stats.trainings_refused);
  to->set_dictionaries(stats.dictionaries);
  to->set_dictionary_memory_bytes(stats.dictionary_memory_bytes);
  to->set_dictionary_version(stats.dictionary_version);
  if (stats.dictionary_version == 0) return;
  to->set_dictionary_bytes(stats.dictionary_bytes);
  ToProto(stats.dictionary_trained, to->mutable_dictionary_trained());
  to->set_dictionary_ratio(stats.dictionary_ratio);
}

void FillMemory(const EngineStats& stats, v1::MemoryStats* to) {
  const L1Usage& usage = stats.memory;
  to->set_budget_bytes(usage.budget_bytes);
  to->set_used_bytes(usage.bytes);
  to->set_segment_bytes(usage.segment_bytes);
  to->set_large_bytes(usage.large_bytes);
  to->set_index_bytes(usage.index_bytes);
  to->set_ghost_bytes(usage.ghost_bytes);
  to->set_dead_bytes(usage.dead_bytes);
  to->set_newcomer_share(usage.newcomer_share);
  to->set_dictionary_bytes(stats.dictionary_bytes);
  to->set_hot_keys_bytes(stats.hot_keys_bytes);
}

void FillLatency(const Method& method, v1::LatencyStats* to) {
  FillQuantiles(method.latency->Snap(), to);
  to->set_rpc(method.name);
  to->set_errors(method.counters->Sum(Method::kErrors));
}

// What memory did not have and the tier below did is a miss of memory and a hit of the whole.
void FillMemoryTier(const EngineStats& stats, v1::TierStats* to) {
  to->set_tier(v1::TIER_L1);
  to->set_kind("memory");
  const uint64_t below = Of(stats.total, Usage::kHitsBelow);
  to->set_hits(Of(stats.total, Usage::kHits) - below);
  to->set_misses(Of(stats.total, Usage::kMisses) + below);
  to->set_entries(stats.memory.total.entries);
  to->set_bytes(stats.memory.bytes);
  to->set_bytes_max(stats.memory.budget_bytes);
  to->set_evictions(stats.memory.total.evicted());
  to->set_state("ok");
}

void FillLowerTier(const TierStats& stats, const LowerTierStats& lower, v1::TierStats* to) {
  to->set_tier(v1::TIER_L2);
  to->set_kind(stats.name);
  to->set_state(stats.state);
  to->set_hits(stats.hits);
  to->set_misses(stats.gets - std::min(stats.gets, stats.hits));
  to->set_errors(stats.errors);
  to->set_entries(stats.entries);
  to->set_bytes(stats.bytes);
  to->set_bytes_max(stats.bytes_max);
  to->set_timeouts(stats.timeouts);
  to->set_retries(stats.retries);
  to->set_rejected(stats.rejected);
  to->set_damaged(stats.bad_envelopes);
  to->set_outdated(stats.outdated);
  to->set_skipped(stats.skipped);
  to->set_evictions(stats.evictions);
  to->set_memory_bytes(stats.memory_bytes);
  to->set_owed(lower.owed);
  to->set_owed_total(lower.owed_total);
  to->set_settled(lower.settled);
  to->set_full(stats.full);
  to->set_owed_forgotten(lower.owed_forgotten);
  to->set_outdated_reads(lower.outdated_reads);
  to->set_owed_again(lower.owed_again);
  to->set_dropped_damaged(stats.dropped_damaged);
  to->set_dropped_power_loss(stats.dropped_power_loss);
}

// Of a tier or an origin.
template <typename Guarded>
void FillBreaker(const std::string& name, const Guarded& stats, v1::BreakerStats* to) {
  to->set_name(name);
  to->set_state(stats.breaker == "closed" ? v1::BREAKER_STATE_CLOSED
                : stats.breaker == "open" ? v1::BREAKER_STATE_OPEN
                                          : v1::BREAKER_STATE_HALF_OPEN);
  to->set_opened(stats.breaker_opened);
  if (stats.breaker_opened > 0) to->set_reason(stats.breaker_reason);
}

void FillRules(const RulesStats& stats, v1::RuleStats* to) {
  to->set_rules(stats.table.rules);
  to->set_globs(stats.table.globs);
  to->set_bytes(stats.table.bytes);
  to->set_merged(stats.table.merged);
  to->set_applied(stats.applied);
  to->set_received(stats.received);
  to->set_extended(stats.extended);
  to->set_sweeps(stats.swept);
  to->set_sweeps_below(stats.swept_below);
  to->set_removed_below(stats.removed_below);
  to->set_store_failures(stats.store_failures);
  to->set_behind(stats.behind);
  to->set_known(stats.known);
}

void FillWatch(const ChangeFeed::Stats& stats, v1::WatchStats* to) {
  to->set_watchers(stats.watchers);
  to->set_kept(stats.kept);
  to->set_kept_bytes(stats.kept_bytes);
  to->set_changes(stats.changes);
  to->set_told(stats.told);
  to->set_resumed(stats.resumed);
  to->set_cut(stats.too_slow);
  to->set_refused(stats.refused);
  to->set_gaps(stats.gaps);
  to->set_expirations_untold(stats.expirations_untold);
}

void FillFleet(const EngineStats& stats, v1::FleetStats* to) {
  const BusStats& bus = *stats.bus;
  to->set_state(bus.state);
  to->set_replicas(bus.replicas);
  to->set_published(bus.published);
  to->set_publish_failed(bus.publish_failed);
  to->set_received(bus.received);
  to->set_queued(bus.queued);
  to->set_gaps(bus.gaps);
  to->set_received_again(bus.repeated);
  to->set_bad_messages(bus.bad_messages);
  to->set_append_errors(bus.append_errors);
  to->set_read_errors(bus.read_errors);
  to->set_node_id_shared(bus.node_id_shared);
  to->set_waits_short(stats.fleet_waits_short);
  ToProto(bus.lag, to->mutable_lag());
  ToProto(bus.lag_p99, to->mutable_lag_p99());
  const CoherenceStats& coherence = stats.coherence;
  to->set_suspect(coherence.suspect);
  to->set_changes(coherence.changes);
  to->set_dropped(coherence.dropped);
  to->set_confirmed(coherence.confirmed);
  to->set_refuted(coherence.refuted);
  to->set_served_suspect(coherence.served_suspect);
  if (!stats.fleet_leases.has_value()) return;
  const FleetLeaseStats& leases = *stats.fleet_leases;
  to->set_leases_granted(leases.granted);
  to->set_leases_refused(leases.refused);
  to->set_leases_lost(leases.lost);
  to->set_leases_without(leases.errors + leases.unasked + leases.waited_out + leases.full);
}

void FillOrigin(const OriginStats& stats, v1::OriginStats* to) {
  to->set_name(stats.name);
  to->set_kind(stats.kind);
  to->set_state(stats.state);
  to->set_load_calls(stats.load_calls);
  to->set_load_items(stats.load_items);
  to->set_store_calls(stats.store_calls);
  to->set_store_items(stats.store_items);
  to->set_scan_calls(stats.scan_calls);
  to->set_errors(stats.errors);
  to->set_item_errors(stats.item_errors);
  to->set_bad_answers(stats.bad_answers);
  to->set_connections(stats.connections);
  to->set_under_way(stats.under_way);
  to->set_queued(stats.queued);
  to->set_timeouts(stats.timeouts);
  to->set_retries(stats.retries);
  to->set_refused(stats.refused);
}

void FillFilter(const KeyFilterStats& stats, v1::FilterStats* to) {
  to->set_ready(stats.ready);
  to->set_keys(stats.keys);
  to->set_bytes(stats.bytes);
  to->set_builds(stats.builds);
  to->set_builds_failed(stats.builds_failed);
  if (stats.built != absl::InfinitePast()) ToProto(stats.built, to->mutable_built());
}

void FillWarm(const WarmStats& stats, v1::WarmStats* to) {
  to->set_state(std::string(stats.state));
  to->set_total(stats.total);
  to->set_loaded(stats.loaded);
  to->set_present(stats.present);
  to->set_missing(stats.missing);
  to->set_outdated(stats.outdated);
  to->set_again(stats.again);
  to->set_bad_files(stats.bad_files);
  ToProto(stats.took, to->mutable_took());
  to->set_saves(stats.saves);
  to->set_saves_failed(stats.saves_failed);
  to->set_saved_keys(stats.saved_keys);
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

using Names = google::protobuf::RepeatedPtrField<std::string>;

// An empty name among the namespaces stands for the default one.
std::string_view NameOf(const std::string& name) {
  return name.empty() ? kDefaultNamespace : std::string_view(name);
}

// Whether `wanted` names it; empty = all.
bool Wants(const Names& wanted, std::string_view name) {
  return wanted.empty() || std::any_of(wanted.begin(), wanted.end(),
                                       [name](const auto& one) { return NameOf(one) == name; });
}

// What a caller is told of hot keys.
struct HotKeysWanted {
  const v1::StatsRequest& request;
  const AccessView* view;  // null: sees all
  const TypePolicy* type;  // null: of all types that the request wants
  size_t most;
};

// The keys with the most hits in one window.
std::vector<HotKeys::Row> BusiestKeys(const Engine& engine, const HotKeysWanted& wanted,
                                      HotKeys::Window window) {
  const TypeTable& types = *engine.options().types;
  const v1::StatsRequest& request = wanted.request;
  HotKeys::Query query{.window = window, .limit = HotKeys::kLimitMax};
  // Of one type or namespace the ranking itself tells all; of several, what is among its first.
  if (wanted.type != nullptr) query.type_id = wanted.type->id;
  if (request.namespaces_size() == 1) query.name_space = NameOf(request.namespaces(0));
  std::vector<HotKeys::Row> rows = engine.hot_keys().Top(query);
  std::erase_if(rows, [&](const HotKeys::Row& row) {
    const std::string& type = types.Get(row.type_id).name;
    return !Wants(request.namespaces(), row.name_space) || !Wants(request.types(), type) ||
           (wanted.view != nullptr && !wanted.view->ReadsKey(row.name_space, type, row.key));
  });
  rows.resize(std::min(rows.size(), wanted.most));
  return rows;
}

void FillHotKeys(const Engine& engine, const HotKeysWanted& wanted,
                 google::protobuf::RepeatedPtrField<v1::HotKey>* to) {
  std::vector<HotKeys::Row> rows = BusiestKeys(engine, wanted, HotKeys::Window::kPrevious);
  if (rows.empty()) rows = BusiestKeys(engine, wanted, HotKeys::Window::kCurrent);
  for (const HotKeys::Row& row : rows) FillHotKey(row, *engine.options().types, to->Add());
}

// The rows that `wanted` names and `may_see` admits, sorted by name.
template <typename MaySee>
std::vector<UsageRow> Select(std::vector<UsageRow> rows, const Names& wanted,
                             const MaySee& may_see) {
  rows.erase(std::remove_if(rows.begin(), rows.end(),
                            [&](const UsageRow& row) {
                              return !Wants(wanted, row.name) || !may_see(row.name);
                            }),
             rows.end());
  std::sort(rows.begin(), rows.end(),
            [](const UsageRow& a, const UsageRow& b) { return a.name < b.name; });
  return rows;
}

}  // namespace

Task<absl::Status> CacheHandlers::Stats(CallContext* context, const v1::StatsRequest* request,
                                        v1::StatsResponse* response) {
  for (const std::string& name : request->namespaces()) CO_RETURN_IF_ERROR(CheckNamespace(name));
  for (const std::string& type : request->types()) {
    if (type.empty())
      CO_RETURN_IF_ERROR(FieldError(Reason::kREQUEST_INVALID, "types", "a type has a name"));
    CO_RETURN_IF_ERROR(CheckType(type));
  }
  FillStats(*request, context->view(), response);
  co_return absl::OkStatus();
}

v1::StatsResponse CacheHandlers::AllStats() const {
  v1::StatsResponse response;
  FillStats({}, nullptr, &response);
  return response;
}

void CacheHandlers::FillStats(const v1::StatsRequest& request, const AccessView* view,
                              v1::StatsResponse* response) const {
  const bool sees_all = view == nullptr || view->IsAdmin();
  EngineStats stats = engine_->Stats();
  response->set_node(options_.node_name);
  ToProto(stats.since, response->mutable_since());
  if (sees_all || view->ReadsAll()) FillUsage(stats.total, response->mutable_total());
  const auto namespace_seen = [&](const std::string& name) {
    return sees_all || view->ReadsIn(name);
  };
  for (const UsageRow& row :
       Select(std::move(stats.namespaces), request.namespaces(), namespace_seen)) {
    v1::NamespaceStats* const to = response->add_namespaces();
    to->set_namespace_(row.name);
    FillUsage(row, to->mutable_usage());
  }
  const auto type_seen = [&](const std::string& name) { return sees_all || view->ReadsType(name); };
  for (const UsageRow& row : Select(std::move(stats.types), request.types(), type_seen)) {
    v1::TypeStats* const to = response->add_types();
    to->set_type(row.name);
    FillUsage(row, to->mutable_usage());
    const TypePolicy& policy = *engine_->options().types->Find(row.name);
    to->set_share_min(policy.share_min);
    to->set_share_max(policy.share_max);
    FillCompression(row.compression, to->mutable_compression());
    if (policy.filter.bloom) FillFilter(row.filter, to->mutable_filter());
    FillHotKeys(*engine_, {request, view, &policy, kHotKeysOfTypeMax}, to->mutable_hot_keys());
  }
  const TypePolicy* const only =
      request.types_size() == 1 ? engine_->options().types->Find(request.types(0)) : nullptr;
  FillHotKeys(*engine_, {request, view, only, kHotKeysMax}, response->mutable_hot_keys());
  if (sees_all) FillProcess(stats, response);
}

void CacheHandlers::FillProcess(const EngineStats& stats, v1::StatsResponse* response) const {
  FillMemoryTier(stats, response->add_tiers());
  if (stats.tier.has_value()) {
    FillLowerTier(*stats.tier, stats.lower, response->add_tiers());
    if (!stats.tier->breaker.empty()) FillBreaker("l2", *stats.tier, response->add_breakers());
  }
  for (const OriginStats& origin : stats.origins) {
    FillOrigin(origin, response->add_origins());
    if (!origin.breaker.empty()) FillBreaker(origin.name, origin, response->add_breakers());
  }
  if (const Journal* const journal = engine_->options().journal; journal != nullptr)
    FillJournal(journal->Stats(), response->mutable_journal());
  response->mutable_flights()->set_under_way(stats.flights);
  response->mutable_flights()->set_waiting(stats.flights_waiting);
  response->mutable_flights()->set_queued(stats.flights_queued);
  response->mutable_flights()->set_refused(stats.flights_refused);
  response->mutable_flights()->set_again(stats.flights_again);
  FillRules(stats.rules, response->mutable_rules());
  FillWatch(stats.watch, response->mutable_watch());
  if (stats.bus.has_value()) FillFleet(stats, response->mutable_fleet());
  if (options_.warm_stats != nullptr) {
    const WarmStats warm = options_.warm_stats();
    if (warm.state != "off") FillWarm(warm, response->mutable_warm());
  }
  if (options_.origin_warm_stats != nullptr) {
    for (const OriginWarmer::TypeStats& type : options_.origin_warm_stats()) {
      v1::OriginWarmStats* const to = response->add_origin_warm();
      to->set_type(type.type);
      to->set_state(type.state);
      to->set_loaded(type.count.loaded);
      to->set_failed(type.count.failed);
      ToProto(type.count.elapsed, to->mutable_took());
    }
  }
  FillMemory(stats, response->mutable_memory());
  for (const Method& method : methods_->methods()) {
    if (method.counters->Sum(Method::kCalls) > 0) FillLatency(method, response->add_latencies());
  }
  FillLeases(stats.leases, response->mutable_leases());
}

}  // namespace larder
