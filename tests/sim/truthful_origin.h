// An origin whose every value is a number that was counted up, so that "older" can be read off it:
// a load brings what was true when it began. Takes its time, fails at times, and notices two loads
// of one key at a time. Thread safety: any method, any thread, if its random is.

#ifndef LARDER_TESTS_SIM_TRUTHFUL_ORIGIN_H_
#define LARDER_TESTS_SIM_TRUTHFUL_ORIGIN_H_

#include <array>
#include <atomic>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/race.h"
#include "base/random.h"
#include "engine/engine.h"

namespace larder {

inline constexpr size_t kTruths = 4;

// What is true of each key, and what was acknowledged to whoever changed it. 0: it is not there.
struct Truth {
  std::array<std::atomic<int64_t>, kTruths> number = {};
  std::array<std::atomic<int64_t>, kTruths> acknowledged = {};
};
inline std::string TruthKey(size_t key) { return "user:" + std::to_string(key); }

class TruthfulOrigin : public Origin {
 public:
  static constexpr int kTakesMost = 3;    // ms
  static constexpr int kFreshMost = 20;   // ms
  static constexpr int kFailsOneIn = 16;  // calls

  TruthfulOrigin(Truth* truth, Executor* executor, Random* random)
      : truth_(truth), executor_(executor), random_(random) {}

  Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load, MonoNanos) override {
    std::vector<size_t> keys;
    std::vector<int64_t> numbers;
    for (const OriginLoad::Item& item : load.items) {
      const size_t key = std::stoul(item.key.substr(item.key.find(':') + 1));
      if (++loading_[key] > 1) ++loaded_twice_;
      keys.push_back(key);
      numbers.push_back(truth_->number[key]);
    }
    loads_ += static_cast<int>(keys.size());
    const bool fails = random_->Next() % kFailsOneIn == 0;
    const uint64_t takes = random_->Next() % (kTakesMost + 1);
    if (takes > 0) co_await Pause(executor_, absl::Milliseconds(takes));
    for (const size_t key : keys) --loading_[key];
    if (fails) co_return absl::UnavailableError("unwell");
    std::vector<OriginLoaded> answers;
    for (size_t i = 0; i < keys.size(); ++i) {
      OriginLoaded answer;
      answer.ttl = absl::Milliseconds(1 + random_->Next() % kFreshMost);
      answer.validator = "v" + std::to_string(numbers[i]);
      if (numbers[i] == 0) {
        answer.kind = OriginLoaded::Kind::kAbsent;
      } else if (answer.validator == load.items[i].validator) {
        answer.kind = OriginLoaded::Kind::kUnchanged;
      } else {
        answer.kind = OriginLoaded::Kind::kFound;
        answer.value = std::to_string(numbers[i]);
      }
      answers.push_back(std::move(answer));
    }
    co_return answers;
  }
  Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore, MonoNanos) override {
    co_return absl::UnimplementedError("not in this test");
  }
  Task<absl::StatusOr<OriginPage>> Scan(OriginScan, MonoNanos) override {
    co_return absl::UnimplementedError("not in this test");
  }
  OriginStats Stats() const override { return {}; }

  int loads() const { return loads_; }
  int loaded_twice() const { return loaded_twice_; }

 private:
  Truth* const truth_;
  Executor* const executor_;
  Random* const random_;
  std::array<std::atomic<int>, kTruths> loading_ = {};
  std::atomic<int> loads_{0};
  std::atomic<int> loaded_twice_{0};
};

// The type of the keys: everything that starts loads, and short times.
inline TypePolicy TruthType() {
  TypePolicy type;
  type.name = "user";
  type.match.push_back(*Pattern::Parse("user:{id}"));
  type.origin = "truth";
  type.ttl.base = absl::Milliseconds(10);
  type.ttl.jitter = 0;
  type.ttl.absent = absl::Milliseconds(5);
  type.freshness.refresh_ahead = 0.7;
  type.freshness.stale_while_revalidate = absl::Milliseconds(5);
  type.freshness.stale_if_error = absl::Milliseconds(30);
  type.freshness.soft_timeout = absl::Milliseconds(2);
  type.freshness.error_pause = absl::Milliseconds(1);
  return type;
}

// Why the answer to a read that began at `began`, when `floor` was acknowledged, must not be; empty
// when it may.
inline std::string WhyNot(const ReadResult& read, int64_t floor, MonoNanos began, MonoNanos now) {
  if (!read.entry.has_value()) {
    return read.miss == MissReason::kNegative && floor > 0 ? "it is said not to be there" : "";
  }
  const Entry& entry = *read.entry;
  if (std::stoll(std::string(entry.stored())) < floor) return "it is older than what was changed";
  const auto ms = [](MonoNanos time) { return std::to_string(time / 1'000'000); };
  const int64_t fresh = absl::ToInt64Nanoseconds(absl::Milliseconds(TruthfulOrigin::kFreshMost));
  const int64_t stale = absl::ToInt64Nanoseconds(absl::Milliseconds(30));
  if (!read.stale && entry.fresh_until < began) return "fresh, " + ms(began) + " is past its time";
  if (entry.fresh_until > now + fresh) return "it is to be fresh for too long";
  // Landings reach those who waited, whatever has passed since.
  if (read.from == ReadResult::From::kMemory && entry.fresh_until + stale < began)
    return "too stale to be served";
  return "";
}

}  // namespace larder

#endif  // LARDER_TESTS_SIM_TRUTHFUL_ORIGIN_H_
