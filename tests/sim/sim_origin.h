// The origin of a simulated fleet, as one start of one replica sees it: it has the newest change of
// each key that has begun, and no key that was never changed; takes its time, and fails at times.
// Says who loads what, so that two loads of one key are noticed. Thread safety: none.

#ifndef LARDER_TESTS_SIM_SIM_ORIGIN_H_
#define LARDER_TESTS_SIM_SIM_ORIGIN_H_

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/race.h"
#include "base/random.h"
#include "origin/origin.h"

namespace larder {

class SimOrigin : public Origin {
 public:
  struct Hooks {
    // What the origin has now, as text, or empty when it has no such key; counts as the beginning
    // of a load that ends at `until` at the latest, and for how long the value will be fresh.
    std::function<std::string(const std::string& key, MonoNanos until)> begin;
    std::function<absl::Duration(const std::string& key, const std::string& value)> end;
    // The keys that it has now.
    std::function<std::vector<std::string>()> list;
  };
  struct Faults {
    bool fails = false;  // one call in six
    absl::Duration takes_most = absl::Milliseconds(30);
  };

  SimOrigin(const Clock* clock, Executor* executor, Random* random, Hooks hooks)
      : clock_(clock), executor_(executor), random_(random), hooks_(std::move(hooks)) {}

  void SetFaults(Faults faults) { faults_ = faults; }

  Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load,
                                                       MonoNanos deadline) override {
    std::vector<std::string> values;
    // A call lasts as long as the last of its keys has time; the others may be given up before, and
    // be asked for again.
    const MonoNanos until = load.items.size() == 1
                                ? deadline
                                : std::min(deadline, MonoAfter(clock_->Mono(), kKeyLeast));
    for (const OriginLoad::Item& item : load.items) values.push_back(hooks_.begin(item.key, until));
    const auto most = static_cast<uint64_t>(absl::ToInt64Milliseconds(faults_.takes_most));
    const bool fails = faults_.fails && random_->Next() % 6 == 0;
    co_await Pause(executor_, absl::Milliseconds(random_->Next() % (most + 1)));
    std::vector<OriginLoaded> answers;
    for (size_t i = 0; i < load.items.size(); ++i) {
      OriginLoaded answer;
      answer.ttl = hooks_.end(load.items[i].key, values[i]);
      answer.validator = "v" + values[i];
      const bool unchanged = answer.validator == load.items[i].validator;
      answer.kind = unchanged ? OriginLoaded::Kind::kUnchanged : OriginLoaded::Kind::kFound;
      if (!unchanged) answer.value = values[i];
      if (values[i].empty()) answer.kind = OriginLoaded::Kind::kAbsent;
      answers.push_back(std::move(answer));
    }
    if (fails) co_return absl::UnavailableError("unwell");
    co_return answers;
  }
  Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore, MonoNanos) override {
    co_return absl::UnimplementedError("not simulated");
  }
  // A key on each page.
  Task<absl::StatusOr<OriginPage>> Scan(OriginScan scan, MonoNanos) override {
    const auto most = static_cast<uint64_t>(absl::ToInt64Milliseconds(faults_.takes_most));
    co_await Pause(executor_, absl::Milliseconds(random_->Next() % (most + 1)));
    if (faults_.fails && random_->Next() % 6 == 0) co_return absl::UnavailableError("unwell");
    OriginPage page;
    for (const std::string& key : hooks_.list()) {
      if (key <= scan.cursor) continue;
      if (!page.items.empty()) {
        page.cursor = page.items[0].key;
        break;
      }
      page.items.emplace_back();
      page.items[0].key = key;
    }
    co_return page;
  }
  OriginStats Stats() const override { return {}; }

 private:
  static constexpr absl::Duration kKeyLeast = absl::Milliseconds(100);

  const Clock* const clock_;
  Executor* const executor_;
  Random* const random_;
  const Hooks hooks_;
  Faults faults_;
};

}  // namespace larder

#endif  // LARDER_TESTS_SIM_SIM_ORIGIN_H_
