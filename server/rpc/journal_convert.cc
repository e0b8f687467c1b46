#include "rpc/journal_convert.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "base/status.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "core/error.h"
#include "core/key.h"
#include "rpc/convert.h"

namespace larder {
namespace {

constexpr int kIdsMax = 1'000;

void FillType(const JournalTypeStats& stats, v1::JournalTypeStats* to) {
  to->set_type(stats.type);
  to->set_depth(stats.depth);
  to->set_bytes(stats.bytes);
  ToProto(stats.oldest_age, to->mutable_oldest_age());
  to->set_enqueued(stats.enqueued);
  to->set_coalesced(stats.coalesced);
  to->set_delivered(stats.delivered);
  to->set_retried(stats.retried);
  to->set_dead(stats.dead);
  to->set_refused(stats.refused);
  FillQuantiles(stats.lag, to->mutable_lag());
}

void FillDamage(const JournalDamage& damage, v1::JournalDamage* to) {
  to->set_events(damage.events);
  to->set_records_lost(damage.records_lost);
  to->set_last(damage.last);
  to->set_set_aside(damage.set_aside);
}

absl::StatusOr<uint64_t> IdFrom(const std::string& text, std::string_view field) {
  uint64_t id;
  const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
  if (digits && absl::SimpleAtoi(text, &id) && id > 0) return id;
  return FieldError(Reason::kREQUEST_INVALID, field, "it is no id of a dead letter");
}

}  // namespace

void FillQuantiles(const Histogram::Snapshot& snapshot, v1::LatencyStats* to) {
  to->set_count(snapshot.count);
  ToProto(snapshot.Quantile(0.5), to->mutable_p50());
  ToProto(snapshot.Quantile(0.9), to->mutable_p90());
  ToProto(snapshot.Quantile(0.99), to->mutable_p99());
  ToProto(snapshot.Quantile(0.999), to->mutable_p999());
  ToProto(absl::Nanoseconds(static_cast<int64_t>(snapshot.max_nanos)), to->mutable_max());
}

void FillJournal(JournalStats stats, v1::JournalStats* to) {
  to->set_depth(stats.depth);
  to->set_bytes(stats.bytes);
  ToProto(stats.oldest_age, to->mutable_oldest_age());
  to->set_dead_letters(stats.dead_letters);
  to->set_letter_bytes(stats.letter_bytes);
  to->set_bytes_on_disk(stats.bytes_on_disk);
  to->set_index_bytes(stats.index_bytes);
  to->set_syncs(stats.syncs);
  to->set_failures(stats.failures);
  to->set_state(stats.state);
  if (stats.damage.events > 0) FillDamage(stats.damage, to->mutable_damage());
  to->mutable_paused()->Assign(stats.paused.begin(), stats.paused.end());
  std::sort(stats.types.begin(), stats.types.end(),
            [](const JournalTypeStats& a, const JournalTypeStats& b) { return a.type < b.type; });
  for (const JournalTypeStats& type : stats.types) FillType(type, to->add_types());
}

void FillLetter(const LetterPage::Item& item, v1::DeadLetter* to) {
  const DeadLetter& letter = item.letter;
  const JournalRecord& record = letter.record;
  to->set_id(StrCat(letter.id));
  to->set_namespace_(std::string(FullKey::NamespaceOf(record.full_key)));
  to->set_key(std::string(FullKey::KeyOf(record.full_key)));
  to->set_type(record.type);
  to->set_version(record.version);
  to->set_error(CleanUtf8(letter.error));
  to->set_attempts(letter.attempts);
  ToProto(letter.first_attempt, to->mutable_first_attempt());
  ToProto(letter.last_attempt, to->mutable_last_attempt());
  to->set_value_bytes(item.value_bytes);
  to->set_deletion(record.remove);
  ToProto(record.enqueued, to->mutable_written());
  to->set_request_id(record.request_id);
}

std::string_view WriteModeName(WriteMode mode) {
  switch (mode) {
    case WriteMode::kCacheOnly:
      return "cache_only";
    case WriteMode::kThrough:
      return "through";
    case WriteMode::kInvalidate:
      return "invalidate";
    case WriteMode::kAround:
      return "around";
    case WriteMode::kBehind:
      break;
  }
  return "behind";
}

absl::StatusOr<LetterFilter> FilterFrom(const v1::DeadLetterFilter& filter) {
  if (filter.ids_size() > kIdsMax) {
    return FieldError(Reason::kREQUEST_INVALID, "filter.ids",
                      StrCat(filter.ids_size(), " ids; at most ", kIdsMax));
  }
  if (absl::Status status = CheckNamespace(filter.namespace_()); !status.ok())
    return WithFieldPrefix(status, "filter.");
  if (filter.key_prefix().size() > kKeyBytesMax) {
    return FieldError(
        Reason::kREQUEST_INVALID, "filter.key_prefix",
        StrCat("key_prefix is ", filter.key_prefix().size(), " bytes; at most ", kKeyBytesMax));
  }
  LetterFilter found;
  for (int i = 0; i < filter.ids_size(); ++i) {
    ASSIGN_OR_RETURN(const uint64_t id, IdFrom(filter.ids(i), StrCat("filter.ids[", i, "]")));
    found.ids.push_back(id);
  }
  found.name_space = filter.namespace_();
  found.type = filter.type();
  found.key_prefix = filter.key_prefix();
  return found;
}

absl::StatusOr<uint64_t> PageTokenFrom(const std::string& token) {
  if (token.empty()) return 0;
  return IdFrom(token, "page_token");
}

}  // namespace larder
