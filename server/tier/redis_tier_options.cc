// The ranges are those that redis_tier.h promises, in words that a config error can show.

#include "base/status.h"
#include "base/strings.h"
#include "tier/redis_key.h"
#include "tier/redis_tier.h"

namespace larder {
namespace {

absl::Status CheckRange(std::string_view what, bool holds, std::string_view range) {
  if (holds) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(what, " of the Redis tier must be ", range));
}

}  // namespace

absl::Status CheckRedisTierOptions(const RedisTierOptions& options) {
  RETURN_IF_ERROR(RedisKeys::CheckPrefix(options.prefix));
  RETURN_IF_ERROR(CheckRange(
      "life_min", options.life_min >= absl::ZeroDuration() && options.life_min <= absl::Minutes(1),
      "0 to 1m"));
  RETURN_IF_ERROR(CheckRange(
      "linger", options.linger >= absl::ZeroDuration() && options.linger <= kTombstoneTtl,
      "0 to 10m"));
  RETURN_IF_ERROR(CheckRange(
      "envelope_bytes_max",
      options.envelope_bytes_max >= (64 << 10) && options.envelope_bytes_max <= (512 << 20),
      "64KiB to 512MiB"));
  RETURN_IF_ERROR(CheckRange("batch_keys_max",
                             options.batch_keys_max >= 1 && options.batch_keys_max <= 10'000,
                             "1 to 10,000"));
  RETURN_IF_ERROR(
      CheckRange("batch_bytes_max",
                 options.batch_bytes_max >= (64 << 10) && options.batch_bytes_max <= (1 << 30),
                 "64KiB to 1GiB"));
  return CheckRange("scan_keys_max", options.scan_keys_max >= 1 && options.scan_keys_max <= 100'000,
                    "1 to 100,000");
}

}  // namespace larder
