// A journal in memory that delivers when the test says so: what the engine needs of journal.h and
// nothing else of it. Runs on the test's executor. Thread safety: none.

#ifndef LARDER_TESTS_ENGINE_FAKE_JOURNAL_H_
#define LARDER_TESTS_ENGINE_FAKE_JOURNAL_H_

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/race.h"
#include "core/key.h"
#include "journal/journal.h"

namespace larder {

class FakeJournal : public Journal {
 public:
  FakeJournal(Clock* clock, Executor* executor) : clock_(clock), executor_(executor) {}

  // What waits, by key.
  std::map<std::string, JournalRecord, std::less<>> waiting;
  // Not OK: what appends and finds answer.
  absl::Status append_failure, find_failure;
  // How long an append takes.
  absl::Duration takes = absl::ZeroDuration();
  // And how long it takes from there to the answer.
  absl::Duration answers_after = absl::ZeroDuration();
  int appends = 0;
  // By which origin writes are delivered.
  std::string origin = "shop";

  // Delivers what waits. What the sink does not do stays, or is dead when it was refused.
  Task<bool> Deliver() {
    std::map<std::string, JournalRecord, std::less<>> now = waiting;
    for (const auto& [full_key, record] : now) {
      JournalDelivery delivery{
          origin, std::string(FullKey::NamespaceOf(full_key)), record.type, {record}};
      const absl::StatusOr<std::vector<JournalDelivered>> delivered =
          co_await sink_->Deliver(std::move(delivery), INT64_MAX);
      if (!delivered.ok() || (*delivered)[0].kind == JournalDelivered::Kind::kRetry) continue;
      const auto at = waiting.find(full_key);
      if (at != waiting.end() && at->second.version == record.version) waiting.erase(at);
      if ((*delivered)[0].kind == JournalDelivered::Kind::kDone) {
        sink_->OnDelivered(record, clock_->Now() - record.enqueued);
      } else {
        DeadLetter letter;
        letter.record = record;
        sink_->OnDead(letter);
      }
    }
    co_return true;
  }

  // The disk had failed with it, and has it after all.
  void TurnUp(JournalRecord record) {
    waiting[record.full_key] = record;
    sink_->OnFound(record);
  }

  void Start(JournalSink* sink) override { sink_ = sink; }
  bool Stop(MonoNanos) override { return waiting.empty(); }
  Task<absl::Status> Append(std::vector<JournalRecord> writes, MonoNanos) override {
    ++appends;
    const absl::Status failed = append_failure;
    if (takes > absl::ZeroDuration()) co_await larder::Pause(executor_, takes);
    if (!failed.ok()) co_return failed;
    for (JournalRecord& record : writes) {
      record.enqueued = clock_->Now();
      JournalRecord& there = waiting[record.full_key];
      if (record.version > there.version) there = std::move(record);
    }
    if (answers_after > absl::ZeroDuration()) co_await larder::Pause(executor_, answers_after);
    co_return absl::OkStatus();
  }
  bool Has(std::string_view full_key) const override { return waiting.contains(full_key); }
  Version VersionOf(std::string_view full_key) const override {
    const auto at = waiting.find(full_key);
    return at == waiting.end() ? kNoVersion : at->second.version;
  }
  Task<absl::StatusOr<std::optional<JournalRecord>>> Find(std::string full_key) override {
    if (!find_failure.ok()) co_return find_failure;
    const auto at = waiting.find(full_key);
    if (at == waiting.end()) co_return std::optional<JournalRecord>();
    co_return std::optional<JournalRecord>(at->second);
  }
  void Supersede(std::string_view full_key, std::string_view type, Version upto) override {
    const auto at = waiting.find(full_key);
    if (at == waiting.end() || at->second.type != type) return;
    if (at->second.version <= upto) waiting.erase(at);
  }
  Version newest() const override {
    Version newest = kNoVersion;
    for (const auto& [full_key, record] : waiting) newest = std::max(newest, record.version);
    return newest;
  }
  Task<absl::StatusOr<JournalFlushed>> Flush(std::string, MonoNanos, Cancellation*) override {
    co_return JournalFlushed();
  }
  std::optional<JournalTry> TryOf(std::string_view, std::string_view) const override {
    return std::nullopt;
  }
  absl::StatusOr<uint64_t> Pause(std::string_view) override { return waiting.size(); }
  absl::StatusOr<uint64_t> Resume(std::string_view) override { return waiting.size(); }
  Task<absl::StatusOr<LetterPage>> Letters(LetterFilter, uint64_t, size_t, bool) override {
    co_return LetterPage();
  }
  Task<absl::StatusOr<uint64_t>> RetryLetters(LetterFilter) override { co_return 0; }
  Task<absl::StatusOr<uint64_t>> DropLetters(LetterFilter) override { co_return 0; }
  absl::Status Health() const override { return append_failure; }
  JournalStats Stats() const override {
    JournalStats stats;
    stats.depth = waiting.size();
    return stats;
  }

 private:
  Clock* const clock_;
  Executor* const executor_;
  JournalSink* sink_ = nullptr;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_FAKE_JOURNAL_H_
