// Two kinds of rules. A contradiction is always an error: min above max. A value without effect is
// an error only where somebody chose it, that is, where it is not the default: a type that sets
// `max: 1m` need not lower the default base of 5m as well, but one that sets `base: 5m30s` and
// `max: 1m` says two different things. Comparing with the default rather than asking whether the
// file has the line keeps what PrintConfig prints loadable.

#include "config/checks.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "config/auth_checks.h"
#include "config/auto.h"
#include "config/change_checks.h"
#include "config/checker.h"
#include "config/l2.h"
#include "config/origin_checks.h"
#include "config/redis_url.h"
#include "config/units.h"
#include "config/value.h"
#include "config/write_checks.h"
#include "policy/pattern.h"
#include "tier/redis_key.h"

namespace larder {
namespace {

using config::v1::AdaptAccess;
using config::v1::AdaptSize;
using config::v1::Ttl;

class Checks : private Checker {
 public:
  Checks(const Reading& reading, const Machine& machine, Problems* problems)
      : Checker(reading, problems), reading_(reading), machine_(machine) {}

  void Run() {
    const config::v1::Config& c = reading_.proto;
    NotAbove("leases.ttl", D(c.leases().ttl()), "leases.max", D(c.leases().max()));
    CheckSizes(c);
    CheckMemory(c);
    CheckL2(c);
    CheckBusAndWarm(c);
    for (const std::string& name : reading_.type_names) {
      const config::v1::Type& type = c.types().at(name);
      const std::string path = absl::StrCat("types.", name);
      CheckPatterns(type, path);
      CheckTtl(type.ttl(), path + ".ttl");
      CheckAccess(type.ttl().adapt().access(), path + ".ttl.adapt.access");
      CheckSize(type.ttl().adapt().size(), path + ".ttl.adapt.size");
      CheckShare(type.share(), path + ".share");
      CheckTiers(c, type.tiers(), path + ".tiers");
      CheckRollout(type.rollout(), path + ".rollout");
    }
  }

 private:
  static constexpr uint64_t kMessageRoom =
      64 << 10;  // for the key and the other fields beside the value
  static constexpr double kWhole = 1 + 1e-9;

  void CheckSizes(const config::v1::Config& c) {
    const uint64_t value = c.limits().value_bytes();
    if (c.limits().message_bytes() < value + kMessageRoom) {
      Add({"limits.value_bytes", "limits.message_bytes"},
          absl::StrCat("limits.message_bytes is ", WriteBytes(c.limits().message_bytes()),
                       "; limits.value_bytes of ", WriteBytes(value), " needs at least ",
                       WriteBytes(value + kMessageRoom)));
    }
  }

  // The largest value has to have room in the smallest memory that there can be.
  void CheckMemory(const config::v1::Config& c) {
    const config::v1::Memory& memory = c.memory();
    const uint64_t needed = MemoryOptionsOf(c).floor_bytes;
    const auto has_room = [&](const std::string& path, uint64_t bytes) {
      if (bytes >= needed) return;
      Add({"limits.value_bytes", path},
          absl::StrCat(path, " is ", WriteBytes(bytes), "; limits.value_bytes of ",
                       WriteBytes(c.limits().value_bytes()), " needs at least ",
                       WriteBytes(needed)));
    };
    if (memory.l1() != 0) {
      has_room("memory.l1", memory.l1());
      for (const std::string path : {"memory.min", "memory.max"}) {
        if (!Chosen(path)) continue;
        Add({path, "memory.l1"}, absl::StrCat(path, " has no effect, because memory.l1 is ",
                                              WriteBytes(memory.l1()), " and not auto"));
      }
      return;
    }
    if (memory.min() != 0) has_room("memory.min", memory.min());
    if (memory.max() != 0) has_room("memory.max", memory.max());
    if (memory.max() != 0 && memory.min() > memory.max()) {
      Add({"memory.min", "memory.max"},
          absl::StrCat("memory.min is ", WriteBytes(memory.min()),
                       ", more than memory.max, which is ", WriteBytes(memory.max())));
    }
    CheckMemoryOfMachine(memory.min() != 0 ? memory.min() : needed);
  }

