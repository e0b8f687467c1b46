// Callers makes GetOrLoad calls of one or more larderds, as many at once as a mode wants, without a
// thread for each: gRPC's completion queue over several connections. (The threads of its callbacks
// sleep now and then.) Takes the time of each call.
// Thread safety: Call from any thread; `done` runs on the one thread of the queue and must not
// block. REQUIRES: all calls have ended when it goes.

#ifndef LARDER_BENCH_LOAD_CALLERS_H_
#define LARDER_BENCH_LOAD_CALLERS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace larder::bench {

using Time = std::chrono::steady_clock::time_point;
inline Time Now() { return std::chrono::steady_clock::now(); }
inline double Ms(Time::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
// On the clock that Python's time.monotonic() reads.
inline double SecondsOf(Time time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

// How a call ended.
struct Answer {
  bool ok = false;  // a hit
  bool stale = false;
  bool loaded = false;  // from the origin, for this call
  std::string error;    // of a call that failed
  Time began;
  Time ended;
  double ms() const { return Ms(ended - began); }
};

class Callers {
 public:
  // `connections` to each address.
  Callers(const std::vector<std::string>& addresses, int connections);
  ~Callers();

  size_t replicas() const;
  // One call of the replica with number `replica`.
  void Call(size_t replica, const std::string& key, std::chrono::milliseconds timeout,
            std::function<void(const Answer&)> done);
  // One BatchGetOrLoad, whose answer is ok when all keys are hits. Blocks.
  Answer CallBatch(const std::vector<std::string>& keys, std::chrono::milliseconds timeout);

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_LOAD_CALLERS_H_
