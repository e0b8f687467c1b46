// A JournalStore in memory, with the faults of a disk. What it holds belongs to a MemoryDisk, which
// a test keeps over restarts. Thread safety: any method, any thread.

#ifndef LARDER_TESTS_JOURNAL_MEMORY_STORE_H_
#define LARDER_TESTS_JOURNAL_MEMORY_STORE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "journal/journal_store.h"

namespace larder {

struct MemoryDisk {
  enum class Fault { kNone, kLost, kKept, kRefused };

  size_t records() const {
    MutexLock lock(&mu);
    return content.size();
  }
  size_t dead() const {
    MutexLock lock(&mu);
    return buried.size();
  }
  // The next write fails; kKept: it is on disk all the same; kRefused: it was not even tried.
  // Nothing heals until Repair.
  void Break(Fault how) {
    MutexLock lock(&mu);
    fault = how;
    heals = false;
  }
  void Repair() {
    MutexLock lock(&mu);
    heals = true;
  }

  // Over all that follows; a test looks at it between its steps without.
  mutable Mutex mu;
  std::map<uint64_t, JournalRecord> content;
  std::map<uint64_t, DeadLetter> buried;
  uint64_t last = 0;
  Fault fault = Fault::kNone;
  bool heals = true;
  bool ill = false;
  bool is_short = false;  // while ill: what appends nothing is taken
  uint64_t applied = 0;
  uint64_t synced = 0;
  std::vector<uint64_t> unreadable;
  // Called before and after a write takes effect, without the lock: what else happens meanwhile.
  std::function<void()> meanwhile;
};

class MemoryStore : public JournalStore {
 public:
  explicit MemoryStore(MemoryDisk* disk) : disk_(disk) {}

  absl::Status Scan(const std::function<void(Head)>& record,
                    const std::function<void(DeadLetter, uint64_t value_bytes)>& letter) override {
    MutexLock lock(&disk_->mu);
    for (const auto& [seq, held] : disk_->content) {
      Head head{held, held.value.size()};
      head.record.value.clear();
      record(std::move(head));
    }
    for (const auto& [id, held] : disk_->buried) {
      DeadLetter head = held;
      head.record.value.clear();
      letter(std::move(head), held.record.value.size());
    }
    return absl::OkStatus();
  }

  uint64_t last_seq() const override {
    MutexLock lock(&disk_->mu);
    return disk_->last;
  }

  absl::Status Apply(const Changes& changes, bool sync) override {
    if (disk_->meanwhile) disk_->meanwhile();
    bool failed = false;
    {
      MutexLock lock(&disk_->mu);
      const bool may_erase = disk_->is_short && changes.append.empty();
      if (disk_->ill && !may_erase) return absl::UnavailableError("the disk is ill");
      for (const JournalRecord& record : changes.append) {
        if (record.seq == 0 || disk_->content.contains(record.seq))
          return absl::InvalidArgumentError("a number that is none, or there already");
      }
      const MemoryDisk::Fault fault = std::exchange(disk_->fault, MemoryDisk::Fault::kNone);
      failed = fault != MemoryDisk::Fault::kNone;
      disk_->ill = disk_->ill || failed;
      if (fault == MemoryDisk::Fault::kRefused) return absl::UnavailableError("the disk is full");
      if (fault != MemoryDisk::Fault::kLost) Take(changes);
      ++disk_->applied;
      disk_->synced += sync ? 1 : 0;
    }
    if (disk_->meanwhile) disk_->meanwhile();
    return failed ? absl::UnknownError("the disk failed") : absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::optional<JournalRecord>>> Read(
      const std::vector<uint64_t>& seqs) const override {
    MutexLock lock(&disk_->mu);
    std::vector<std::optional<JournalRecord>> records;
    for (const uint64_t seq : seqs) {
      if (std::count(disk_->unreadable.begin(), disk_->unreadable.end(), seq) > 0) {
        return absl::DataLossError("a damaged record");
      }
      const auto it = disk_->content.find(seq);
      records.push_back(it == disk_->content.end() ? std::nullopt : std::optional(it->second));
    }
    return records;
  }
  absl::StatusOr<std::vector<std::optional<DeadLetter>>> ReadLetters(
      const std::vector<uint64_t>& ids) const override {
    MutexLock lock(&disk_->mu);
    std::vector<std::optional<DeadLetter>> letters;
    for (const uint64_t id : ids) {
      const auto it = disk_->buried.find(id);
      letters.push_back(it == disk_->buried.end() ? std::nullopt : std::optional(it->second));
    }
    return letters;
  }

  absl::Status Health() const override {
    MutexLock lock(&disk_->mu);
    return disk_->ill ? absl::UnavailableError("the disk is ill") : absl::OkStatus();
  }
  absl::Status Heal() override {
    MutexLock lock(&disk_->mu);
    if (disk_->heals) disk_->ill = false;
    return disk_->ill ? absl::UnavailableError("the disk is still ill") : absl::OkStatus();
  }
  JournalDamage Damage() const override { return {}; }
  uint64_t bytes_on_disk() const override { return 0; }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  void Take(const Changes& changes) {
    for (const JournalRecord& record : changes.append) {
      disk_->content[record.seq] = record;
      disk_->last = std::max(disk_->last, record.seq);
    }
    for (const uint64_t seq : changes.erase) disk_->content.erase(seq);
    for (const DeadLetter& letter : changes.bury) {
      // One that is there already is passed over.
      disk_->buried.emplace(letter.id, letter);
      disk_->last = std::max(disk_->last, letter.id);
    }
    for (const uint64_t id : changes.drop_letters) disk_->buried.erase(id);
  }

  MemoryDisk* const disk_;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_MEMORY_STORE_H_
