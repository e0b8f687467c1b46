// Admission keeps the server from taking on more than it can do: of the calls that memory alone did
// not answer, so many may be under way, from one address so many, and of those that wait for a
// worker fewer and fewer while all of them wait too long. A call beyond that is refused at once,
// those first that matter least. The reference lane also counts here what its calls hold, all of
// them and those of each address. Thread safety: any method, any thread. Never blocks, but for a
// lock of one address. Errors: OVERLOADED, with the time after which to try again.

#ifndef LARDER_RPC_ADMISSION_H_
#define LARDER_RPC_ADMISSION_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/mutex.h"

namespace larder {

// What a call is, the most important first.
enum class CallClass : uint8_t { kRead, kWrite, kBatch, kWarming };

class Admission {
 public:
  struct Limits {
    uint64_t in_flight = 100'000;
    uint64_t in_flight_per_peer = 100'000;
    uint64_t buffer_bytes = uint64_t{256} << 20;
    uint64_t buffer_bytes_per_peer = uint64_t{192} << 20;
    bool adaptive = true;
    // How long the call that waits least may have to wait for a worker.
    absl::Duration queue_time = absl::Milliseconds(20);

    bool operator==(const Limits&) const = default;
  };

  // While fewer calls than this wait, none is refused for how long others wait.
  static constexpr uint64_t kLeast = 32;
  // Waits are looked at so often.
  static constexpr absl::Duration kWindow = absl::Milliseconds(50);
  // When everybody has waited too long for so many windows on end, there is a queue that does not
  // go away by itself: longer than a burst lasts, and than a busy machine keeps a process from its
  // processor.
  static constexpr int kWindowsLate = 10;
  // And for so many when the queue has become longer in each of them.
  static constexpr int kWindowsGrowing = 3;
  // The part of the allowed time that calls wait, on average, while others are refused.
  static constexpr int kPartWaited = 4;
  // While others are refused and as many as that wait, calls that have waited so many times the
  // allowed time are refused, too.
  static constexpr int kPatience = 2;

  Admission(const Limits& limits, Clock* clock);

  // Holds for calls that begin after it returns.
  void Replace(const Limits& limits);
  // While memory is tight, only reads, and what takes entries away, are taken on: what is written
  // and what is loaded ahead has to be kept, and batches are large.
  void SetMemoryTight(bool tight) { tight_ = tight; }

  // OK: the call is taken on, and Leave is called at its end with the same address. An empty
  // address has no limit of its own. Without `waits` it needs no worker, and Waited is not called.
  absl::Status Enter(CallClass what, const std::string& peer, bool waits = true);
  void Leave(const std::string& peer);
  // A call that was taken on has waited so long for a worker, which has it now. Called once for
  // each; what it waits for from then on, an origin or another call, is not counted here. Not OK:
  // it has waited for too long, and is not to be done; Leave is called all the same.
  absl::Status Waited(MonoNanos nanos);
  // A call that was taken on found no place in the queue for workers.
  void NotQueued() { waiting_.fetch_sub(1, std::memory_order_relaxed); }

  // Messages below it are small.
  static constexpr uint64_t kSmallBytes = 4 << 10;
  // What a call holds: a message that came, or one that is being sent.
  struct Held {
    std::string peer;  // empty: it counts for all calls, and for no address
    uint64_t bytes = 0;
  };
  // Not OK: all calls together hold too many bytes, or those of this address do, and `held` holds
  // nothing. One message is never too many, and an empty one neither. REQUIRES: `held` held
  // nothing.
  absl::Status Hold(std::string peer, uint64_t bytes, Held* held);
  // The same for what has been done and cannot be refused any more.
  void HoldAnyway(std::string peer, uint64_t bytes, Held* held);
  // `held` holds nothing afterwards.
  void LetGo(Held* held);
  // Whether the address of a call that is to hold so much makes a difference: to find out whose a
  // small message is costs as much as a hit.
  bool counts_peer_of(uint64_t bytes) const {
    return bytes >= kSmallBytes ||
           held_bytes() >= Uncounted(most_bytes_.load(std::memory_order_relaxed));
  }
  uint64_t held_bytes() const { return held_bytes_.load(std::memory_order_relaxed); }

