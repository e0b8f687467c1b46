// ReferenceAcceptor listens for the reference lane and hands it no more connections than it may
// have: gRPC 1.51 itself takes whatever comes, until the process has no descriptor left. Thread
// safety: any method, any thread; `hand_over` runs on the acceptor's own.

#ifndef LARDER_RPC_REFERENCE_ACCEPTOR_H_
#define LARDER_RPC_REFERENCE_ACCEPTOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/native_listener.h"
#include "rpc/peer_table.h"

namespace larder {

class ReferenceAcceptor {
 public:
  struct Options {
    // host:port; port 0 takes a free one. The host 0.0.0.0 stands for every address, IPv6 too.
    std::string address;
    // Connections at a time; further ones are closed at once. Each takes two descriptors.
    uint32_t connections_max = 50'000;
    // Those of one address.
    uint32_t connections_per_peer_max = UINT32_MAX;
    // How long what is sent may stay unconfirmed, a full window of a client that does not read
    // included; then the kernel ends the connection.
    absl::Duration unconfirmed_max = absl::InfiniteDuration();
  };

  static absl::StatusOr<std::unique_ptr<ReferenceAcceptor>> Listen(const Options& options);
  // As Stop.
  ~ReferenceAcceptor();

  ReferenceAcceptor(const ReferenceAcceptor&) = delete;
  ReferenceAcceptor& operator=(const ReferenceAcceptor&) = delete;

  // With the real port.
  const std::string& address() const { return address_; }

  // The listening socket. REQUIRES: not stopped.
  int fd() const { return listener_->fd(); }

  // Takes connections from now on. `hand_over` owns the descriptor, which does not block, and shuts
  // the connection down when it is done with it.
  void Start(std::function<void(int fd)> hand_over);
  // Takes none any more. Those that are handed over stay as they are, and are counted until they
  // end. Idempotent. Blocks for a moment.
  void Stop();

  uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }
  uint64_t accepted() const { return accepted_.load(std::memory_order_relaxed); }
  // Closed at once: there were too many, or no descriptor was left.
  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  ReferenceAcceptor(const Options& options, std::unique_ptr<NativeListener> listener);

  void Run();
  // Wakes the thread to look at what is wanted of it.
  void Wake() const;
  // False: nothing can be accepted at the moment.
  bool AcceptSome();
  // Takes one connection on, or closes it.
  void Take(int fd, std::string host);
  // False: the kernel has no room for one more.
  bool Watch(int fd, uint32_t events, bool is_new) const;
  // A connection is over.
  void Forget(int watched);

  const uint32_t connections_max_;
  const uint32_t connections_per_peer_max_;
  const absl::Duration unconfirmed_max_;
  const std::string address_;
  std::unique_ptr<NativeListener> listener_;  // the thread's, if it runs; null when it has stopped
  const int epoll_;
  const int wake_;
  std::function<void(int)> hand_over_;
  PeerTable peers_;
  // The thread's: what each connection that is watched is counted for.
  absl::flat_hash_map<int, std::string> hosts_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ending_{false};
  std::binary_semaphore stopped_{0};  // the thread has seen that it is to stop
  std::atomic<uint32_t> connections_{0};
  std::atomic<uint64_t> accepted_{0};
  std::atomic<uint64_t> refused_{0};
  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_RPC_REFERENCE_ACCEPTOR_H_