  // A minimum that the machine cannot give ends with the OOM killer. The defaults are not refused:
  // the server says at its start that it is short.
  void CheckMemoryOfMachine(uint64_t least) {
    const MemoryLevel* const tightest = machine_.memory.Tightest();
    if (tightest == nullptr || least < tightest->limit_bytes) return;
    const std::string chosen = Chosen("memory.min") ? "memory.min" : "limits.value_bytes";
    if (!Chosen(chosen)) return;
    Add({chosen}, absl::StrCat(chosen, " needs a memory of ", WriteBytes(least),
                               ", which does not fit into the ", tightest->Name()));
  }

  void CheckL2(const config::v1::Config& c) {
    const config::v1::L2& l2 = c.l2();
    NotAbove("l2.breaker.open_min", D(l2.breaker().open_min()), "l2.breaker.open_max",
             D(l2.breaker().open_max()));
    const std::string rocks = "l2.rocksdb", redis = "l2.redis", none = "l2.none";
    const auto both = [&](bool a, const std::string& a_path, bool b, const std::string& b_path) {
      if (a && b) {
        Add({b_path, a_path},
            absl::StrCat(a_path, " and ", b_path, " exclude each other; there is one second tier"));
      }
    };
    both(l2.redis().enabled(), redis, l2.rocksdb().enabled(), rocks);
    both(l2.none(), none, l2.rocksdb().enabled(), rocks);
    both(l2.none(), none, l2.redis().enabled(), redis);
    if (l2.rocksdb().enabled()) CheckRocks(c);
    if (l2.redis().enabled()) CheckRedis(l2.redis());
    if (L2KindOf(c) == L2Options::Kind::kNone) {
      const std::string why = "there is no second tier";
      for (const char* const field :
           {"l2.read_timeout", "l2.write_timeout", "l2.calls", "l2.breaker.", "l2.retry_budget."}) {
        NoEffect(field, why);
      }
    }
  }

  void CheckRocks(const config::v1::Config& c) {
    const config::v1::RocksTier& rocks = c.l2().rocksdb();
    if (rocks.path().empty() && c.data().path().empty()) {
      Add({"l2.rocksdb", "l2.rocksdb.path", "data.path"},
          "l2.rocksdb has no place on the disk; set data.path or l2.rocksdb.path");
    }
    if (rocks.entry_min() > rocks.entry_max()) {
      Add({"l2.rocksdb.entry_min", "l2.rocksdb.entry_max"},
          absl::StrCat("l2.rocksdb.entry_min is ", WriteBytes(rocks.entry_min()),
                       ", more than l2.rocksdb.entry_max, which is ",
                       WriteBytes(rocks.entry_max())));
    }
    const MemoryLevel* const tightest = machine_.memory.Tightest();
    if (Chosen("l2.rocksdb.memory") && tightest != nullptr &&
        rocks.memory() >= tightest->limit_bytes) {
      Add({"l2.rocksdb.memory"}, absl::StrCat("l2.rocksdb.memory is ", WriteBytes(rocks.memory()),
                                              ", which does not fit into the ", tightest->Name()));
    }
  }

