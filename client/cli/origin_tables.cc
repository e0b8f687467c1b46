#include "client/cli/origin_tables.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace larder::cli {
namespace {

void PrintFilters(const StatsResult& stats, Output* out) {
  std::vector<Row> rows;
  for (const TypeStats& type : stats.types) {
    if (!type.filter.has_value()) continue;
    const FilterStats& filter = *type.filter;
    const bool built = filter.built != absl::InfinitePast();
    rows.push_back(
        {type.name, filter.ready ? "ready" : "not ready", absl::StrCat(filter.keys),
         ShownBytes(filter.bytes), absl::StrCat(type.usage.filtered),
         absl::StrCat(type.usage.filter_false), absl::StrCat(filter.builds),
         absl::StrCat(filter.builds_failed),
         built ? Shown(absl::Trunc(absl::Now() - filter.built, absl::Seconds(1))) : "-"});
  }
  if (rows.empty()) return;
  out->Line("");
  out->Table({"FILTERED TYPE", "STATE", ">KEYS", ">BYTES", ">ANSWERED", ">IN VAIN", ">BUILT",
              ">FAILED", ">AGE"},
             rows);
}

const BreakerStats* BreakerOf(const StatsResult& stats, const std::string& name) {
  for (const BreakerStats& breaker : stats.breakers) {
    if (breaker.name == name) return &breaker;
  }
  return nullptr;
}

// Nothing for an origin that is well.
void PrintTrouble(const OriginStats& origin, Output* out) {
  const std::string name = Shown(origin.name);
  if (!origin.state.empty() && origin.state != "ok")
    out->Line(fmt::format("origin {}: {}", name, Shown(origin.state)));
  if (origin.errors + origin.retries > 0) {
    out->Line(
        fmt::format("origin {}: of {} failed calls {} ran out of time, {} were refused at once; "
                    "{} calls repeated",
                    name, origin.errors, origin.timeouts, origin.refused, origin.retries));
  }
  if (origin.item_errors + origin.bad_answers > 0) {
    out->Line(
        fmt::format("origin {}: {} keys or writes failed one by one; {} answers made no sense",
                    name, origin.item_errors, origin.bad_answers));
  }
}

}  // namespace

void PrintLoads(const StatsResult& stats, Output* out) {
  std::vector<Row> rows;
  for (const TypeStats& type : stats.types) {
    const UsageStats& usage = type.usage;
    if (usage.loads + usage.stale_hits + usage.filtered == 0) continue;
    rows.push_back({type.name, absl::StrCat(usage.loads), absl::StrCat(usage.loads_failed),
                    absl::StrCat(usage.refreshes), absl::StrCat(usage.loads_unchanged),
                    absl::StrCat(usage.loads_coalesced), absl::StrCat(usage.stale_hits),
                    absl::StrCat(usage.stale_on_error), absl::StrCat(usage.negative_hits)});
  }
  if (!rows.empty()) {
    out->Line("");
    out->Table({"LOADED TYPE", ">LOADS", ">FAILED", ">REFRESHES", ">UNCHANGED", ">JOINED",
                ">STALE HITS", ">FOR AN ERROR", ">ABSENT"},
               rows);
  }
  PrintFilters(stats, out);
}

void PrintOrigins(const StatsResult& stats, Output* out) {
  if (stats.origins.empty()) return;
  std::vector<Row> rows;
  for (const OriginStats& origin : stats.origins) {
    const BreakerStats* const breaker = BreakerOf(stats, origin.name);
    rows.push_back({Shown(origin.name), origin.kind, absl::StrCat(origin.load_calls),
                    absl::StrCat(origin.load_items), absl::StrCat(origin.store_calls),
                    absl::StrCat(origin.scan_calls), absl::StrCat(origin.errors),
                    absl::StrCat(origin.under_way), absl::StrCat(origin.queued),
                    absl::StrCat(origin.connections),
                    breaker == nullptr ? "-" : std::string(Name(breaker->state))});
  }
  out->Line("");
  out->Table({"ORIGIN", "KIND", ">LOADS", ">OF KEYS", ">STORES", ">SCANS", ">ERRORS", ">NOW",
              ">QUEUED", ">CONNECTIONS", "BREAKER"},
             rows);
  for (const OriginStats& origin : stats.origins) PrintTrouble(origin, out);
  if (stats.flights.under_way + stats.flights.waiting > 0) {
    out->Line(fmt::format("loading: {} keys, {} callers wait for them", stats.flights.under_way,
                          stats.flights.waiting));
  }
}

void PrintOriginWarm(const StatsResult& stats, Output* out) {
  for (const OriginWarmStats& warm : stats.origin_warm) {
    out->Line(fmt::format("warm {}: {}, {} loaded, {} failed in {}", Shown(warm.type),
                          Shown(warm.state), warm.loaded, warm.failed, Shown(warm.took)));
  }
}

}  // namespace larder::cli
