// PostgresCanceller cancels statements on a thread of its own, one after the other, because libpq's
// PQcancel blocks, and for ever where a server takes the connection and says nothing. Thread
// safety: any method, any thread. Never blocks, but for its destructor, which waits for the
// cancellation that is under way for at most a second and then leaves the thread to itself.

#ifndef LARDER_ORIGIN_POSTGRES_CANCELLER_H_
#define LARDER_ORIGIN_POSTGRES_CANCELLER_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>

// libpq's PGcancel.
struct pg_cancel;

namespace larder {

class PostgresCanceller {
 public:
  // Cancellations that wait; beyond it they are not made.
  static constexpr size_t kQueueMax = 256;

  // What has become of one: whoever holds it wants it.
  struct Ticket {
    std::atomic<bool> returned{false};
  };

  PostgresCanceller();
  ~PostgresCanceller();
  PostgresCanceller(const PostgresCanceller&) = delete;
  PostgresCanceller& operator=(const PostgresCanceller&) = delete;

  // Takes `cancel`. A ticket that is gone when its turn comes is passed over. Whether the
  // cancellation worked shows by what becomes of the statement.
  std::shared_ptr<const Ticket> Cancel(pg_cancel* cancel);

 private:
  struct State;
  static void Run(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_CANCELLER_H_
