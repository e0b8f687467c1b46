// The envelope is the form in which an entry, or a tombstone, lies in a tier: the same bytes in
// RocksDB and in Redis, so that what one replica wrote another can check and read, also one of
// another release.
//
// Times are wall times in milliseconds here, since clocks that only grow mean nothing on another
// machine; skew between machines shortens or lengthens a life by as much. A change of any bit is
// found (CRC32C over everything, the key included, so that an envelope under a wrong key is bad
// too). Thread safety: pure functions.

#ifndef LARDER_TIER_ENVELOPE_H_
#define LARDER_TIER_ENVELOPE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "core/entry.h"
#include "tier/tier.h"

namespace larder {

// What the fixed head of an envelope says: enough to decide a conditional write. Both tiers, and
// the scripts of the Redis tier, rely on these places; the layout is at the top of envelope.cc.
struct EnvelopeHead {
  Version version = kNoVersion;
  bool tombstone = false;
  bool negative = false;
  bool listed = false;  // it has tags or depends on keys
  // Wall milliseconds since 1970; INT64_MAX is never.
  int64_t fresh_until_ms = 0;
  int64_t usable_until_ms = 0;

  // There is a value that callers may get at `wall_ms`.
  bool live(int64_t wall_ms) const { return !tombstone && !negative && wall_ms < usable_until_ms; }
};

inline constexpr size_t kEnvelopeHeadBytes = 32;
// At most this much comes on top of the value.
inline constexpr size_t kEnvelopeOverheadMax = 64 * 1024;

// REQUIRES: fields.encoding can be decoded by any replica (no trained dictionary of this process).
std::string EncodeEnvelope(const EntryFields& fields, std::string_view type, const Clock& clock);
// A tombstone of `version` that is kept until `until`.
std::string EncodeTombstone(std::string_view full_key, Version version, absl::Time until);

// The head alone, magic and format checked but not the checksum. DataLoss when it is not one.
absl::StatusOr<EnvelopeHead> DecodeEnvelopeHead(std::string_view envelope);
// The head of an envelope that is whole: checksum and key checked, what lies between not looked at.
absl::StatusOr<EnvelopeHead> CheckEnvelope(std::string_view full_key, std::string_view envelope);
// Everything, checked. DataLoss says what is wrong with it. An entry past its usable_until reads as
// kEnded, a tombstone past its time as kAbsent. Without `want_value` all but the value.
absl::StatusOr<TierRead> DecodeEnvelope(std::string_view full_key, std::string_view envelope,
                                        const Clock& clock, bool want_value = true);

}  // namespace larder

#endif  // LARDER_TIER_ENVELOPE_H_
