// An origin for the tests of the journal: it keeps the newest version of each key, as a version
// guard does, notes what came, and fails as it is told to. Thread safety: any method, any thread.

#ifndef LARDER_TESTS_JOURNAL_FAKE_SINK_H_
#define LARDER_TESTS_JOURNAL_FAKE_SINK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/task.h"
#include "journal/journal.h"

namespace larder {

class FakeSink : public JournalSink {
 public:
  struct Row {
    Version version = kNoVersion;
    std::string value;
    bool removed = false;
  };
  // What one call does before it is applied or afterwards.
  struct Fate {
    absl::Duration takes;
    absl::Status error;
    bool applied_all_the_same = false;
  };
  using Answers = absl::StatusOr<std::vector<JournalDelivered>>;

  explicit FakeSink(Executor* executor) : executor_(executor) {}

  Task<Answers> Deliver(JournalDelivery delivery, MonoNanos /*deadline*/) override {
    Fate fate;
    {
      MutexLock lock(&mu_);
      if (of_call) fate = of_call(delivery);
      sizes.push_back(delivery.writes.size());
      calls.push_back(delivery);
      ++under_way;
      most_under_way = std::max(most_under_way, under_way);
      for (const JournalRecord& write : delivery.writes) {
        if (++flying[write.full_key] > 1) ++overlaps;
      }
    }
    if (fate.takes > absl::ZeroDuration()) co_await Pause(executor_, fate.takes);
    co_return Finish(delivery, fate);
  }

  void OnDelivered(const JournalRecord& write, absl::Duration waited) override {
    MutexLock lock(&mu_);
    delivered.emplace_back(write.full_key, write.version);
    waits.push_back(waited);
  }
  void OnDead(const DeadLetter& letter) override {
    MutexLock lock(&mu_);
    dead.push_back(letter);
  }
  void OnFound(const JournalRecord& write) override {
    MutexLock lock(&mu_);
    found.emplace_back(write.full_key, write.version);
  }

  Row row(const std::string& full_key) const {
    MutexLock lock(&mu_);
    const auto it = rows.find(full_key);
    return it == rows.end() ? Row() : it->second;
  }
  size_t call_count() const {
    MutexLock lock(&mu_);
    return calls.size();
  }
  void Clear() {
    MutexLock lock(&mu_);
    calls.clear();
    sizes.clear();
    delivered.clear();
  }

  // Both under the lock; set before anything is delivered.
  std::function<Fate(const JournalDelivery&)> of_call;
  std::function<JournalDelivered(const JournalRecord&)> of_write;

  mutable Mutex mu_;
  std::map<std::string, Row> rows;
  // Versions in the order in which they took effect.
  std::map<std::string, std::vector<Version>> effects;
  std::vector<JournalDelivery> calls;
  std::vector<size_t> sizes;
  std::vector<std::pair<std::string, Version>> delivered;
  std::vector<absl::Duration> waits;
  std::vector<DeadLetter> dead;
  std::vector<std::pair<std::string, Version>> found;
  std::map<std::string, int> flying;
  int overlaps = 0;  // calls with a key that another call had at the time
  size_t under_way = 0;
  size_t most_under_way = 0;

 private:
  Answers Finish(const JournalDelivery& delivery, const Fate& fate) {
    MutexLock lock(&mu_);
    --under_way;
    std::vector<JournalDelivered> answers;
    for (const JournalRecord& write : delivery.writes) {
      --flying[write.full_key];
      JournalDelivered answer{.kind = JournalDelivered::Kind::kDone};
      if (of_write) answer = of_write(write);
      const bool applies = fate.error.ok() || fate.applied_all_the_same;
      if (applies && answer.kind == JournalDelivered::Kind::kDone) Take(write);
      answers.push_back(std::move(answer));
    }
    if (!fate.error.ok()) return fate.error;
    return answers;
  }

  void Take(const JournalRecord& write) {
    Row& row = rows[write.full_key];
    if (row.version >= write.version) return;
    row = {write.version, write.value, write.remove};
    effects[write.full_key].push_back(write.version);
  }

  Executor* const executor_;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_FAKE_SINK_H_
