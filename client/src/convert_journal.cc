#include <utility>

#include "client/src/checks.h"
#include "client/src/convert.h"
#include "client/src/time.h"

namespace larder::internal {
namespace {

using internal::From;  // the overloads below would hide the others

JournalTypeStats From(const v1::JournalTypeStats& proto) {
  JournalTypeStats stats;
  stats.type = proto.type();
  stats.depth = proto.depth();
  stats.bytes = proto.bytes();
  stats.oldest_age = FromProto(proto.oldest_age());
  stats.enqueued = proto.enqueued();
  stats.coalesced = proto.coalesced();
  stats.delivered = proto.delivered();
  stats.retried = proto.retried();
  stats.dead = proto.dead();
  stats.refused = proto.refused();
  const v1::LatencyStats& lag = proto.lag();
  stats.lag = {lag.count(),          FromProto(lag.p50()),  FromProto(lag.p90()),
               FromProto(lag.p99()), FromProto(lag.p999()), FromProto(lag.max())};
  return stats;
}

DeadLetter From(const v1::DeadLetter& proto) {
  DeadLetter letter;
  letter.id = proto.id();
  letter.ns = proto.namespace_();
  letter.key = proto.key();
  letter.type = proto.type();
  letter.version = proto.version();
  letter.error = proto.error();
  letter.attempts = proto.attempts();
  if (proto.has_written()) letter.written = FromProto(proto.written());
  if (proto.has_first_attempt()) letter.first_attempt = FromProto(proto.first_attempt());
  if (proto.has_last_attempt()) letter.last_attempt = FromProto(proto.last_attempt());
  letter.value_bytes = proto.value_bytes();
  letter.deletion = proto.deletion();
  letter.request_id = proto.request_id();
  return letter;
}

}  // namespace

JournalStats From(const v1::JournalStats& proto) {
  JournalStats stats;
  stats.depth = proto.depth();
  stats.bytes = proto.bytes();
  stats.oldest_age = FromProto(proto.oldest_age());
  stats.dead_letters = proto.dead_letters();
  stats.letter_bytes = proto.letter_bytes();
  stats.bytes_on_disk = proto.bytes_on_disk();
  stats.index_bytes = proto.index_bytes();
  stats.syncs = proto.syncs();
  stats.failures = proto.failures();
  stats.state = proto.state();
  if (proto.has_damage()) {
    const v1::JournalDamage& damage = proto.damage();
    stats.damage =
        JournalDamage{damage.events(), damage.records_lost(), damage.last(), damage.set_aside()};
  }
  stats.paused.assign(proto.paused().begin(), proto.paused().end());
  for (const auto& type : proto.types()) stats.types.push_back(From(type));
  return stats;
}

absl::StatusOr<FlushResult> From(v1::FlushJournalResponse* response) {
  return FlushResult{response->delivered(), response->dead()};
}

absl::StatusOr<DeliveryResult> From(v1::PauseDeliveryResponse* response) {
  return DeliveryResult{response->depth()};
}

absl::StatusOr<DeliveryResult> From(v1::ResumeDeliveryResponse* response) {
  return DeliveryResult{response->depth()};
}

absl::StatusOr<DeadLetterPage> From(v1::ListDeadLettersResponse* response) {
  DeadLetterPage page;
  for (const auto& letter : response->letters()) page.letters.push_back(From(letter));
  page.next_page_token = response->next_page_token();
  page.total = response->total();
  return page;
}

absl::StatusOr<DeadLetterCount> From(v1::RetryDeadLettersResponse* response) {
  return DeadLetterCount{response->retried()};
}

absl::StatusOr<DeadLetterCount> From(v1::DropDeadLettersResponse* response) {
  return DeadLetterCount{response->dropped()};
}

ExportedLetter From(v1::ExportDeadLettersResponse* response) {
  return {From(response->letter()), std::move(*response->mutable_value())};
}

absl::Status To(const DeadLetterFilter& filter, v1::DeadLetterFilter* proto) {
  absl::Status status = CheckUtf8("REQUEST_INVALID", "filter.ids", filter.ids);
  status.Update(CheckNamespace("filter.namespace", filter.ns));
  status.Update(CheckUtf8("TYPE_UNKNOWN", "filter.type", filter.type));
  status.Update(CheckUtf8("KEY_INVALID", "filter.key_prefix", filter.key_prefix));
  proto->mutable_ids()->Assign(filter.ids.begin(), filter.ids.end());
  proto->set_namespace_(filter.ns);
  proto->set_type(filter.type);
  proto->set_key_prefix(filter.key_prefix);
  return status;
}

}  // namespace larder::internal
