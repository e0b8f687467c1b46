// One append is under way at a time, so frames land in the order of their numbers. Whatever is
// published meanwhile waits and travels in the next frame: with little to say a message leaves at
// once, with much to say frames get larger, and nobody had to choose how long to gather.
//
// An append that fails is tried again with the same bytes and the same number; if both happened the
// others drop the second. A frame with messages is given up after a while, so that the queue behind
// it moves; a frame without any is never given up, because the hole would tell of a loss where
// nothing was lost.

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "bus/log_bus_core.h"

namespace larder {

void LogBusCore::Enqueue(std::string message, std::shared_ptr<FleetWait> wait) {
  Then then;
  {
    MutexLock lock(&mu_);
    const MonoNanos now = options_.clock->Mono();
    if (wait != nullptr && (stopping_ || waits_.size() >= options_.waits_max)) {
      waits_.Answer(wait, false, roster_.alive());
      wait = nullptr;
    }
    if (stopping_) {
      ++stats_.publish_failed;
    } else if (!outbox_.Push(std::move(message), wait, now) && wait != nullptr) {
      waits_.Answer(wait, false, roster_.alive());
    }
    then = KickLocked();
  }
  Do(then);
}

void LogBusCore::Expire(const std::shared_ptr<FleetWait>& wait) {
  Then then;
  {
    MutexLock lock(&mu_);
    waits_.Answer(wait, IsSettledLocked(options_.clock->Mono()), roster_.alive());
    then = KickLocked();
  }
  Do(then);
}

bool LogBusCore::HasMoreToSendLocked() const {
  if (!started_ || stopped_ || goodbye_said_) return false;
  return heartbeat_due_ || goodbye_due_ || !outbox_.empty();
}

LogBusCore::Then LogBusCore::KickLocked() {
  Then then;
  then.answers = waits_.TakeDone();
  if (!sending_ && HasMoreToSendLocked()) {
    sending_ = true;
    then.publish = true;
  }
  return then;
}

void LogBusCore::Do(const Then& then) {
  for (const auto& [wait, ack] : then.answers) wait->done.TrySet(ack);
  for (const std::shared_ptr<Signal<bool>>& signal : then.signals) signal->TrySet(true);
  if (then.publish) Spawn(SendLoop(shared_from_this()), [](bool) {});
}

Task<bool> LogBusCore::SendLoop(std::shared_ptr<LogBusCore> core) {
  co_await Hop(core->options_.executor);
  Outbox::Content content;
  std::string bytes;
  bool goodbye = false;
  while (core->NextFrame(&content, &bytes, &goodbye))
    co_await SendFrame(core, std::move(content), std::move(bytes), goodbye);
  co_return true;
}

Task<bool> LogBusCore::SendFrame(std::shared_ptr<LogBusCore> core, Outbox::Content content,
                                 std::string bytes, bool goodbye) {
  const LogBusOptions& options = core->options_;
  absl::Duration backoff = options.retry_min;
  while (true) {
    const absl::StatusOr<LogPosition> at = co_await core->log_->Append(
        bytes, MonoAfter(options.clock->Mono(), options.attempt_timeout));
    if (at.ok()) {
      core->Landed(content, *at, goodbye);
      co_return true;
    }
    // Those that follow it tell nothing new.
    if (backoff == options.retry_min)
      LogWarning("bus_append_failed", {{"node", options.node}, {"error", at.status()}});
    if (!core->MayRetry(content, options.clock->Mono())) break;
    co_await Sleep(core, backoff, &LogBusCore::sender_sleep_);
    backoff = std::min(backoff * 2, options.retry_max);
  }
  core->GaveUp(content);
  co_return false;
}

bool LogBusCore::NextFrame(Outbox::Content* content, std::string* bytes, bool* goodbye) {
  FrameHead head;
  Then then;
  bool more = false;
  {
    MutexLock lock(&mu_);
    more = HasMoreToSendLocked();
    if (more) {
      const MonoNanos now = options_.clock->Mono();
      FleetWaits::List failed;
      *content = outbox_.Take(now, &failed);
      for (const std::shared_ptr<FleetWait>& wait : failed)
        waits_.Answer(wait, false, roster_.alive());
      waits_.Sent(content->number, content->waits);
      *goodbye = goodbye_due_ && outbox_.empty();
      if (*goodbye) {
        // The others wait for us no longer, so nothing is relied on from here.
        goodbye_said_ = true;
        following_ = false;
        lost_why_ = "goodbye was said";
        reliable_until_.store(0);
      }
      heartbeat_due_ = false;
      head.node = options_.node;
      head.incarnation = incarnation_;
      head.number = content->number;
      head.sent = options_.clock->Now();
      head.sent_mono = now;
      head.goodbye = *goodbye;
      head.wants_ack = !content->waits.empty();
      head.acks = roster_.AcksDue(now);
      head.newest = listener_->NewestVersion();
      then.answers = waits_.TakeDone();
    } else {
      sending_ = false;
      if (quiet_ != nullptr && !reading_) then.signals.push_back(std::exchange(quiet_, nullptr));
    }
  }
  if (more) *bytes = EncodeFrame(head, content->messages);
  Do(then);
  return more;
}

bool LogBusCore::MayRetry(const Outbox::Content& content, MonoNanos now) {
  MutexLock lock(&mu_);
  ++stats_.append_errors;
  if (stopped_) return false;
  return content.messages.empty() || now < MonoAfter(content.made, options_.give_up_after);
}

void LogBusCore::Landed(const Outbox::Content& content, LogPosition at, bool goodbye) {
  constexpr size_t kLandedMax = 65'536;
  Then then;
  {
    MutexLock lock(&mu_);
    stats_.published += content.messages.size();
    // Read back already? The reader may be faster than the reply.
    if (content.number > echoed_ && !stopped_) {
      // All up to `position_` was read, and this was not among it.
      if (at <= position_ && !needs_sync_ && following_) LoseLocked("the log went back");
      if (landed_.size() < kLandedMax) landed_.push_back(content.number);
    }
    if (goodbye && ended_ != nullptr) then.signals.push_back(std::exchange(ended_, nullptr));
    then.answers = waits_.TakeDone();
  }
  Do(then);
  Deliver();
}

void LogBusCore::GaveUp(const Outbox::Content& content) {
  Then then;
  {
    MutexLock lock(&mu_);
    outbox_.GaveUp(content);
    waits_.AnswerFrame(content.number, roster_.alive());
    then.answers = waits_.TakeDone();
  }
  if (!content.messages.empty()) {
    LogError("bus_messages_given_up",
             {{"node", options_.node}, {"messages", uint64_t{content.messages.size()}}});
  }
  Do(then);
}

}  // namespace larder
