// Who was not let in, and how long the certificate lasts.

#include "absl/time/time.h"
#include "admin/metrics_parts.h"

namespace larder {

void WriteAccess(const AccessTally& access, Exposition* out) {
  out->Counter("larder_auth_denied_total",
               "Calls of known callers that no role of theirs allows, by what they needed.");
  for (const auto& [permission, denied] : access.denied)
    out->Add({{"permission", permission}}, denied);
  WriteOne("larder_auth_unknown_total",
           "Calls of nobody who is known, where callers have to be known.", access.unknown, out);
}

void WriteCertificates(const CertificateEnds& ends, Exposition* out) {
  if (ends.empty()) return;
  out->Gauge("larder_tls_certificate_not_after_timestamp_seconds",
             "When the certificate that a lane shows ends, since the epoch.");
  for (const auto& [lane, end] : ends)
    out->Add({{"lane", lane}}, absl::ToDoubleSeconds(end - absl::UnixEpoch()));
}

}  // namespace larder
