// A read is a race of at most two calls. Whoever ends first with an answer decides it; an error
// decides it only when nobody else is running. Budget and delay keep a server that has become slow
// from being asked twice as much: the delay follows what is measured, so that it grows with the
// slowness, and the budget bounds the rest.
//
// The end of the client.  1: the client's destructor cancels the first call.  2: its end cancels
// the alarm.  3: the alarm is about to start the second call.  The runner would be gone then; so a
// race holds it from before the alarm is set until the alarm's callback, which always comes, is
// over.

#include "client/src/hedge.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "grpcpp/alarm.h"

namespace larder::internal {
namespace {

// How many repeats may be saved up.
constexpr int kSavedMax = 10;
constexpr uint32_t kLookEvery = 64;

// Eight buckets for each power of two microseconds.
int BucketOf(absl::Duration took) {
  const auto micros = static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Microseconds(took), 8));
  const int power = std::bit_width(micros) - 1;
  return (power - 3) * 8 + static_cast<int>((micros >> (power - 3)) & 7);
}

absl::Duration UpperEdge(int bucket) {
  return absl::Microseconds(int64_t{8 + bucket % 8 + 1} << (bucket / 8));
}

}  // namespace

void RecentLatencies::Add(absl::Duration took) {
  ++counts_[static_cast<size_t>(std::min(BucketOf(took), kBuckets - 1))];
  if (++sum_ < kForgetAt) return;
  sum_ = 0;
  for (uint32_t& count : counts_) sum_ += count /= 2;
}

absl::Duration RecentLatencies::Percentile(double part) const {
  if (sum_ < kEnough) return absl::ZeroDuration();
  double left = part * sum_;
  int bucket = 0;
  while (bucket < kBuckets - 1 && (left -= counts_[static_cast<size_t>(bucket)]) > 0) ++bucket;
  return UpperEdge(bucket);
}

class Hedger::Race : public std::enable_shared_from_this<Hedger::Race> {
 public:
  Race(Hedger* hedger, std::function<Leg()> make, absl::AnyInvocable<void(absl::Status)> done)
      : hedger_(hedger),
        runner_(hedger->runner_),
        make_(std::move(make)),
        done_(std::move(done)),
        start_(std::chrono::steady_clock::now()) {}

  void Begin() {
    const absl::Duration delay = hedger_->Delay();
    if (delay > absl::ZeroDuration() && runner_->Hold()) {
      MutexLock lock(&mu_);
      alarm_ = std::make_shared<grpc::Alarm>();
      alarm_->Set(absl::ToChronoTime(absl::Now() + delay),
                  [self = shared_from_this()](bool fired) { self->Wake(fired); });
    }
    Run(0, std::nullopt);
  }

 private:
  void Run(size_t number, std::optional<size_t> avoid) {
    Leg leg = make_();
    leg.spec.hedge = number > 0;
    leg.spec.avoid = avoid;
    leg.spec.finish = [self = shared_from_this(), number, take = std::move(leg.take)](
                          absl::Status status) { self->Ended(number, std::move(status), take); };
    std::shared_ptr<StartedCall> call = runner_->Start(std::move(leg.spec));
    bool late;
    {
      MutexLock lock(&mu_);
      calls_[number] = call;
      late = over_;
    }
    // The other one was decided in between. Of one that has ended there is nothing to cancel.
    if (late) call->Cancel();
  }

  void Wake(bool fired) {
    bool again = false;
    std::optional<size_t> first;
    std::shared_ptr<StartedCall> call;
    {
      MutexLock lock(&mu_);
      // Without the first call's handle it is not yet under way: nothing slow about the server.
      if (fired && !over_ && calls_[0] != nullptr && hedger_->budget_.TrySpend()) {
        again = true;
        ++running_;
        call = calls_[0];
      }
    }
    if (again) {
      first = call->target();
      Run(1, first);
    }
    std::shared_ptr<grpc::Alarm> alarm;
    {
      MutexLock lock(&mu_);
      alarm.swap(alarm_);
    }
    alarm = nullptr;
    runner_->Release();
  }

  void Ended(size_t number, absl::Status status, const std::function<void()>& take) {
    std::shared_ptr<StartedCall> other;
    std::shared_ptr<grpc::Alarm> alarm;
    absl::AnyInvocable<void(absl::Status)> done;
    {
      MutexLock lock(&mu_);
      --running_;
      if (over_ || (!status.ok() && running_ > 0)) return;
      over_ = true;
      done = std::move(done_);
      other = calls_[1 - number];
      alarm = alarm_;
    }
    if (status.ok()) hedger_->Took(absl::FromChrono(std::chrono::steady_clock::now() - start_));
    if (alarm != nullptr) alarm->Cancel();
    if (other != nullptr) other->Cancel();
    take();
    done(std::move(status));
  }

  Hedger* const hedger_;
  CallRunner* const runner_;
  const std::function<Leg()> make_;
  Mutex mu_;
  absl::AnyInvocable<void(absl::Status)> done_ ABSL_GUARDED_BY(mu_);
  const std::chrono::steady_clock::time_point start_;
  std::array<std::shared_ptr<StartedCall>, 2> calls_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
  int running_ ABSL_GUARDED_BY(mu_) = 1;
  bool over_ ABSL_GUARDED_BY(mu_) = false;
};

Hedger::Hedger(const HedgePolicy& policy, CallRunner* runner)
    : policy_(policy), runner_(runner), budget_(policy.budget_ratio, kSavedMax) {}

void Hedger::Start(std::function<Leg()> make, absl::AnyInvocable<void(absl::Status)> done) {
  budget_.Earn();
  std::make_shared<Race>(this, std::move(make), std::move(done))->Begin();
}

absl::Duration Hedger::Delay() {
  MutexLock lock(&mu_);
  return delay_ == absl::ZeroDuration() ? delay_ : std::max(delay_, policy_.delay_min);
}

void Hedger::Took(absl::Duration took) {
  MutexLock lock(&mu_);
  latencies_.Add(took);
  if (++since_ < kLookEvery) return;
  since_ = 0;
  delay_ = latencies_.Percentile(policy_.percentile);
}

}  // namespace larder::internal
