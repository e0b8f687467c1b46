// One call of a Delivery, from the records on disk to what becomes of each write.

#include <optional>
#include <utility>

#include "base/log.h"
#include "base/utf8.h"
#include "core/error.h"
#include "core/key.h"
#include "journal/delivery.h"

namespace larder {
namespace {

// Before records are read again that could not be.
constexpr absl::Duration kReadPause = absl::Milliseconds(100);
// Between tries of an origin that takes nothing of a type, and nothing else either.
constexpr absl::Duration kUnfitPause = absl::Seconds(1);

}  // namespace

Task<bool> Delivery::Deliver([[maybe_unused]] std::shared_ptr<void> alive, size_t origin,
                             Call call) {
  co_await Hop(reader_);
  Records records;
  if (!Read(origin, &call, &records)) co_return false;
  co_await Hop(state_->options.executor);

  JournalDelivery delivery;
  absl::Duration timeout;
  {
    MutexLock lock(&state_->mu);
    const PendingType& type = state_->index.type(call.type);
    delivery.origin = state_->index.origin_name(origin);
    delivery.name_space = call.name_space;
    delivery.type = type.name;
    timeout = type.policy.timeout;
  }
  // A copy: what is refused becomes a dead letter with its value.
  delivery.writes = records;
  const MonoNanos began = state_->options.clock->Mono();
  const Answer answer =
      co_await state_->sink.load()->Deliver(std::move(delivery), MonoAfter(began, timeout));
  Conclude(origin, call, &records, began, answer);
  co_return true;
}

bool Delivery::Read(size_t origin, Call* call, Records* records) {
  std::vector<uint64_t> seqs;
  seqs.reserve(call->writes.size());
  for (const PendingIndex::Taken& taken : call->writes) seqs.push_back(taken.seq);
  auto found = state_->store->Read(seqs);
  if (!found.ok()) {
    LogWarning("journal_read_failed", {{"error", found.status()}, {"writes", seqs.size()}});
    OnReadError(origin, *call, found.status());
    return false;
  }
  records->reserve(seqs.size());
  std::vector<PendingIndex::Taken> writes;
  uint64_t lost = 0;
  {
    MutexLock lock(&state_->mu);
    std::vector<uint64_t> erase;
    for (size_t i = 0; i < seqs.size(); ++i) {
      if ((*found)[i].has_value()) {
        writes.push_back(call->writes[i]);
        records->push_back(*std::move((*found)[i]));
        records->back().put_back = records->back().put_back || call->writes[i].put_back;
      } else if (!state_->index.Vanished(call->writes[i].key, &erase)) {
        ++lost;
      }
    }
    call->writes = std::move(writes);
    state_->missing += lost;
    writer_->EraseLocked(erase);
    state_->Publish();
    if (call->writes.empty()) EndLocked(origin, *call);
  }
  if (lost > 0) LogError("journal_records_missing", {{"writes", lost}});
  if (!call->writes.empty()) return true;
  Look();
  return false;
}

void Delivery::OnReadError(size_t origin, const Call& call, const absl::Status& error) {
  {
    MutexLock lock(&state_->mu);
    EndLocked(origin, call);
    const MonoNanos now = state_->options.clock->Mono();
    std::vector<uint64_t> erase;
    if (!absl::IsDataLoss(error)) {
      state_->index.Return(call, &erase);
      Lane& lane = lanes_[origin];
      lane.away_until = std::max(lane.away_until, MonoAfter(now, kReadPause));
    } else if (call.writes.size() == 1) {
      // Nothing is known of it that could be buried. It waits until the store has been healed.
      state_->index.Delay(call.writes.front().key, now, &erase);
    } else {
      for (const PendingIndex::Taken& taken : call.writes) state_->index.GoAlone(taken.key, &erase);
    }
    writer_->EraseLocked(erase);
    state_->Publish();
  }
  writer_->CheckHealth();
  Look();
}

void Delivery::EndLocked(size_t origin, const Call& call) {
  Lane& lane = lanes_[origin];
  --calls_;
  --lane.calls;
  lane.lone -= call.alone ? 1 : 0;
}

void Delivery::Conclude(size_t origin, const Call& call, Records* records, MonoNanos began,
                        const Answer& answer) {
  struct Done {
    const JournalRecord* record;
    absl::Duration waited;
  };
  std::vector<Done> done;
  bool went_away = false, is_back = false;
  absl::Status unfit;
  std::string type;
  {
    MutexLock lock(&state_->mu);
    Lane& lane = lanes_[origin];
    EndLocked(origin, call);
    const MonoNanos now = state_->options.clock->Mono();
    const absl::Status& said = answer.status();
    if (!absl::IsUnavailable(said) && !absl::IsDeadlineExceeded(said)) lane.answered = now;
    if (!answer.ok()) {
      went_away = OnErrorLocked(origin, call, records, began, answer.status());
    } else if (answer->size() != call.writes.size()) {
      OnErrorLocked(origin, call, records, began,
                    absl::InternalError(StrCat("the origin answered ", answer->size(), " of ",
                                               call.writes.size(), " writes")));
    } else {
      is_back = lane.failures > 0;
      lane.failures = 0;
      lane.away_until = 0;
      JournalFigures& figures = state_->FiguresOf(call.type);
      std::vector<uint64_t> erase;
      for (size_t i = 0; i < call.writes.size(); ++i) {
        const JournalDelivered& one = (*answer)[i];
        if (one.kind != JournalDelivered::Kind::kDone) {
          const bool refused = one.kind == JournalDelivered::Kind::kReject;
          FailLocked(origin, call, i, &(*records)[i], refused, one.error);
          continue;
        }
        lane.took = now;
        lane.away_until = 0;
        unfit_.erase(call.type);
        const MonoNanos since = state_->index.Done(call.writes[i].key, &erase);
        const absl::Duration waited = absl::Nanoseconds(now - since);
        figures.lag.Record(waited);
        ++figures.delivered;
        done.push_back({&(*records)[i], waited});
      }
      writer_->EraseLocked(erase);
    }
    unfit = std::exchange(unfit_told_, absl::OkStatus());
    if (!unfit.ok()) type = state_->index.type(call.type).name;
    state_->Publish();
  }
  if (!unfit.ok()) {
    LogWarning("journal_type_not_taken",
               {{"origin", OriginName(origin)}, {"type", type}, {"error", unfit}});
  }
  if (went_away) {
    LogWarning("journal_origin_away", {{"origin", OriginName(origin)}, {"error", answer.status()}});
  }
  if (is_back) LogInfo("journal_origin_back", {{"origin", OriginName(origin)}});
  JournalSink* const sink = state_->sink.load();
  for (const Done& one : done) sink->OnDelivered(*one.record, one.waited);
  Look();
}

bool Delivery::OnErrorLocked(size_t origin, const Call& call, Records* records, MonoNanos began,
                             const absl::Status& error) {
  if (absl::IsUnavailable(error)) {
    std::vector<uint64_t> erase;
    state_->index.Return(call, &erase);
    writer_->EraseLocked(erase);
    return PauseLaneLocked(origin, call, began, error);
  }
  std::vector<uint64_t> erase;
  if (call.writes.size() == 1 && absl::IsDeadlineExceeded(error) &&
      IsSilentLocked(origin, call.writes.front().key, began)) {
    // In a pause of its own: it may be the cause, and is not to be the next one that is tried.
    state_->index.Delay(call.writes.front().key, state_->options.clock->Mono(), &erase);
    writer_->EraseLocked(erase);
    return PauseLaneLocked(origin, call, began, error);
  }
  if (call.writes.size() > 1) {
    for (const PendingIndex::Taken& taken : call.writes) {
      ++state_->FiguresOf(call.type).retried;
      state_->index.NoteError(taken.key, error.ToString());
      state_->index.GoAlone(taken.key, &erase);
    }
  } else {
    FailLocked(origin, call, 0, records->data(), /*refused=*/false, error);
  }
  writer_->EraseLocked(erase);
  return false;
}

std::string Delivery::OriginName(size_t origin) const {
  MutexLock lock(&state_->mu);
  return state_->index.origin_name(origin);
}

bool Delivery::IsSilentLocked(size_t origin, PendingKey* key, MonoNanos began) {
  return lanes_[origin].answered < state_->index.NoteSilent(key, began);
}

bool Delivery::PauseLaneLocked(size_t origin, const Call& call, MonoNanos began,
                               const absl::Status& error) {
  Lane& lane = lanes_[origin];
  // Calls that had begun before the first of them failed say nothing new.
  if (lane.failures > 0 && began < lane.away_since) return false;
  const bool first = lane.failures == 0;
  lane.failures = std::min(lane.failures + 1, 1'000);
  lane.away_error = CleanUtf8(error.ToString(), PendingIndex::kErrorBytesMax);
  lane.away_since = state_->options.clock->Mono();
  const Backoff& backoff = state_->index.type(call.type).policy.backoff;
  lane.away_until =
      MonoAfter(lane.away_since, backoff.Pause(lane.failures, state_->options.random));
  return first;
}

bool Delivery::IsUnfitLocked(size_t origin, PendingTypeId type, const std::string& full_key,
                             const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      break;
    default:
      return false;
  }
  std::set<std::string>& unfit = unfit_[type];
  if (unfit.size() < kUnfitKeys) {
    unfit.insert(full_key);
    if (unfit.size() < kUnfitKeys) return false;
    unfit_told_ = error;
  }
  // Where it takes other types, these are not held up, or not for long.
  Lane& lane = lanes_[origin];
  const MonoNanos now = state_->options.clock->Mono();
  if (lane.took < 0 || MonoAfter(lane.took, kUnfitPause) < now)
    lane.away_until = std::max(lane.away_until, MonoAfter(now, kUnfitPause));
  return true;
}

void Delivery::FailLocked(size_t origin, const Call& call, size_t i, JournalRecord* record,
                          bool refused, const absl::Status& error) {
  PendingKey* const key = call.writes[i].key;
  const absl::Time wall = state_->options.clock->Now();
  std::vector<uint64_t> erase;
  JournalFigures& figures = state_->FiguresOf(call.type);
  state_->index.NoteError(key, error.ToString());
  if (!refused && IsUnfitLocked(origin, call.type, record->full_key, error)) {
    ++figures.retried;
    state_->index.Delay(key, state_->options.clock->Mono(), &erase);
    writer_->EraseLocked(erase);
    return;
  }
  if (!state_->index.Retry(key, refused, state_->options.clock->Mono(), wall, &erase)) {
    ++figures.retried;
    writer_->EraseLocked(erase);
    return;
  }
  const PendingIndex::History history = state_->index.HistoryOf(key);
  JournalBurial burial;
  burial.key = key;
  burial.type = call.type;
  burial.letter.record = std::move(*record);
  burial.letter.error = error.ToString();
  burial.letter.attempts = history.attempts;
  burial.letter.first_attempt = history.first;
  burial.letter.last_attempt = history.last;
  writer_->BuryLocked(std::move(burial));
}

}  // namespace larder
