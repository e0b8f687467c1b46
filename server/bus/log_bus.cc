// Every replica writes what it changed to one log and reads what the others wrote. The log is a
// Redis Stream, and what it says it did is not always what happened: an append that timed out may
// be in it, once or twice; a failover may take away what was acknowledged; FLUSHALL takes all; a
// reader that was away finds the place it stood at trimmed. Caches that trust their channel (a
// pub/sub backplane, client tracking) lose updates there and serve old values until their TTL.
//
// So nothing here depends on the log's honesty, only on what frames say about themselves:
//   - frames of a sender are numbered without holes (outbox.h), so whoever misses one sees that
//     with the next, one heartbeat later at most (roster.h);
//   - what was heard is relied on only as long as own frames come back (log_bus_follow.cc), so a
//     log that says nothing, or not to us, is noticed as well;
//   - a sender that dies without goodbye may have changed something it could not tell any more, so
//     its death counts as a miss.
// A miss is told to the listener (OnGap), which then checks what it holds instead of trusting it.
// Misses may be told where nothing was missed; the reverse must not be.
//
// The lease also makes PublishAndWait exact. A replica that cannot be heard stops to rely on what
// it holds `lost_after` after its last frame that it read back; the others stop to wait for it
// `alive` after they read that frame, which is later by any clock that runs at the same rate. So
// whoever is not waited for any more serves nothing unchecked.
//
// Acknowledgements name frames of their sender, not places in the log: after a failover to a stale
// replica the same place may hold something else, and whoever is past it may never have seen what
// stood there before. They say from where to where there was no hole.
//
// What this cannot do:
//   - A replica that is cut off from the log, changes something elsewhere, and dies before it is
//     back, has told nobody. It knew (its state was `lost`); the others only know that it fell
//     silent.
//   - When the log loses its items just after a replica joined and before another one read that,
//     the other does not know it until its next heartbeat. If the first is cut off, or dies, before
//     it has sent one, then for the length of one lease it is not waited for, and what it published
//     is not missed. All three must happen within `heartbeat`.
//   - While a network is split so that a Redis master goes on alone with some replicas, each side
//     follows a log of its own. It sees that the others fell silent, and what it missed when the
//     two are one again.

#include "bus/log_bus.h"

#include <utility>

#include "base/strings.h"
#include "bus/log_bus_core.h"

namespace larder {
namespace {

uint64_t DrawIncarnation(Random* random) {
  uint64_t drawn = 0;
  while (drawn == 0) drawn = random->Next();
  return drawn;
}

Task<FleetAck> Wait(std::shared_ptr<LogBusCore> core, BusMessage message, MonoNanos deadline) {
  const LogBusOptions& options = core->options();
  const auto wait = std::make_shared<FleetWait>(options.executor);
  core->Enqueue(EncodeMessage(message), wait);
  const absl::Duration left = absl::Nanoseconds(deadline - options.clock->Mono());
  const TimerId timer = options.executor->After(std::max(left, absl::ZeroDuration()),
                                                [core, wait] { core->Expire(wait); });
  const FleetAck ack = co_await wait->done;
  options.executor->Cancel(timer);
  co_return ack;
}

// Waits for `signal` until the deadline. False: it was not set by then.
Task<bool> AwaitUntil(std::shared_ptr<LogBusCore> core, std::shared_ptr<Signal<bool>> signal,
                      MonoNanos deadline) {
  const LogBusOptions& options = core->options();
  const absl::Duration left = absl::Nanoseconds(deadline - options.clock->Mono());
  const TimerId timer = options.executor->After(std::max(left, absl::ZeroDuration()),
                                                [signal] { signal->TrySet(false); });
  const bool set = co_await *signal;
  options.executor->Cancel(timer);
  co_return set;
}

Task<absl::Status> StopBus(std::shared_ptr<LogBusCore> core, MonoNanos deadline) {
  const auto signal = [&core] { return std::make_shared<Signal<bool>>(core->options().executor); };
  const auto ended = signal();
  core->BeginStop(ended);
  const bool all_sent = co_await AwaitUntil(core, ended, deadline);
  const auto quiet = signal();
  core->EndStop(quiet);
  // What is under way in the log ends by its own time limit; it needs nobody any more.
  co_await AwaitUntil(core, quiet, deadline);
  const auto idle = signal();
  core->TellWhenIdle(idle);
  co_await *idle;
  if (all_sent) co_return absl::OkStatus();
  co_return absl::DeadlineExceededError("the bus stopped before everything was sent");
}

class LogBus : public Bus {
 public:
  LogBus(std::unique_ptr<BusLog> log, const LogBusOptions& options)
      : core_(std::make_shared<LogBusCore>(std::move(log), options)) {}
  ~LogBus() override {
    core_->EndStop(nullptr);
    core_->AwaitListener();
  }

  void Start(BusListener* listener) override { core_->Start(listener); }
  Task<absl::Status> Stop(MonoNanos deadline) override { return StopBus(core_, deadline); }
  void Publish(BusMessage message) override { core_->Enqueue(EncodeMessage(message), nullptr); }
  Task<FleetAck> PublishAndWait(BusMessage message, MonoNanos deadline) override {
    return Wait(core_, std::move(message), deadline);
  }
  BusStats Stats() const override { return core_->Stats(); }
  MonoNanos ReliableUntil() const override { return core_->ReliableUntil(); }

