// How a write is kept. The store has every record on disk, the index knows without their values
// which wait, the writer is the one thread that changes both, and the delivery takes what is due to
// the origins. This file joins them, and answers what others ask.
//
// Reads see what waits. A write is in the index before it is acknowledged, and leaves it when its
// origin has it. Between a look into the index and the read from the disk the record may have been
// replaced or delivered; so when it is not to be found, the index is asked again. It says the same
// only as long as a batch that replaces the record is on its way from the disk to the index, which
// takes microseconds. Types that are acknowledged from memory are found in a table of their own
// until they are on disk.
//
// The end. Stop first lets nothing more in, then waits for what is queued for the disk, then for
// deliveries, then for the erases that these have left, and closes the store last. Tasks hold on to
// the parts while they run, so that one that comes late finds them.

#include "journal/journal.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/log.h"
#include "base/race.h"
#include "base/status.h"
#include "core/error.h"
#include "core/key.h"
#include "journal/delivery.h"
#include "journal/journal_letters.h"
#include "journal/journal_state.h"
#include "journal/journal_writer.h"

namespace larder {
namespace {

// How often a record that is being replaced is looked for, and how long between.
constexpr int kFindTries = 500;
constexpr absl::Duration kFindPause = absl::Milliseconds(1);
// What Stop waits for, beyond what it was given: the disk, and calls that do not keep their
// deadline.
constexpr absl::Duration kDiskGrace = absl::Seconds(10);
constexpr absl::Duration kCallGrace = absl::Seconds(5);

// What tasks hold.
struct Parts {
  Parts(const Journal::Options& options, std::unique_ptr<JournalStore> store, Executor* write,
        Executor* read)
      : state(options, std::move(store)),
        writer(&state, write, [this] { delivery.Look(); }),
        delivery(&state, &writer, read),
        reader(read) {}

  JournalState state;
  JournalWriter writer;
  Delivery delivery;
  Executor* const reader;
};

using Found = absl::StatusOr<std::optional<JournalRecord>>;

Task<absl::Status> Append(std::shared_ptr<Parts> parts, std::vector<JournalRecord> writes,
                          MonoNanos deadline) {
  std::vector<PendingTypeId> types;
  types.reserve(writes.size());
  for (const JournalRecord& record : writes) types.push_back(parts->state.KnownType(record.type));
  if (std::find(types.begin(), types.end(), kNoPendingType) != types.end()) {
    co_return Error(Reason::kBUG, "a write of a type that does not write behind");
  }
  co_return co_await parts->writer.Append(std::move(writes), std::move(types), deadline);
}

// What is known of the key without the disk: nothing, the record, or its seq.
struct Known {
  std::shared_ptr<const JournalRecord> record;
  uint64_t seq = 0;
};
Known LookUp(const JournalState& state, const std::string& full_key)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.mu) {
  Known known;
  const auto newest = state.index.NewestOf(full_key);
  if (newest.has_value()) known.seq = newest->seq;
  std::shared_ptr<const JournalRecord> early = state.EarlyOf(full_key);
  if (early == nullptr) return known;
  if (!newest.has_value() || early->version >= newest->version) known.record = std::move(early);
  return known;
}

Task<Found> Find(std::shared_ptr<Parts> parts, std::string full_key) {
  JournalState& state = parts->state;
  for (int i = 0; i < kFindTries; ++i) {
    Known known;
    {
      MutexLock lock(&state.mu);
      known = LookUp(state, full_key);
    }
    if (known.record != nullptr) co_return std::optional<JournalRecord>(*known.record);
    if (known.seq == 0) co_return std::optional<JournalRecord>();
    co_await Hop(parts->reader);
    if (state.IsClosed()) break;
    auto records = state.store->Read({known.seq});
    co_await Hop(state.options.executor);
    // A store that is opened again cannot be read for some milliseconds.
    const bool again =
        records.ok() || (absl::IsUnavailable(records.status()) && i < kFindTries / 2);
    if (!again) co_return records.status();
    if (records.ok() && records->front().has_value()) co_return std::move(records->front());
    if (i > 0) co_await Pause(state.options.executor, kFindPause);
  }
  co_return RetryableError(Reason::kJOURNAL_UNAVAILABLE, absl::Seconds(1),
                           "the journal does not find a record that it should have");
}

Task<absl::StatusOr<JournalFlushed>> Flush(std::shared_ptr<Parts> parts, std::string type,
                                           MonoNanos deadline, Cancellation* cancellation) {
  PendingTypeId id = kNoPendingType;
  {
    MutexLock lock(&parts->state.mu);
    if (!type.empty()) id = parts->state.index.TypeOf(type);
  }
  if (!type.empty() && id == kNoPendingType) {
    co_return FieldError(Reason::kTYPE_UNKNOWN, "type",
                         StrCat("no type \"", type, "\" writes behind"));
  }
  co_return co_await parts->delivery.Flush(id, deadline, cancellation);
}

class JournalImpl : public Journal {
 public:
  JournalImpl(const Options& options, std::unique_ptr<JournalStore> store, Executor* writer,
              Executor* reader) {
    if (writer == nullptr)
      own_writer_ = ThreadPool::New({.threads = 1, .queue_max = 1, .name = "journal-write"});
    if (reader == nullptr)
      own_reader_ = ThreadPool::New({.threads = 2, .queue_max = 1, .name = "journal-read"});
    parts_ = std::make_shared<Parts>(options, std::move(store),
                                     writer == nullptr ? own_writer_.get() : writer,
                                     reader == nullptr ? own_reader_.get() : reader);
    parts_->writer.Start(parts_);
  }
  ~JournalImpl() override {
    if (!stopped_) JournalImpl::Stop(0);
  }

