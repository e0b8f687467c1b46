// What is cached and how it is used: data types, namespaces, memory, loads and leases.

#include "admin/metrics_parts.h"

namespace larder {
namespace {

using Usage = v1::UsageStats;

void WriteUsage(const std::vector<MetricRow<Usage>>& types, Exposition* out) {
  WriteColumns<Usage>(
      {
          {"larder_hits_total", "Reads that found a value, fresh or stale.", &Usage::hits},
          {"larder_misses_total", "Reads that found none.", &Usage::misses},
          {"larder_negative_hits_total",
           "Misses that were answered by knowing that the origin has no such key.",
           &Usage::negative_hits},
          {"larder_stale_hits_total", "Hits past their TTL.", &Usage::stale_hits},
          {"larder_stale_on_error_total",
           "Stale hits in place of a value that could not be loaded, or not in time.",
           &Usage::stale_on_error},
          {"larder_filtered_total", "Negative hits that the type's filter answered.",
           &Usage::filtered},
          {"larder_filter_false_total", "Loads that the filter let through in vain.",
           &Usage::filter_false},
          {"larder_reads_past_total",
           "Reads of keys that the cache is not used for, by the type's rollout.", &Usage::past},
          {"larder_sets_total", "Sets that were stored.", &Usage::sets},
          {"larder_sets_refused_total", "Sets that were refused.", &Usage::sets_refused},
          {"larder_removals_total", "Deletes and invalidations of single keys.", &Usage::removals},
          {"larder_loads_total", "Loads begun: leases given and keys asked of an origin.",
           &Usage::loads},
          {"larder_loads_failed_total", "Loads that failed.", &Usage::loads_failed},
          {"larder_loads_coalesced_total", "Reads that waited for somebody else's load.",
           &Usage::loads_coalesced},
          {"larder_loads_unchanged_total", "Loads that the origin answered with `unchanged`.",
           &Usage::loads_unchanged},
          {"larder_refreshes_total", "Loads started behind a value that was still served.",
           &Usage::refreshes},
          {"larder_expirations_total", "Entries that left memory because their TTL was over.",
           &Usage::expirations},
          {"larder_entries", "Entries in memory.", &Usage::entries},
          {"larder_entries_plain_bytes", "Bytes of the values in memory as callers see them.",
           &Usage::plain_bytes},
      },
      types, out);
  out->Gauge("larder_entries_bytes", "Memory that entries use, by what for.");
  for (const auto& [labels, usage] : types) {
    const std::string_view type = labels[0].second;
    out->Add({{"type", type}, {"part", "key"}}, usage->key_bytes());
    out->Add({{"type", type}, {"part", "value"}}, usage->value_bytes());
    out->Add({{"type", type}, {"part", "overhead"}}, usage->overhead_bytes());
  }
  out->Counter("larder_evictions_total", "Entries that left memory to make room, by cause.");
  for (const auto& [labels, usage] : types) {
    const std::string_view type = labels[0].second;
    const v1::EvictionStats& by = usage->eviction();
    out->Add({{"type", type}, {"cause", "unread"}}, by.unread());
    out->Add({{"type", type}, {"cause", "cold"}}, by.cold());
    out->Add({{"type", type}, {"cause", "type_full"}}, by.type_full());
    out->Add({{"type", type}, {"cause", "shrink"}}, by.shrink());
  }
  out->Counter("larder_evicted_bytes_total", "Memory that the evicted entries had used.");
  for (const auto& [labels, usage] : types) out->Add(labels, usage->eviction().bytes());
}

void WriteCompression(const v1::StatsResponse& stats, Exposition* out) {
  using Compression = v1::CompressionStats;
  std::vector<MetricRow<Compression>> rows;
  for (const v1::TypeStats& type : stats.types())
    rows.push_back({{{"type", type.type()}}, &type.compression()});
  out->Counter("larder_compression_values_total", "Values by how they are stored, and why so.");
  for (const auto& [labels, by] : rows) {
    const std::string_view type = labels[0].second;
    out->Add({{"type", type}, {"how", "lz4"}}, by->lz4_values());
    out->Add({{"type", type}, {"how", "zstd"}}, by->zstd_values());
    out->Add({{"type", type}, {"how", "zstd_dictionary"}}, by->dictionary_values());
    out->Add({{"type", type}, {"how", "plain_small"}}, by->small_values());
    out->Add({{"type", type}, {"how", "plain_resting"}}, by->resting_values());
    out->Add({{"type", type}, {"how", "plain_gainless"}}, by->gainless_values());
  }
  WriteColumns<Compression>(
      {
          {"larder_compression_plain_bytes_total", "Bytes of compressed values before.",
           &Compression::plain_bytes},
          {"larder_compression_stored_bytes_total", "Bytes of compressed values after.",
           &Compression::stored_bytes},
          {"larder_decompressions_total", "Values that were decompressed.", &Compression::decodes},
          {"larder_decompressions_failed_total",
           "Values that could not be decompressed; their entries were dropped.",
           &Compression::decodes_failed},
      },
      rows, out);
  out->Counter("larder_compression_seconds_total", "Time spent on compressing.");
  for (const auto& [labels, by] : rows) out->Add(labels, SecondsOf(by->encode_time()));
  out->Counter("larder_decompression_seconds_total",
               "Time spent on decompressing, estimated from a sample.");
  for (const auto& [labels, by] : rows) out->Add(labels, SecondsOf(by->decode_time()));
}

}  // namespace

void WriteTypes(const v1::StatsResponse& stats, Exposition* out) {
  std::vector<MetricRow<Usage>> types;
  for (const v1::TypeStats& type : stats.types())
    types.push_back({{{"type", type.type()}}, &type.usage()});
  WriteUsage(types, out);
  out->Gauge("larder_type_share_max_ratio",
             "The part of the memory budget that the type cannot exceed, 0 to 1.");
  for (const v1::TypeStats& type : stats.types())
    out->Add({{"type", type.type()}}, type.share_max());
  WriteCompression(stats, out);

  std::vector<MetricRow<v1::FilterStats>> filters;
  for (const v1::TypeStats& type : stats.types()) {
    if (type.has_filter()) filters.push_back({{{"type", type.type()}}, &type.filter()});
  }
  WriteColumns<v1::FilterStats>(
      {
          {"larder_filter_keys", "Keys in the type's filter.", &v1::FilterStats::keys},
          {"larder_filter_bytes", "Memory that the filter takes.", &v1::FilterStats::bytes},
          {"larder_filter_builds_total", "Times that the filter was built.",
           &v1::FilterStats::builds},
          {"larder_filter_builds_failed_total", "Times that the filter could not be built.",
           &v1::FilterStats::builds_failed},
      },
      filters, out);
  if (!filters.empty()) out->Gauge("larder_filter_ready", "1 while the type's filter answers.");
  for (const auto& [labels, filter] : filters)
    out->Add(labels, uint64_t{filter->ready() ? 1u : 0u});

  std::vector<MetricRow<Usage>> namespaces;
  for (const v1::NamespaceStats& one : stats.namespaces())
    namespaces.push_back({{{"namespace", one.namespace_()}}, &one.usage()});
  WriteColumns<Usage>(
      {
          {"larder_namespace_hits_total", "Reads of the namespace that found a value.",
           &Usage::hits},
          {"larder_namespace_misses_total", "Reads of the namespace that found none.",
           &Usage::misses},
          {"larder_namespace_sets_total", "Sets of the namespace that were stored.", &Usage::sets},
          {"larder_namespace_loads_total", "Loads begun for the namespace.", &Usage::loads},
          {"larder_namespace_entries", "Entries of the namespace in memory.", &Usage::entries},
          {"larder_namespace_bytes", "Memory that the entries of the namespace use.",
           &Usage::bytes},
      },
      namespaces, out);
}

void WriteMemory(const v1::StatsResponse& stats, Exposition* out) {
  using Memory = v1::MemoryStats;
  WriteColumns<Memory>(
      {
          {"larder_memory_budget_bytes", "The most memory that the cache may use.",
           &Memory::budget_bytes},
          {"larder_memory_used_bytes", "Memory that the cache uses.", &Memory::used_bytes},
          {"larder_memory_dead_bytes", "Memory of ended entries that is not given back yet.",
           &Memory::dead_bytes},
          {"larder_memory_dictionary_bytes",
           "Memory of compression dictionaries and their samples, beside the budget.",
           &Memory::dictionary_bytes},
          {"larder_memory_hot_keys_bytes", "Memory of the books of hot keys, beside the budget.",
           &Memory::hot_keys_bytes},
      },
      {{{}, &stats.memory()}}, out);
  out->Gauge("larder_memory_part_bytes", "Parts of the memory that the cache uses.");
  out->Add({{"part", "segments"}}, stats.memory().segment_bytes());
  out->Add({{"part", "large"}}, stats.memory().large_bytes());
  out->Add({{"part", "index"}}, stats.memory().index_bytes());
  out->Add({{"part", "ghosts"}}, stats.memory().ghost_bytes());
}

void WriteLoading(const v1::StatsResponse& stats, Exposition* out) {
  using Flights = v1::FlightStats;
  WriteColumns<Flights>(
      {
          {"larder_flights", "Keys that are being loaded.", &Flights::under_way},
          {"larder_flights_waiting", "Callers who wait for a load.", &Flights::waiting},
          {"larder_flights_queued", "Keys that wait for a call of their origin.", &Flights::queued},
          {"larder_flights_refused_total", "Callers and keys for which there was no room.",
           &Flights::refused},
          {"larder_flights_again_total", "Loads done again because the key had changed meanwhile.",
           &Flights::again},
      },
      {{{}, &stats.flights()}}, out);
  using Leases = v1::LeaseStats;
  WriteColumns<Leases>(
      {
          {"larder_leases", "Leases that are out.", &Leases::held},
          {"larder_leases_waiting", "Callers who wait for a lease.", &Leases::waiting},
          {"larder_leases_granted_total", "Leases given.", &Leases::granted},
          {"larder_leases_fulfilled_total", "Leases fulfilled by a Set.", &Leases::fulfilled},
          {"larder_leases_released_total", "Leases given back.", &Leases::released},
          {"larder_leases_expired_total", "Leases run out.", &Leases::expired},
          {"larder_leases_revoked_total", "Leases lost because the key changed.", &Leases::revoked},
      },
      {{{}, &stats.leases()}}, out);
}

}  // namespace larder
