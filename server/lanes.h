// Lanes are the listeners of larderd as its configuration wants them: the reference lane always,
// the native lane unless it is off. Thread safety: one thread. Start and Drain block.

#ifndef LARDER_LANES_H_
#define LARDER_LANES_H_

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "config/config.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/native_lane.h"
#include "rpc/native_tls.h"
#include "rpc/reference_lane.h"

namespace larder {

class Lanes {
 public:
  // `methods` and `dispatcher` outlive the lanes, which listen when it returns; not ready until
  // SetReady. An error says in a sentence what is wrong.
  static absl::StatusOr<Lanes> Start(const Config& config, const MethodTable* methods,
                                     Dispatcher* dispatcher);

  // When the certificate that the lanes show ends, by lane; empty: they speak plain text.
  std::vector<std::pair<std::string_view, absl::Time>> CertificateEnds() const;

  // Of the reference lane.
  ReferenceLane::Stats ReferenceStats() const { return reference_->GetStats(); }
  // What the native lane counts; empty when it is off.
  NativeLane::Stats NativeStats() const;

  // Says where they listen.
  void Log() const;
  void SetReady(bool ready);
  // Both at once, within one limit.
  void Drain(absl::Duration limit);

 private:
  Lanes() = default;

  std::shared_ptr<TlsServer> tls_;  // null: plain text
  std::unique_ptr<ReferenceLane> reference_;
  std::unique_ptr<NativeLane> native_;  // null: it is off
};

}  // namespace larder

#endif  // LARDER_LANES_H_