  absl::Status Load() { return parts_->writer.Load(); }

  void Start(JournalSink* sink) override {
    parts_->state.sink = sink;
    parts_->delivery.Start(parts_);
    parts_->writer.TellOfLettersLater();
  }
  bool Stop(MonoNanos deliver_until) override;

  Task<absl::Status> Append(std::vector<JournalRecord> writes, MonoNanos deadline) override {
    return larder::Append(parts_, std::move(writes), deadline);
  }
  bool Has(std::string_view full_key) const override { return VersionOf(full_key) != kNoVersion; }
  Version VersionOf(std::string_view full_key) const override;
  Task<Found> Find(std::string full_key) override {
    return larder::Find(parts_, std::move(full_key));
  }
  void Supersede(std::string_view full_key, std::string_view type, Version upto) override;
  Version newest() const override { return parts_->state.newest; }

  Task<absl::StatusOr<JournalFlushed>> Flush(std::string type, MonoNanos deadline,
                                             Cancellation* cancellation) override {
    return larder::Flush(parts_, std::move(type), deadline, cancellation);
  }
  std::optional<JournalTry> TryOf(std::string_view full_key, std::string_view type) const override {
    return parts_->delivery.TryOf(full_key, type);
  }
  absl::StatusOr<uint64_t> Pause(std::string_view origin) override {
    return parts_->delivery.SetPaused(origin, true);
  }
  absl::StatusOr<uint64_t> Resume(std::string_view origin) override {
    return parts_->delivery.SetPaused(origin, false);
  }

  Task<absl::StatusOr<LetterPage>> Letters(LetterFilter filter, uint64_t after, size_t limit,
                                           bool with_values) override {
    return ListLetters(LettersNeed(), std::move(filter), after, limit, with_values);
  }
  Task<absl::StatusOr<uint64_t>> RetryLetters(LetterFilter filter) override {
    return larder::RetryLetters(LettersNeed(), std::move(filter));
  }
  Task<absl::StatusOr<uint64_t>> DropLetters(LetterFilter filter) override {
    return larder::DropLetters(LettersNeed(), std::move(filter));
  }

  absl::Status Health() const override {
    MutexLock lock(&parts_->state.mu);
    return parts_->state.trouble;
  }
  JournalStats Stats() const override;

 private:
  JournalLetters LettersNeed() const {
    return {.alive = parts_,
            .state = &parts_->state,
            .writer = &parts_->writer,
            .reader = parts_->reader};
  }

