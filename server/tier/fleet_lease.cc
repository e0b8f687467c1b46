// A lease is valid here for `ttl` from the moment before it was asked for, which is before Redis
// began to count, so that this side never believes longer in it than Redis does. A third of that
// later it is extended; an answer that fails is tried again until the time is over, and then the
// lease is lost, whatever Redis may have done meanwhile. Loss is remembered: an extension that
// comes through after somebody was told does not take it back.
//
// What an unanswered question leaves in Redis is nobody's lease for `ttl`, and every other replica
// would wait for it. So the caller gets it to release like one that was granted: the script
// compares tokens, and removes what is his or nothing.
//
// Redis that does not answer must cost a load no more than a lease saves: the question has a time
// limit of its own, and a circuit breaker ends the asking. It is not the tier's: that one learns
// from reads, which a Redis that takes no writes still serves.
//
// The timer knows its lease weakly. A caller who drops a lease without releasing it lets it run
// out, instead of keeping the others waiting for ever.
//
// Redis replicates after it has answered, so a failover can forget a lease and grant it again. Two
// replicas then load one key, which versions sort out. A lock over several masters would cost every
// load several round trips to prevent what does no harm.

#include "tier/fleet_lease.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/counters.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/strings.h"
#include "tier/redis_key.h"
#include "tier/redis_scripts.h"

namespace larder {
namespace {

enum Counter : size_t {
  kGranted,
  kRefused,
  kErrors,
  kUnasked,
  kWaitedOut,
  kFull,
  kExtended,
  kLost,
  kReleased,
  kCounters,
};

constexpr size_t kTokenBytes = 16;
constexpr int kExtensionsPerTtl = 3;
// A failed extension is tried again so much sooner than a good one is followed by the next.
constexpr int kRetriesPerTtl = 10;
constexpr absl::Duration kAskAgainMin = absl::Milliseconds(1);

// What outlives the FleetLease as long as somebody holds a lease.
struct Core {
  Core(Redis* redis_in, const FleetLease::Options& options_in)
      : redis(redis_in),
        options(options_in),
        keys(options_in.prefix, RedisKeys::Part::kLease),
        counters(kCounters) {}

  std::string NewToken() const {
    std::string token(kTokenBytes, '\0');
    for (size_t at = 0; at < kTokenBytes; at += sizeof(uint64_t)) {
      const uint64_t random = options.random->Next();
      std::memcpy(token.data() + at, &random, sizeof(random));
    }
    return token;
  }

  // A place for one more lease, if there is one.
  bool Reserve() {
    if (held.fetch_add(1) < options.held_max) return true;
    --held;
    return false;
  }

  Redis* const redis;
  const FleetLease::Options options;
  const RedisKeys keys;
  CounterBlock counters;
  std::atomic<uint64_t> held{0};
  // The FleetLease is gone: no new extension begins.
  std::atomic<bool> stopped{false};
};

class Held : public HeldFleetLease {
 public:
  // REQUIRES: core->Reserve() gave a place, which this takes over.
  Held(std::shared_ptr<Core> core, std::string full_key)
      : core_(std::move(core)),
        full_key_(std::move(full_key)),
        name_(core_->keys.Of(full_key_)),
        token_(core_->NewToken()) {}
  ~Held() override { End(); }

  bool lost() const override {
    if (lost_.load()) return true;
    if (core_->options.clock->Mono() < valid_until_.load()) return false;
    Lose();
    return true;
  }
  const std::string& full_key() const override { return full_key_; }

  // Whoever calls it first gets true. Stops the timer.
  bool End() {
    TimerId timer = 0;
    {
      MutexLock lock(&mu_);
      if (ended_) return false;
      ended_ = true;
      timer = std::exchange(timer_, 0);
    }
    --core_->held;
    if (timer != 0) core_->options.executor->Cancel(timer);
    return true;
  }

  bool ended() const {
    MutexLock lock(&mu_);
    return ended_;
  }

  void Lose() const {
    // One that was never known to be ours cannot be lost.
    if (!lost_.exchange(true) && valid_until_.load() != 0) core_->counters.Add(kLost);
  }

  void SetValidUntil(MonoNanos until) { valid_until_.store(until); }
  MonoNanos valid_until() const { return valid_until_.load(); }

  // Extends `held` after `delay`, unless it has ended by then.
  static void Arm(const std::shared_ptr<Held>& held, absl::Duration delay);

  Core& core() const { return *core_; }
  const std::string& name() const { return name_; }
  const std::string& token() const { return token_; }

 private:
  static Task<bool> Extend(std::shared_ptr<Held> held);

