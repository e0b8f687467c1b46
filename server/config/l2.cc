// How long memory is trusted and when a replica counts as gone hang together: whoever is not waited
// for any more must have stopped to rely on what it holds. So `bus.trust` decides both; a fleet
// that trusts longer also waits longer for a replica that vanished without a goodbye.

#include "config/l2.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "config/redis_url.h"
#include "config/text_file.h"
#include "redis/socket.h"

namespace larder {
namespace {

absl::Duration D(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

RocksTierOptions RocksOptionsOf(const config::v1::Config& config) {
  const config::v1::RocksTier& rocks = config.l2().rocksdb();
  RocksTierOptions options;
  options.path = rocks.path().empty() ? config.data().path() + "/l2" : rocks.path();
  options.max_bytes = rocks.max_bytes();
  options.memory_bytes = rocks.memory();
  options.threads = static_cast<int>(rocks.threads());
  options.life_min = D(rocks.life_min());
  options.entry_bytes_min = rocks.entry_min();
  options.entry_bytes_max = rocks.entry_max();
  return options;
}

absl::StatusOr<Redis::Options> RedisOptionsOf(const config::v1::RedisTier& redis) {
  std::string text = redis.url();
  std::string field = "l2.redis.url";
  if (!redis.url_file().empty()) {
    ASSIGN_OR_RETURN(text, ReadTextFile("l2.redis.url_file", redis.url_file(), kRedisUrlBytesMax));
    field = absl::StrCat("l2.redis.url_file: the url in ", redis.url_file());
  }
  absl::StatusOr<RedisUrl> url = ParseRedisUrl(text);
  if (!url.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, ": ", std::string(url.status().message())));
  }
  Redis::Options options;
  options.topology = url->topology;
  options.addresses = std::move(url->addresses);
  options.master_name = std::move(url->master_name);
  options.database = url->database;
  options.user = redis.user().empty() ? url->user : redis.user();
  options.password_file = redis.password_file();
  options.sentinel_password_file = redis.sentinel_password_file();
  options.tls = url->tls;
  options.tls_ca_file = redis.tls().ca_file();
  options.tls_cert_file = redis.tls().cert_file();
  options.tls_key_file = redis.tls().key_file();
  options.tls_server_name = redis.tls().server_name();
  options.connections_per_node = static_cast<int>(redis.connections());
  options.connect_timeout = D(redis.connect_timeout());
  return options;
}

GuardOptions GuardOptionsOf(const config::v1::L2& l2) {
  GuardOptions options;
  options.read_timeout = D(l2.read_timeout());
  options.write_timeout = D(l2.write_timeout());
  options.in_flight_max = l2.calls();
  const config::v1::L2Breaker& breaker = l2.breaker();
  options.breaker.failures = breaker.failures();
  options.breaker.slow = breaker.slow();
  options.breaker.slow_after = D(breaker.slow_after());
  options.breaker.window = D(breaker.window());
  options.breaker.min_calls = breaker.min_calls();
  options.breaker.open_min = D(breaker.open_min());
  options.breaker.open_max = D(breaker.open_max());
  options.retry_budget.ratio = l2.retry_budget().ratio();
  options.retry_budget.burst = l2.retry_budget().burst();
  return options;
}

}  // namespace

L2Options::Kind L2KindOf(const config::v1::Config& config) {
  if (config.l2().none()) return L2Options::Kind::kNone;
  if (config.l2().redis().enabled()) return L2Options::Kind::kRedis;
  return config.l2().rocksdb().enabled() ? L2Options::Kind::kRocks : L2Options::Kind::kNone;
}

absl::StatusOr<L2Options> L2OptionsOf(const config::v1::Config& config) {
  L2Options options;
  options.kind = L2KindOf(config);
  options.guard = GuardOptionsOf(config.l2());
  if (options.kind == L2Options::Kind::kRocks) options.rocksdb = RocksOptionsOf(config);
  if (options.kind == L2Options::Kind::kRedis) {
    const config::v1::RedisTier& redis = config.l2().redis();
    ASSIGN_OR_RETURN(options.redis, RedisOptionsOf(redis));
    options.redis_tier.prefix = redis.prefix();
    options.redis_tier.envelope_bytes_max = redis.entry_max();
    options.redis_tier.life_min = D(redis.life_min());
    // A batch of the tier has to fit into what a connection may have pending.
    options.redis.pending_bytes_max =
        std::max<uint64_t>(options.redis.pending_bytes_max, 4 * redis.entry_max());
  }
  return options;
}

BusOptions BusOptionsOf(const config::v1::Config& config) {
  const config::v1::Bus& bus = config.bus();
  BusOptions options;
  options.bus.node = config.node().id();
  options.bus.heartbeat = D(bus.heartbeat());
  options.bus.lost_after = D(bus.trust());
  options.bus.alive = options.bus.lost_after + 2 * options.bus.heartbeat;
  options.bus.attempt_timeout = std::min(options.bus.attempt_timeout, options.bus.lost_after);
  options.messages = bus.messages();
  options.serve_suspect = bus.when_lost() != config::v1::WHEN_LOST_MISS;
  options.fleet_wait = D(bus.fleet_wait());
  return options;
}

WarmOptions WarmOptionsOf(const config::v1::Config& config) {
  const config::v1::Warm& warm = config.warm();
  return {.limit = warm.limit(),
          .before_ready = D(warm.before_ready()),
          .rate = warm.rate(),
          .save = D(warm.save())};
}

absl::Status RedisTlsOfThisBuild() {
  Redis::Options options;
  options.tls = true;
  return NewRedisTls(options).status();
}

}  // namespace larder