  std::unique_ptr<ThreadPool> own_writer_;
  std::unique_ptr<ThreadPool> own_reader_;
  std::shared_ptr<Parts> parts_;
  std::atomic<bool> stopped_ = false;
  // Only so that nobody who looks at the store meets its closing.
  mutable Mutex store_mu_;
  bool closed_ ABSL_GUARDED_BY(store_mu_) = false;
};

bool JournalImpl::Stop(MonoNanos deliver_until) {
  stopped_ = true;
  JournalState& state = parts_->state;
  absl::Duration timeout;
  {
    MutexLock lock(&state.mu);
    state.draining = true;
    for (const Journal::Type& type : state.options.types) {
      timeout = std::max(timeout, type.policy.timeout);
    }
  }
  parts_->writer.RefuseWaiting(
      Error(Reason::kDRAINING, "the server is shutting down and takes no more writes"));
  parts_->writer.Drain(kDiskGrace);
  parts_->delivery.Stop(deliver_until, timeout + kCallGrace);
  parts_->writer.Drain(kDiskGrace);
  parts_->writer.Stop();
  {
    // Reads that begin after this find it set; those that have begun are waited for.
    MutexLock lock(&state.mu);
    state.closed = true;
  }
  if (own_writer_ != nullptr) own_writer_->Shutdown();
  if (own_reader_ != nullptr) own_reader_->Shutdown();
  {
    MutexLock lock(&store_mu_);
    closed_ = true;
  }
  const absl::Status closed = state.store->Close();
  MutexLock lock(&state.mu);
  const uint64_t left = state.index.depth();
  if (!closed.ok()) LogError("journal_close_failed", {{"error", closed}});
  LogInfo("journal_closed", {{"waiting", left}});
  return left == 0 && closed.ok();
}

Version JournalImpl::VersionOf(std::string_view full_key) const {
  const JournalState& state = parts_->state;
  if (state.Lacks(full_key)) return kNoVersion;
  MutexLock lock(&state.mu);
  Version version = kNoVersion;
  if (const auto newest = state.index.NewestOf(full_key)) version = newest->version;
  const std::shared_ptr<const JournalRecord> early = state.EarlyOf(full_key);
  return early == nullptr ? version : std::max(version, early->version);
}

void JournalImpl::Supersede(std::string_view full_key, std::string_view type, Version upto) {
  JournalState& state = parts_->state;
  if (state.Lacks(full_key)) return;
  {
    MutexLock lock(&state.mu);
    const PendingTypeId id = state.index.TypeOf(type);
    if (id == kNoPendingType) return;
    std::vector<uint64_t> erase;
    state.index.Supersede(full_key, id, upto, &erase);
    // What is on its way to the disk is superseded when it is there.
    if (const auto early = state.early.find(ToAbsl(full_key)); early != state.early.end()) {
      Version& version = early->second.superseded[id];
      version = std::max(version, upto);
    }
    parts_->writer.EraseLocked(erase);
    state.Publish();
  }
  parts_->delivery.Look();
}

JournalStats JournalImpl::Stats() const {
  const JournalState& state = parts_->state;
  JournalStats stats;
  const LetterTable::Sum letters = state.letters.sum();
  stats.dead_letters = letters.letters;
  stats.letter_bytes = letters.bytes;
  {
    MutexLock lock(&store_mu_);
    if (!closed_) {
      stats.bytes_on_disk = state.store->bytes_on_disk();
      stats.damage = state.store->Damage();
    }
  }
  stats.paused = parts_->delivery.paused();
  stats.index_bytes = state.letters.memory_bytes() + PendingFilter::kBytes;
  MutexLock lock(&state.mu);
  const MonoNanos now = state.options.clock->Mono();
  const auto age = [now](MonoNanos oldest) {
    return oldest == kMonoNever ? absl::ZeroDuration() : absl::Nanoseconds(now - oldest);
  };
  stats.depth = state.index.depth();
  stats.bytes = state.index.bytes();
  stats.oldest_age = age(state.index.oldest());
  stats.index_bytes += state.index.memory_bytes();
  stats.syncs = state.syncs;
  stats.failures = state.failures;
  stats.damage.records_lost += state.missing;
  stats.state = state.trouble.ok() ? "ok" : std::string(ToStd(state.trouble.message()));
  for (PendingTypeId id = 0; id < state.index.types(); ++id) {
    const PendingType& type = state.index.type(id);
    JournalTypeStats one;
    one.type = type.name;
    one.depth = type.depth;
    one.bytes = type.bytes;
    one.oldest_age = age(type.ages.oldest() == nullptr ? kMonoNever : type.ages.oldest()->since);
    if (id < state.figures.size()) {
      const JournalFigures& figures = *state.figures[id];
      one.enqueued = figures.enqueued;
      one.coalesced = figures.coalesced + type.overtaken;
      one.delivered = figures.delivered;
      one.retried = figures.retried;
      one.dead = figures.dead;
      one.refused = figures.refused;
      one.lag = figures.lag.Snap();
    }
    stats.types.push_back(std::move(one));
  }
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const Options& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<JournalStore> store, JournalStore::Open(options.store));
  return New(options, std::move(store));
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::New(const Options& options,
                                                      std::unique_ptr<JournalStore> store,
                                                      Executor* writer, Executor* reader) {
  auto journal = std::make_unique<JournalImpl>(options, std::move(store), writer, reader);
  RETURN_IF_ERROR(journal->Load());
  return std::unique_ptr<Journal>(std::move(journal));
}

}  // namespace larder