  const std::shared_ptr<Core> core_;
  const std::string full_key_;
  const std::string name_;
  const std::string token_;
  std::atomic<MonoNanos> valid_until_{0};
  mutable std::atomic<bool> lost_{false};
  mutable Mutex mu_;
  TimerId timer_ ABSL_GUARDED_BY(mu_) = 0;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

void Held::Arm(const std::shared_ptr<Held>& held, absl::Duration delay) {
  Executor* const executor = held->core_->options.executor;
  const TimerId timer = executor->After(delay, [weak = std::weak_ptr<Held>(held)] {
    std::shared_ptr<Held> strong = weak.lock();
    if (strong == nullptr || strong->ended() || strong->core_->stopped.load()) return;
    Spawn(Extend(std::move(strong)), [](bool) {});
  });
  bool ended = false;
  {
    MutexLock lock(&held->mu_);
    ended = held->ended_;
    if (!ended) held->timer_ = timer;
  }
  if (ended) executor->Cancel(timer);
}

// True: extended.
Task<bool> Held::Extend(std::shared_ptr<Held> held) {
  Core& core = *held->core_;
  if (held->lost()) co_return false;
  const MonoNanos sent = core.options.clock->Mono();
  std::vector<Redis::ScriptCall> calls;
  calls.push_back(LeaseExtendCall(held->name_, held->token_, core.options.ttl));
  const auto replies =
      co_await core.redis->RunMany(LeaseExtendScript(), std::move(calls), held->valid_until());
  const absl::StatusOr<bool> still =
      replies[0].ok() ? ParseYes(*replies[0]) : absl::StatusOr<bool>(replies[0].status());
  // A release that overtook this is no loss.
  if (held->ended()) co_return false;
  if (still.ok() && !*still) {
    held->Lose();
    co_return false;
  }
  if (held->lost()) co_return false;
  if (!still.ok()) {
    Arm(held, core.options.ttl / kRetriesPerTtl);
    co_return false;
  }
  held->SetValidUntil(MonoAfter(sent, core.options.ttl));
  core.counters.Add(kExtended);
  Arm(held, core.options.ttl / kExtensionsPerTtl);
  co_return true;
}

class RedisFleetLease : public FleetLease {
 public:
  RedisFleetLease(Redis* redis, const Options& options)
      : core_(std::make_shared<Core>(redis, options)), breaker_(BreakerOptions(options)) {}
  ~RedisFleetLease() override { core_->stopped.store(true); }

  Task<FleetLeaseTurn> Acquire(std::string full_key, MonoNanos began, MonoNanos deadline) override;
  Task<absl::StatusOr<bool>> Release(std::shared_ptr<HeldFleetLease> lease,
                                     MonoNanos deadline) override;
  FleetLeaseStats Stats() const override;

 private:
  FleetLeaseTurn LoadAnyway(Counter counter, absl::Status why) {
    core_->counters.Add(counter);
    FleetLeaseTurn turn;
    turn.why = std::move(why);
    return turn;
  }

  static Breaker::Options BreakerOptions(const Options& options) {
    Breaker::Options breaker = options.breaker;
    breaker.clock = options.clock;
    breaker.random = options.random;
    return breaker;
  }
  // Tells the breaker what became of a question that was put at `sent`.
  void Judge(Breaker::Pass pass, const absl::Status& status, MonoNanos sent);

