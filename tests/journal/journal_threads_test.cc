// A journal on a real disk with real threads, for what threads do to each other.

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/base/threads.h"
#include "tests/journal/journal_rig.h"
#include "tests/journal/store_rig.h"

namespace larder {
namespace {

constexpr int kAppenders = 8;
constexpr int kAppends = 150;

class JournalThreadsTest : public testing::Test {
 protected:
  JournalThreadsTest() : pool_(ThreadPool::New({.threads = 4})), sink_(pool_.get()) {
    Journal::Type type;
    type.name = "t";
    type.origin = "db";
    type.policy.mode = WriteMode::kBehind;
    type.policy.delay = absl::Milliseconds(5);
    type.policy.batch = 20;
    type.policy.attempts = 1'000;
    type.policy.backoff = {absl::Milliseconds(1), absl::Milliseconds(20)};
    options_.types.push_back(type);
    options_.store.path = folder_.path();
    options_.executor = pool_.get();
    sink_.of_call = [this](const JournalDelivery&) { return NextFate(); };
    sink_.of_write = [this](const JournalRecord&) {
      const bool fails = ++writes_ % 17 == 0;
      return JournalDelivered{
          fails ? JournalDelivered::Kind::kRetry : JournalDelivered::Kind::kDone, {}};
    };
  }
  ~JournalThreadsTest() override {
    journal_.reset();
    pool_->Shutdown();
  }

  void Open() {
    auto journal = Journal::Open(options_);
    ASSERT_TRUE(journal.ok()) << journal.status();
    journal_ = *std::move(journal);
  }
  MonoNanos In(absl::Duration time) { return MonoAfter(Clock::System()->Mono(), time); }

  // One appender's part: keys of its own and one that all share.
  void AppendAll(int number) {
    for (int i = 0; i < kAppends; ++i) {
      const Version version = ++version_;
      const std::string own = "own" + std::to_string(number) + "." + std::to_string(i % 10);
      const std::string key = i % 3 == 0 ? "shared" : own;
      std::vector<JournalRecord> writes;
      writes.push_back(WriteOf(key, version, std::to_string(version)));
      const absl::Status status =
          AwaitTask(journal_->Append(std::move(writes), In(absl::Seconds(30))));
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_TRUE(journal_->VersionOf(Full(key)) >= version ||
                  sink_.row(Full(key)).version >= version);
      MutexLock lock(&mu_);
      Version& newest = acknowledged_[Full(key)];
      newest = std::max(newest, version);
    }
  }

  void Look() {
    while (!over_) {
      const auto found = AwaitTask(journal_->Find(Full("shared")));
      ASSERT_TRUE(found.ok()) << found.status();
      if (found->has_value()) {
        EXPECT_EQ((*found)->value, std::to_string((*found)->version));
      }
      journal_->Has(Full("own1.1"));
      const JournalStats stats = journal_->Stats();
      EXPECT_LE(stats.types[0].delivered, stats.types[0].enqueued);
      journal_->Supersede(Full("own2.2"), "t", 1);
    }
  }

  JournalFolder folder_;
  std::unique_ptr<ThreadPool> pool_;
  FakeSink sink_;
  Journal::Options options_;
  std::unique_ptr<Journal> journal_;
  std::atomic<Version> version_{0};
  std::atomic<bool> over_{false};
  Mutex mu_;
  std::map<std::string, Version> acknowledged_ ABSL_GUARDED_BY(mu_);

 private:
  FakeSink::Fate NextFate() {
    FakeSink::Fate fate;
    const int call = ++calls_;
    if (call % 5 == 0) fate.takes = absl::Milliseconds(2);
    if (call % 11 == 0) fate.error = absl::UnavailableError("away");
    if (call % 13 == 0) {
      fate.error = absl::DeadlineExceededError("late");
      fate.applied_all_the_same = true;
    }
    return fate;
  }

  // Under the sink's lock.
  int calls_ = 0;
  int writes_ = 0;
};

TEST_F(JournalThreadsTest, EverythingAcknowledgedGetsToTheOrigin) {
  Open();
  journal_->Start(&sink_);
  Threads readers(2, [this](int number) {
    if (number == 0) {
      Look();
      return;
    }
    while (!over_) AwaitTask(journal_->Flush("", In(absl::Seconds(30)))).status().IgnoreError();
  });
  Threads appenders(kAppenders, [this](int number) { AppendAll(number); });
  appenders.Join();
  over_ = true;
  readers.Join();
  const auto flushed = AwaitTask(journal_->Flush("", In(absl::Seconds(25))));
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  {
    MutexLock lock(&mu_);
    for (const auto& [key, version] : acknowledged_) {
      EXPECT_EQ(sink_.row(key).version, version) << key;
    }
  }
  EXPECT_EQ(sink_.overlaps, 0);
  EXPECT_TRUE(journal_->Stop(In(absl::Seconds(20))));
}

TEST_F(JournalThreadsTest, WhatWasNotDeliveredIsThereAfterARestart) {
  Open();
  Threads appenders(kAppenders, [this](int number) { AppendAll(number); });
  appenders.Join();
  EXPECT_FALSE(journal_->Stop(0));
  journal_.reset();
  Open();
  const JournalStats stats = journal_->Stats();
  {
    MutexLock lock(&mu_);
    EXPECT_EQ(stats.depth, acknowledged_.size());
    for (const auto& [key, version] : acknowledged_) {
      EXPECT_EQ(journal_->VersionOf(key), version);
    }
  }
  journal_->Start(&sink_);
  const auto flushed = AwaitTask(journal_->Flush("", In(absl::Seconds(25))));
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  MutexLock lock(&mu_);
  for (const auto& [key, version] : acknowledged_)
    EXPECT_EQ(sink_.row(key).version, version) << key;
  EXPECT_TRUE(journal_->Stop(In(absl::Seconds(20))));
}

}  // namespace
}  // namespace larder
