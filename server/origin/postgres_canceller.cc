#include "origin/postgres_canceller.h"

#include <libpq-fe.h>

#include <array>
#include <deque>
#include <utility>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/thread_name.h"

namespace larder {
namespace {

constexpr absl::Duration kLeaveAfter = absl::Seconds(1);

struct CancelDeleter {
  void operator()(pg_cancel* cancel) const { PQfreeCancel(cancel); }
};

struct Wanted {
  std::unique_ptr<pg_cancel, CancelDeleter> cancel;
  std::weak_ptr<PostgresCanceller::Ticket> ticket;
};

}  // namespace

// The thread's own, too: it may outlive the canceller.
struct PostgresCanceller::State {
  Mutex mu;
  CondVar changed;
  std::deque<Wanted> queue ABSL_GUARDED_BY(mu);
  bool stopping ABSL_GUARDED_BY(mu) = false;
  bool ended ABSL_GUARDED_BY(mu) = false;
};

PostgresCanceller::PostgresCanceller()
    : state_(std::make_shared<State>()), thread_([state = state_] {
        NameThisThread("pg-cancel");
        Run(state);
      }) {}

PostgresCanceller::~PostgresCanceller() {
  bool ended = false;
  {
    MutexLock lock(&state_->mu);
    state_->stopping = true;
    state_->queue.clear();
    state_->changed.SignalAll();
    while (!state_->ended && state_->changed.WaitFor(&state_->mu, kLeaveAfter)) {
    }
    ended = state_->ended;
  }
  ended ? thread_.join() : thread_.detach();
}

std::shared_ptr<const PostgresCanceller::Ticket> PostgresCanceller::Cancel(pg_cancel* cancel) {
  auto ticket = std::make_shared<Ticket>();
  Wanted wanted{std::unique_ptr<pg_cancel, CancelDeleter>(cancel), ticket};
  MutexLock lock(&state_->mu);
  if (cancel == nullptr || state_->stopping || state_->queue.size() >= kQueueMax) {
    ticket->returned = true;
    return ticket;
  }
  state_->queue.push_back(std::move(wanted));
  state_->changed.SignalAll();
  return ticket;
}

void PostgresCanceller::Run(const std::shared_ptr<State>& state) {
  while (true) {
    Wanted wanted;
    {
      MutexLock lock(&state->mu);
      while (state->queue.empty() && !state->stopping) state->changed.Wait(&state->mu);
      if (state->stopping) {
        state->ended = true;
        state->changed.SignalAll();
        return;
      }
      wanted = std::move(state->queue.front());
      state->queue.pop_front();
    }
    if (wanted.ticket.expired()) continue;
    std::array<char, 256> ignored;
    PQcancel(wanted.cancel.get(), ignored.data(), static_cast<int>(ignored.size()));
    if (const auto ticket = wanted.ticket.lock()) ticket->returned = true;
  }
}

}  // namespace larder
