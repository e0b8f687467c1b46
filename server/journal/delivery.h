// Delivery takes what is due from the index to the origins: a bounded number of calls to each at a
// time, each of at most a batch of one type's writes.
//   done      erased
//   retry     again after a pause that grows; the other keys go on
//   reject    a dead letter; also what was tried as often as it may be
//   no answer the origin is away (UNAVAILABLE): nothing goes there for a pause that grows; any
//             other error may be the fault of one of the writes: each goes alone next time. When
//             the time of a lone write is over (DEADLINE_EXCEEDED) and the origin said nothing to
//             others either, it is away, too
// What a missing table or a lost right answers may be meant for one write, and then attempts are
// counted. When kUnfitKeys keys of a type were answered so since it took one, it is the origin that
// cannot take the type: no attempts are counted until it does again.
// Thread safety: any method, any thread. Only Stop blocks. Errors: those of Flush, Pause, Resume.

#ifndef LARDER_JOURNAL_DELIVERY_H_
#define LARDER_JOURNAL_DELIVERY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "journal/journal_state.h"
#include "journal/journal_writer.h"

namespace larder {

class Delivery {
 public:
  // All outlive it. Records are read on a thread of `reader`.
  Delivery(JournalState* state, JournalWriter* writer, Executor* reader);

  // `alive` is held by the calls under way.
  void Start(std::weak_ptr<void> alive);
  // Something may be due, or have left, that was not before.
  void Look();

  // See Journal. Flush knows the type.
  Task<absl::StatusOr<JournalFlushed>> Flush(PendingTypeId type, MonoNanos deadline,
                                             Cancellation* cancellation);
  std::optional<JournalTry> TryOf(std::string_view full_key, std::string_view type) const;
  absl::StatusOr<uint64_t> SetPaused(std::string_view origin, bool paused);
  std::vector<std::string> paused() const;

  // Delivers everything that can be until then, and begins nothing any more. Waits for the calls
  // under way, at most `grace`: each of them ends at its own deadline. Blocks.
  void Stop(MonoNanos deliver_until, absl::Duration grace);

 private:
  // What is known of an origin.
  struct Lane {
    bool paused = false;
    size_t calls = 0;  // under way
    size_t lone = 0;   // of them, of one write that goes alone
    // It is away, since and until then.
    int failures = 0;
    MonoNanos away_since = 0;
    MonoNanos away_until = 0;
    std::string away_error;  // while failures > 0
    // When it last said anything at all to a call, and took a write; negative: never.
    MonoNanos answered = -1;
    MonoNanos took = -1;
    bool looking = false;  // a look is on its way
    // The timer that is set.
    TimerId timer = 0;
    MonoNanos timer_due = kMonoNever;
  };
  static constexpr size_t kUnfitKeys = 8;
  using Call = PendingIndex::Call;
  using Records = std::vector<JournalRecord>;
  using Answer = absl::StatusOr<std::vector<JournalDelivered>>;
  using Flushes = std::vector<std::shared_ptr<Race<absl::Status>>>;

  bool MayCallLocked(const Lane& lane, MonoNanos now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  bool MayGoAloneLocked(const Lane& lane) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // When the next call may begin of what is in line, after now; kMonoNever: never.
  MonoNanos NextLookLocked(size_t origin, MonoNanos now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void LookAt(size_t origin);
  void SetTimer(size_t origin, MonoNanos due);
  void OnTimer(size_t origin, MonoNanos due);

  Task<bool> Deliver(std::shared_ptr<void> alive, size_t origin, Call call);
  // The records of the call, with their values. What is not to be found leaves the call. False: the
  // call is over.
  bool Read(size_t origin, Call* call, Records* records);
  void OnReadError(size_t origin, const Call& call, const absl::Status& error);
  void Conclude(size_t origin, const Call& call, Records* records, MonoNanos began,
                const Answer& answer);
  // True: the origin is away, and was not before.
  bool OnErrorLocked(size_t origin, const Call& call, Records* records, MonoNanos began,
                     const absl::Status& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // True: the lane was not paused before.
  bool PauseLaneLocked(size_t origin, const Call& call, MonoNanos began, const absl::Status& error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // Whether the origin has said nothing to any call since before the write was last tried.
  bool IsSilentLocked(size_t origin, PendingKey* key, MonoNanos began)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void FailLocked(size_t origin, const Call& call, size_t i, JournalRecord* record, bool refused,
                  const absl::Status& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // Notes the answer, and says whether the origin cannot take the type.
  bool IsUnfitLocked(size_t origin, PendingTypeId type, const std::string& full_key,
                     const absl::Status& error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void EndLocked(size_t origin, const Call& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  std::string OriginName(size_t origin) const;
  // Whether what a flush of the type waits for is held up by a pause.
  bool HeldUpLocked(PendingTypeId type) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  bool IdleLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);

  JournalState* const state_;
  JournalWriter* const writer_;
  Executor* const reader_;
  std::weak_ptr<void> alive_;

  std::vector<Lane> lanes_ ABSL_GUARDED_BY(state_->mu);
  // Keys of a type, kUnfitKeys at most, that were answered that the origin cannot take them, since
  // it took one.
  std::map<PendingTypeId, std::set<std::string>> unfit_ ABSL_GUARDED_BY(state_->mu);
  // What a type that has just become unfit was answered, to be written down.
  absl::Status unfit_told_ ABSL_GUARDED_BY(state_->mu);
  bool started_ ABSL_GUARDED_BY(state_->mu) = false;
  bool stopped_ ABSL_GUARDED_BY(state_->mu) = false;
  size_t calls_ ABSL_GUARDED_BY(state_->mu) = 0;
  // Callers that wait for a barrier.
  std::map<std::shared_ptr<PendingBarrier>, std::shared_ptr<Race<absl::Status>>> flushes_
      ABSL_GUARDED_BY(state_->mu);
  CondVar changed_;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_DELIVERY_H_
