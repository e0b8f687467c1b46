// Callers of one larderd, as many calls under way as a mode wants: the stock gRPC client with a
// completion queue over several connections.
// Thread safety: Set and Get from any thread; `done` runs on the one thread of the queue and must
// not block. The rest blocks, and ends the program when the server does not do as asked.
// REQUIRES: all calls have ended when it goes.

#ifndef LARDER_BENCH_WRITEBEHIND_CALLERS_H_
#define LARDER_BENCH_WRITEBEHIND_CALLERS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace larder::bench {

using Time = std::chrono::steady_clock::time_point;
inline Time Now() { return std::chrono::steady_clock::now(); }
inline double Ms(Time::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
inline double SecondsSince(Time time) { return Ms(Now() - time) / 1e3; }

// What the journal says of its one type.
struct Waiting {
  double depth = 0;
  double delivered = 0;
  double coalesced = 0;
  double dead = 0;
  double lag_p50_ms = 0;
  double lag_p99_ms = 0;
};

class Callers {
 public:
  // How a call ended.
  using Done = std::function<void(bool ok, double ms)>;

  Callers(const std::string& address, int connections);
  ~Callers();

  void Set(const std::string& key, const std::string& value, Done done);
  void Get(const std::string& key, Done done);
  // Returns when no call is under way.
  void AwaitAll();

  // Stores `items`, at most 1,000 of them in each call.
  void SetAll(const std::vector<std::pair<std::string, std::string>>& items);
  void PauseDelivery();
  void ResumeDelivery();
  void Flush();
  Waiting Stats();

 private:
  struct Parts;
  const std::unique_ptr<Parts> parts_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_WRITEBEHIND_CALLERS_H_
