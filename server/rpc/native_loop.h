// NativeLoop is one thread of the native lane with the connections that it owns: it waits for
// sockets, for what other threads post, and for time, and does each at most once a turn.
//
// Thread safety: Post, PostWork, IsThisThread, connections and Stop from any thread; all else on
// the loop's own thread. Nothing that it runs may block.

#ifndef LARDER_RPC_NATIVE_LOOP_H_
#define LARDER_RPC_NATIVE_LOOP_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "rpc/native_counters.h"
#include "rpc/native_lane.h"
#include "rpc/native_memory.h"
#include "rpc/native_services.h"
#include "rpc/native_socket.h"
#include "rpc/peer_table.h"

struct nghttp2_option;
struct nghttp2_session_callbacks;

namespace larder {

class NativeCall;
class NativeConnection;

// What all loops of a lane have in common. Does not change while they run.
struct NativeShared {
  NativeLane::Options options;
  Dispatcher* dispatcher = nullptr;
  // By path.
  absl::flat_hash_map<std::string_view, NativeMethod> methods;
  NativeCounters counters;
  std::atomic<uint32_t> connections = 0;
  PeerTable peers;
};

// What one address has on one loop.
struct NativePeer {
  std::string host;
  size_t connections = 0;
  size_t bytes = 0;  // charged
};

class NativeLoop {
 public:
  static constexpr size_t kReadBytes = 16 << 10;

  explicit NativeLoop(NativeShared* shared);
  // REQUIRES: Stop, or never started.
  ~NativeLoop();

  // `number`: of the lane's loops, for the name of its thread.
  void Start(int number);
  // Ends the thread. REQUIRES: no connection and no call is left.
  void Stop();

  // Makes the loop look at `call`, which has an answer or something to send.
  void Post(NativeCall* call);
  void PostWork(Work work);
  // Posts work here, and is the lane's executor otherwise.
  Executor* here() { return &here_; }
  bool IsThisThread() const { return current_ == this; }
  // Counts a connection that is on its way to Adopt.
  void Reserve() { connections_.fetch_add(1, std::memory_order_relaxed); }
  // Connections and calls that are not gone yet.
  uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }
  uint32_t calls() const { return calls_.load(std::memory_order_relaxed); }

  // From here on: the loop's thread only.

  // Runs `ready` when `fd` can be read. For the listener.
  void Listen(int fd, absl::AnyInvocable<void()> ready);
  // Does not look at it again until the next tick.
  void PauseListening();
  void StopListening();

  // Takes over an accepted socket, from an address that is counted. REQUIRES: Reserve.
  void Adopt(int fd, std::string host);
  // Ends all connections: gracefully, or at once.
  void GoAway();
  void CloseAll();

  // What the handler left with the call.
  void TakeOver(NativeCall* call);

  NativeShared* shared() const { return shared_; }
  const NativeLane::Options& options() const { return shared_->options; }
  Executor* executor() const { return shared_->dispatcher->executor(); }
  // False when there are too many connections of that address.
  bool TryCountPeer(const std::string& host) {
    return shared_->peers.TryAdd(host, options().connections_per_peer_max);
  }
  void Count(NativeCounter counter) { shared_->counters.Add(counter); }
  // The time at which this turn began, or a little later.
  MonoNanos now() const { return now_; }
  MonoNanos LookAtClock() { return now_ = shared_->dispatcher->clock()->Mono(); }

  NativeMemory* memory() { return &memory_; }
  char* read_buffer() { return read_buffer_.get(); }
  OutputBatch* batch() { return &batch_; }
  const nghttp2_session_callbacks* callbacks() const { return callbacks_; }
  const nghttp2_option* session_options() const { return session_options_; }

  NativeCall* NewCall(NativeConnection* connection, int32_t stream);
  void FreeCall(NativeCall* call);
  // An empty request of that method, of small ones that were answered: what their texts took is
  // taken again.
  std::unique_ptr<google::protobuf::Message> TakeRequest(const Method& method);
  void KeepRequest(const Method& method, std::unique_ptr<google::protobuf::Message> request);
  void SetDeadlineTimer(NativeCall* call);
  void CancelDeadlineTimer(NativeCall* call);

  // What `host` has here, with one connection more. Those without an address are all one, which
  // has no limit. Stays until it has neither connections nor bytes.
  NativePeer* AddToPeer(const std::string& host);
  void RemoveFromPeer(NativePeer* peer);

