// The tier in Redis: what the replicas of a fleet share. Contract: tier.h. One entry is one Redis
// string under the name that redis_key.h says, its envelope, which Redis itself drops soon after
// its end. Thread safety: as any tier; the Redis and the clock outlive it and every call of it.
//
// Errors are those of Redis (redis/redis.h). A batch of a Get whose keys lie on several nodes
// answers what the nodes that are well have: the others' keys read as absent and are counted as
// errors. It fails when no key could be read. A batch of changes fails when one of them failed, and
// the others may have been made.
//
// A broken envelope, and any value that is not ours, reads as a miss, is counted, removed if it is
// still the same, and overwritten by the next put. KEYS is never sent, nor a pattern of a client.

#ifndef LARDER_TIER_REDIS_TIER_H_
#define LARDER_TIER_REDIS_TIER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "redis/redis.h"
#include "tier/tier.h"

namespace larder {

struct RedisTierOptions {
  // What all names begin with (redis_key.h); two fleets in one Redis have two.
  std::string prefix = "larder";
  Clock* clock = Clock::System();
  // An entry that ends sooner is not worth the trip and is skipped, unless it has a condition: then
  // the answer is what counts. 0 to 1 minute.
  absl::Duration life_min = absl::Milliseconds(100);
  // For so long after its end an entry still lies in Redis, so that an older one that comes late is
  // refused. 0 to kTombstoneTtl.
  absl::Duration linger = absl::Seconds(5);
  // Larger ones are skipped. Redis copies each in its only thread. 64 KiB to 512 MiB.
  size_t envelope_bytes_max = 16 << 20;
  // Keys, and bytes of envelopes, that travel together; a larger batch goes in several trips. 1 to
  // 10,000 and 64 KiB to 1 GiB. Must fit into what Redis::Options allows to be pending.
  size_t batch_keys_max = 1000;
  size_t batch_bytes_max = 16 << 20;
  // Keys that Redis looks at for one page of a scan, whatever limit it has. 1 to 100,000.
  size_t scan_keys_max = 1000;
};

// InvalidArgument: an option that is out of its range.
absl::Status CheckRedisTierOptions(const RedisTierOptions& options);
absl::StatusOr<std::unique_ptr<Tier>> NewRedisTier(Redis* redis, const RedisTierOptions& options);

}  // namespace larder

#endif  // LARDER_TIER_REDIS_TIER_H_