  void CheckRedis(const config::v1::RedisTier& redis) {
    const std::string url_path = "l2.redis.url";
    if (redis.url().empty() && redis.url_file().empty()) {
      Add({"l2.redis", url_path, "l2.redis.url_file"},
          "l2.redis needs l2.redis.url or l2.redis.url_file");
    }
    if (!redis.url().empty() && !redis.url_file().empty()) {
      Add({"l2.redis.url_file", url_path}, "l2.redis.url and l2.redis.url_file exclude each other");
    }
    if (const absl::Status prefix = RedisKeys::CheckPrefix(redis.prefix()); !prefix.ok()) {
      Add({"l2.redis.prefix"}, absl::StrCat("l2.redis.prefix: ", std::string(prefix.message())));
    }
    const config::v1::RedisTls& tls = redis.tls();
    if (tls.cert_file().empty() != tls.key_file().empty()) {
      Add({"l2.redis.tls.cert_file", "l2.redis.tls.key_file"},
          "l2.redis.tls.cert_file and l2.redis.tls.key_file belong together");
    }
    if (redis.url().empty()) return;
    const absl::StatusOr<RedisUrl> url = ParseRedisUrl(redis.url());
    if (!url.ok()) {
      return Add({url_path}, absl::StrCat(url_path, ": ", std::string(url.status().message())));
    }
    if (!url->user.empty() && !redis.user().empty()) {
      Add({"l2.redis.user", url_path}, "l2.redis.user is there, and l2.redis.url has a user too");
    }
    if (url->topology != Redis::Topology::kSentinel) {
      NoEffect("l2.redis.sentinel_password_file", "l2.redis.url names no Sentinels");
    }
    if (!url->tls) return NoEffect("l2.redis.tls.", "l2.redis.url does not begin with rediss");
    if (const absl::Status build = RedisTlsOfThisBuild(); !build.ok()) {
      Add({url_path}, absl::StrCat(url_path, ": ", std::string(build.message())));
    }
  }

  void CheckBusAndWarm(const config::v1::Config& c) {
    if (L2KindOf(c) != L2Options::Kind::kRedis) {
      NoEffect("bus.", "the second tier is not l2.redis, which replicas would share");
    }
    const absl::Duration beats = 3 * D(c.bus().heartbeat());
    if (D(c.bus().trust()) < beats) {
      Add({"bus.trust", "bus.heartbeat"},
          absl::StrCat("bus.trust is ", WriteDuration(D(c.bus().trust())),
                       "; with a bus.heartbeat of ", WriteDuration(D(c.bus().heartbeat())),
                       " it needs at least ", WriteDuration(beats)));
    }
    const bool origins_warm = std::any_of(c.types().begin(), c.types().end(), [](const auto& type) {
      return type.second.warm().on_start();
    });
    if (L2KindOf(c) == L2Options::Kind::kNone && !origins_warm) {
      NoEffect("warm.", "there is no second tier, and no type has warm.on_start");
    } else if (c.data().path().empty()) {
      NoEffect("warm.", "data.path is empty");
    }
  }

  void CheckTiers(const config::v1::Config& c, const config::v1::Tiers& tiers,
                  const std::string& path) {
    if (!tiers.l1()) {
      NoEffect(path + ".l1_ttl_max", absl::StrCat(path, ".l1 is false"));
      if (L2KindOf(c) != L2Options::Kind::kRedis || !tiers.l2()) {
        Add({path + ".l1", path + ".l2"},
            absl::StrCat(path, ".l1 is false, and there is no l2.redis to keep entries in"));
        return;
      }
    }
    if (tiers.l2()) return;
    NoEffect(path + ".l1_ttl_max", absl::StrCat(path, ".l2 is false"));
    if (tiers.require_l2()) {
      Add({path + ".require_l2", path + ".l2"},
          absl::StrCat(path, ".require_l2 is true, but ", path, ".l2 is false"));
    }
  }

  // Patterns that match the same keys: the later would never match.
  void CheckPatterns(const config::v1::Type& type, const std::string& path) {
    for (int i = 0; i < type.match_size(); ++i) {
      const absl::StatusOr<Pattern> pattern = Pattern::Parse(type.match(i));
      if (!pattern.ok()) continue;  // reported when it was read
      const std::string here = absl::StrCat(path, ".match[", i, "]");
      const auto [first, added] = patterns_.emplace(pattern->Shape(), here);
      if (!added) {
        Add({here}, absl::StrCat(here, ": pattern ", Quoted(type.match(i)),
                                 " matches the same keys as ", first->second));
      }
    }
  }