  // Whether the address of a call that comes now makes a difference: it need not be asked for if
  // not.
  bool counts_peers() const {
    const uint64_t most = most_per_peer_.load(std::memory_order_relaxed);
    return most < most_.load(std::memory_order_relaxed) && under_way() >= Uncounted(most);
  }
  uint64_t under_way() const { return under_way_.load(std::memory_order_relaxed); }
  // How many may be under way.
  uint64_t most() const { return most_.load(std::memory_order_relaxed); }
  // How many of them from one address.
  uint64_t most_per_peer() const { return most_per_peer_.load(std::memory_order_relaxed); }
  uint64_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
  // How many may wait for a worker now.
  uint64_t limit() const { return limit_.load(std::memory_order_relaxed); }

  // Whether calls were refused just now because others wait too long.
  bool RefusesAt(MonoNanos now) const {
    return now < refuses_until_.load(std::memory_order_relaxed);
  }
  // Refused since the start, by why: `in_flight`, `peer`, `bytes`, `peer_bytes`, `queue_time`,
  // `memory`.
  std::vector<std::pair<std::string_view, uint64_t>> Refused() const;

 private:
  enum Why : size_t { kInFlight, kPeer, kBytes, kPeerBytes, kQueueTime, kMemory, kWhys };
  static constexpr size_t kShards = 16;
  struct Shard {
    Mutex mu;
    absl::flat_hash_map<std::string, uint64_t> calls ABSL_GUARDED_BY(mu);
    absl::flat_hash_map<std::string, uint64_t> bytes ABSL_GUARDED_BY(mu);
  };

  Shard& ShardOf(const std::string& peer) {
    return shards_[std::hash<std::string>()(peer) % kShards];
  }
  // Of what there may be, how much is nobody's: what comes while there is less is not counted by
  // address.
  static uint64_t Uncounted(uint64_t most) { return most / 16; }
  // What a class may fill of a limit.
  static uint64_t PartOf(uint64_t limit, CallClass what);
  absl::Status Refuse(Why why);
  // Called when the first call comes to an empty queue.
  void ForgetWhenIdle();
  void NoteWait(MonoNanos nanos);
  // At the end of a window, by how long calls had to wait in it.
  void MoveLimit(MonoNanos least, MonoNanos mean);
  // Whether there is a queue that does not go away.
  bool StandsStill(MonoNanos least);

  Clock* const clock_;
  Mutex replacing_;
  Limits limits_ ABSL_GUARDED_BY(replacing_);
  std::atomic<uint64_t> most_;
  std::atomic<uint64_t> most_per_peer_;
  std::atomic<uint64_t> most_bytes_;
  std::atomic<uint64_t> most_peer_bytes_;
  std::atomic<bool> adaptive_;
  std::atomic<bool> tight_{false};
  std::atomic<MonoNanos> queue_time_;
  std::atomic<MonoNanos> refuses_until_{0};

  std::atomic<uint64_t> under_way_{0};
  std::atomic<uint64_t> held_bytes_{0};
  std::atomic<uint64_t> waiting_{0};
  std::atomic<uint64_t> limit_;
  std::atomic<MonoNanos> window_ends_;
  // Of the window.
  std::atomic<MonoNanos> least_wait_{INT64_MAX};
  std::atomic<MonoNanos> waits_{0};
  std::atomic<uint64_t> waited_{0};
  // Of those before it, for whoever ends a window.
  std::atomic<uint64_t> waiting_before_{0};
  std::atomic<int> windows_late_{0};
  std::atomic<int> windows_growing_{0};
  std::array<Shard, kShards> shards_;
  CounterBlock refused_{kWhys};
};

}  // namespace larder

#endif  // LARDER_RPC_ADMISSION_H_
