// One thread, the loop, owns all connections: it polls their sockets and never blocks. What does
// block, to open a connection and to cancel a statement, two helper threads do, one each: while a
// server that has vanished holds up cancellations, connections to the one that took its place are
// opened.
//
// Connections are opened when a batch wants one and none is idle, one at a time. So a database that
// is down sees no attempts but those that calls ask for, which a breaker in front of the origin
// bounds; and when it is back, the first call finds that out by itself. While no connection is open
// and the last attempt has failed, calls fail at once until the pause after it is over: to wait
// would only make them late. When some are open and another cannot be had (the server's limit),
// calls wait for those.
//
// A batch that loses its deadline answers at once. Its statement is cancelled, or it would go on
// for nobody, and the connection is kept: to open one costs the server a process, which is the last
// thing that a slow one needs. The connection is used again only when the batch has ended and the
// cancellation has been delivered too, for a late one would hit the next batch. A connection on
// which that takes too long is closed.

#include "origin/postgres_pool.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "base/thread_name.h"

namespace larder {
namespace {

constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();
// A session with a statement that it could not prepare, or whose rows have changed, is replaced
// no sooner than this after it was opened.
constexpr MonoNanos kStaleAfter = 1'000'000'000;
// Whether a cancellation has returned is looked at this often.
constexpr MonoNanos kLookForCancel = 2'000'000;
// A clock that is not the system's moves without waking the loop, so it is looked at this often.
constexpr MonoNanos kLookEvery = 20'000'000;
constexpr MonoNanos kWaitMax = 60'000'000'000;

absl::Status Closing() { return absl::UnavailableError("PostgreSQL: the origin is shutting down"); }

absl::Status TimeOver(std::string_view what) {
  return absl::DeadlineExceededError(StrCat("PostgreSQL: ", what));
}

}  // namespace

PostgresPool::PostgresPool(const PostgresOptions& options, std::shared_ptr<const SqlPlans> plans)
    : options_(options),
      plans_(std::move(plans)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      opener_(ThreadPool::New({.threads = 1, .queue_max = 1, .name = "pg-open"})),
      canceller_(std::make_unique<PostgresCanceller>()) {
  // Out of descriptors at the start of the process: nothing can work.
  if (wake_ < 0) std::abort();
  thread_ = std::thread([this] {
    NameThisThread("pg");
    Loop();
  });
}

PostgresPool::~PostgresPool() {
  Close();
  close(wake_);
}

void PostgresPool::Close() {
  {
    MutexLock lock(&mu_);
    if (std::exchange(stopping_, true)) return;
  }
  Wake();
  thread_.join();
  opener_->Shutdown();
  canceller_ = nullptr;
}

void PostgresPool::Wake() {
  const uint64_t one = 1;
  // Cannot fail: the counter of the eventfd is far from its limit.
  [[maybe_unused]] const ssize_t ignored = write(wake_, &one, sizeof(one));
}

bool PostgresPool::Post(Work work) {
  bool wake = false;
  {
    MutexLock lock(&mu_);
    if (ended_) return false;
    wake = posted_.empty();
    posted_.push_back(std::move(work));
  }
  if (wake) Wake();
  return true;
}

std::string PostgresPool::state() const {
  MutexLock lock(&mu_);
  return state_;
}

Task<PostgresPool::Outcome> PostgresPool::Run(PostgresBatch batch) {
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= options_.queue_max) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    auto full = std::make_shared<PostgresOutcome>();
    full->status = absl::ResourceExhaustedError(
        StrCat("PostgreSQL: ", options_.queue_max, " calls wait for a connection already"));
    co_return full;
  }
  const auto job = std::make_shared<Job>(std::move(batch), options_.executor);
  if (!Post([this, job] { queue_.push_back(job); })) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    auto closed = std::make_shared<PostgresOutcome>();
    closed->status = Closing();
    co_return closed;
  }
  co_return co_await job->outcome;
}

// ---- the loop

