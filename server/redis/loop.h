// RedisLoop is the one thread that owns all connections of a Redis: it waits for sockets, for work
// that other threads hand over and for the time, and posts what became of it to the executor.
// Thread safety: Post, any thread; everything else only on the loop's own thread, except Start and
// Stop. Nothing that runs on it may block.

#ifndef LARDER_REDIS_LOOP_H_
#define LARDER_REDIS_LOOP_H_

#include <coroutine>
#include <cstdint>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"

namespace larder {

inline constexpr MonoNanos kRedisNever = std::numeric_limits<MonoNanos>::max();

// What lives on the loop. The loop keeps it alive from Add until after Remove.
class RedisTicker {
 public:
  virtual ~RedisTicker() = default;
  // The socket that it watches is ready: bits of epoll.
  virtual void OnEvents(uint32_t events) = 0;
  // Does what is due at `now` and writes what is to be written. Returns when it is to be called at
  // the latest; it is called at every turn of the loop.
  virtual MonoNanos Tick(MonoNanos now) = 0;
  // The loop ends.
  virtual void OnStop() = 0;
};

class RedisLoop : public std::enable_shared_from_this<RedisLoop> {
 public:
  RedisLoop(Clock* clock, Executor* executor);
  ~RedisLoop();

  void Start();
  // Runs what was handed over, ends every ticker and joins the thread. Idempotent.
  void Stop();

  // Hands work over. False when the loop has stopped: the work is then gone, without having run.
  [[nodiscard]] bool Post(Work work);

  void Add(std::shared_ptr<RedisTicker> ticker);
  void Remove(RedisTicker* ticker);

  // Everything is to be ticked once more before the loop sleeps.
  void TickAgain() { again_ = true; }

  // Events are level-triggered. False when the system has no room for one more.
  [[nodiscard]] bool Watch(int fd, uint32_t events, RedisTicker* ticker);
  void Rewatch(int fd, uint32_t events, RedisTicker* ticker);
  void Unwatch(int fd);

  // Resumes `waiting` on the executor, at the end of this turn.
  void Resume(std::coroutine_handle<> waiting) { resumed_.push_back(waiting); }

  // The time at the beginning of this turn.
  MonoNanos now() const { return now_; }
  // Room to read into, shared by all connections.
  std::vector<char>& buffer() { return buffer_; }

 private:
  // While one lives, what its thread posts does not wake the loop; its end does.
  class Gathering;

  void Wake();
  void Run();
  void RunPosted();
  MonoNanos Tick();
  void PostResumed();
  void Wait(MonoNanos due);

  Clock* const clock_;
  Executor* const executor_;
  const int epoll_;
  const int wake_;

  Mutex mu_;
  std::vector<Work> posted_ ABSL_GUARDED_BY(mu_);
  // The loop waits in epoll, or is about to: whoever posts must wake it.
  bool asleep_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;

  // Of the loop's thread.
  MonoNanos now_ = 0;
  std::vector<std::shared_ptr<RedisTicker>> tickers_;
  std::vector<Work> running_;
  // What was removed during this turn: it may be what is running.
  std::vector<std::shared_ptr<RedisTicker>> removed_;
  bool again_ = false;
  std::vector<std::coroutine_handle<>> resumed_;
  std::vector<char> buffer_;

  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_REDIS_LOOP_H_