  const std::shared_ptr<Core> core_;
  Breaker breaker_;
};

void RedisFleetLease::Judge(Breaker::Pass pass, const absl::Status& status, MonoNanos sent) {
  const Options& options = core_->options;
  const absl::Duration took = absl::Nanoseconds(options.clock->Mono() - sent);
  Breaker::Outcome outcome = Breaker::Outcome::kFailure;
  // A Redis that is out of memory has answered.
  if (status.ok() || absl::IsResourceExhausted(status)) outcome = Breaker::Outcome::kSuccess;
  // A caller with little time left says nothing about Redis.
  if (absl::IsDeadlineExceeded(status) &&
      took < std::min(options.answer_max, options.breaker.slow_after)) {
    outcome = Breaker::Outcome::kUnknown;
  }
  const Breaker::Change change = breaker_.Leave(pass, outcome, took);
  if (change == Breaker::Change::kOpened) {
    LogWarning("breaker_opened", {{"tier", "fleet_leases"},
                                  {"reason", breaker_.GetStatus().reason},
                                  {"last_error", status}});
  } else if (change == Breaker::Change::kClosed) {
    LogInfo("breaker_closed", {{"tier", "fleet_leases"}});
  }
}

Task<FleetLeaseTurn> RedisFleetLease::Acquire(std::string full_key, MonoNanos began,
                                              MonoNanos deadline) {
  const Options& options = core_->options;
  if (!core_->Reserve()) {
    co_return LoadAnyway(
        kFull, absl::ResourceExhaustedError(StrCat(options.held_max, " fleet leases are held")));
  }
  auto held = std::make_shared<Held>(core_, std::move(full_key));
  const std::optional<Breaker::Pass> pass = breaker_.TryEnter();
  if (!pass.has_value()) {
    co_return LoadAnyway(kUnasked,
                         absl::UnavailableError("the circuit breaker of the leases is open"));
  }
  const MonoNanos sent = options.clock->Mono();
  std::vector<Redis::ScriptCall> calls;
  calls.push_back(LeaseTakeCall(held->name(), held->token(), options.ttl));
  const auto replies = co_await core_->redis->RunMany(
      LeaseTakeScript(), std::move(calls), std::min(deadline, MonoAfter(sent, options.answer_max)));
  Judge(*pass, replies[0].status(), sent);
  const absl::StatusOr<absl::Duration> held_for =
      replies[0].ok() ? ParseLeaseTake(*replies[0])
                      : absl::StatusOr<absl::Duration>(replies[0].status());
  if (!held_for.ok()) {
    FleetLeaseTurn turn = LoadAnyway(kErrors, held_for.status());
    turn.lease = std::move(held);
    co_return turn;
  }
  if (*held_for == absl::ZeroDuration()) {
    held->SetValidUntil(MonoAfter(sent, options.ttl));
    Held::Arm(held, options.ttl / kExtensionsPerTtl);
    core_->counters.Add(kGranted);
    FleetLeaseTurn turn;
    turn.kind = FleetLeaseTurn::Kind::kGranted;
    turn.lease = std::move(held);
    co_return turn;
  }
  const absl::Duration waited = absl::Nanoseconds(options.clock->Mono() - began);
  if (waited >= options.wait_max) {
    co_return LoadAnyway(kWaitedOut,
                         absl::DeadlineExceededError("another replica holds the lease for long"));
  }
  core_->counters.Add(kRefused);
  FleetLeaseTurn turn;
  turn.kind = FleetLeaseTurn::Kind::kHeld;
  turn.ask_again_after = std::max(kAskAgainMin, std::min(*held_for, options.wait_max - waited));
  co_return turn;
}

Task<absl::StatusOr<bool>> RedisFleetLease::Release(std::shared_ptr<HeldFleetLease> lease,
                                                    MonoNanos deadline) {
  Held* const held = static_cast<Held*>(lease.get());
  if (!held->End()) co_return false;
  std::vector<Redis::ScriptCall> calls;
  calls.push_back(LeaseReleaseCall(held->name(), held->token()));
  const auto replies =
      co_await core_->redis->RunMany(LeaseReleaseScript(), std::move(calls), deadline);
  if (!replies[0].ok()) co_return replies[0].status();
  CO_ASSIGN_OR_RETURN(const bool ours, ParseYes(*replies[0]));
  if (ours) core_->counters.Add(kReleased);
  co_return ours;
}

FleetLeaseStats RedisFleetLease::Stats() const {
  const CounterBlock& counters = core_->counters;
  FleetLeaseStats stats;
  stats.granted = counters.Sum(kGranted);
  stats.refused = counters.Sum(kRefused);
  stats.errors = counters.Sum(kErrors);
  stats.unasked = counters.Sum(kUnasked);
  stats.waited_out = counters.Sum(kWaitedOut);
  stats.full = counters.Sum(kFull);
  stats.extended = counters.Sum(kExtended);
  stats.lost = counters.Sum(kLost);
  stats.released = counters.Sum(kReleased);
  stats.held = core_->held.load();
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FleetLease>> FleetLease::New(Redis* redis, const Options& options) {
  RETURN_IF_ERROR(RedisKeys::CheckPrefix(options.prefix));
  if (options.ttl < absl::Milliseconds(100) || options.ttl > absl::Minutes(10)) {
    return absl::InvalidArgumentError("ttl of fleet leases must be 100ms to 10m");
  }
  if (options.wait_max < absl::ZeroDuration() || options.wait_max > absl::Minutes(10)) {
    return absl::InvalidArgumentError("wait_max of fleet leases must be 0 to 10m");
  }
  if (options.answer_max < absl::Milliseconds(1) || options.answer_max > absl::Seconds(10)) {
    return absl::InvalidArgumentError("answer_max of fleet leases must be 1ms to 10s");
  }
  if (options.held_max < 1 || options.held_max > 1'000'000) {
    return absl::InvalidArgumentError("held_max of fleet leases must be 1 to 1,000,000");
  }
  return std::unique_ptr<FleetLease>(std::make_unique<RedisFleetLease>(redis, options));
}

}  // namespace larder
