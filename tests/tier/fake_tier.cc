// A call is one coroutine: on its way there, taking effect in one step, on its way back. Everything
// that waits does so on a Signal which the handle knows, and the handle's end sets all of them: a
// task has to run to its end, whatever becomes of the executor's timers. They are kept in the order
// in which they began to wait, so that a seed repeats the order in which they go on.

#include "tests/tier/fake_tier.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace larder {
namespace {

// Why a call that waited goes on.
enum class Wake : uint8_t { kGoOn, kDropped };
using Waiting = std::shared_ptr<Signal<Wake>>;

// What goes wrong with one call.
struct Plan {
  uint64_t call = 0;
  absl::Duration there;
  absl::Duration back;
  bool hang = false;
  bool stale = false;
  absl::Status fails = absl::OkStatus();
  absl::Status loses = absl::OkStatus();
};

// What the handle and its calls share, since calls may outlive the handle.
class Line {
 public:
  using Room = std::map<uint64_t, Waiting>;

  Line(std::shared_ptr<FakeContent> tier, Clock* its_clock, Executor* its_executor,
       Random* its_random)
      : content(std::move(tier)), clock(its_clock), executor(its_executor), random(its_random) {}

  const std::shared_ptr<FakeContent> content;
  Clock* const clock;
  Executor* const executor;
  Random* const random;

  mutable Mutex mu;
  FakeTierFaults faults ABSL_GUARDED_BY(mu);
  Room hanging ABSL_GUARDED_BY(mu);
  Room on_their_way ABSL_GUARDED_BY(mu);
  uint64_t next_place ABSL_GUARDED_BY(mu) = 1;
  bool closed ABSL_GUARDED_BY(mu) = false;
  uint64_t calls ABSL_GUARDED_BY(mu) = 0;
  std::set<uint64_t> under_way ABSL_GUARDED_BY(mu);
  TierStats stats ABSL_GUARDED_BY(mu);

  Plan NextPlan() {
    const double there = Draw(), back = Draw(), fails = Draw(), loses = Draw();
    MutexLock lock(&mu);
    Plan plan;
    plan.call = ++calls;
    under_way.insert(plan.call);
    plan.hang = faults.hang;
    plan.stale = faults.stale_reads;
    const absl::Duration spread =
        std::max(faults.delay_max - faults.delay_min, absl::ZeroDuration());
    plan.there = faults.delay_min + spread * there;
    plan.back = faults.delay_min + spread * back;
    if (Strikes(&faults.fail_next, faults.fail_ratio, fails)) {
      plan.fails = faults.error;
    } else if (Strikes(&faults.lose_next, faults.lose_ratio, loses)) {
      plan.loses = faults.error;
    }
    return plan;
  }

  // Null when the handle is gone.
  Waiting Enter(Room Line::* room, uint64_t* place) {
    auto signal = std::make_shared<Signal<Wake>>(executor);
    MutexLock lock(&mu);
    if (closed) return nullptr;
    *place = next_place++;
    (this->*room).emplace(*place, signal);
    return signal;
  }

  bool IsClosed() const {
    MutexLock lock(&mu);
    return closed;
  }

  void WakeAll(Room Line::* room, Wake why) {
    Room woken;
    {
      MutexLock lock(&mu);
      woken.swap(this->*room);
    }
    for (const auto& [place, signal] : woken) signal->TrySet(why);
  }

 private:
  // 0 to 1.
  double Draw() { return (random->NextSigned() + 1) / 2; }

