// What the configuration says of how much the server takes on, as the lanes' dispatcher wants it.
// Thread safety: pure functions.

#ifndef LARDER_LOAD_LIMITS_H_
#define LARDER_LOAD_LIMITS_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "config/config.h"
#include "rpc/admission.h"
#include "rpc/quotas.h"

namespace larder {

Admission::Limits AdmissionLimitsOf(const Config& config);
// Bytes that the calls of a lane may hold: room for four of the largest messages at least.
uint64_t BufferBytesOf(const Config& config);
// Bytes that the calls of one address may hold: room for three of the largest messages at least.
uint64_t PeerBufferBytesOf(const Config& config);
std::vector<NamespaceQuota> QuotasOf(const Config& config);
// Infinite: no call is slow.
absl::Duration SlowCallOf(const Config& config);

}  // namespace larder

#endif  // LARDER_LOAD_LIMITS_H_
