// A server must be able to say what goes wrong without the saying becoming what goes wrong. Three
// dangers:
//
// A flood. When an origin fails, every request has the same thing to report. Each event therefore
// has its budget for each second; what is beyond is counted instead of written. The table of
// budgets is bounded; should there ever be more event names than it holds, the others share one
// budget.
//
// A reader that stops. Standard error is mostly a pipe to a log collector, and a blocking write to
// a full pipe stops the thread, then all others behind it. The sink is often shared with other
// processes, so making it O_NONBLOCK would change theirs. Instead poll(2) is asked first: a pipe
// that is ready has a free page, which takes a whole line. That holds only while nobody else writes
// between the two calls, so lines are written under a lock, which is held across I/O against our
// rule; poll bounds that to 20 ms. Having waited in vain once, the log does not wait again until
// the sink takes a line. What remains: another process that fills the same pipe just then can hold
// us up until the pipe is read, and so can a terminal that was stopped with Ctrl-S in the middle of
// a line.
//
// A reader that is gone. write(2) to a closed pipe raises SIGPIPE, which kills. It is blocked for
// the thread around the write and taken back when it came from here, so that the process need not
// ignore the signal.
//
// Rejected: a background thread with a queue. It would lose the last lines before a crash, which
// matter most.

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/log_format.h"
#include "base/mutex.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr size_t kEventsMax = 512;
constexpr absl::Duration kStallMax = absl::Milliseconds(20);