void PostgresPool::Loop() {
  // A peer that is gone is an error of write(2), not the end of the process.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (true) {
    WaitForEvents();
    RunPosted();
    const MonoNanos now = options_.clock->Mono();
    for (Slot& slot : slots_) Settle(&slot);
    Expire(now);
    DropBroken();
    Dispatch(now);
    DropBroken();
    MutexLock lock(&mu_);
    if (stopping_) break;
  }
  {
    MutexLock lock(&mu_);
    ended_ = true;
  }
  // What was posted before that is among what is sent away.
  RunPosted();
  FailQueue(Closing());
  for (Slot& slot : slots_) {
    if (slot.job == nullptr) continue;
    auto outcome = std::make_shared<PostgresOutcome>();
    outcome->status = Closing();
    outcome->begun = true;
    slot.job->outcome.TrySet(std::move(outcome));
  }
  slots_.clear();
}

void PostgresPool::WaitForEvents() {
  std::vector<pollfd> fds = {{.fd = wake_, .events = POLLIN, .revents = 0}};
  for (const Slot& slot : slots_) {
    fds.push_back({.fd = slot.connection->fd(), .events = slot.connection->events(), .revents = 0});
  }
  const MonoNanos now = options_.clock->Mono();
  const MonoNanos due = NextDue(now);
  MonoNanos left = due == kNever ? kWaitMax : std::clamp<MonoNanos>(due - now, 0, kWaitMax);
  if (options_.clock != Clock::System()) left = std::min(left, kLookEvery);
  // Rounded up: a turn before the time would only go round again.
  if (poll(fds.data(), fds.size(), static_cast<int>((left + 999'999) / 1'000'000)) <= 0) return;
  if (fds[0].revents != 0) {
    uint64_t count;
    [[maybe_unused]] const ssize_t ignored = read(wake_, &count, sizeof(count));
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (fds[i + 1].revents != 0) slots_[i].connection->OnReady();
  }
}

MonoNanos PostgresPool::NextDue(MonoNanos now) const {
  MonoNanos due = kNever;
  for (const auto& job : queue_) due = std::min(due, job->batch->deadline);
  for (const Slot& slot : slots_) {
    if (slot.job != nullptr) due = std::min(due, slot.job->batch->deadline);
    if (!slot.giving_up) continue;
    due = std::min(due, slot.give_up_at);
    if (slot.connection->idle()) due = std::min(due, now + kLookForCancel);
  }
  const bool wants_more =
      !queue_.empty() && !opening_ && slots_.size() < static_cast<size_t>(options_.pool);
  if (wants_more) due = std::min(due, std::max(open_again_, now));
  return due;
}

void PostgresPool::RunPosted() {
  std::vector<Work> work;
  {
    MutexLock lock(&mu_);
    work.swap(posted_);
  }
  for (Work& each : work) each();
}

// Answers a batch that has ended, one way or the other.
void PostgresPool::Settle(Slot* slot) {
  PostgresConnection& connection = *slot->connection;
  if (!connection.idle() && !connection.broken()) return;
  if (slot->job != nullptr) {
    auto outcome = std::make_shared<PostgresOutcome>();
    outcome->begun = true;
    if (connection.broken()) {
      outcome->status = connection.error();
    } else {
      outcome->answers = connection.TakeAnswers();
    }
    std::exchange(slot->job, nullptr)->outcome.TrySet(std::move(outcome));
  }
  if (slot->giving_up && slot->cancel->returned) {
    slot->giving_up = false;
    slot->cancel = nullptr;
    // What it answered to nobody is large sometimes.
    connection.TakeAnswers();
  }
}

void PostgresPool::Expire(MonoNanos now) {
  std::erase_if(queue_, [&](const std::shared_ptr<Job>& job) {
    if (job->batch->deadline > now) return false;
    auto outcome = std::make_shared<PostgresOutcome>();
    outcome->status =
        TimeOver(open_error_.ok()
                     ? std::string("no connection became free in time")
                     : StrCat("no connection became free in time, and no other could be opened: ",
                              ToStd(open_error_.message())));
    job->outcome.TrySet(std::move(outcome));
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return true;
  });
  for (Slot& slot : slots_) {
    if (slot.job != nullptr && slot.job->batch->deadline <= now) GiveUp(&slot, now);
  }
}

void PostgresPool::GiveUp(Slot* slot, MonoNanos now) {
  auto outcome = std::make_shared<PostgresOutcome>();
  outcome->status = TimeOver("no answer in time");
  outcome->begun = true;
  std::exchange(slot->job, nullptr)->outcome.TrySet(std::move(outcome));
  slot->connection->StopSending();
  slot->giving_up = true;
  slot->give_up_at = MonoAfter(now, options_.cancel_wait);
  slot->cancel = canceller_->Cancel(slot->connection->NewCancel());
}

void PostgresPool::DropBroken() {
  const MonoNanos now = options_.clock->Mono();
  const size_t before = slots_.size();
  std::erase_if(slots_, [now](const Slot& slot) {
    if (slot.connection->broken()) return true;
    if (slot.giving_up) return slot.give_up_at <= now;
    return slot.job == nullptr && slot.connection->stale() &&
           now - slot.connection->opened() >= kStaleAfter;
  });
  if (slots_.size() != before) connections_.store(slots_.size(), std::memory_order_relaxed);
}

PostgresPool::Slot* PostgresPool::IdleSlot() {
  for (Slot& slot : slots_) {
    if (slot.job == nullptr && !slot.giving_up && slot.connection->idle() &&
        !slot.connection->broken()) {
      return &slot;
    }
  }
  return nullptr;
}

void PostgresPool::Dispatch(MonoNanos now) {
  while (!queue_.empty()) {
    Slot* const slot = IdleSlot();
    if (slot == nullptr) break;
    slot->job = std::move(queue_.front());
    queue_.pop_front();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    slot->connection->Begin(slot->job->batch);
    // A batch that cannot be bound has ended already.
    Settle(slot);
  }
  if (queue_.empty() || opening_) return;
  if (now >= open_again_) {
    if (slots_.size() < static_cast<size_t>(options_.pool)) Open(now);
  } else if (slots_.empty()) {
    FailQueue(open_error_);
  }
}

void PostgresPool::Open(MonoNanos now) {
  // To prepare the statements takes as long as one of them may.
  const MonoNanos deadline = MonoAfter(now, options_.connect_timeout + options_.statement_timeout);
  opening_ = opener_->TryPost([this, deadline] {
    auto session = OpenPostgresSession(options_, *plans_, deadline);
    // Not taken when the loop has ended: then the session ends here.
    [[maybe_unused]] const bool taken =
        Post([this, session = std::move(session)]() mutable { OnOpened(std::move(session)); });
  });
  if (!opening_) open_again_ = MonoAfter(now, options_.backoff.first);
}

void PostgresPool::OnOpened(absl::StatusOr<PostgresSession> session) {
  opening_ = false;
  if (session.ok()) {
    failures_ = 0;
    open_again_ = 0;
    absl::Status refused;
    for (const PostgresPrepared& prepared : session->prepared) refused.Update(prepared.status);
    SetState(refused);
    open_error_ = absl::OkStatus();
    Slot slot;
    slot.connection =
        std::make_unique<PostgresConnection>(*std::move(session), options_.clock->Mono());
    slots_.push_back(std::move(slot));
    connections_.store(slots_.size(), std::memory_order_relaxed);
    return;
  }
  ++failures_;
  open_error_ = session.status();
  open_again_ =
      MonoAfter(options_.clock->Mono(), options_.backoff.Pause(failures_, options_.random));
  SetState(open_error_);
  if (slots_.empty()) FailQueue(open_error_);
}

void PostgresPool::FailQueue(const absl::Status& status) {
  for (const auto& job : queue_) {
    auto outcome = std::make_shared<PostgresOutcome>();
    outcome->status = status;
    job->outcome.TrySet(std::move(outcome));
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
  queue_.clear();
}

void PostgresPool::SetState(const absl::Status& status) {
  std::string state = status.ok() ? "ok" : std::string(ToStd(status.message()));
  {
    MutexLock lock(&mu_);
    if (state_ == state) return;
    state_ = state;
  }
  if (status.ok()) {
    LogInfo("origin_connected", {{"origin", options_.name}});
  } else {
    LogWarning("origin_unwell", {{"origin", options_.name}, {"error", state}});
  }
}

}  // namespace larder
