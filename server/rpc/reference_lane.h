// The reference lane serves the method table over gRPC's own C++ server, with health, reflection
// and channelz beside it. Thread safety: any method, any thread. Start and Drain block; calls are
// answered on gRPC's threads and the executor. Errors: Start says in a sentence why it cannot
// listen.

#ifndef LARDER_RPC_REFERENCE_LANE_H_
#define LARDER_RPC_REFERENCE_LANE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/native_tls.h"

namespace larder {

class ReferenceLane {
 public:
  struct Options {
    // host:port; port 0 takes a free one.
    std::string address = "0.0.0.0:50051";
    uint64_t message_bytes_max = 16 << 20;
    uint64_t metadata_bytes_max = 16 << 10;
    // Bytes that gRPC may hold for all calls under way; calls and connections beyond are pushed
    // back.
    uint64_t buffer_bytes_max = 256 << 20;
    // Calls under way on one connection; the client keeps the rest waiting.
    int streams_max = 10'000;
    // When a silent connection is asked for a sign of life, and how long it may take.
    absl::Duration keepalive_time = absl::Minutes(2);
    absl::Duration keepalive_timeout = absl::Seconds(20);
    // Clients that ping more often than this, three times, are cut off.
    absl::Duration ping_interval_min = absl::Seconds(10);
    // Connections are asked to go after this, so that clients spread over new replicas. Infinite =
    // never.
    absl::Duration connection_age_max = absl::Minutes(30);
    absl::Duration connection_age_grace = absl::Seconds(30);
    absl::Duration connection_idle_max = absl::InfiniteDuration();
    // Whether gRPC's channelz tells anybody of connections and calls. Once in the process on, it
    // stays so.
    bool channelz = true;
    // Connections at a time, in all and of one address; further ones are closed at once. Each takes
    // two descriptors.
    uint32_t connections_max = 50'000;
    uint32_t connections_per_peer_max = UINT32_MAX;
    // Null: plain text. Outlives the lane.
    const TlsServer* tls = nullptr;
  };

  // `methods` and `dispatcher` outlive the lane. Listens when it returns; not ready until SetReady.
  static absl::StatusOr<std::unique_ptr<ReferenceLane>> Start(const Options& options,
                                                              const MethodTable* methods,
                                                              Dispatcher* dispatcher);
  virtual ~ReferenceLane() = default;

  // The address that it listens on, with the real port.
  virtual std::string address() const = 0;

  // What health says for "" and "readiness". "liveness" is healthy as long as the lane stands.
  virtual void SetReady(bool ready) = 0;

  struct Stats {
    uint64_t connections = 0;  // now
    uint64_t accepted = 0;
    uint64_t refused = 0;  // closed at once: too many, or no descriptor left
  };
  virtual Stats GetStats() const = 0;

  // Takes no new connections and calls, lets running calls finish for up to `limit`, cancels the
  // rest. Blocks.
  virtual void Drain(absl::Duration limit) = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_REFERENCE_LANE_H_
