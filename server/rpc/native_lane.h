// The native lane serves the method table over gRPC on HTTP/2 (nghttp2), with health and reflection
// beside it: the lane to expose. A thread for each loop; a connection belongs to one loop. What
// memory holds is answered on the loop; everything else goes to the executor and comes back.
//
// Thread safety: any method, any thread. Start and Drain block. Errors: Start says in a sentence
// why it cannot listen. What a client may do wrong costs it the call or the connection, has a bound
// in Options, and a counter.

#ifndef LARDER_RPC_NATIVE_LANE_H_
#define LARDER_RPC_NATIVE_LANE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/native_tls.h"

namespace larder {

class NativeLane {
 public:
  struct Options {
    // host:port; port 0 takes a free one.
    std::string address = "0.0.0.0:50052";
    // Threads; 1 to 256.
    int loops = 2;
    uint64_t message_bytes_max = 16 << 20;
    uint64_t metadata_bytes_max = 16 << 10;
    // Bytes held for all calls under way; calls beyond are refused.
    uint64_t buffer_bytes_max = 256 << 20;
    // The same for the calls of one address.
    uint64_t buffer_bytes_per_peer_max = 192 << 20;
    // Calls under way on one connection; the client keeps the rest waiting.
    uint32_t streams_max = 10'000;
    // Connections at a time; further ones are closed at once. Each takes a descriptor.
    uint32_t connections_max = 50'000;
    // Those of one address.
    uint32_t connections_per_peer_max = UINT32_MAX;
    // Connections come from balancers that say whom they speak for before anything else; one on
    // which that is not said is closed.
    bool proxied = false;
    // Reply bytes of one connection that wait to be sent before its further calls wait to begin.
    uint64_t reply_bytes_max = 8 << 20;
    // When a silent connection is asked for a sign of life, and how long it may take.
    absl::Duration keepalive_time = absl::Minutes(2);
    absl::Duration keepalive_timeout = absl::Seconds(20);
    // Clients that ping more often than this, three times, are cut off.
    absl::Duration ping_interval_min = absl::Seconds(10);
    // Connections are asked to go after this, more or less a tenth. Infinite = never.
    absl::Duration connection_age_max = absl::Minutes(30);
    absl::Duration connection_age_grace = absl::Seconds(30);
    absl::Duration connection_idle_max = absl::InfiniteDuration();
    // How long a new connection may take until it speaks HTTP/2, TLS included, and a client to
    // acknowledge the server's settings, or to send the rest of a block of headers.
    absl::Duration handshake_timeout = absl::Seconds(10);
    // How long a client may be silent before it has sent all of a request; and how long it may take
    // in all, beside a second for each 64 KiB. A connection of which nothing else has gone well in
    // that time is closed, not only the call reset; so it is with the next limit.
    absl::Duration request_timeout = absl::Seconds(60);
    // How long a client may leave what it asked for unread.
    absl::Duration stall_timeout = absl::Seconds(60);
    // Calls that a client may cancel at once, and in a second thereafter.
    uint32_t resets_burst = 10'000;
    uint32_t resets_per_second = 1'000;
    // Calls that are refused for what is wrong with the client (headers that may not be, compressed
    // messages, too much metadata), the same.
    uint32_t faults_burst = 1'000;
    uint32_t faults_per_second = 100;
    // Frames that carry nothing for the server (SETTINGS, PRIORITY, empty DATA), the same.
    uint32_t idle_frames_burst = 1'000;
    uint32_t idle_frames_per_second = 100;
    // Null: plain text.
    TlsServer* tls = nullptr;
  };

  // What happened since the start, or is the case now, by name.
  using Stats = std::vector<std::pair<std::string_view, uint64_t>>;

  // `methods`, `dispatcher` and options.tls outlive the lane. Listens when it returns; not ready
  // until SetReady.
  static absl::StatusOr<std::unique_ptr<NativeLane>> Start(const Options& options,
                                                           const MethodTable* methods,
                                                           Dispatcher* dispatcher);
  virtual ~NativeLane() = default;

  // The address that it listens on, with the real port.
  virtual std::string address() const = 0;

  // What health says for "" and "readiness". "liveness" is healthy as long as the lane stands.
  virtual void SetReady(bool ready) = 0;

  // Takes no new connections and calls, lets running calls finish for up to `limit`, cancels the
  // rest and waits for their handlers. Blocks.
  virtual void Drain(absl::Duration limit) = 0;

  virtual Stats GetStats() const = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_LANE_H_
