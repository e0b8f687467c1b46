// A journal over a disk in memory, on a clock and an executor that the test drives.
// Thread safety: none.

#ifndef LARDER_TESTS_JOURNAL_JOURNAL_RIG_H_
#define LARDER_TESTS_JOURNAL_JOURNAL_RIG_H_

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/random.h"
#include "core/error.h"
#include "core/key.h"
#include "journal/journal.h"
#include "tests/base/await_task.h"
#include "tests/journal/fake_sink.h"
#include "tests/journal/memory_store.h"

namespace larder {

inline constexpr MonoNanos kNoDeadline = std::numeric_limits<MonoNanos>::max();

inline std::string Full(std::string_view key, std::string_view name_space = "") {
  return std::string(FullKey(name_space, key).view());
}

inline JournalRecord WriteOf(std::string_view key, Version version, std::string_view value = "v",
                             std::string_view type = "t") {
  JournalRecord record;
  record.full_key = Full(key);
  record.type = type;
  record.version = version;
  record.value = value;
  return record;
}

inline std::string ReasonOf(const absl::Status& status) { return DetailsOf(status).reason; }

// What a task has answered, if it has.
template <typename T>
class Pending {
 public:
  explicit Pending(Task<T> task) : answer_(std::make_shared<std::optional<T>>()) {
    Spawn(std::move(task), [answer = answer_](T value) { answer->emplace(std::move(value)); });
  }
  bool done() const { return answer_->has_value(); }
  const T& operator*() const { return **answer_; }
  const T* operator->() const { return &**answer_; }

 private:
  std::shared_ptr<std::optional<T>> answer_;
};

class JournalRig {
 public:
  explicit JournalRig(uint64_t seed = 1)
      : executor_(&clock_, seed), random_(seed), sink_(&executor_) {
    Journal::Type type;
    type.name = "t";
    type.origin = "db";
    type.policy.mode = WriteMode::kBehind;
    options_.types.push_back(type);
    options_.clock = &clock_;
    options_.random = &random_;
    options_.executor = &executor_;
  }
  ~JournalRig() { Close(); }

  WritePolicy& policy(size_t type = 0) { return options_.types[type].policy; }
  // Another one like the first.
  WritePolicy& AddType(std::string_view name, std::string_view origin) {
    Journal::Type type = options_.types.front();
    type.name = name;
    type.origin = origin;
    options_.types.push_back(type);
    return options_.types.back().policy;
  }

  void Open(bool start = true) {
    auto journal =
        Journal::New(options_, std::make_unique<MemoryStore>(&disk_), &executor_, &executor_);
    ASSERT_TRUE(journal.ok()) << journal.status();
    journal_ = *std::move(journal);
    if (start) journal_->Start(&sink_);
  }
  // True: nothing was left.
  bool Close() {
    if (journal_ == nullptr) return true;
    executor_.RunReady();
    const bool empty = journal_->Stop(0);
    executor_.RunReady();
    journal_.reset();
    return empty;
  }

  absl::Status Append(std::vector<JournalRecord> writes, MonoNanos deadline = kNoDeadline) {
    return Await(journal_->Append(std::move(writes), deadline));
  }
  absl::Status Append(JournalRecord write, MonoNanos deadline = kNoDeadline) {
    std::vector<JournalRecord> writes;
    writes.push_back(std::move(write));
    return Append(std::move(writes), deadline);
  }
  Pending<absl::Status> Begin(JournalRecord write, MonoNanos deadline = kNoDeadline) {
    std::vector<JournalRecord> writes;
    writes.push_back(std::move(write));
    return Pending<absl::Status>(journal_->Append(std::move(writes), deadline));
  }
  template <typename T>
  T Await(Task<T> task) {
    return AwaitTask(std::move(task), [this] { return executor_.RunOne(); });
  }
  std::optional<JournalRecord> Find(std::string_view key) {
    auto found = Await(journal_->Find(Full(key)));
    EXPECT_TRUE(found.ok()) << found.status();
    return *found;
  }
  void Advance(absl::Duration by) { executor_.Advance(by); }
  JournalTypeStats StatsOf(size_t type = 0) { return journal_->Stats().types[type]; }
  MonoNanos In(absl::Duration time) const { return MonoAfter(clock_.Mono(), time); }

  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom random_;
  MemoryDisk disk_;
  FakeSink sink_;
  Journal::Options options_;
  std::unique_ptr<Journal> journal_;
};

class JournalTest : public testing::Test, public JournalRig {};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_JOURNAL_RIG_H_
