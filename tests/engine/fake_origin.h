// An origin in memory whose behaviour the test decides: what it has, how long it takes, and what it
// answers instead. Counts what it is asked. Runs on the test's executor. Thread safety: none.

#ifndef LARDER_TESTS_ENGINE_FAKE_ORIGIN_H_
#define LARDER_TESTS_ENGINE_FAKE_ORIGIN_H_

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/race.h"
#include "origin/origin.h"

namespace larder {

class FakeOrigin : public Origin {
 public:
  struct Value {
    std::string value;
    std::string validator = {};
    std::optional<absl::Duration> ttl = std::nullopt;
  };

  explicit FakeOrigin(Executor* executor) : executor_(executor) {}

  // What it has, by key.
  std::map<std::string, Value> values;
  // How long a call takes.
  absl::Duration takes = absl::ZeroDuration();
  // Not OK: what calls fail with.
  absl::Status failure;
  // Items fail with these, by key.
  std::map<std::string, absl::Status> item_failures;

  // What it was asked.
  int loads = 0;
  int keys = 0;
  int under_way = 0;
  int under_way_most = 0;
  std::map<std::string, int> loads_of;
  std::vector<OriginLoad> asked;

  Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load, MonoNanos) override {
    ++loads;
    keys += static_cast<int>(load.items.size());
    under_way_most = std::max(under_way_most, ++under_way);
    for (const OriginLoad::Item& item : load.items) ++loads_of[item.key];
    asked.push_back(load);
    // What it is now, not what it is when the answer arrives.
    const absl::Status failed = failure;
    std::vector<OriginLoaded> answers;
    for (const OriginLoad::Item& item : load.items) answers.push_back(AnswerTo(item));
    if (takes > absl::ZeroDuration()) co_await Pause(executor_, takes);
    --under_way;
    if (!failed.ok()) co_return failed;
    co_return answers;
  }

  // What writes answer instead of being applied, by key.
  std::map<std::string, OriginStored> write_failures;
  // Not OK: what calls to write fail with, after they have been applied where `applies_anyway`.
  absl::Status store_failure;
  bool applies_anyway = false;
  // How long after a call begins its writes are applied; before `takes` is over.
  absl::Duration applies_after = absl::ZeroDuration();

  int stores = 0;
  int writes = 0;
  // Of the newest write of each key; an older one that comes later is not applied.
  std::map<std::string, Version> versions;
  std::vector<OriginStore> stored;

  Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore store, MonoNanos) override {
    ++stores;
    writes += static_cast<int>(store.writes.size());
    stored.push_back(store);
    const absl::Status failed = store_failure;
    if (applies_after > absl::ZeroDuration()) co_await Pause(executor_, applies_after);
    std::vector<OriginStored> answers;
    for (const OriginStore::Write& write : store.writes) {
      const auto refused = write_failures.find(write.key);
      if (refused != write_failures.end()) {
        answers.push_back(refused->second);
        continue;
      }
      answers.push_back({OriginStored::Kind::kDone, absl::OkStatus()});
      if (failed.ok() || applies_anyway) Apply(write);
    }
    if (takes > applies_after) co_await Pause(executor_, takes - applies_after);
    if (!failed.ok()) co_return failed;
    co_return answers;
  }

  Task<absl::StatusOr<OriginPage>> Scan(OriginScan scan, MonoNanos) override {
    ++scans;
    if (takes > absl::ZeroDuration()) co_await Pause(executor_, takes);
    if (!failure.ok()) co_return failure;
    OriginPage page;
    auto it = scan.cursor.empty() ? values.begin() : values.upper_bound(scan.cursor);
    for (; it != values.end() && page.items.size() < scan.limit; ++it) {
      OriginPage::Item item;
      item.key = it->first;
      item.loaded = AnswerTo({it->first});
      if (scan.keys_only) item.loaded.value.clear();
      page.items.push_back(std::move(item));
    }
    if (it != values.end()) page.cursor = page.items.back().key;
    if (scan.count_to > 0 && counts) page.total = values.size();
    co_return page;
  }
  int scans = 0;
  bool counts = true;

  OriginStats Stats() const override {
    OriginStats stats;
    stats.name = "fake";
    stats.state = "ok";
    stats.load_calls = static_cast<uint64_t>(loads);
    return stats;
  }

 private:
  void Apply(const OriginStore::Write& write) {
    Version& version = versions[write.key];
    if (write.version <= version) return;
    version = write.version;
    if (write.remove) {
      values.erase(write.key);
    } else {
      values[write.key] = {write.value};
    }
  }

  OriginLoaded AnswerTo(const OriginLoad::Item& item) const {
    OriginLoaded answer;
    const auto failed = item_failures.find(item.key);
    const auto it = values.find(item.key);
    if (failed != item_failures.end()) {
      answer.error = failed->second;
    } else if (it == values.end()) {
      answer.kind = OriginLoaded::Kind::kAbsent;
    } else if (!item.validator.empty() && item.validator == it->second.validator) {
      answer.kind = OriginLoaded::Kind::kUnchanged;
      answer.ttl = it->second.ttl;
    } else {
      answer.kind = OriginLoaded::Kind::kFound;
      answer.value = it->second.value;
      answer.validator = it->second.validator;
      answer.ttl = it->second.ttl;
    }
    return answer;
  }

  Executor* const executor_;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_FAKE_ORIGIN_H_
