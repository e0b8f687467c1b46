// Traffic to two replicas of a fleet that checks what they answer. Thread safety: any method but
// the destructor, any thread.

#ifndef LARDER_TESTS_E2E_COUNTING_TRAFFIC_H_
#define LARDER_TESTS_E2E_COUNTING_TRAFFIC_H_

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "tests/e2e/fleet_fixture.h"

namespace larder {

// One writer that counts up through one replica and reads its own writes there, with calls of every
// kind that must not fail whatever happens to the second tier; and one reader at another replica.
// What they read is never older than it may be; of type `brief`, never older than its TTL, whatever
// the other replica can hear.
class CountingTraffic {
 public:
  CountingTraffic(Replica* writer, Replica* reader);
  ~CountingTraffic();

  // Stops both; what failed is told by the test.
  void Stop();
  // From now on, what the reader gets is no older than what was acknowledged `bound` ago.
  void RequireOthersWithin(std::chrono::milliseconds bound) { bound_ms_ = bound.count(); }
  // From now on, what the reader gets is no older than `value`.
  void RequireOthersAtLeast(int64_t value) { floor_ = value; }
  // Until so many further rounds have been made by each.
  void AwaitRounds(int rounds);
  int64_t acknowledged() const { return acknowledged_; }

 private:
  using Clock = std::chrono::steady_clock;

  void WriteAndRead();
  void Round(int64_t n);
  void BatchesAndLoads(int64_t n);
  void Conditions(int64_t n);
  void Removals(int64_t n);
  void ReadElsewhere();
  void Must(const char* what, const grpc::Status& status);
  void Fail(const std::string& what);
  void MustBeGone(const char* how, const std::string& key, int64_t n);
  void CheckAtLeast(const char* where, const std::string& value, int64_t least);
  // The newest that was acknowledged by then.
  int64_t AcknowledgedBy(Clock::time_point time);

  Replica* const writer_;
  Replica* const reader_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> acknowledged_{0};
  std::atomic<int64_t> bound_ms_{-1};
  std::atomic<int64_t> floor_{0};
  std::atomic<int> written_rounds_{0};
  std::atomic<int> read_rounds_{0};
  std::mutex mu_;
  std::deque<std::pair<Clock::time_point, int64_t>> history_;
  int failures_ = 0;
  // The writer's: the counter, and the version of the key that is set by its version.
  int64_t counter_ = 0;
  uint64_t version_ = 0;
  std::thread write_thread_;
  std::thread read_thread_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_COUNTING_TRAFFIC_H_
