// What the native lane counts, and the budgets that tell a busy client from a hostile one.
// Thread safety: NativeCounters any thread; a FloodBudget is its loop's.

#ifndef LARDER_RPC_NATIVE_COUNTERS_H_
#define LARDER_RPC_NATIVE_COUNTERS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "base/counters.h"

namespace larder {

// X(constant, name). All of them count since the start.
#define LARDER_NATIVE_COUNTERS(X)                   \
  X(Accepted, "connections_accepted")               \
  X(Closed, "connections_closed")                   \
  X(RefusedConnections, "connections_refused")      \
  X(NoDescriptor, "descriptors_exhausted")          \
  X(NotProxied, "not_proxied")                      \
  X(HandshakeTimeouts, "handshake_timeouts")        \
  X(HandshakeFailures, "handshake_failures")        \
  X(NotHttp2, "not_http2")                          \
  X(ProtocolErrors, "protocol_errors")              \
  X(SettingsTimeouts, "settings_timeouts")          \
  X(HeaderTimeouts, "header_timeouts")              \
  X(HeaderFloods, "header_floods")                  \
  X(ContinuationFloods, "continuation_floods")      \
  X(ResetFloods, "reset_floods")                    \
  X(FaultFloods, "fault_floods")                    \
  X(PingFloods, "ping_floods")                      \
  X(FrameFloods, "frame_floods")                    \
  X(UnreadOutput, "unread_output")                  \
  X(StalledStreams, "stalled_streams")              \
  X(RequestTimeouts, "request_timeouts")            \
  X(KeepaliveTimeouts, "keepalive_timeouts")        \
  X(ClosedIdle, "closed_idle")                      \
  X(ClosedOld, "closed_old")                        \
  X(NotGrpc, "not_grpc")                            \
  X(CompressedCalls, "calls_compressed")            \
  X(MetadataTooLarge, "calls_metadata_too_large")   \
  X(CallsOverBudget, "calls_over_budget")           \
  /* Those of them whose address holds too much. */ \
  X(CallsOverPeerBudget, "calls_over_peer_budget")  \
  X(CallsCancelled, "calls_cancelled")              \
  X(DeadlinesPassed, "calls_deadline_passed")       \
  X(HeldCalls, "calls_held")

enum class NativeCounter : size_t {
#define LARDER_NATIVE_COUNTER_ENUM(constant, name) k##constant,
  LARDER_NATIVE_COUNTERS(LARDER_NATIVE_COUNTER_ENUM)
#undef LARDER_NATIVE_COUNTER_ENUM
      kCount
};

inline constexpr std::array<std::string_view, static_cast<size_t>(NativeCounter::kCount)>
    kNativeCounterNames = {
#define LARDER_NATIVE_COUNTER_NAME(constant, name) name,
        LARDER_NATIVE_COUNTERS(LARDER_NATIVE_COUNTER_NAME)
#undef LARDER_NATIVE_COUNTER_NAME
};

class NativeCounters {
 public:
  void Add(NativeCounter counter) { block_.Add(static_cast<size_t>(counter)); }
  uint64_t Sum(size_t counter) const { return block_.Sum(counter); }

 private:
  CounterBlock block_{static_cast<size_t>(NativeCounter::kCount)};
};

// So many at once, and so many in a second thereafter.
class FloodBudget {
 public:
  FloodBudget(uint32_t burst, uint32_t per_second, MonoNanos now)
      : burst_(burst), per_second_(per_second), left_(burst), since_(now) {}

  // False when there is none left.
  bool TrySpend(MonoNanos now) {
    left_ = std::min(burst_, left_ + static_cast<double>(now - since_) * per_second_ * 1e-9);
    since_ = now;
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
  }

 private:
  const double burst_;
  const double per_second_;
  double left_;
  MonoNanos since_;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_COUNTERS_H_