  void CheckTtl(const Ttl& ttl, const std::string& path) {
    const std::string min = path + ".min", max = path + ".max", base = path + ".base";
    NotAbove(min, D(ttl.min()), max, D(ttl.max()));
    if (ttl.forever()) {
      for (const std::string& field :
           {std::string("base"), std::string("multiplier"), std::string("min"),
            std::string("adapt.access.enabled"), std::string("adapt.size.enabled"),
            std::string("adapt.change.enabled")}) {
        if (Chosen(absl::StrCat(path, ".", field))) {
          Add({absl::StrCat(path, ".", field)},
              absl::StrCat(path, ".", field, " has no effect, because ", path, ".forever is true"));
        }
      }
      return;
    }
    if (Chosen(base)) {
      NotAbove(min, D(ttl.min()), base, D(ttl.base()));
      NotAbove(base, D(ttl.base()), max, D(ttl.max()));
    }
    if (Chosen(path + ".absent")) NotAbove(path + ".absent", D(ttl.absent()), max, D(ttl.max()));
  }

  void CheckAccess(const AdaptAccess& access, const std::string& path) {
    const std::string steps = path + ".steps";
    if (access.steps().empty() || Broken(steps)) return;
    for (int i = 1; i < access.steps_size(); ++i) {
      if (access.steps(i).hits() <= access.steps(i - 1).hits()) {
        Add({absl::StrCat(steps, "[", i, "].hits"), absl::StrCat(steps, "[", i, "]")},
            absl::StrCat(steps, "[", i, "].hits is ", access.steps(i).hits(),
                         ", no more than that of the step before"));
      }
    }
    for (const char* const field : {"per_hits", "gain", "max"}) {
      const std::string field_path = absl::StrCat(path, ".", field);
      if (Chosen(field_path)) {
        Add({field_path},
            absl::StrCat(field_path, " has no effect, because ", steps, " takes its place"));
      }
    }
  }

  void CheckSize(const AdaptSize& size, const std::string& path) {
    const std::string bands = path + ".bands";
    if (Broken(bands)) return;
    if (size.bands().empty()) return Add({bands}, absl::StrCat(bands, " needs at least one band"));
    for (int i = 1; i < size.bands_size(); ++i) {
      if (size.bands(i).below() <= size.bands(i - 1).below()) {
        Add({absl::StrCat(bands, "[", i, "].below"), absl::StrCat(bands, "[", i, "]")},
            absl::StrCat(bands, "[", i, "].below must be more than that of the band before"));
      }
    }
    const int last = size.bands_size() - 1;
    if (size.bands(last).below() != std::numeric_limits<uint64_t>::max()) {
      Add({absl::StrCat(bands, "[", last, "]")},
          absl::StrCat(bands, "[", last,
                       "] is the last band and takes all larger values; it must have no `below`"));
    }
  }

  void CheckShare(const config::v1::Share& share, const std::string& path) {
    const std::string min = path + ".min", max = path + ".max";
    if (share.min() > share.max()) {
      Add({min, max}, absl::StrCat(min, " is ", WriteRatio(share.min()), ", more than ", max,
                                   ", which is ", WriteRatio(share.max())));
    }
    if (Broken(min)) return;
    const double before = std::exchange(shares_min_, shares_min_ + share.min());
    // Said once, at the type that goes beyond. The margin is for sums such as 0.1 + 0.2.
    if (before <= kWhole && shares_min_ > kWhole) {
      Add({min}, absl::StrCat(min, " is ", WriteRatio(share.min()),
                              "; with those of the types before it, that is more than 100%"));
    }
  }

  // What the cache keeps and nobody reads would be out of sight, not out of the way.
  void CheckRollout(const config::v1::Rollout& rollout, const std::string& path) {
    if (rollout.writes() <= rollout.reads()) return;
    Add({path + ".writes", path + ".reads"},
        absl::StrCat(path, ".writes is ", WriteRatio(rollout.writes()), ", more than ", path,
                     ".reads, which is ", WriteRatio(rollout.reads())));
  }

  const Reading& reading_;
  const Machine& machine_;
  std::map<std::string, std::string> patterns_;  // shape to path
  double shares_min_ = 0;                        // the sum of share.min so far
};

}  // namespace

void CheckTogether(const Reading& reading, const Machine& machine, Problems* problems) {
  Checks(reading, machine, problems).Run();
  CheckOrigins(reading, problems);
  CheckWrites(reading, problems);
  CheckChanges(reading, problems);
  CheckAuth(reading, problems);
}

}  // namespace larder
