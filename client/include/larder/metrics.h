// ClientMetrics is what a program implements to count what its client does, with whatever it counts
// by; the client needs no library for it.
// Thread safety: methods are called on any thread, also several at once, between a call's end and
// its callback: they must be quick, and must neither block, throw nor call the client.

#ifndef LARDER_METRICS_H_
#define LARDER_METRICS_H_

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// A call that has ended. Texts live as long as the client.
struct CallRecord {
  // As in the API: "Get".
  std::string_view method = {};
  absl::StatusCode code = absl::StatusCode::kOk;
  // From the call to its end, repeats and waits included; of a Watch, how long it went on.
  absl::Duration took = absl::ZeroDuration();
  // How often it was sent; 0 when every target's circuit breaker was open.
  int attempts = 0;
  // The target of the last attempt; empty without one.
  std::string_view target = {};
  // True when it is the second try of a slow read (HedgePolicy).
  bool hedge = false;
};

class ClientMetrics {
 public:
  virtual ~ClientMetrics() = default;

  // A call ended. A slow read that was tried twice ends twice; the one that came too late with
  // kCancelled.
  virtual void OnCall(const CallRecord&) {}
  // A target is taken for away, or for back.
  virtual void OnBreaker(std::string_view /*target*/, bool /*open*/) {}
  // Gets of so many callers went out as one BatchGet.
  virtual void OnBatch(size_t /*keys*/) {}
};

}  // namespace larder

#endif  // LARDER_METRICS_H_
