// What lies round the memory: tiers, breakers, origins, the other replicas, rules, watch streams,
// the journal.

#include <algorithm>

#include "admin/metrics_parts.h"

namespace larder {
namespace {

uint64_t Flag(bool value) { return value ? 1 : 0; }

std::string_view TierName(v1::Tier tier) { return tier == v1::TIER_L1 ? "l1" : "l2"; }

void WriteBreakers(const v1::StatsResponse& stats, Exposition* out) {
  if (stats.breakers().empty()) return;
  out->Gauge("larder_breaker_state", "1 for the state that the circuit breaker is in.");
  for (const v1::BreakerStats& one : stats.breakers()) {
    out->Add({{"breaker", one.name()}, {"state", "closed"}},
             Flag(one.state() == v1::BREAKER_STATE_CLOSED));
    out->Add({{"breaker", one.name()}, {"state", "half_open"}},
             Flag(one.state() == v1::BREAKER_STATE_HALF_OPEN));
    out->Add({{"breaker", one.name()}, {"state", "open"}},
             Flag(one.state() == v1::BREAKER_STATE_OPEN));
  }
  out->Counter("larder_breaker_opened_total", "How often the circuit breaker opened.");
  for (const v1::BreakerStats& one : stats.breakers())
    out->Add({{"breaker", one.name()}}, one.opened());
}

void WriteWarm(const v1::WarmStats& warm, Exposition* out) {
  using Warm = v1::WarmStats;
  WriteOne("larder_warm_running", "1 while memory is filled again after the start.",
           Flag(warm.state() == "waiting" || warm.state() == "warming"), out);
  WriteOne("larder_warm_seconds", "How long that took; until now while it goes on.",
           SecondsOf(warm.took()), out);
  WriteColumns<Warm>(
      {
          {"larder_warm_keys", "Keys that were to come back.", &Warm::total},
          {"larder_warm_loaded_total", "Entries that came back.", &Warm::loaded},
          {"larder_warm_missing_total", "Entries that the tier no longer had.", &Warm::missing},
          {"larder_warm_outdated_total",
           "Entries that the tier had older than memory had, and were left there.",
           &Warm::outdated},
          {"larder_warm_saves_total", "Times that the list of what is in memory was written.",
           &Warm::saves},
          {"larder_warm_saves_failed_total", "Times that it could not be; that of before stays.",
           &Warm::saves_failed},
      },
      {{{}, &warm}}, out);
}

void WriteRules(const v1::RuleStats& rules, Exposition* out) {
  using Rules = v1::RuleStats;
  WriteColumns<Rules>(
      {
          {"larder_rules", "Invalidations in force and told apart.", &Rules::rules},
          {"larder_rules_globs", "The part of the rules that are globs.", &Rules::globs},
          {"larder_rules_bytes", "Memory that the rules take.", &Rules::bytes},
          {"larder_rules_applied_total", "Rules asked for on this replica.", &Rules::applied},
          {"larder_rules_received_total", "Rules that other replicas told of.", &Rules::received},
          {"larder_rules_merged_total", "Rules that became part of one that covers more.",
           &Rules::merged},
          {"larder_rules_sweeps_total", "Times that memory was gone through for them.",
           &Rules::sweeps},
          {"larder_rules_removed_below_total", "Entries that rules removed from the second tier.",
           &Rules::removed_below},
          {"larder_rules_store_failures_total",
           "Reads and writes of rules that the second tier did not do.", &Rules::store_failures},
      },
      {{{}, &rules}}, out);
  WriteOne("larder_rules_behind", "1 while the second tier lacks some of the rules.",
           Flag(rules.behind()), out);
}

void WriteWatch(const v1::WatchStats& watch, Exposition* out) {
  using Watch = v1::WatchStats;
  WriteColumns<Watch>(
      {
          {"larder_watchers", "Watch streams that are open.", &Watch::watchers},
          {"larder_watch_changes_total", "Changes of which anybody could be told.",
           &Watch::changes},
          {"larder_watch_events_total", "Changes, times the streams that they concerned.",
           &Watch::told},
          {"larder_watch_resumed_total", "Streams that went on where an earlier one ended.",
           &Watch::resumed},
          {"larder_watch_cut_total", "Streams cut because they were read too slowly.", &Watch::cut},
          {"larder_watch_refused_total", "Streams that were not begun.", &Watch::refused},
          {"larder_watch_gaps_total", "How often changes of others began or ceased to be missed.",
           &Watch::gaps},
          {"larder_watch_expirations_untold_total",
           "Entries that expired and were too many to tell of.", &Watch::expirations_untold},
          {"larder_watch_kept_changes", "Changes kept for streams that resume.", &Watch::kept},
          {"larder_watch_kept_bytes", "Memory that those take.", &Watch::kept_bytes},
      },
      {{{}, &watch}}, out);
}

std::vector<MetricColumn<v1::FleetStats>> BusColumns() {
  using Fleet = v1::FleetStats;
  return {
      {"larder_bus_published_total", "Messages sent.", &Fleet::published},
      {"larder_bus_publish_failed_total", "Messages given up.", &Fleet::publish_failed},
      {"larder_bus_received_total", "Messages of others that took effect here.", &Fleet::received},
      {"larder_bus_queued", "Messages that wait to be sent.", &Fleet::queued},
      {"larder_bus_gaps_total", "How often messages may have been missed.", &Fleet::gaps},
      {"larder_bus_bad_messages_total", "Messages that could not be read.", &Fleet::bad_messages},
      {"larder_bus_append_errors_total", "Attempts to send that failed; they are repeated.",
       &Fleet::append_errors},
      {"larder_bus_read_errors_total", "Attempts to read that failed; they are repeated.",
       &Fleet::read_errors},
      {"larder_bus_node_id_shared_total",
       "Replicas found to use the node id of another one that is alive.", &Fleet::node_id_shared},
      {"larder_bus_waits_short_total",
       "Invalidations for the fleet answered before every replica had acknowledged them.",
       &Fleet::waits_short},
      {"larder_coherence_changes_total", "Keys that other replicas changed.", &Fleet::changes},
      {"larder_coherence_dropped_total", "Copies dropped because of it.", &Fleet::dropped},
      {"larder_coherence_confirmed_total", "Suspect copies that proved true.", &Fleet::confirmed},
      {"larder_coherence_refuted_total", "Suspect copies that went.", &Fleet::refuted},
      {"larder_coherence_served_suspect_total", "Suspect copies served because nothing could tell.",
       &Fleet::served_suspect},
      {"larder_fleet_leases_granted_total", "Leases of the fleet that this replica got.",
       &Fleet::leases_granted},
      {"larder_fleet_leases_refused_total", "Leases that another replica held.",
       &Fleet::leases_refused},
      {"larder_fleet_leases_lost_total", "Leases lost before they were given back.",
       &Fleet::leases_lost},
      {"larder_fleet_leases_without_total", "Loads begun without a lease of the fleet.",
       &Fleet::leases_without},
  };
}

// Of bytes or of entries, whichever is scarcer. Without room nothing is said to be full: 0.
double UsedRatio(const v1::JournalStats& journal, const JournalRoom& room) {
  if (room.bytes_max == 0 || room.entries_max == 0) return 0;
  const auto part = [](uint64_t used, uint64_t most) {
    return static_cast<double>(used) / static_cast<double>(most);
  };
  return std::max(part(journal.bytes() + journal.letter_bytes(), room.bytes_max),
                  part(journal.depth() + journal.dead_letters(), room.entries_max));
}

void WriteJournalTypes(const v1::JournalStats& journal, Exposition* out) {
  using Type = v1::JournalTypeStats;
  std::vector<MetricRow<Type>> rows;
  for (const Type& type : journal.types()) rows.push_back({{{"type", type.type()}}, &type});
  WriteColumns<Type>(
      {
          {"larder_journal_writes", "Writes that the origin does not have yet.", &Type::depth},
          {"larder_journal_writes_bytes", "Bytes of their keys and values.", &Type::bytes},
          {"larder_journal_taken_total", "Writes that were taken.", &Type::enqueued},
          {"larder_journal_coalesced_total",
           "Writes never delivered, because a newer one of their key was there.", &Type::coalesced},
          {"larder_journal_delivered_total", "Writes that the origin has.", &Type::delivered},
          {"larder_journal_retried_total", "Attempts to deliver a write that were not the last.",
           &Type::retried},
          {"larder_journal_dead_total", "Writes that became dead letters.", &Type::dead},
          {"larder_journal_refused_total", "Writes for which there was no room.", &Type::refused},
      },
      rows, out);
  if (rows.empty()) return;
  out->Gauge("larder_journal_oldest_age_seconds", "Age of the oldest write that waits.");
  for (const auto& [labels, type] : rows) out->Add(labels, SecondsOf(type->oldest_age()));
}

}  // namespace

void WriteTiers(const v1::StatsResponse& stats, Exposition* out) {
  using Tier = v1::TierStats;
  std::vector<MetricRow<Tier>> rows;
  for (const Tier& tier : stats.tiers()) rows.push_back({{{"tier", TierName(tier.tier())}}, &tier});
  out->Gauge("larder_tier_info", "Always 1; says what implements the tier.");
  for (const auto& [labels, tier] : rows)
    out->Add({{"tier", TierName(tier->tier())}, {"kind", tier->kind()}}, uint64_t{1});
  out->Gauge("larder_tier_up", "1 while nothing is wrong with the tier.");
  for (const auto& [labels, tier] : rows) out->Add(labels, Flag(tier->state() == "ok"));
  WriteColumns<Tier>(
      {
          {"larder_tier_hits_total", "Reads that the tier answered with a value.", &Tier::hits},
          {"larder_tier_misses_total", "Reads that it answered with a miss.", &Tier::misses},
          {"larder_tier_errors_total", "Calls of it that failed, timeouts included.",
           &Tier::errors},
          {"larder_tier_timeouts_total", "Calls that ran into the time limit.", &Tier::timeouts},
          {"larder_tier_retries_total", "Calls that were repeated.", &Tier::retries},
          {"larder_tier_rejected_total",
           "Calls refused at once: the breaker was open, or too many were under way.",
           &Tier::rejected},
          {"larder_tier_damaged_total", "Entries that could not be read.", &Tier::damaged},
          {"larder_tier_outdated_total", "Changes that came late: something newer was there.",
           &Tier::outdated},
          {"larder_tier_skipped_total", "Entries not worth their room.", &Tier::skipped},
          {"larder_tier_evictions_total", "Entries that left to make room.", &Tier::evictions},
          {"larder_tier_full_total", "Changes that it refused because it was full.", &Tier::full},
          {"larder_tier_entries", "Entries held; an estimate below memory.", &Tier::entries},
          {"larder_tier_bytes", "Bytes held.", &Tier::bytes},
          {"larder_tier_max_bytes", "Bytes that it may hold; 0 is no limit.", &Tier::bytes_max},
          {"larder_tier_memory_bytes", "Memory of the process that it takes.", &Tier::memory_bytes},
          {"larder_tier_owed_keys", "Keys of which it holds an older entry, which is not served.",
           &Tier::owed},
          {"larder_tier_owed_writes_total", "Writes that it did not take, or may have lost.",
           &Tier::owed_total},
          {"larder_tier_settled_writes_total", "Those of the writes that were made good.",
           &Tier::settled},
          {"larder_tier_outdated_reads_total",
           "Entries found in it that a newer write of the key has not reached.",
           &Tier::outdated_reads},
      },
      rows, out);
  WriteBreakers(stats, out);
  if (stats.has_warm()) WriteWarm(stats.warm(), out);
}

void WriteOrigins(const v1::StatsResponse& stats, Exposition* out) {
  using Origin = v1::OriginStats;
  std::vector<MetricRow<Origin>> rows;
  for (const Origin& origin : stats.origins())
    rows.push_back({{{"origin", origin.name()}}, &origin});
  if (rows.empty()) return;
  out->Gauge("larder_origin_up", "1 while nothing is wrong with the origin.");
  for (const auto& [labels, origin] : rows) out->Add(labels, Flag(origin->state() == "ok"));
  WriteColumns<Origin>(
      {
          {"larder_origin_load_calls_total", "Calls that load, retries included.",
           &Origin::load_calls},
          {"larder_origin_load_items_total", "Keys that they asked for.", &Origin::load_items},
          {"larder_origin_store_calls_total", "Calls that write, retries included.",
           &Origin::store_calls},
          {"larder_origin_store_items_total", "Writes in them.", &Origin::store_items},
          {"larder_origin_scan_calls_total", "Calls that list keys.", &Origin::scan_calls},
          {"larder_origin_errors_total", "Calls that failed as a whole.", &Origin::errors},
          {"larder_origin_item_errors_total", "Keys and writes that failed in calls that did not.",
           &Origin::item_errors},
          {"larder_origin_bad_answers_total", "Answers that made no sense.", &Origin::bad_answers},
          {"larder_origin_timeouts_total", "Calls that ran into their time limit.",
           &Origin::timeouts},
          {"larder_origin_retries_total", "Calls that were repeated.", &Origin::retries},
          {"larder_origin_refused_total",
           "Calls refused at once: the breaker was open, or too many were waiting.",
           &Origin::refused},
          {"larder_origin_connections", "Open connections, where they are counted.",
           &Origin::connections},
          {"larder_origin_calls", "Calls under way.", &Origin::under_way},
          {"larder_origin_queued", "Calls that wait for their turn.", &Origin::queued},
      },
      rows, out);
}

void WriteBus(const v1::StatsResponse& stats, Exposition* out) {
  WriteRules(stats.rules(), out);
  WriteWatch(stats.watch(), out);
  if (!stats.has_fleet()) return;
  const v1::FleetStats& fleet = stats.fleet();
  WriteOne("larder_bus_up", "1 while this replica follows what others change.",
           Flag(fleet.state() == "following"), out);
  WriteOne("larder_bus_replicas", "Other replicas that are alive.", uint64_t{fleet.replicas()},
           out);
  WriteOne("larder_bus_suspect", "1 while copies in memory are checked before they are served.",
           Flag(fleet.suspect()), out);
  WriteOne("larder_bus_lag_seconds",
           "From the sending of a message to its effect here, of the last one.",
           SecondsOf(fleet.lag()), out);
  WriteOne("larder_bus_lag_p99_seconds", "The same: 99% were faster.", SecondsOf(fleet.lag_p99()),
           out);
  WriteColumns<v1::FleetStats>(BusColumns(), {{{}, &fleet}}, out);
}

void WriteJournal(const v1::StatsResponse& stats, const JournalRoom& room, Exposition* out) {
  if (!stats.has_journal()) return;
  const v1::JournalStats& journal = stats.journal();
  using Journal = v1::JournalStats;
  WriteOne("larder_journal_up", "1 while the journal takes writes.", Flag(journal.state() == "ok"),
           out);
  WriteColumns<Journal>(
      {
          {"larder_journal_dead_letters", "Writes that an origin refused for good, kept.",
           &Journal::dead_letters},
          {"larder_journal_dead_letters_bytes", "Bytes of their keys and values.",
           &Journal::letter_bytes},
          {"larder_journal_disk_bytes", "Bytes that the journal takes on disk.",
           &Journal::bytes_on_disk},
          {"larder_journal_index_bytes", "Memory for what waits.", &Journal::index_bytes},
          {"larder_journal_syncs_total", "Batches that were made durable.", &Journal::syncs},
          {"larder_journal_sync_failures_total", "Batches that the disk did not take.",
           &Journal::failures},
      },
      {{{}, &journal}}, out);
  WriteOne("larder_journal_used_ratio",
           "The part of the journal's room that writes and dead letters take, 0 to 1.",
           UsedRatio(journal, room), out);
  WriteOne("larder_journal_damage_total", "Times that the journal on disk was found damaged.",
           uint64_t{journal.damage().events()}, out);
  WriteOne("larder_journal_records_lost_total", "Writes and dead letters known to be gone.",
           uint64_t{journal.damage().records_lost()}, out);
  WriteOne("larder_journal_paused_origins", "Origins to which delivery is paused.",
           static_cast<uint64_t>(journal.paused_size()), out);
  WriteJournalTypes(journal, out);
}

}  // namespace larder
