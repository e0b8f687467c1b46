#include "client/cli/journal_tables.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace larder::cli {
namespace {

void AddType(const JournalTypeStats& stats, Json* object) {
  object->Field("type", stats.type);
  object->Field("depth", stats.depth);
  object->Field("bytes", stats.bytes);
  object->Field("oldest_age_seconds", stats.oldest_age);
  object->Field("enqueued", stats.enqueued);
  object->Field("coalesced", stats.coalesced);
  object->Field("delivered", stats.delivered);
  object->Field("retried", stats.retried);
  object->Field("dead", stats.dead);
  object->Field("refused", stats.refused);
  Json lag;
  lag.Field("count", stats.lag.count);
  lag.Field("p50_seconds", stats.lag.p50);
  lag.Field("p90_seconds", stats.lag.p90);
  lag.Field("p99_seconds", stats.lag.p99);
  lag.Field("p999_seconds", stats.lag.p999);
  lag.Field("max_seconds", stats.lag.max);
  object->Object("lag", lag);
}

std::string Waiting(const JournalStats& stats) {
  if (stats.depth == 0) return "0 writes";
  return fmt::format("{} writes, {}, oldest {}", stats.depth, ShownBytes(stats.bytes),
                     Shown(stats.oldest_age));
}

std::string Damage(const JournalDamage& damage) {
  std::string text = fmt::format("{} times, {} writes known to be lost; last: {}", damage.events,
                                 damage.records_lost, Shown(damage.last));
  if (!damage.set_aside.empty()) text += fmt::format("; a copy is in {}", Shown(damage.set_aside));
  return text;
}

}  // namespace

Json JournalJson(const JournalStats& stats) {
  Json answer;
  answer.Field("state", stats.state);
  answer.Field("depth", stats.depth);
  answer.Field("bytes", stats.bytes);
  answer.Field("oldest_age_seconds", stats.oldest_age);
  answer.Field("dead_letters", stats.dead_letters);
  answer.Field("letter_bytes", stats.letter_bytes);
  answer.Field("bytes_on_disk", stats.bytes_on_disk);
  answer.Field("index_bytes", stats.index_bytes);
  answer.Field("syncs", stats.syncs);
  answer.Field("failures", stats.failures);
  if (stats.damage.has_value()) {
    Json damage;
    damage.Field("events", stats.damage->events);
    damage.Field("records_lost", stats.damage->records_lost);
    damage.Field("last", stats.damage->last);
    damage.Field("set_aside", stats.damage->set_aside);
    answer.Object("damage", damage);
  }
  answer.Field("paused", stats.paused);
  answer.Array("types", stats.types, AddType);
  return answer;
}

void PrintJournalLine(const JournalStats& stats, Output* out) {
  out->Line(fmt::format("journal: {}, {} dead letters", Waiting(stats), stats.dead_letters));
  if (stats.state != "ok") out->Line(fmt::format("journal: {}", Shown(stats.state)));
  if (!stats.paused.empty())
    out->Line(fmt::format("journal: nothing is delivered to {}", Shown(stats.paused)));
  if (stats.damage.has_value())
    out->Line(fmt::format("journal: damaged {}", Damage(*stats.damage)));
}

void PrintJournal(const JournalStats& stats, Output* out) {
  std::vector<std::pair<std::string, std::string>> fields = {
      {"state", Shown(stats.state)},
      {"waiting", Waiting(stats)},
      {"dead letters", stats.dead_letters == 0 ? "0"
                                               : fmt::format("{}, {}", stats.dead_letters,
                                                             ShownBytes(stats.letter_bytes))},
      {"on disk", ShownBytes(stats.bytes_on_disk)},
      {"in memory", ShownBytes(stats.index_bytes)},
      {"disk", fmt::format("{} syncs, {} failures", stats.syncs, stats.failures)}};
  if (!stats.paused.empty()) fields.emplace_back("paused", Shown(stats.paused));
  if (stats.damage.has_value()) fields.emplace_back("damage", Damage(*stats.damage));
  out->Fields(fields);
  std::vector<Row> rows;
  for (const JournalTypeStats& type : stats.types) {
    rows.push_back({Shown(type.type), absl::StrCat(type.depth), ShownBytes(type.bytes),
                    Shown(type.oldest_age), absl::StrCat(type.enqueued),
                    absl::StrCat(type.coalesced), absl::StrCat(type.delivered),
                    absl::StrCat(type.retried), absl::StrCat(type.dead), absl::StrCat(type.refused),
                    Shown(type.lag.p50), Shown(type.lag.p99)});
  }
  out->Line("");
  out->Table({"TYPE", ">WAITING", ">BYTES", ">OLDEST", ">TAKEN", ">COALESCED", ">DELIVERED",
              ">RETRIED", ">DEAD", ">REFUSED", ">LAG P50", ">LAG P99"},
             rows);
}

}  // namespace larder::cli
