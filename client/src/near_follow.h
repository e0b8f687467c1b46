// NearFollower keeps the streams of changes of a near cache going, and tells the table what they
// say and how far it can be trusted. Thread safety: any method, any thread, but Stop once. Stop
// blocks until no callback of it runs any more.

#ifndef LARDER_CLIENT_SRC_NEAR_FOLLOW_H_
#define LARDER_CLIENT_SRC_NEAR_FOLLOW_H_

#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "client/src/mutex.h"
#include "client/src/near_table.h"
#include "larder/client.h"

namespace larder::internal {

class NearFollower {
 public:
  // Begins a stream for each selector, which is number i of the table. REQUIRES: at most
  // NearTable::kStreamsMax; `client` and `table` outlive it.
  NearFollower(Client* client, NearTable* table, std::vector<WatchOptions> selectors,
               absl::Duration silence_max, absl::Duration stale_bound);
  ~NearFollower();

  void Stop();

  // As NearClient::AwaitLive.
  bool AwaitLive(absl::Duration timeout);

  void AddStats(NearStats* stats) const;

 private:
  struct Stream {
    WatchOptions selector;  // with where to resume
    std::shared_ptr<WatchCall> call;
    uint64_t generation = 0;  // of the call that counts; events of others change no trust
    bool running = false;
    bool cancelled = false;     // for its silence
    bool live = false;          // a heartbeat has said that all is told
    int64_t begun = 0;          // when the call was
    int64_t heard = 0;          // when it said something
    int64_t trusted_until = 0;  // as the table was told
    int64_t next_start = 0;
    int failures = 0;  // calls in a row that did not last
  };

  void Run();
  // Begins a call and waits for nothing; the lock is not held.
  void Begin(uint32_t number);
  bool Hear(uint32_t number, uint64_t generation, const WatchEvent& event);
  void End(uint32_t number, uint64_t generation, const absl::Status& status);
  void Trust(uint32_t number, int64_t until) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The stream does not tell everything any more: copies are served as long as the bound allows.
  void Suspect(uint32_t number, int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Live(int64_t now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Client* const client_;
  NearTable* const table_;
  const int64_t silence_max_;
  const int64_t stale_bound_;

  mutable Mutex mu_;
  CondVar changed_;
  std::vector<Stream> streams_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::mt19937_64 chance_ ABSL_GUARDED_BY(mu_);
  uint64_t lost_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t resumed_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t dropped_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread thread_;
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_NEAR_FOLLOW_H_
