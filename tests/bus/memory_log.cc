#include "tests/bus/memory_log.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"

namespace larder {

class MemoryLog::Client : public BusLog {
 public:
  Client(MemoryLog* log, int replica, Executor* executor)
      : log_(log), replica_(replica), executor_(executor) {}

  Task<absl::StatusOr<LogPosition>> Append(std::string item, MonoNanos deadline) override {
    return AppendTo(log_, replica_, executor_, std::move(item), deadline);
  }
  Task<absl::StatusOr<std::vector<LogItem>>> Read(LogPosition after, size_t limit,
                                                  absl::Duration wait,
                                                  MonoNanos deadline) override {
    return ReadFrom(log_, replica_, executor_, after, limit, wait, deadline);
  }
  Task<absl::StatusOr<LogPosition>> Tail(MonoNanos deadline) override {
    return TailOf(log_, replica_, executor_, deadline);
  }

 private:
  static absl::Status CutOff() { return absl::UnavailableError("cut off"); }

  static Task<bool> Pause(Executor* executor, absl::Duration delay) {
    const auto over = std::make_shared<Signal<bool>>(executor);
    executor->After(delay, [over] { over->TrySet(true); });
    co_return co_await *over;
  }

  // The way to the server. An error when it is cut off or frozen.
  static Task<absl::Status> Reach(MemoryLog* log, int replica, Executor* executor,
                                  MonoNanos deadline) {
    co_await Pause(executor, log->Latency());
    if (!log->connections_[replica].up) co_return CutOff();
    if (!log->frozen_) co_return absl::OkStatus();
    const MonoNanos now = log->clock_->Mono();
    co_await Pause(executor, absl::Nanoseconds(std::max<MonoNanos>(deadline - now, 0)));
    co_return absl::DeadlineExceededError("frozen");
  }

  static Task<absl::StatusOr<LogPosition>> AppendTo(MemoryLog* log, int replica, Executor* executor,
                                                    std::string item, MonoNanos deadline) {
    // What was sent to a frozen server it carries out when it goes on.
    if (log->frozen_ && log->connections_[replica].up) log->while_frozen_.push_back(item);
    const absl::Status reached = co_await Reach(log, replica, executor, deadline);
    if (!reached.ok()) co_return reached;
    if (log->Draw(log->faults_.lost)) co_return absl::UnavailableError("lost");
    if (log->Draw(log->faults_.late)) {
      log->executor_->After(log->UpTo(log->faults_.late_max),
                            [log, item = std::move(item)]() mutable { log->Add(std::move(item)); });
      co_return absl::UnavailableError("late");
    }
    const LogPosition at = log->Add(std::move(item));
    if (log->Draw(log->faults_.unknown)) co_return absl::UnavailableError("unknown outcome");
    co_await Pause(executor, log->Latency());
    if (!log->connections_[replica].up) co_return CutOff();
    co_return at;
  }

  static Task<absl::StatusOr<std::vector<LogItem>>> ReadFrom(MemoryLog* log, int replica,
                                                             Executor* executor, LogPosition after,
                                                             size_t limit, absl::Duration wait,
                                                             MonoNanos deadline) {
    const absl::Status reached = co_await Reach(log, replica, executor, deadline);
    if (!reached.ok()) co_return reached;
    if (log->Draw(log->faults_.read_error)) co_return absl::UnavailableError("read failed");
    if (log->items_.empty() || log->items_.back().at <= after) {
      const auto woken = std::make_shared<Signal<bool>>(executor);
      log->waiting_.push_back(woken);
      const TimerId timer = executor->After(wait, [woken] { woken->TrySet(false); });
      co_await *woken;
      executor->Cancel(timer);
    }
    co_await Pause(executor, log->Latency());
    if (!log->connections_[replica].up) co_return CutOff();
    std::vector<LogItem> items;
    const auto first =
        std::upper_bound(log->items_.begin(), log->items_.end(), after,
                         [](const LogPosition& at, const LogItem& item) { return at < item.at; });
    for (auto it = first; it != log->items_.end() && items.size() < limit; ++it)
      items.push_back(*it);
    co_return items;
  }

  static Task<absl::StatusOr<LogPosition>> TailOf(MemoryLog* log, int replica, Executor* executor,
                                                  MonoNanos deadline) {
    const absl::Status reached = co_await Reach(log, replica, executor, deadline);
    if (!reached.ok()) co_return reached;
    const LogPosition tail = log->items_.empty() ? LogPosition() : log->items_.back().at;
    co_await Pause(executor, log->Latency());
    if (!log->connections_[replica].up) co_return CutOff();
    co_return tail;
  }

  MemoryLog* const log_;
  const int replica_;
  Executor* const executor_;
};

std::unique_ptr<BusLog> MemoryLog::NewClient(int replica, Executor* executor) {
  return std::make_unique<Client>(this, replica, executor);
}

void MemoryLog::Thaw() {
  frozen_ = false;
  for (std::string& item : std::exchange(while_frozen_, {})) Add(std::move(item));
}

void MemoryLog::Trim(size_t items) {
  while (items_.size() > items) items_.pop_front();
}

void MemoryLog::GoBack(size_t items) {
  for (; items > 0 && !items_.empty(); --items) items_.pop_back();
  last_ = items_.empty() ? LogPosition() : items_.back().at;
}

LogPosition MemoryLog::Add(std::string item) {
  const LogPosition now{static_cast<uint64_t>(absl::ToUnixMillis(clock_->Now() + offset_)), 0};
  last_ = now > last_ ? now : LogPosition{last_.ms, last_.count + 1};
  items_.push_back({last_, std::move(item)});
  ++appended_;
  for (const auto& reader : std::exchange(waiting_, {})) reader->TrySet(true);
  return last_;
}

bool MemoryLog::Draw(double share) {
  return share > 0 && static_cast<double>(random_.Next() >> 11) * 0x1p-53 < share;
}

absl::Duration MemoryLog::Latency() { return UpTo(faults_.latency_max); }

absl::Duration MemoryLog::UpTo(absl::Duration most) {
  return most * (static_cast<double>(random_.Next() >> 11) * 0x1p-53);
}

}  // namespace larder
