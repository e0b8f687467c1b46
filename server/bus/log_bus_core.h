// LogBusCore is the state of one bus over a log and the two loops that move it: one appends frames,
// one reads them. It lives until the last of its loops has ended, which may be after the bus.
// Thread safety: any method, any thread.

#ifndef LARDER_BUS_LOG_BUS_CORE_H_
#define LARDER_BUS_LOG_BUS_CORE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/histogram.h"
#include "base/mutex.h"
#include "bus/fleet_wait.h"
#include "bus/frame.h"
#include "bus/log_bus.h"
#include "bus/outbox.h"
#include "bus/roster.h"

namespace larder {

class LogBusCore : public std::enable_shared_from_this<LogBusCore> {
 public:
  LogBusCore(std::unique_ptr<BusLog> log, const LogBusOptions& options);

  void Start(BusListener* listener);
  // Lets what is queued be sent, then a goodbye; `ended` is set when that has landed.
  void BeginStop(std::shared_ptr<Signal<bool>> ended);
  // Gives up everything that is still under way and calls the listener no more; `quiet` is set when
  // the loops have ended.
  void EndStop(std::shared_ptr<Signal<bool>> quiet);
  // Waits for a call of the listener that is running. Blocks, but for no longer than that.
  void AwaitListener();
  // The same without blocking: set when none is running.
  void TellWhenIdle(std::shared_ptr<Signal<bool>> idle);

  // `wait` may be null.
  void Enqueue(std::string message, std::shared_ptr<FleetWait> wait);
  // The deadline of `wait` has come.
  void Expire(const std::shared_ptr<FleetWait>& wait);
  BusStats Stats() const;
  MonoNanos ReliableUntil() const { return reliable_until_.load(std::memory_order_acquire); }

  const LogBusOptions& options() const { return options_; }

 private:
  // Something that the listener is told.
  struct Event {
    enum class Kind { kMessages, kGap, kFollowing };
    Kind kind = Kind::kMessages;
    std::vector<BusMessage> messages = {};
    // What has taken effect when the listener returns, and whether its sender wants to know.
    std::vector<std::pair<FrameAck, bool>> runs = {};
    std::vector<absl::Time> published = {};
    std::string why = {};
    uint64_t times_lost = 0;  // of kFollowing: when it was true
  };
  // What to do once the lock is free again: it may run other people's code.
  struct Then {
    bool publish = false;  // start the loop that appends
    FleetWaits::Done answers;
    std::vector<std::shared_ptr<Signal<bool>>> signals;
  };

  // log_bus_send.cc: the loop that appends.
  static Task<bool> SendLoop(std::shared_ptr<LogBusCore> core);
  static Task<bool> SendFrame(std::shared_ptr<LogBusCore> core, Outbox::Content content,
                              std::string bytes, bool goodbye);
  bool NextFrame(Outbox::Content* content, std::string* bytes, bool* goodbye);
  bool MayRetry(const Outbox::Content& content, MonoNanos now);
  void Landed(const Outbox::Content& content, LogPosition at, bool goodbye);
  void GaveUp(const Outbox::Content& content);
  bool HasMoreToSendLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Then KickLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const Then& then);

  // log_bus_follow.cc: the loop that reads.
  static Task<bool> ReadLoop(std::shared_ptr<LogBusCore> core);
  static Task<absl::Status> Synchronize(std::shared_ptr<LogBusCore> core);
  static Task<absl::Status> ReadOnce(std::shared_ptr<LogBusCore> core);
  static Task<bool> Sleep(std::shared_ptr<LogBusCore> core, absl::Duration longest,
                          std::shared_ptr<Signal<bool>> LogBusCore::* slot);
  void Tick();
  void TickLater();
  void Take(std::vector<LogItem> items);
  void TakeFrameLocked(absl::StatusOr<Frame> frame, MonoNanos now,
                       std::vector<uint32_t>* shared_node_ids) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EchoLocked(const FrameHead& head, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HearLocked(Frame frame, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ExtendLeaseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyLocked(const Roster::Verdict& verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Nothing can be relied on until the end of the log was found again.
  void LoseLocked(std::string why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Something was missed, and the log goes on to be followed.
  void MissLocked(std::string why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string LeaseOverLocked(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool LeaseIsOverLocked(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Who is alive is known for certain.
  bool IsSettledLocked(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Deliver();
  void DeliverOne(const Event& event, BusListener* listener);

  bool stopped() const;

  const LogBusOptions options_;
  const std::unique_ptr<BusLog> log_;
  const uint64_t incarnation_;
  Histogram lags_;
  std::atomic<MonoNanos> reliable_until_{0};

  mutable Mutex mu_;
  BusListener* listener_ ABSL_GUARDED_BY(mu_) = nullptr;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
  TimerId tick_timer_ ABSL_GUARDED_BY(mu_) = 0;
  std::shared_ptr<Signal<bool>> ended_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<Signal<bool>> quiet_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<Signal<bool>> idle_ ABSL_GUARDED_BY(mu_);

  // Sending.
  Outbox outbox_ ABSL_GUARDED_BY(mu_);
  FleetWaits waits_ ABSL_GUARDED_BY(mu_);
  bool sending_ ABSL_GUARDED_BY(mu_) = false;
  bool heartbeat_due_ ABSL_GUARDED_BY(mu_) = false;
  bool goodbye_due_ ABSL_GUARDED_BY(mu_) = false;
  bool goodbye_said_ ABSL_GUARDED_BY(mu_) = false;
  // Frames that landed and were not read back yet.
  std::deque<uint64_t> landed_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<Signal<bool>> sender_sleep_ ABSL_GUARDED_BY(mu_);

  // Reading.
  Roster roster_ ABSL_GUARDED_BY(mu_);
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool following_ ABSL_GUARDED_BY(mu_) = false;
  std::string lost_why_ ABSL_GUARDED_BY(mu_) = "not followed yet";
  uint64_t times_lost_ ABSL_GUARDED_BY(mu_) = 0;
  // times_lost_ when the listener was last told that we follow; at first it never was.
  uint64_t told_following_ ABSL_GUARDED_BY(mu_) = ~uint64_t{0};
  bool needs_sync_ ABSL_GUARDED_BY(mu_) = true;
  LogPosition position_ ABSL_GUARDED_BY(mu_);
  uint64_t follow_at_ ABSL_GUARDED_BY(mu_) = 0;  // the echo of this frame, or a later one
  MonoNanos synced_at_ ABSL_GUARDED_BY(mu_) = 0;
  // Since when we follow and the log is not known to have lost anything.
  MonoNanos sure_since_ ABSL_GUARDED_BY(mu_) = 0;
  MonoNanos steady_since_ ABSL_GUARDED_BY(mu_) = 0;  // own messages come back in time
  uint64_t echoed_ ABSL_GUARDED_BY(mu_) = 0;         // the last own frame that was read back
  MonoNanos echo_sent_ ABSL_GUARDED_BY(mu_) = 0;     // and when it was sent
  std::shared_ptr<Signal<bool>> reader_sleep_ ABSL_GUARDED_BY(mu_);

  // Telling the listener.
  std::deque<Event> events_ ABSL_GUARDED_BY(mu_);
  bool delivering_ ABSL_GUARDED_BY(mu_) = false;
  CondVar delivered_;
  std::vector<std::shared_ptr<Signal<bool>>> drained_ ABSL_GUARDED_BY(mu_);

  BusStats stats_ ABSL_GUARDED_BY(mu_);  // its counters
};

}  // namespace larder

#endif  // LARDER_BUS_LOG_BUS_CORE_H_
