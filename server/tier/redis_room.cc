// DBSIZE and INFO cost Redis some ten microseconds each in its only thread, and a dashboard may ask
// every replica for its statistics every second: so they are not asked for each time, and nobody
// waits for them. A sum over some of the masters would look like a sudden loss, so an answer counts
// only when all of them answered; else the last one stays.

#include "tier/redis_room.h"

#include <charconv>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/mutex.h"
#include "base/task.h"

namespace larder {
namespace {

constexpr absl::Duration kAskMost = absl::Seconds(1);

using Replies = std::vector<absl::StatusOr<RedisReply>>;

// `used_memory:1024` on a line of its own.
std::optional<uint64_t> FieldOf(std::string_view info, std::string_view name) {
  for (size_t at = info.find(name); at != std::string_view::npos; at = info.find(name, at + 1)) {
    if (at > 0 && info[at - 1] != '\n') continue;
    const std::string_view rest = info.substr(at + name.size());
    uint64_t value = 0;
    if (rest.empty() || rest[0] != ':') continue;
    const char* const end = rest.data() + rest.size();
    if (std::from_chars(rest.data() + 1, end, value).ec == std::errc()) return value;
  }
  return std::nullopt;
}

// Nothing when one of the masters did not say.
std::optional<RedisRoom::Usage> UsageOf(const Replies& sizes, const Replies& memories) {
  RedisRoom::Usage usage;
  for (const auto& size : sizes) {
    if (!size.ok() || size->kind != RedisReply::Kind::kInteger) return std::nullopt;
    usage.entries += static_cast<uint64_t>(size->integer);
  }
  bool limited = true;
  for (const auto& memory : memories) {
    if (!memory.ok()) return std::nullopt;
    const auto used = FieldOf(memory->text, "used_memory");
    if (!used.has_value()) return std::nullopt;
    usage.bytes += *used;
    // Hosted servers may keep it to themselves.
    const uint64_t most = FieldOf(memory->text, "maxmemory").value_or(0);
    usage.bytes_max += most;
    limited &= most > 0;
  }
  if (!limited) usage.bytes_max = 0;
  return usage;
}

}  // namespace

struct RedisRoom::State {
  // Awaits both, of which neither has begun: tasks hold what they need of their Redis.
  static Task<bool> Ask(std::shared_ptr<State> state, Task<Replies> sizes, Task<Replies> memories) {
    const Replies all_sizes = co_await std::move(sizes);
    const Replies all_memories = co_await std::move(memories);
    const std::optional<Usage> usage = UsageOf(all_sizes, all_memories);
    MutexLock lock(&state->mu);
    state->asking = false;
    if (usage.has_value()) state->usage = *usage;
    co_return usage.has_value();
  }

  Mutex mu;
  Usage usage ABSL_GUARDED_BY(mu);
  bool asking ABSL_GUARDED_BY(mu) = false;
  MonoNanos ask_from ABSL_GUARDED_BY(mu) = std::numeric_limits<MonoNanos>::min();
};

RedisRoom::RedisRoom(Redis* redis, Clock* clock)
    : redis_(redis), clock_(clock), state_(std::make_shared<State>()) {}

RedisRoom::Usage RedisRoom::Get() const {
  const MonoNanos now = clock_->Mono();
  Usage usage;
  {
    MutexLock lock(&state_->mu);
    usage = state_->usage;
    if (state_->asking || now < state_->ask_from) return usage;
    state_->asking = true;
    state_->ask_from = MonoAfter(now, kPause);
  }
  RedisCommand size{{"DBSIZE"}};
  RedisCommand memory{{"INFO", "memory"}};
  const MonoNanos until = MonoAfter(now, kAskMost);
  Spawn(State::Ask(state_, redis_->CallMasters(std::move(size), until),
                   redis_->CallMasters(std::move(memory), until)),
        [](bool) {});
  return usage;
}

}  // namespace larder
