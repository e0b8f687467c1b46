// Following. The reader goes on from the last item that it took, whatever happened to the
// connection meanwhile; items that are gone by then show as holes in the numbers of their senders,
// who all number their frames and send one every heartbeat at least.
//
// What numbers cannot show, because nothing comes that could be numbered, the lease shows: what was
// heard is relied on for `lost_after` from the moment at which the newest own frame that was read
// back had been sent. A log that cannot be reached, that was emptied and numbers its items from an
// earlier time, that takes appends and gives them to nobody, a process that was stopped: all the
// same, our own words do not come back.
//
// Found again, the log is read from `2 x alive` before its end, so that everybody who is alive is
// heard at least once before our own frame comes back and we follow: whose numbers are known cannot
// lose one unseen. Whoever is heard for the first time after that and is not new was missed.

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "bus/log_bus_core.h"

namespace larder {
namespace {

constexpr size_t kMessagesOfOneCall = 1'024;

}  // namespace

Task<bool> LogBusCore::ReadLoop(std::shared_ptr<LogBusCore> core) {
  co_await Hop(core->options_.executor);
  const LogBusOptions& options = core->options_;
  absl::Duration backoff = options.retry_min;
  while (!core->stopped()) {
    bool sync = false;
    {
      MutexLock lock(&core->mu_);
      sync = core->needs_sync_;
    }
    absl::Status read;
    if (sync)
      read = co_await Synchronize(core);
    else
      read = co_await ReadOnce(core);
    if (read.ok()) {
      backoff = options.retry_min;
      continue;
    }
    // Those that follow it tell nothing new.
    if (backoff == options.retry_min)
      LogWarning("bus_read_failed", {{"node", options.node}, {"error", read}});
    {
      MutexLock lock(&core->mu_);
      ++core->stats_.read_errors;
    }
    co_await Sleep(core, backoff, &LogBusCore::reader_sleep_);
    backoff = std::min(backoff * 2, options.retry_max);
  }
  Then then;
  {
    MutexLock lock(&core->mu_);
    core->reading_ = false;
    if (core->quiet_ != nullptr && !core->sending_)
      then.signals.push_back(std::exchange(core->quiet_, nullptr));
  }
  core->Do(then);
  co_return true;
}

// Sleeps with jitter, until it is over or the bus stops.
Task<bool> LogBusCore::Sleep(std::shared_ptr<LogBusCore> core, absl::Duration longest,
                             std::shared_ptr<Signal<bool>> LogBusCore::* slot) {
  const auto awake = std::make_shared<Signal<bool>>(core->options_.executor);
  {
    MutexLock lock(&core->mu_);
    if (core->stopped_) co_return false;
    (*core).*slot = awake;
  }
  const absl::Duration jittered = longest * (0.75 + 0.25 * core->options_.random->NextSigned());
  const TimerId timer = core->options_.executor->After(jittered, [awake] { awake->TrySet(true); });
  co_await *awake;
  core->options_.executor->Cancel(timer);
  co_return true;
}

Task<absl::Status> LogBusCore::Synchronize(std::shared_ptr<LogBusCore> core) {
  const LogBusOptions& options = core->options_;
  const absl::StatusOr<LogPosition> tail =
      co_await core->log_->Tail(MonoAfter(options.clock->Mono(), options.attempt_timeout));
  if (!tail.ok()) co_return tail.status();
  Then then;
  {
    MutexLock lock(&core->mu_);
    const uint64_t back = static_cast<uint64_t>(absl::ToInt64Milliseconds(2 * options.alive));
    const LogPosition from{tail->ms > back ? tail->ms - back : 0, 0};
    if (core->position_ < from || core->position_ > *tail) core->position_ = from;
    core->needs_sync_ = false;
    core->synced_at_ = options.clock->Mono();
    // Frames that are made from now on land behind the tail.
    core->follow_at_ = core->outbox_.next_number();
    core->landed_.clear();
    core->heartbeat_due_ = true;
    then = core->KickLocked();
  }
  core->Do(then);
  co_return absl::OkStatus();
}

Task<absl::Status> LogBusCore::ReadOnce(std::shared_ptr<LogBusCore> core) {
  const LogBusOptions& options = core->options_;
  LogPosition after;
  {
    MutexLock lock(&core->mu_);
    after = core->position_;
  }
  const absl::Duration wait = 2 * options.heartbeat;
  absl::StatusOr<std::vector<LogItem>> items =
      co_await core->log_->Read(after, options.read_items_max, wait,
                                MonoAfter(options.clock->Mono(), wait + options.attempt_timeout));
  if (!items.ok()) co_return items.status();
  if (items->empty()) co_return absl::OkStatus();
  core->Take(*std::move(items));
  // The next read waits until this one has taken effect, so that no more than one is in memory.
  const auto drained = std::make_shared<Signal<bool>>(options.executor);
  {
    MutexLock lock(&core->mu_);
    core->drained_.push_back(drained);
  }
  core->Deliver();
  co_await *drained;
  co_return absl::OkStatus();
}

void LogBusCore::Take(std::vector<LogItem> items) {
  std::vector<absl::StatusOr<Frame>> frames;
  frames.reserve(items.size());
  for (const LogItem& item : items) frames.push_back(DecodeFrame(item.bytes));
  std::vector<uint32_t> shared_node_ids;
  Then then;
  {
    MutexLock lock(&mu_);
    const MonoNanos now = options_.clock->Mono();
    if (LeaseIsOverLocked(now)) LoseLocked(LeaseOverLocked(now));
    for (size_t i = 0; i < items.size() && !needs_sync_ && !stopped_; ++i) {
      position_ = items[i].at;
      TakeFrameLocked(std::move(frames[i]), now, &shared_node_ids);
    }
    if (IsSettledLocked(now)) waits_.AnswerComplete();
    then = KickLocked();
  }
  for (const uint32_t node : shared_node_ids)
    LogError("bus_node_id_shared", {{"node", node}, {"is_ours", node == options_.node}});
  Do(then);
}

void LogBusCore::TakeFrameLocked(absl::StatusOr<Frame> frame, MonoNanos now,
                                 std::vector<uint32_t>* shared_node_ids) {
  if (!frame.ok()) {
    ++stats_.bad_messages;
    if (following_)
      MissLocked(StrCat("an item of the log cannot be read: ", frame.status().message()));
    return;
  }
  const uint32_t node = frame->head.node;
  if (frame->head.incarnation == incarnation_) {
    EchoLocked(frame->head, now);
  } else if (HearLocked(*std::move(frame), now)) {
    shared_node_ids->push_back(node);
  }
}

void LogBusCore::EchoLocked(const FrameHead& head, MonoNanos now) {
  const uint64_t number = head.number;
  if (number <= echoed_) return;  // appended twice
  bool lost = false;
  for (; !landed_.empty() && landed_.front() <= number; landed_.pop_front())
    lost |= landed_.front() < number;
  echoed_ = number;
  echo_sent_ = std::max(echo_sent_, head.sent_mono);
  if (lost && following_) {
    sure_since_ = now;
    MissLocked("the log lost a message of this replica");
  }
  if (!following_ && !goodbye_said_ && number >= follow_at_ &&
      now <= MonoAfter(head.sent_mono, options_.lost_after)) {
    following_ = true;
    sure_since_ = steady_since_ = now;
    events_.push_back({.kind = Event::Kind::kFollowing, .times_lost = times_lost_});
  }
  if (waits_.size() > 0) waits_.Echoed(number, roster_.Alive());
  ExtendLeaseLocked();
}

// Not before the listener has heard of the gap and of its end: a slow one would take the lease of
// what follows for that of what was lost.
void LogBusCore::ExtendLeaseLocked() {
  if (following_ && told_following_ == times_lost_)
    reliable_until_.store(MonoAfter(echo_sent_, options_.lost_after));
}

// True when its sender turns out to share the node id of another.
bool LogBusCore::HearLocked(Frame frame, MonoNanos now) {
  const FrameHead& head = frame.head;
  const Roster::Verdict verdict = roster_.Hear(frame, now, following_);
  if (!verdict.gap.empty()) sure_since_ = now;
  ApplyLocked(verdict);
  if (verdict.joined != 0 && head.number != 1 && !IsSettledLocked(now))
    waits_.Missed(verdict.joined);
  if (!verdict.fresh) {
    stats_.repeated += frame.messages.size();
    return false;
  }
  stats_.node_id_shared += verdict.node_id_shared ? 1 : 0;
  if (head.newest != kNoVersion) listener_->SawVersion(head.newest);
  for (const FrameAck& ack : head.acks) {
    if (ack.incarnation == incarnation_) waits_.Acknowledged(ack, head.incarnation, head.newest);
  }
  if (frame.messages.empty()) return verdict.node_id_shared;
  if (events_.empty() || events_.back().kind != Event::Kind::kMessages ||
      events_.back().messages.size() >= kMessagesOfOneCall)
    events_.emplace_back();
  Event& event = events_.back();
  for (FrameMessage& message : frame.messages) {
    event.messages.push_back(std::move(message.message));
    event.published.push_back(message.published);
  }
  event.runs.emplace_back(roster_.RunOf(head.incarnation), head.wants_ack);
  stats_.received += frame.messages.size();
  return verdict.node_id_shared;
}

void LogBusCore::ApplyLocked(const Roster::Verdict& verdict) {
  for (const uint64_t incarnation : verdict.gone) waits_.Vanished(incarnation);
  if (verdict.left != 0) waits_.Left(verdict.left);
  if (!verdict.gap.empty() && following_) MissLocked(verdict.gap);
}

void LogBusCore::LoseLocked(std::string why) {
  if (!following_) return;
  ++stats_.gaps;
  ++times_lost_;
  following_ = false;
  needs_sync_ = true;
  lost_why_ = why;
  reliable_until_.store(0);
  waits_.AnswerAll(roster_.alive());
  events_.push_back({.kind = Event::Kind::kGap, .why = std::move(why)});
}

void LogBusCore::MissLocked(std::string why) {
  ++stats_.gaps;
  // Two in a row with no message between them are one.
  if (!events_.empty() && events_.back().kind == Event::Kind::kFollowing) return;
  events_.push_back({.kind = Event::Kind::kGap, .why = std::move(why)});
  events_.push_back({.kind = Event::Kind::kFollowing, .times_lost = times_lost_});
}

std::string LogBusCore::LeaseOverLocked(MonoNanos now) const {
  return StrCat("own messages did not come back for ",
                absl::FormatDuration(
                    absl::Trunc(absl::Nanoseconds(now - echo_sent_), absl::Milliseconds(1))));
}

bool LogBusCore::LeaseIsOverLocked(MonoNanos now) const {
  return following_ && now > MonoAfter(echo_sent_, options_.lost_after);
}

// A replica that relies on what it holds was heard of late, unless the log lost just those frames
// before we read them. Then it is heard again within `lost_after`, or relies on nothing any more.
bool LogBusCore::IsSettledLocked(MonoNanos now) const {
  return following_ && now >= MonoAfter(sure_since_, options_.lost_after);
}

void LogBusCore::Tick() {
  Then then;
  {
    MutexLock lock(&mu_);
    if (stopped_) return;
    const MonoNanos now = options_.clock->Mono();
    if (LeaseIsOverLocked(now)) {
      LoseLocked(LeaseOverLocked(now));
    } else if (following_) {
      if (now > MonoAfter(echo_sent_, 3 * options_.heartbeat)) steady_since_ = now;
      ApplyLocked(roster_.FindSilent(now, steady_since_));
    } else if (!needs_sync_ && now > MonoAfter(synced_at_, options_.lost_after)) {
      needs_sync_ = true;
    }
    if (IsSettledLocked(now)) waits_.AnswerComplete();
    heartbeat_due_ = true;
    then = KickLocked();
  }
  Do(then);
  // First, since the listener may take its time.
  TickLater();
  Deliver();
}

void LogBusCore::TickLater() {
  const TimerId timer =
      options_.executor->After(options_.heartbeat, [core = shared_from_this()] { core->Tick(); });
  bool stopped = false;
  {
    MutexLock lock(&mu_);
    stopped = stopped_;
    tick_timer_ = timer;
  }
  if (stopped) options_.executor->Cancel(timer);
}

// Tells the listener what is to be told, unless somebody is at it already; then they do.
void LogBusCore::Deliver() {
  while (true) {
    Event event;
    BusListener* listener = nullptr;
    std::vector<std::shared_ptr<Signal<bool>>> drained;
    {
      MutexLock lock(&mu_);
      if (delivering_) return;
      if (stopped_) events_.clear();
      if (events_.empty()) {
        drained.swap(drained_);
        if (idle_ != nullptr) drained.push_back(std::exchange(idle_, nullptr));
      } else {
        event = std::move(events_.front());
        events_.pop_front();
        delivering_ = true;
        listener = listener_;
      }
    }
    if (listener == nullptr) {
      for (const std::shared_ptr<Signal<bool>>& signal : drained) signal->TrySet(true);
      return;
    }
    DeliverOne(event, listener);
  }
}

void LogBusCore::DeliverOne(const Event& event, BusListener* listener) {
  switch (event.kind) {
    case Event::Kind::kMessages:
      listener->OnMessages(event.messages);
      break;
    case Event::Kind::kGap:
      LogWarning("bus_gap", {{"node", options_.node}, {"why", event.why}});
      listener->OnGap(event.why);
      break;
    case Event::Kind::kFollowing:
      LogInfo("bus_following", {{"node", options_.node}});
      listener->OnFollowing();
      break;
  }
  const absl::Time wall = options_.clock->Now();
  for (const absl::Time published : event.published) lags_.Record(wall - published);
  Then then;
  {
    MutexLock lock(&mu_);
    delivering_ = false;
    delivered_.SignalAll();
    if (!event.published.empty())
      stats_.lag = std::max(wall - event.published.back(), absl::ZeroDuration());
    if (event.kind == Event::Kind::kFollowing) told_following_ = event.times_lost;
    ExtendLeaseLocked();
    const MonoNanos now = options_.clock->Mono();
    for (const auto& [run, acknowledge] : event.runs) {
      roster_.TookEffect(run, acknowledge, now);
      heartbeat_due_ |= acknowledge;
    }
    then = KickLocked();
  }
  Do(then);
}

}  // namespace larder
