// A turn of the loop is: wait, handle the sockets that are ready, run what was handed over, tick
// everything (which writes), post the coroutines whose answers came. So the commands that were
// handed over while the loop was busy are written with one system call a connection, and the
// answers that one read brought resume their tasks in groups: a post to the executor for each would
// cost more than the command itself.
//
// Waking a thread costs a system call on both sides. The loop says under its lock that it is about
// to sleep, and only whoever posts first after that writes to the eventfd; while the loop is busy
// nobody does. Tasks that are resumed together often send their next commands at once: the thread
// that resumes them wakes the loop when it is through with all of them.
//
// Every ticker is asked at every turn when it is due next. A Redis has tens of connections, rarely
// hundreds, so that this costs less than a map of timers that each command would have to change.

#include "redis/loop.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/thread_name.h"

namespace larder {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr int kEventsMax = 64;
// Coroutines that one piece of posted work resumes, one after the other.
constexpr size_t kResumedTogether = 16;
// A clock that is not the system's moves without waking the loop, so it is looked at this often.
constexpr MonoNanos kLookEvery = 20'000'000;
// So that milliseconds fit into an int.
constexpr MonoNanos kWaitMax = 60'000'000'000;

}  // namespace

RedisLoop::RedisLoop(Clock* clock, Executor* executor)
    : clock_(clock),
      executor_(executor),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      now_(clock->Mono()),
      buffer_(kBufferBytes) {
  // Out of descriptors or memory at the start of the process: nothing can work.
  if (epoll_ < 0 || wake_ < 0 || !Watch(wake_, EPOLLIN, nullptr)) std::abort();
}

RedisLoop::~RedisLoop() {
  Stop();
  close(wake_);
  close(epoll_);
}

void RedisLoop::Start() {
  thread_ = std::thread([this] {
    NameThisThread("redis");
    Run();
  });
}

void RedisLoop::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  const uint64_t one = 1;
  // Cannot fail: the counter of the eventfd is far from its limit.
  [[maybe_unused]] const ssize_t ignored = write(wake_, &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
}

// ---- handing over

class RedisLoop::Gathering {
 public:
  explicit Gathering(std::shared_ptr<RedisLoop> loop)
      : loop_(std::move(loop)), outer_(std::exchange(innermost_, this)) {}
  ~Gathering() {
    innermost_ = outer_;
    if (wake_) loop_->Wake();
  }
  Gathering(const Gathering&) = delete;
  Gathering& operator=(const Gathering&) = delete;

  // True when this thread wakes `loop` later.
  static bool Takes(const RedisLoop* loop) {
    if (innermost_ == nullptr || innermost_->loop_.get() != loop) return false;
    innermost_->wake_ = true;
    return true;
  }

 private:
  inline static thread_local Gathering* innermost_ = nullptr;

  const std::shared_ptr<RedisLoop> loop_;
  Gathering* const outer_;
  bool wake_ = false;
};

bool RedisLoop::Post(Work work) {
  const bool later = Gathering::Takes(this);
  bool wake = false;
  {
    MutexLock lock(&mu_);
    if (stopped_) return false;
    posted_.push_back(std::move(work));
    wake = !later && std::exchange(asleep_, false);
  }
  if (wake) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = write(wake_, &one, sizeof(one));
  }
  return true;
}

void RedisLoop::Wake() {
  {
    MutexLock lock(&mu_);
    if (!std::exchange(asleep_, false)) return;
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(wake_, &one, sizeof(one));
}

void RedisLoop::Add(std::shared_ptr<RedisTicker> ticker) { tickers_.push_back(std::move(ticker)); }

void RedisLoop::Remove(RedisTicker* ticker) {
  // Its place is not erased here: the list may be the one that is being walked.
  for (std::shared_ptr<RedisTicker>& each : tickers_) {
    if (each.get() == ticker) return removed_.push_back(std::exchange(each, nullptr));
  }
}

bool RedisLoop::Watch(int fd, uint32_t events, RedisTicker* ticker) {
  epoll_event event{.events = events, .data = {.ptr = ticker}};
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void RedisLoop::Rewatch(int fd, uint32_t events, RedisTicker* ticker) {
  epoll_event event{.events = events, .data = {.ptr = ticker}};
  // Fails only for what is not watched, a mistake of ours.
  if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0) std::abort();
}

void RedisLoop::Unwatch(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

void RedisLoop::Run() {
  // A peer that is gone is an error of write(2), not the end of the process; TLS writes without a
  // flag that says so.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);

  MonoNanos due = 0;
  while (true) {
    Wait(due);
    now_ = clock_->Mono();
    RunPosted();
    due = Tick();
    PostResumed();
    removed_.clear();
    MutexLock lock(&mu_);
    if (stopping_ && posted_.empty()) {
      stopped_ = true;
      break;
    }
  }
  for (const auto& ticker : tickers_) {
    if (ticker) ticker->OnStop();
  }
  PostResumed();
  tickers_.clear();
  removed_.clear();
}

void RedisLoop::Wait(MonoNanos due) {
  {
    MutexLock lock(&mu_);
    asleep_ = posted_.empty() && !stopping_;
    if (!asleep_) due = 0;
  }
  int timeout_ms = -1;
  if (due != kRedisNever) {
    MonoNanos left = due - clock_->Mono();
    if (clock_ != Clock::System()) left = std::min(left, kLookEvery);
    left = std::min(left, kWaitMax);
    // Rounded up: a turn before the time would only go round again.
    timeout_ms = left <= 0 ? 0 : static_cast<int>((left + 999'999) / 1'000'000);
  }
  epoll_event events[kEventsMax];
  const int ready = epoll_wait(epoll_, events, kEventsMax, timeout_ms);
  {
    MutexLock lock(&mu_);
    asleep_ = false;
  }
  now_ = clock_->Mono();
  for (int i = 0; i < ready; ++i) {
    if (auto* ticker = static_cast<RedisTicker*>(events[i].data.ptr)) {
      ticker->OnEvents(events[i].events);
    } else {
      uint64_t count;
      [[maybe_unused]] const ssize_t ignored = read(wake_, &count, sizeof(count));
    }
  }
}

void RedisLoop::RunPosted() {
  {
    MutexLock lock(&mu_);
    running_.swap(posted_);
  }
  for (size_t i = 0; i < running_.size(); ++i) running_[i]();
  running_.clear();
}

MonoNanos RedisLoop::Tick() {
  again_ = false;
  MonoNanos due = kRedisNever;
  for (size_t i = 0; i < tickers_.size(); ++i) {
    if (tickers_[i]) due = std::min(due, tickers_[i]->Tick(now_));
  }
  std::erase(tickers_, nullptr);
  return again_ ? now_ : due;
}

void RedisLoop::PostResumed() {
  for (size_t begin = 0; begin < resumed_.size(); begin += kResumedTogether) {
    const size_t end = std::min(begin + kResumedTogether, resumed_.size());
    if (end - begin == 1) {
      executor_->Post([waiting = resumed_[begin]] { waiting.resume(); });
      continue;
    }
    executor_->Post(
        [loop = shared_from_this(), group = std::vector<std::coroutine_handle<>>(
                                        resumed_.begin() + static_cast<ptrdiff_t>(begin),
                                        resumed_.begin() + static_cast<ptrdiff_t>(end))] {
          const Gathering gathering(loop);
          for (const std::coroutine_handle<> waiting : group) waiting.resume();
        });
  }
  resumed_.clear();
}

}  // namespace larder
