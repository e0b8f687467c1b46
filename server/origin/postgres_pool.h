// PostgresPool runs batches on a bounded number of connections to one PostgreSQL, each of which
// runs one batch at a time. Batches wait in line for a connection, as long as their deadlines
// allow. Thread safety: any method, any thread. Only Close blocks. A task goes on on the executor.

#ifndef LARDER_ORIGIN_POSTGRES_POOL_H_
#define LARDER_ORIGIN_POSTGRES_POOL_H_

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "origin/postgres_canceller.h"
#include "origin/postgres_connection.h"
#include "origin/postgres_origin.h"
#include "origin/sql_plan.h"

namespace larder {

// What became of a batch: an error, or one answer for each execution.
struct PostgresOutcome {
  absl::Status status = absl::OkStatus();
  // Whether a connection had it. Some of it may have been done then, also where it failed.
  bool begun = false;
  std::vector<PostgresAnswer> answers = {};
};

class PostgresPool {
 public:
  using Outcome = std::shared_ptr<PostgresOutcome>;

  PostgresPool(const PostgresOptions& options, std::shared_ptr<const SqlPlans> plans);
  ~PostgresPool();
  PostgresPool(const PostgresPool&) = delete;
  PostgresPool& operator=(const PostgresPool&) = delete;

  // Errors: Unavailable no connection can be had, or it was lost; DeadlineExceeded; in both cases
  // the batch may have been run, if it was begun. ResourceExhausted: too many wait. REQUIRES: not
  // empty.
  Task<Outcome> Run(PostgresBatch batch);

  // Ends all batches with Unavailable, and those that come. Waits for connections that are being
  // opened or cancelled. One thread.
  void Close();

  size_t connections() const { return connections_.load(std::memory_order_relaxed); }
  // `ok`, or what is wrong.
  std::string state() const;

 private:
  struct Job {
    Job(PostgresBatch b, Executor* executor)
        : batch(std::make_shared<const PostgresBatch>(std::move(b))), outcome(executor) {}
    const std::shared_ptr<const PostgresBatch> batch;
    Signal<Outcome> outcome;
  };
  struct Slot {
    std::unique_ptr<PostgresConnection> connection;
    std::shared_ptr<Job> job;  // null when it is idle or gives a batch up
    // While a batch is given up: until when it may take, and its cancellation.
    bool giving_up = false;
    MonoNanos give_up_at = 0;
    std::shared_ptr<const PostgresCanceller::Ticket> cancel;
  };

  // Hands work to the loop. False once the loop has ended; the work is then dropped.
  [[nodiscard]] bool Post(Work work);
  void Wake();

  // All that follows runs on the loop.
  void Loop();
  void WaitForEvents();
  void RunPosted();
  void Expire(MonoNanos now);
  void Settle(Slot* slot);
  void GiveUp(Slot* slot, MonoNanos now);
  void Dispatch(MonoNanos now);
  void Open(MonoNanos now);
  void OnOpened(absl::StatusOr<PostgresSession> session);
  void FailQueue(const absl::Status& status);
  void SetState(const absl::Status& status);
  MonoNanos NextDue(MonoNanos now) const;
  Slot* IdleSlot();
  void DropBroken();

  const PostgresOptions options_;
  const std::shared_ptr<const SqlPlans> plans_;
  const int wake_;
  // Opens connections, which blocks.
  const std::unique_ptr<ThreadPool> opener_;
  std::unique_ptr<PostgresCanceller> canceller_;

  mutable Mutex mu_;
  std::vector<Work> posted_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::string state_ ABSL_GUARDED_BY(mu_) = "ok";
  std::atomic<size_t> connections_{0};
  std::atomic<size_t> waiting_{0};  // jobs that no connection runs yet

  // Of the loop's thread.
  std::deque<std::shared_ptr<Job>> queue_;
  std::vector<Slot> slots_;
  bool opening_ = false;
  int failures_ = 0;  // to open a connection, in a row
  MonoNanos open_again_ = 0;
  absl::Status open_error_;

  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_POSTGRES_POOL_H_
