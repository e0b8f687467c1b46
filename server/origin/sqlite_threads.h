// SqliteThreads are threads with a connection each, and the one line of calls that they serve.
// Thread safety: any method, any thread; Stop once. Only Stop blocks, for as long as the calls that
// run take to notice.

#ifndef LARDER_ORIGIN_SQLITE_THREADS_H_
#define LARDER_ORIGIN_SQLITE_THREADS_H_

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "base/mutex.h"
#include "origin/sql_counts.h"
#include "origin/sql_plan.h"
#include "origin/sqlite_connection.h"
#include "origin/sqlite_origin.h"

namespace larder {

class SqliteThreads {
 public:
  using Call = absl::AnyInvocable<void(SqliteConnection&)>;

  // All outlive the threads.
  SqliteThreads(const SqliteOptions* options, const SqlPlans* plans, SqlCounts* counts,
                SqliteConnection::Use use, int threads);
  ~SqliteThreads() { Stop(); }
  SqliteThreads(const SqliteThreads&) = delete;
  SqliteThreads& operator=(const SqliteThreads&) = delete;

  enum class Taken : uint8_t { kYes, kFull, kStopped };
  Taken TryRun(Call call);

  // Ends the calls that run, runs those that wait, which end at once, and joins the threads.
  void Stop();

 private:
  void Serve(SqliteConnection* connection);

  const size_t queue_max_;
  std::atomic<bool> stop_{false};
  Mutex mu_;
  CondVar came_;
  std::deque<Call> calls_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<SqliteConnection>> connections_;
  std::vector<std::thread> threads_;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_SQLITE_THREADS_H_
