// RedisRoom knows how full a Redis is, by what its masters said themselves a moment ago. Thread
// safety: any thread. Get never blocks and never fails: it answers what was said last and has it
// asked again, at most once every few seconds however often it is called, and never when nobody
// calls. A user of Redis who may not ask for it is told nothing.

#ifndef LARDER_TIER_REDIS_ROOM_H_
#define LARDER_TIER_REDIS_ROOM_H_

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "base/clock.h"
#include "redis/redis.h"

namespace larder {

class RedisRoom {
 public:
  // Of all masters together; zeros until they have answered for the first time. Whatever is there
  // counts, of whoever it is: the room is shared too.
  struct Usage {
    uint64_t entries = 0;    // keys of the database
    uint64_t bytes = 0;      // used_memory
    uint64_t bytes_max = 0;  // maxmemory; 0: a master has none
  };

  // Between two questions at least.
  static constexpr absl::Duration kPause = absl::Seconds(5);

  // Both outlive it; the Redis need not outlive the question that is under way.
  RedisRoom(Redis* redis, Clock* clock);

  Usage Get() const;

 private:
  struct State;

  Redis* const redis_;
  Clock* const clock_;
  const std::shared_ptr<State> state_;
};

}  // namespace larder

#endif  // LARDER_TIER_REDIS_ROOM_H_
