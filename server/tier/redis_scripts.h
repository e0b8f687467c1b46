// The scripts that the Redis tier and the fleet lease run inside Redis, each in one step, with what
// goes into them and what comes out. Thread safety: pure functions, and scripts that live for ever.

#ifndef LARDER_TIER_REDIS_SCRIPTS_H_
#define LARDER_TIER_REDIS_SCRIPTS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/expect.h"
#include "redis/redis.h"
#include "tier/tier.h"

namespace larder {

// Puts an envelope, of an entry or a tombstone, where nothing newer is and `expect` holds. When
// Redis refuses to keep it (out of memory), what it would have replaced is removed all the same.
const RedisScript* ChangeScript();
// `life` is that of the Redis key; infinite: for ever. `wall_ms` is the time at which what is there
// is live or expired.
Redis::ScriptCall ChangeCall(std::string name, std::string envelope, absl::Duration life,
                             int64_t wall_ms, Expect expect);
struct ChangeAnswer {
  TierChange change;
  // What was there was no envelope, and counted as nothing.
  bool found_bad = false;
};
// Internal when it is no answer of ChangeScript.
absl::StatusOr<ChangeAnswer> ParseChange(const RedisReply& reply);

// Removes a key if it still holds the same bytes. Answers 1 if it did.
const RedisScript* RemoveSameScript();
Redis::ScriptCall RemoveSameCall(std::string name, std::string bytes);

// Takes a lease that nobody holds, or says how long it is held yet.
const RedisScript* LeaseTakeScript();
Redis::ScriptCall LeaseTakeCall(std::string name, std::string token, absl::Duration ttl);
// Zero: taken. Else for how long somebody else holds it, to the millisecond; infinite for ever.
absl::StatusOr<absl::Duration> ParseLeaseTake(const RedisReply& reply);

// Gives the holder of `token` the lease for `ttl` from now. Answers 1, or 0 to anybody else.
const RedisScript* LeaseExtendScript();
Redis::ScriptCall LeaseExtendCall(std::string name, std::string token, absl::Duration ttl);
// Ends the lease of the holder of `token`. Answers 1, or 0 to anybody else.
const RedisScript* LeaseReleaseScript();
Redis::ScriptCall LeaseReleaseCall(std::string name, std::string token);
// The answer of these scripts that answer 1 or 0.
absl::StatusOr<bool> ParseYes(const RedisReply& reply);

}  // namespace larder

#endif  // LARDER_TIER_REDIS_SCRIPTS_H_