  // False when the loop's share of the budget is used up, or the peer's part of that, which is
  // counted.
  bool TryCharge(NativePeer* peer, size_t bytes);
  // The same for what cannot be refused any more.
  void Charge(NativePeer* peer, size_t bytes);
  void Discharge(NativePeer* peer, size_t bytes);
  // Half of one of the two is: time to send before more is begun.
  bool is_pressed(const NativePeer& peer) const {
    return charged_bytes_ > charged_bytes_max_ / 2 ||
           (&peer != &nobody_ && peer.bytes > peer_bytes_max_ / 2);
  }

  // Has `connection` go on with its handshake when it is its turn: one costs as much as a hundred
  // hits, and hits do not wait for all of them.
  void ShakeHandsLater(NativeConnection* connection);
  // Has `connection` flushed before the loop sleeps.
  void FlushLater(NativeConnection* connection);
  void Watch(NativeConnection* connection, uint32_t events, bool is_new);
  // Forgets the connection, which is freed at the end of the turn.
  void Remove(NativeConnection* connection);

 private:
  // What wakes the loop. Whoever is about to may hold it for longer than the loop is there.
  class Wakeup {
   public:
    Wakeup();
    ~Wakeup();
    int fd() const { return fd_; }

   private:
    const int fd_;
  };

  class Here : public Executor {
   public:
    explicit Here(NativeLoop* loop) : loop_(loop) {}
    bool TryPost(Work work) override { return loop_->executor()->TryPost(std::move(work)); }
    void Post(Work work) override { loop_->PostWork(std::move(work)); }
    TimerId After(absl::Duration delay, Work work) override {
      return loop_->executor()->After(delay, std::move(work));
    }
    bool Cancel(TimerId timer) override { return loop_->executor()->Cancel(timer); }

   private:
    NativeLoop* const loop_;
  };

  void Run();
  // Lets some of what comes come together.
  void Gather(MonoNanos since);
  int WaitMillis() const;
  void HandleEvents(int millis);
  void HandlePosted();
  void HandleHandshakes();
  void HandleDeadlines();
  void Tick();
  void FlushAll();
  void WatchListener(uint32_t events);
  void ForgetPeerIfIdle(NativePeer* peer);

  static thread_local NativeLoop* current_;

  NativeShared* const shared_;
  Here here_{this};
  const MonoNanos tick_every_;
  const size_t charged_bytes_max_;
  const size_t peer_bytes_max_;
  int epoll_ = -1;
  const std::shared_ptr<const Wakeup> wakeup_;
  nghttp2_session_callbacks* callbacks_ = nullptr;
  nghttp2_option* session_options_ = nullptr;
  // Before all that holds sessions or calls.
  NativeMemory memory_;
  const std::unique_ptr<char[]> read_buffer_;
  OutputBatch batch_;

  int listener_ = -1;
  bool listening_paused_ = false;
  absl::AnyInvocable<void()> accept_;

  MonoNanos now_ = 0;
  MonoNanos next_tick_ = 0;
  size_t to_tick_ = 0;  // of all_, so many from the front have yet to be looked at in this round
  std::vector<NativeConnection*> all_;
  std::vector<NativeConnection*> to_flush_;
  std::map<uint64_t, NativeConnection*> handshakes_;  // by turn
  uint64_t next_handshake_turn_ = 1;
  std::vector<std::unique_ptr<NativeConnection>> removed_;
  std::set<std::pair<MonoNanos, NativeCall*>> deadlines_;
  std::vector<void*> free_calls_;  // memory for calls
  struct FreeRequests {
    const Method* method;
    std::vector<std::unique_ptr<google::protobuf::Message>> requests;
  };
  std::vector<FreeRequests> free_requests_;  // of the few methods that answer at once
  size_t charged_bytes_ = 0;
  // By address; where connections or bytes are left.
  absl::flat_hash_map<std::string, std::unique_ptr<NativePeer>> peers_;
  NativePeer nobody_;
  std::atomic<uint32_t> connections_ = 0;
  std::atomic<uint32_t> calls_ = 0;

  std::atomic<bool> asleep_ = false;
  Mutex mu_;
  std::vector<NativeCall*> posted_ ABSL_GUARDED_BY(mu_);
  std::deque<Work> work_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // What was posted, being worked on: kept for their memory.
  std::vector<NativeCall*> taken_;
  std::deque<Work> taken_work_;

  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_LOOP_H_
