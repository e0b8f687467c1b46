// MemoryLog is a bus log in memory with the faults of a real one, for tests and simulations of
// whatever works over a bus. One MemoryLog stands for the server; each replica has a client of it.
// Thread safety: none; one thread runs everything, on manual executors that share one clock.

#ifndef LARDER_TESTS_BUS_MEMORY_LOG_H_
#define LARDER_TESTS_BUS_MEMORY_LOG_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "bus/log.h"

namespace larder {

class MemoryLog {
 public:
  struct Faults {
    // Shares of all appends. They answer UNAVAILABLE.
    double lost = 0;     // not appended
    double unknown = 0;  // appended all the same
    double late = 0;     // appended up to `late_max` after the answer
    absl::Duration late_max = absl::Seconds(3);
    double read_error = 0;  // share of reads that fail
    // Every answer takes up to this long.
    absl::Duration latency_max = absl::ZeroDuration();
  };

  // `executor` moves the server's own time: late appends.
  MemoryLog(ManualClock* clock, Executor* executor, uint64_t seed)
      : clock_(clock), executor_(executor), random_(seed) {}

  // The log as `replica` sees it, its answers on `executor`. Several clients may stand for one
  // replica, one after another. This log outlives them all, and their calls.
  std::unique_ptr<BusLog> NewClient(int replica, Executor* executor);

  void SetFaults(const Faults& faults) { faults_ = faults; }
  // While `replica` is cut off its calls fail, those under way included.
  void Disconnect(int replica) { connections_[replica].up = false; }
  void Connect(int replica) { connections_[replica].up = true; }
  // While the server is frozen calls get no answer until their deadline; appends happen when it
  // goes on.
  void Freeze() { frozen_ = true; }
  void Thaw();

  // Keeps the last `items`.
  void Trim(size_t items);
  // Forgets everything, its clock excepted.
  void Flush() { items_.clear(), last_ = {}; }
  // Forgets the last `items` and who numbered them: a failover to a replica that was behind.
  void GoBack(size_t items);
  // How far the server's wall clock is off.
  void SetClockOffset(absl::Duration offset) { offset_ = offset; }
  // Appends bytes of nobody's.
  void AppendForeign(std::string bytes) { Add(std::move(bytes)); }

  size_t size() const { return items_.size(); }
  uint64_t appended() const { return appended_; }

 private:
  class Client;
  struct Connection {
    bool up = true;
  };

  LogPosition Add(std::string item);
  bool Draw(double share);
  absl::Duration Latency();
  absl::Duration UpTo(absl::Duration most);

  ManualClock* const clock_;
  Executor* const executor_;
  SeededRandom random_;
  Faults faults_;
  std::map<int, Connection> connections_;
  bool frozen_ = false;
  std::vector<std::string> while_frozen_;
  absl::Duration offset_;
  std::deque<LogItem> items_;
  LogPosition last_;
  uint64_t appended_ = 0;
  // Readers that wait for the next item.
  std::vector<std::shared_ptr<Signal<bool>>> waiting_;
};

}  // namespace larder

#endif  // LARDER_TESTS_BUS_MEMORY_LOG_H_
