// An hour of churn in an L1 of 512 MiB, on a clock that runs as fast as two threads can work:
// 36,000 ticks of a tenth of a second with 400 operations each, 14.4 million in all; after each
// tick comes a Sweep, as in larderd, and a look at the resident set.
//
// What breaks allocators is not churn but change: memory that was cut up for small values cannot
// hold large ones, and the other way round. So values are lognormal (from 1 byte to 1 MiB) around a
// median that changes every ten minutes between 60 and 8,000 bytes. Of the operations 70% are gets,
// which insert on a miss, 25% sets and 5% erases, of a million keys by Zipf 0.8; TTLs are 1 s to 2
// h, each magnitude as often as the next.
//
// Then the budget is halved under the same load, and must be reached. The allocator gives back what
// it no longer needs after some seconds of real time, so the load goes on for that long before the
// resident set is compared with the smaller budget.

#include "bench/memory/churn.h"

#include <algorithm>
#include <barrier>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "bench/memory/resident.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "bench/zipf.h"
#include "core/key.h"
#include "memory/l1.h"

namespace larder::bench {

namespace {

constexpr uint64_t kBudget = 512 << 20;
constexpr uint64_t kKeys = 1'000'000;
constexpr int kThreads = 2;
constexpr int kTicks = 36'000;
constexpr int kOpsPerTick = 400;
constexpr double kSettleSeconds = 15;
constexpr size_t kLargestValue = 1 << 20;
constexpr double kMedians[] = {100, 2'000, 300, 8'000, 1'000, 60};
constexpr int kTicksPerMedian = kTicks / static_cast<int>(std::size(kMedians));

class Churn {
 public:
  void Run() {
    std::vector<std::thread> threads;
    for (int i = 1; i < kThreads; ++i) threads.emplace_back([this, i] { Work(i); });
    Work(0);
    for (std::thread& thread : threads) thread.join();
    ReportAll();
  }

 private:
  // Makes the requests of one thread until all is over. Thread 0 does what is done once a tick.
  void Work(int thread) {
    QuickRandom random(static_cast<uint64_t>(thread) + 1);
    Entry entry;
    while (!over_) {
      for (int i = 0; i < kOpsPerTick / kThreads; ++i) Operate(random, &entry);
      operations_ended_.arrive_and_wait();
      if (thread == 0) EndTick();
      tick_ended_.arrive_and_wait();
    }
  }

  void Operate(QuickRandom& random, Entry* entry) {
    char key[kKeyBytes];
    WriteKey(zipf_.Next(random), key);
    const FullKey full("", {key, kKeyBytes});
    const MonoNanos now = clock_.Mono();
    const Version version = versions_.Next();
    const uint32_t what = random.Below(100);
    MissReason why;
    if (what < 5) {
      l1_->Erase(full.view(), version, now);
    } else if (what < 30 || !l1_->Find(full.view(), now, entry, &why)) {
      const std::string_view value(bytes_.data() + random.Below(1'024), Size(random));
      EntryFields fields = Fields(full.view(), value, version, now);
      const double seconds = std::pow(7'200, random.Unit());
      fields.fresh_until = now + static_cast<MonoNanos>(seconds * 1e9);
      fields.usable_until = fields.fresh_until;
      fields.type_id = random.Below(5);
      inserted_bytes_.fetch_add(value.size(), std::memory_order_relaxed);
      l1_->Insert(fields, Expect{}, now);
    }
  }

  size_t Size(QuickRandom& random) const {
    // Box and Muller's way to a normal distribution.
    const double normal = std::sqrt(-2 * std::log(1 - random.Unit())) *
                          std::cos(2 * 3.14159265358979 * random.Unit());
    const double median = kMedians[std::min(tick_, kTicks - 1) / kTicksPerMedian];
    const double size = median * std::exp(1.8 * normal);
    return static_cast<size_t>(std::clamp(size, 1.0, static_cast<double>(kLargestValue)));
  }

  void EndTick() {
    clock_.Advance(absl::Milliseconds(100));
    while (l1_->Sweep(clock_.Mono())) {
    }
    const uint64_t resident = ResidentBytes();
    ++tick_;
    if (tick_ < kTicks) {
      resident_most_ = std::max(resident_most_, resident);
      if (tick_ % 100 == 0 && l1_->Usage().bytes > kBudget) {
        Broken("L1 is above its budget by its own books");
      }
      return;
    }
    if (tick_ == kTicks) {
      resident_at_end_ = resident;
      used_at_end_ = l1_->Usage();
    }
    // The shrink, one step a tick, with the load between the steps.
    if (!shrunk_) {
      ++shrink_steps_;
      shrunk_ = l1_->SetBudget(kBudget / 2);
      if (shrunk_) shrunk_at_ = WallSeconds();
      if (shrink_steps_ > 100'000) Broken("the smaller budget is not reached");
    } else if (WallSeconds() > shrunk_at_ + kSettleSeconds) {
      resident_shrunk_ = resident;
      over_ = true;
    }
  }

  void ReportAll() {
    const auto megabytes = [](uint64_t bytes) { return static_cast<double>(bytes) / 1e6; };
    const auto above = [&](uint64_t resident, uint64_t budget) {
      return megabytes(resident) - 1.03 * megabytes(budget);
    };
    Report("churn_inserted", static_cast<double>(inserted_bytes_) / 1e9, "GB");
    Report("churn_entries_at_end", static_cast<double>(used_at_end_.total.entries), "");
    Report("churn_used_at_end", megabytes(used_at_end_.bytes), "MB");
    Report("churn_payload_at_end",
           megabytes(used_at_end_.total.key_bytes + used_at_end_.total.value_bytes), "MB");
    Report("churn_dead_at_end", megabytes(used_at_end_.dead_bytes), "MB");
    Report("churn_evicted", static_cast<double>(used_at_end_.total.evicted()), "entries");
    Report("churn_expired", static_cast<double>(used_at_end_.total.expirations), "entries");
    Report("churn_segments_at_end", megabytes(used_at_end_.segment_bytes), "MB");
    Report("churn_large_at_end", megabytes(used_at_end_.large_bytes), "MB");
    Report("churn_resident_at_end", megabytes(resident_at_end_), "MB");
    Report("churn_resident_most", megabytes(resident_most_), "MB");
    Report("churn_above_budget", above(resident_most_, kBudget), "MB above 1.03 x budget");
    Report("shrunk_steps", shrink_steps_, "");
    Report("shrunk_resident", megabytes(resident_shrunk_), "MB");
    Report("shrunk_above_budget", above(resident_shrunk_, kBudget / 2), "MB above 1.03 x budget");
  }

  ManualClock clock_;
  const std::unique_ptr<L1> l1_ = L1::New({.budget_bytes = kBudget, .clock = &clock_});
  const Zipf zipf_{kKeys, 0.8};
  const std::string bytes_ = std::string(kLargestValue + 1'024, 'b');
  VersionClock versions_{&clock_, /*node_id=*/1};
  std::atomic<uint64_t> inserted_bytes_{0};

  // Between two ticks only thread 0 runs, and only it writes these.
  std::barrier<> operations_ended_{kThreads};
  std::barrier<> tick_ended_{kThreads};
  int tick_ = 0;
  bool over_ = false;
  uint64_t resident_most_ = 0;
  uint64_t resident_at_end_ = 0;
  L1Usage used_at_end_;
  bool shrunk_ = false;
  int shrink_steps_ = 0;
  double shrunk_at_ = 0;
  uint64_t resident_shrunk_ = 0;
};

}  // namespace

void MeasureChurn() { Churn().Run(); }

}  // namespace larder::bench