  static bool Strikes(uint64_t* next, double ratio, double draw) {
    if (*next == 0) return draw < ratio;
    --*next;
    return true;
  }
};

Task<Wake> Travel(std::shared_ptr<Line> line, absl::Duration delay) {
  if (delay <= absl::ZeroDuration()) co_return Wake::kGoOn;
  uint64_t place = 0;
  const Waiting signal = line->Enter(&Line::on_their_way, &place);
  if (signal == nullptr) co_return Wake::kDropped;
  line->executor->After(delay, [signal] { signal->TrySet(Wake::kGoOn); });
  const Wake why = co_await *signal;
  MutexLock lock(&line->mu);
  line->on_their_way.erase(place);
  co_return why;
}

Task<Wake> Hang(std::shared_ptr<Line> line) {
  uint64_t place = 0;
  const Waiting signal = line->Enter(&Line::hanging, &place);
  if (signal == nullptr) co_return Wake::kDropped;
  co_return co_await *signal;
}

Task<Wake> There(std::shared_ptr<Line> line, absl::Duration delay, bool hang) {
  // Not awaited within the condition: g++ 12 drops a coroutine that does `if (co_await x)
  // co_return`.
  const Wake travelled = co_await Travel(line, delay);
  if (travelled == Wake::kDropped || !hang) co_return travelled;
  co_return co_await Hang(line);
}

// One call. `apply` takes effect; it gets the line and whether its reads are stale.
template <typename Answer, typename Apply>
Task<absl::StatusOr<Answer>> Run(std::shared_ptr<Line> line, size_t keys, MonoNanos deadline,
                                 Apply apply) {
  const Plan plan = line->NextPlan();
  absl::StatusOr<Answer> answer = absl::UnavailableError("dropped by the test");
  Wake wake = Wake::kDropped;
  if (line->IsClosed()) {
    answer = absl::UnavailableError("closed by the test");
  } else if (line->clock->Mono() >= deadline) {
    answer = absl::DeadlineExceededError("no time left");
  } else {
    wake = co_await There(line, plan.there, plan.hang);
  }
  if (wake == Wake::kGoOn) {
    if (plan.fails.ok()) {
      answer = apply(line.get(), plan.stale);
    } else {
      answer = plan.fails;
    }
    wake = co_await Travel(line, plan.back);
    if (answer.ok() && !plan.loses.ok()) answer = plan.loses;
    if (wake == Wake::kDropped) answer = absl::UnavailableError("dropped by the test");
  }
  MutexLock lock(&line->mu);
  line->under_way.erase(plan.call);
  if (!answer.ok()) line->stats.errors += keys;
  co_return answer;
}

absl::StatusOr<std::vector<TierRead>> ApplyGet(Line* line, bool stale,
                                               const std::vector<std::string>& full_keys) {
  uint64_t bad = 0;
  std::vector<TierRead> reads = line->content->Get(full_keys, stale, *line->clock, &bad);
  MutexLock lock(&line->mu);
  line->stats.gets += full_keys.size();
  line->stats.bad_envelopes += bad;
  for (const TierRead& read : reads) line->stats.hits += read.kind == TierRead::Kind::kEntry;
  return reads;
}

// `done` is the count of changes that were made.
absl::StatusOr<std::vector<TierChange>> Counted(Line* line, std::vector<TierChange> changes,
                                                uint64_t TierStats::* done) {
  using Outcome = TierChange::Outcome;
  MutexLock lock(&line->mu);
  for (const TierChange& change : changes) {
    line->stats.*done += change.outcome == Outcome::kDone;
    line->stats.outdated += change.outcome == Outcome::kNewerExists;
    line->stats.skipped += change.outcome == Outcome::kSkipped;
  }
  return changes;
}

class HandleImpl : public FakeTier::Handle {
 public:
  HandleImpl(std::shared_ptr<Line> line, std::string name, bool shared)
      : line_(std::move(line)), name_(std::move(name)), shared_(shared) {}
  ~HandleImpl() override { HandleImpl::Close(); }

  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) override {
    const size_t count = full_keys.size();
    return Run<std::vector<TierRead>>(line_, count, deadline,
                                      [keys = std::move(full_keys)](Line* line, bool stale) {
                                        return ApplyGet(line, stale, keys);
                                      });
  }

  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts,
                                                    MonoNanos deadline) override {
    const size_t count = puts.size();
    return Run<std::vector<TierChange>>(
        line_, count, deadline, [puts = std::move(puts)](Line* line, bool) {
          return Counted(line, line->content->Put(puts, *line->clock), &TierStats::puts);
        });
  }

  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                      MonoNanos deadline) override {
    const size_t count = erases.size();
    return Run<std::vector<TierChange>>(
        line_, count, deadline, [erases = std::move(erases)](Line* line, bool) {
          return Counted(line, line->content->Erase(erases, *line->clock), &TierStats::erases);
        });
  }

  Task<absl::StatusOr<TierPage>> Scan(TierScan scan, MonoNanos deadline) override {
    return Run<TierPage>(line_, 1, deadline, [scan = std::move(scan)](Line* line, bool stale) {
      return line->content->Scan(scan, stale, *line->clock);
    });
  }

  void DropCovered(std::shared_ptr<const TierCover> cover) override { cover_ = std::move(cover); }
  const TierCover* cover() const override { return cover_.get(); }
  uint64_t losses() const override { return line_->content->losses(); }
  bool shared() const override { return shared_; }

  TierStats Stats() const override {
    TierStats stats;
    {
      MutexLock lock(&line_->mu);
      stats = line_->stats;
    }
    stats.name = name_;
    stats.state = "ok";
    stats.entries = line_->content->size();
    stats.bytes = line_->content->bytes();
    return stats;
  }

  void SetFaults(const FakeTierFaults& faults) override {
    MutexLock lock(&line_->mu);
    line_->faults = faults;
  }
  void Release() override { line_->WakeAll(&Line::hanging, Wake::kGoOn); }
  void Drop() override { line_->WakeAll(&Line::hanging, Wake::kDropped); }
  void Close() override {
    {
      MutexLock lock(&line_->mu);
      line_->closed = true;
    }
    line_->WakeAll(&Line::hanging, Wake::kDropped);
    line_->WakeAll(&Line::on_their_way, Wake::kDropped);
  }
  size_t waiting() const override {
    MutexLock lock(&line_->mu);
    return line_->hanging.size() + line_->on_their_way.size();
  }
  uint64_t calls() const override {
    MutexLock lock(&line_->mu);
    return line_->calls;
  }
  uint64_t oldest_call() const override {
    MutexLock lock(&line_->mu);
    return line_->under_way.empty() ? line_->calls + 1 : *line_->under_way.begin();
  }

 private:
  const std::shared_ptr<Line> line_;
  const std::string name_;
  const bool shared_;
  std::shared_ptr<const TierCover> cover_;
};

}  // namespace

FakeTier::FakeTier(const Options& options)
    : options_(options), content_(std::make_shared<FakeContent>(options.content)) {}

std::unique_ptr<FakeTier::Handle> FakeTier::NewHandle(Clock* clock, Executor* executor,
                                                      Random* random) {
  return std::make_unique<HandleImpl>(std::make_shared<Line>(content_, clock, executor, random),
                                      options_.name, options_.shared);
}

}  // namespace larder
