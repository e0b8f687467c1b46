#include <fmt/format.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/commands.h"

namespace larder::cli {
namespace {

void AddUsage(const UsageStats& usage, Json* object) {
  object->Field("hits", usage.hits);
  object->Field("misses", usage.misses);
  object->Field("hit_ratio", usage.hit_ratio);
  object->Field("negative_hits", usage.negative_hits);
  object->Field("stale_hits", usage.stale_hits);
  object->Field("sets", usage.sets);
  object->Field("sets_refused", usage.sets_refused);
  object->Field("removals", usage.removals);
  object->Field("loads", usage.loads);
  object->Field("loads_failed", usage.loads_failed);
  object->Field("loads_coalesced", usage.loads_coalesced);
  object->Field("evictions", usage.evictions);
  object->Field("expirations", usage.expirations);
  object->Field("entries", usage.entries);
  object->Field("bytes", usage.bytes);
  object->Field("compression_ratio", usage.compression_ratio);
}

void AddNamed(const NamedUsage& named, Json* object) {
  object->Field("name", named.name);
  AddUsage(named.usage, object);
}

void AddHotKey(const HotKey& hot, Json* object) {
  object->Field("namespace", hot.ns);
  object->Field("key", hot.key);
  object->Field("type", hot.type);
  object->Field("hits", hot.hits);
  object->Field("misses", hot.misses);
  object->Field("bytes", hot.bytes);
}

Json LeasesJson(const LeaseStats& leases) {
  Json object;
  object.Field("held", leases.held);
  object.Field("waiting", leases.waiting);
  object.Field("granted", leases.granted);
  object.Field("fulfilled", leases.fulfilled);
  object.Field("released", leases.released);
  object.Field("expired", leases.expired);
  object.Field("revoked", leases.revoked);
  return object;
}

Json StatsJson(const StatsResult& stats) {
  Json answer;
  answer.Field("node", stats.node);
  answer.Field("since", stats.since);
  Json total;
  AddUsage(stats.total, &total);
  answer.Object("total", total);
  answer.Array("namespaces", stats.namespaces, AddNamed);
  answer.Array("types", stats.types, AddNamed);
  answer.Array("tiers", stats.tiers, [](const TierStats& tier, Json* object) {
    object->Field("tier", Name(tier.tier));
    object->Field("kind", tier.kind);
    object->Field("hits", tier.hits);
    object->Field("misses", tier.misses);
    object->Field("errors", tier.errors);
    object->Field("entries", tier.entries);
    object->Field("bytes", tier.bytes);
    object->Field("bytes_max", tier.bytes_max);
  });
  answer.Array("latencies", stats.latencies, [](const LatencyStats& latency, Json* object) {
    object->Field("rpc", latency.rpc);
    object->Field("count", latency.count);
    object->Field("errors", latency.errors);
    object->Field("p50_seconds", latency.p50);
    object->Field("p90_seconds", latency.p90);
    object->Field("p99_seconds", latency.p99);
    object->Field("p999_seconds", latency.p999);
    object->Field("max_seconds", latency.max);
  });
  answer.Object("leases", LeasesJson(stats.leases));
  if (stats.journal.has_value()) {
    Json journal;
    journal.Field("depth", stats.journal->depth);
    journal.Field("bytes", stats.journal->bytes);
    journal.Field("oldest_age_seconds", stats.journal->oldest_age);
    journal.Field("dead_letters", stats.journal->dead_letters);
    answer.Object("journal", journal);
  }
  answer.Array("breakers", stats.breakers, [](const BreakerStats& breaker, Json* object) {
    object->Field("name", breaker.name);
    object->Field("state", Name(breaker.state));
    object->Field("opened", breaker.opened);
    object->Field("reason", breaker.reason);
  });
  answer.Array("hot_keys", stats.hot_keys, AddHotKey);
  return answer;
}

Row UsageRow(const std::string& what, const std::string& name, const UsageStats& usage) {
  return {what,
          Shown(name),
          absl::StrCat(usage.hits),
          absl::StrCat(usage.misses),
          fmt::format("{:.1f}%", 100 * usage.hit_ratio),
          absl::StrCat(usage.sets),
          absl::StrCat(usage.loads),
          absl::StrCat(usage.evictions),
          absl::StrCat(usage.entries),
          ShownBytes(usage.bytes)};
}

void PrintTables(const StatsResult& stats, Output* out) {
  out->Line(fmt::format("node {}, counting for {}", stats.node, Shown(absl::Now() - stats.since)));
  out->Line("");
  std::vector<Row> usage = {UsageRow("total", "", stats.total)};
  for (const NamedUsage& named : stats.namespaces)
    usage.push_back(UsageRow("namespace", named.name, named.usage));
  for (const NamedUsage& named : stats.types)
    usage.push_back(UsageRow("type", named.name, named.usage));
  out->Table({"OF", "NAME", ">HITS", ">MISSES", ">RATIO", ">SETS", ">LOADS", ">EVICTED", ">ENTRIES",
              ">BYTES"},
             usage);
  std::vector<Row> tiers;
  for (const TierStats& tier : stats.tiers) {
    tiers.push_back({std::string(Name(tier.tier)), tier.kind, absl::StrCat(tier.hits),
                     absl::StrCat(tier.misses), absl::StrCat(tier.errors),
                     absl::StrCat(tier.entries), ShownBytes(tier.bytes),
                     tier.bytes_max == 0 ? "-" : ShownBytes(tier.bytes_max)});
  }
  out->Line("");
  out->Table({"TIER", "KIND", ">HITS", ">MISSES", ">ERRORS", ">ENTRIES", ">BYTES", ">OF"}, tiers);
  if (!stats.latencies.empty()) {
    std::vector<Row> latencies;
    for (const LatencyStats& latency : stats.latencies) {
      latencies.push_back({latency.rpc, absl::StrCat(latency.count), absl::StrCat(latency.errors),
                           Shown(latency.p50), Shown(latency.p99), Shown(latency.max)});
    }
    out->Line("");
    out->Table({"CALL", ">COUNT", ">ERRORS", ">P50", ">P99", ">MAX"}, latencies);
  }
  const LeaseStats& leases = stats.leases;
  out->Line("");
  out->Line(fmt::format(
      "leases: {} held, {} waiting; {} granted, {} fulfilled, {} released, {} expired, {} revoked",
      leases.held, leases.waiting, leases.granted, leases.fulfilled, leases.released,
      leases.expired, leases.revoked));
  if (stats.journal.has_value()) {
    out->Line(fmt::format("journal: {} writes, {}, oldest {}, {} dead letters",
                          stats.journal->depth, ShownBytes(stats.journal->bytes),
                          Shown(stats.journal->oldest_age), stats.journal->dead_letters));
  }
  for (const BreakerStats& breaker : stats.breakers) {
    out->Line(fmt::format("breaker {}: {}, opened {} times {}", breaker.name, Name(breaker.state),
                          breaker.opened, breaker.reason));
  }
  if (stats.hot_keys.empty()) return;
  std::vector<Row> hot_keys;
  for (const HotKey& hot : stats.hot_keys) {
    hot_keys.push_back(
        {Shown(hot.ns), Shown(hot.key), absl::StrCat(hot.hits), absl::StrCat(hot.misses)});
  }
  out->Line("");
  out->Table({"NAMESPACE", "HOT KEY", ">HITS", ">MISSES"}, hot_keys);
}

}  // namespace

void AddStats(CLI::App* app, Session* session) {
  auto options = std::make_shared<StatsOptions>();
  CLI::App* command =
      AddCommand(app, session, "stats", "What the server did and holds", [session, options] {
        const absl::StatusOr<StatsResult> stats = session->client->Stats(*options);
        if (!stats.ok()) return session->Fail(stats.status());
        if (session->json) {
          session->out.Print(StatsJson(*stats));
        } else {
          PrintTables(*stats, &session->out);
        }
        return kOk;
      });
  command
      ->add_option("--only-namespace", options->namespaces, "Only this namespace; may be repeated")
      ->type_name("NAME")
      ->expected(1)
      ->take_all();
  command->add_option("--only-type", options->types, "Only this data type; may be repeated")
      ->type_name("NAME")
      ->expected(1)
      ->take_all();
}

}  // namespace larder::cli
