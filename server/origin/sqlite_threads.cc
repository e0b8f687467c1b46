#include "origin/sqlite_threads.h"

#include <memory>
#include <utility>

#include "base/thread_name.h"

namespace larder {

SqliteThreads::SqliteThreads(const SqliteOptions* options, const SqlPlans* plans, SqlCounts* counts,
                             SqliteConnection::Use use, int threads)
    : queue_max_(options->queue_max) {
  for (int i = 0; i < threads; ++i) {
    connections_.push_back(std::make_unique<SqliteConnection>(options, plans, counts, &stop_, use));
    const char* const name = use == SqliteConnection::Use::kRead ? "sqlite-read" : "sqlite-write";
    threads_.emplace_back([this, name, i, connection = connections_.back().get()] {
      NameThisThread(NumberedThreadName(name, i));
      Serve(connection);
    });
  }
}

SqliteThreads::Taken SqliteThreads::TryRun(Call call) {
  MutexLock lock(&mu_);
  if (stop_.load(std::memory_order_relaxed)) return Taken::kStopped;
  if (calls_.size() >= queue_max_) return Taken::kFull;
  calls_.push_back(std::move(call));
  came_.Signal();
  return Taken::kYes;
}

void SqliteThreads::Stop() {
  {
    MutexLock lock(&mu_);
    if (stop_.exchange(true)) return;
    came_.SignalAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void SqliteThreads::Serve(SqliteConnection* connection) {
  while (true) {
    Call call;
    {
      MutexLock lock(&mu_);
      while (calls_.empty() && !stop_.load(std::memory_order_relaxed)) came_.Wait(&mu_);
      if (calls_.empty()) return;
      call = std::move(calls_.front());
      calls_.pop_front();
    }
    call(*connection);
  }
}

}  // namespace larder