 private:
  const std::shared_ptr<LogBusCore> core_;
};

}  // namespace

LogBusCore::LogBusCore(std::unique_ptr<BusLog> log, const LogBusOptions& options)
    : options_(options),
      log_(std::move(log)),
      incarnation_(DrawIncarnation(options.random)),
      outbox_({.messages_max = options.queue_messages_max,
               .bytes_max = options.queue_bytes_max,
               .frame_messages_max = options.frame_messages_max,
               .frame_bytes_max = options.frame_bytes_max,
               .give_up_after = options.give_up_after}),
      roster_({.node = options.node, .alive = options.alive}) {}

void LogBusCore::Start(BusListener* listener) {
  {
    MutexLock lock(&mu_);
    listener_ = listener;
    started_ = true;
    reading_ = true;
  }
  Spawn(ReadLoop(shared_from_this()), [](bool) {});
  TickLater();
}

void LogBusCore::BeginStop(std::shared_ptr<Signal<bool>> ended) {
  Then then;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (!started_ || stopped_) {
      then.signals.push_back(std::move(ended));
    } else {
      ended_ = std::move(ended);
      goodbye_due_ = true;
      then = KickLocked();
    }
  }
  Do(then);
}

void LogBusCore::EndStop(std::shared_ptr<Signal<bool>> quiet) {
  Then then;
  TimerId tick = 0;
  {
    MutexLock lock(&mu_);
    stopping_ = stopped_ = true;
    following_ = false;
    lost_why_ = "stopped";
    reliable_until_.store(0);
    FleetWaits::List failed;
    outbox_.Clear(&failed);
    for (const std::shared_ptr<FleetWait>& wait : failed)
      waits_.Answer(wait, false, roster_.alive());
    waits_.AnswerAll(roster_.alive());
    then.answers = waits_.TakeDone();
    for (std::shared_ptr<Signal<bool>>* sleep : {&reader_sleep_, &sender_sleep_}) {
      if (*sleep != nullptr) then.signals.push_back(std::exchange(*sleep, nullptr));
    }
    if (reading_ || sending_) {
      quiet_ = std::move(quiet);
    } else if (quiet != nullptr) {
      then.signals.push_back(std::move(quiet));
    }
    tick = std::exchange(tick_timer_, 0);
  }
  if (tick != 0) options_.executor->Cancel(tick);
  Do(then);
  // Lets go whoever waits until the listener was told; it is not told any more.
  Deliver();
}

void LogBusCore::AwaitListener() {
  MutexLock lock(&mu_);
  while (delivering_) delivered_.Wait(&mu_);
}

void LogBusCore::TellWhenIdle(std::shared_ptr<Signal<bool>> idle) {
  {
    MutexLock lock(&mu_);
    idle_ = std::move(idle);
  }
  Deliver();
}

bool LogBusCore::stopped() const {
  MutexLock lock(&mu_);
  return stopped_;
}

BusStats LogBusCore::Stats() const {
  const absl::Duration lag_p99 = lags_.Snap().Quantile(0.99);
  const MonoNanos now = options_.clock->Mono();
  MutexLock lock(&mu_);
  BusStats stats = stats_;
  if (stopped_) {
    stats.state = "stopped";
  } else if (!following_ || LeaseIsOverLocked(now)) {
    stats.state = StrCat("lost: ", following_ ? LeaseOverLocked(now) : lost_why_);
  } else {
    const bool late = now > MonoAfter(echo_sent_, 3 * options_.heartbeat);
    stats.state = late ? "behind" : "following";
  }
  stats.publish_failed += outbox_.given_up();
  stats.queued = outbox_.size();
  stats.replicas = static_cast<uint32_t>(roster_.alive());
  stats.peers = roster_.Peers(now);
  stats.lag_p99 = lag_p99;
  return stats;
}

absl::Status CheckLogBusOptions(const LogBusOptions& options) {
  const auto wrong = [](std::string_view what) { return absl::InvalidArgumentError(ToAbsl(what)); };
  if (options.node > kNodeIdMax) return wrong("node: at most 1023");
  if (options.heartbeat < absl::Milliseconds(10) || options.heartbeat > absl::Seconds(10))
    return wrong("heartbeat: 10 ms to 10 s");
  if (options.lost_after < 3 * options.heartbeat)
    return wrong("lost_after: at least three heartbeats");
  if (options.alive < options.lost_after + 2 * options.heartbeat ||
      options.alive > absl::Minutes(10))
    return wrong("alive: at least two heartbeats more than lost_after, at most 10 minutes");
  if (options.give_up_after < absl::Milliseconds(100) || options.give_up_after > absl::Minutes(10))
    return wrong("give_up_after: 100 ms to 10 minutes");
  if (options.attempt_timeout <= absl::ZeroDuration() ||
      options.attempt_timeout > options.lost_after)
    return wrong("attempt_timeout: more than nothing, at most lost_after");
  if (options.retry_min <= absl::ZeroDuration() || options.retry_max < options.retry_min)
    return wrong("retry_min: more than nothing, at most retry_max");
  if (options.queue_messages_max < 1 || options.queue_bytes_max < 1 ||
      options.frame_messages_max < 1 || options.frame_bytes_max < 1 || options.read_items_max < 1 ||
      options.waits_max < 1)
    return wrong("queue_, frame_, read_ and waits_max: at least 1");
  if (options.executor == nullptr) return wrong("executor: needed");
  return absl::OkStatus();
}

std::unique_ptr<Bus> NewLogBus(std::unique_ptr<BusLog> log, const LogBusOptions& options) {
  return std::make_unique<LogBus>(std::move(log), options);
}

}  // namespace larder