// Holds SIGPIPE back for the calling thread while it lives.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &old_);
  }
  ~SigpipeGuard() {
    if (raised_ && !was_pending_) {
      const timespec no_wait{};
      while (sigtimedwait(&pipe_, nullptr, &no_wait) == -1 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

  // A write failed with EPIPE, so that the signal is pending.
  void Raised() { raised_ = true; }

 private:
  sigset_t pipe_;
  sigset_t old_;
  bool was_pending_;
  bool raised_ = false;
};

// The file that lines go to, and what could not be written to it.
class Sink {
 public:
  void SetFd(int fd) {
    MutexLock lock(&mu_);
    if (fd == fd_) return;
    fd_ = fd;
    stalled_ = false;
    torn_ = false;
  }

  // Writes `line`, after a notice about the lines lost before it.
  void Write(LogOptions::Format format, absl::Time time, std::string line) {
    MutexLock lock(&mu_);
    if (lost_ > 0) {
      const std::array<LogField, 1> fields = {{{"lines", lost_}}};
      const bool told = WriteLineLocked(FormatLogLine(format, {.time = time,
                                                               .level = LogLevel::kWarning,
                                                               .event = "log_lines_lost",
                                                               .fields = fields}));
      if (told) lost_ = 0;
    }
    if (lost_ > 0 || !WriteLineLocked(std::move(line))) {
      ++lost_;
      lost_ever_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  uint64_t lost_ever() const { return lost_ever_.load(std::memory_order_relaxed); }

 private:
  // Returns false when not all of `line` could be written.
  bool WriteLineLocked(std::string line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (torn_) line.insert(0, "\n");
    const MonoNanos give_up =
        MonoAfter(Clock::System()->Mono(), stalled_ ? absl::ZeroDuration() : kStallMax);
    SigpipeGuard guard;
    std::string_view rest = line;
    while (!rest.empty() && Ready(fd_, give_up)) {
      const ssize_t written = write(fd_, rest.data(), rest.size());
      if (written > 0) {
        rest.remove_prefix(static_cast<size_t>(written));
        continue;
      }
      if (errno == EPIPE) guard.Raised();
      const bool may_retry = errno == EINTR || errno == EAGAIN;
      if (!may_retry || Clock::System()->Mono() >= give_up) break;
    }
    stalled_ = !rest.empty();
    const size_t written = line.size() - rest.size();
    if (written > 0) torn_ = !rest.empty() && written > (torn_ ? 1 : 0);
    return rest.empty();
  }

  // Waits until `fd` takes a line or has an error to report by write(2). False when time is up or
  // `fd` is closed.
  static bool Ready(int fd, MonoNanos give_up) {
    pollfd poll_fd{.fd = fd, .events = POLLOUT, .revents = 0};
    for (;;) {
      const MonoNanos left = give_up - Clock::System()->Mono();
      const int timeout_ms = left > 0 ? static_cast<int>(left / 1'000'000 + 1) : 0;
      const int ready = poll(&poll_fd, 1, timeout_ms);
      if (ready > 0) return (poll_fd.revents & POLLNVAL) == 0;
      if (ready == 0 || errno != EINTR) return false;
    }
  }

  Mutex mu_;
  int fd_ ABSL_GUARDED_BY(mu_) = 2;
  bool stalled_ ABSL_GUARDED_BY(mu_) = false;
  // The sink ends with half a line, so the next one begins with a line feed.
  bool torn_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t lost_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<uint64_t> lost_ever_{0};
};

class Logger {
 public:
  static Logger& Get() {
    static Logger* const logger = new Logger;
    return *logger;
  }

  void Configure(const LogOptions& options) {
    {
      MutexLock lock(&mu_);
      options_ = options;
      options_.format = Resolve(options);
      budgets_.clear();
      others_ = Budget();
    }
    level_.store(options.level, std::memory_order_relaxed);
    sink_.SetFd(options.fd);
  }

  bool Enabled(LogLevel level) const { return level >= level_.load(std::memory_order_relaxed); }

  struct Admission {
    LogOptions::Format format;
    absl::Time time;
    uint64_t suppressed;
  };

  // Nothing when the event has used up its budget, which is the options' unless it is given. Reads
  // the clock under the lock, so that Configure may replace it.
  std::optional<Admission> Admit(LogLevel level, std::string_view event,
                                 std::optional<int> lines_per_second) {
    MutexLock lock(&mu_);
    Admission admission{options_.format, options_.clock->Now(), 0};
    if (level >= LogLevel::kError) lines_per_second = kUrgentLinesPerSecond;
    Budget& budget = BudgetLocked(event);
    const MonoNanos now = options_.clock->Mono();
    if (budget.written == 0 || now - budget.second_began >= 1'000'000'000) {
      budget.second_began = now;
      budget.written = 0;
    }
    if (budget.written >= lines_per_second.value_or(options_.event_lines_per_second)) {
      ++budget.suppressed;
      return std::nullopt;
    }
    ++budget.written;
    admission.suppressed = std::exchange(budget.suppressed, 0);
    return admission;
  }

  void Write(const Admission& admission, LogLevel level, std::string_view event,
             absl::Span<const LogField> fields) {
    sink_.Write(admission.format, admission.time,
                FormatLogLine(admission.format, {.time = admission.time,
                                                 .level = level,
                                                 .event = event,
                                                 .fields = fields,
                                                 .suppressed = admission.suppressed}));
  }

  uint64_t lines_lost() const { return sink_.lost_ever(); }

 private:
  struct Budget {
    MonoNanos second_began = 0;
    int written = 0;  // In this second.
    uint64_t suppressed = 0;
  };

  static LogOptions::Format Resolve(const LogOptions& options) {
    if (options.format != LogOptions::Format::kAuto) return options.format;
    return isatty(options.fd) == 1 ? LogOptions::Format::kText : LogOptions::Format::kJson;
  }

  Budget& BudgetLocked(std::string_view event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (const auto it = budgets_.find(ToAbsl(event)); it != budgets_.end()) return it->second;
    if (budgets_.size() >= kEventsMax) return others_;
    return budgets_[std::string(event)];
  }

  std::atomic<LogLevel> level_{LogOptions().level};
  Mutex mu_;
  LogOptions options_ ABSL_GUARDED_BY(mu_) = {.format = Resolve(LogOptions())};
  absl::flat_hash_map<std::string, Budget> budgets_ ABSL_GUARDED_BY(mu_);
  Budget others_ ABSL_GUARDED_BY(mu_);
  Sink sink_;
};

}  // namespace

void ConfigureLog(const LogOptions& options) { Logger::Get().Configure(options); }

bool LogEnabled(LogLevel level) { return Logger::Get().Enabled(level); }

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const auto admission = Logger::Get().Admit(level, event, std::nullopt);
  if (admission.has_value()) Logger::Get().Write(*admission, level, event, fields);
}

void LogLazily(LogLevel level, std::string_view event,
               absl::FunctionRef<std::vector<LogField>()> make) {
  if (!LogEnabled(level)) return;
  const auto admission = Logger::Get().Admit(level, event, std::nullopt);
  if (admission.has_value()) Logger::Get().Write(*admission, level, event, make());
}

void LogAudit(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  const auto admission = Logger::Get().Admit(level, event, kUrgentLinesPerSecond);
  if (admission.has_value()) Logger::Get().Write(*admission, level, event, fields);
}

uint64_t LogLinesLost() { return Logger::Get().lines_lost(); }

}  // namespace larder
