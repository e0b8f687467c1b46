// AdminView is what the admin port can show and do: functions that look at the running server, what
// stays as it is, and one act. This folder knows neither the handlers nor the configuration;
// whoever starts the server fills this in. The functions are called from one thread at a time and
// must not block long, but for stats, authorize, refused and reload: those are called from any
// thread.

#ifndef LARDER_ADMIN_VIEW_H_
#define LARDER_ADMIN_VIEW_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/histogram.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder {

// The calls of one RPC since the start.
struct RpcTally {
  std::string_view rpc;  // `Get`
  // How many ended with each status code, by its name in gRPC: `OK`, `NOT_FOUND`. `OK` is among
  // them.
  std::vector<std::pair<std::string_view, uint64_t>> codes;
  Histogram::Snapshot latency;
};

// How long the writes of one data type were on their way to their origin.
struct DeliveryTally {
  std::string type;
  Histogram::Snapshot lag;
};

// One setting in effect. No secrets: they are in files, of which the settings hold the names.
struct ShownSetting {
  std::string path;
  std::string value;
  std::string source;
};

// What the journal has room for, dead letters included.
struct JournalRoom {
  uint64_t bytes_max = 0;
  uint64_t entries_max = 0;
};

// How often the configuration was read again, and how that ended.
struct ReloadTally {
  uint64_t applied = 0;
  uint64_t unchanged = 0;
  uint64_t refused = 0;
  bool last_ok = true;
  absl::Time last_good = absl::UnixEpoch();
  std::string trouble = {};  // what was wrong, when last_ok is not
};

// Another replica of the fleet, as this one hears it.
struct ReplicaTally {
  uint32_t node_id = 0;
  std::string_view state;  // `alive`, `silent`, `left`
  absl::Duration heard_ago;
  uint64_t frames = 0;
};

// Calls that were not let in.
struct AccessTally {
  std::vector<std::pair<std::string_view, uint64_t>> denied;  // by permission
  uint64_t unknown = 0;
};

// When the certificates of lanes end, by lane; empty: they speak plain text.
using CertificateEnds = std::vector<std::pair<std::string_view, absl::Time>>;

// Calls that memory alone did not answer: those under way, how many may be; those that wait for a
// worker, and how many may.
struct CallsTally {
  uint64_t under_way = 0;
  uint64_t limit = 0;
  uint64_t limit_per_address = 0;
  uint64_t waiting = 0;
  uint64_t waiting_limit = 0;
};

// What somebody asks of the port.
struct AdminAsk {
  std::string what;           // `GET /config.json`
  std::string authorization;  // the header's value
  std::string peer;           // host:port
  std::string traceparent;
  bool changes = false;  // whether it is an act
};

// How long calls of what lies below memory took.
struct BelowTally {
  std::string name;            // of the tier, or of the origin
  std::string_view operation;  // `read`, `change`; `load`, `store`
  Histogram::Snapshot took;
};

// Connections of a lane.
struct LaneTally {
  uint64_t connections = 0;  // now
  uint64_t accepted = 0;
  uint64_t refused = 0;
};

// What is left below a limit of memory.
struct MemoryRoom {
  uint64_t left_bytes = 0;
  uint64_t tight_bytes = 0;  // with less left, writes are refused
  bool fixed = false;        // the cache gives no way
};

struct AdminView {
  std::string version;
  std::string node;
  absl::Time started = absl::UnixEpoch();
  std::function<std::vector<ShownSetting>()> settings;
  // Zeros: there is no journal.
  JournalRoom journal_room = {};

  std::function<ReloadTally()> reloads;
  // Calls that were refused because there was too much to do, by why.
  std::function<std::vector<std::pair<std::string_view, uint64_t>>()> shed;
  std::function<CallsTally()> calls;
  std::function<v1::StatsResponse()> stats;
  // Null: there are no others.
  std::function<std::vector<ReplicaTally>()> replicas = nullptr;
  // Null: none are counted, and none have a certificate.
  std::function<AccessTally()> access = nullptr;
  std::function<CertificateEnds()> certificates = nullptr;
  // Whether an operator asks: OK, Unauthenticated or PermissionDenied, which it writes down, as it
  // does acts. Null: everybody may see everything, and nobody change anything.
  std::function<absl::Status(const AdminAsk&)> authorize = nullptr;
  // Writes down that somebody was refused for another reason. Null: that is not written down.
  std::function<void(const AdminAsk&, std::string_view why)> refused = nullptr;
  // Reads the configuration again. May wait for the disk. Null: that cannot be asked for.
  std::function<absl::StatusOr<v1::ReloadConfigResponse>(bool dry_run)> reload = nullptr;
  // Whether memory is so short that writes are refused. Null: it is not.
  std::function<bool()> memory_tight = nullptr;
  // What is left below the container's memory limit. Null, or nothing: there is none.
  std::function<std::optional<MemoryRoom>()> memory_left = nullptr;
  std::function<std::vector<RpcTally>()> rpcs;
  // Null: there are none.
  std::function<std::vector<BelowTally>()> tiers_took = nullptr;
  std::function<std::vector<BelowTally>()> origins_took = nullptr;
  // Null: there is no journal.
  std::function<std::vector<DeliveryTally>()> deliveries = nullptr;
  // Null: not told.
  std::function<LaneTally()> reference = nullptr;
  // What the native lane counts by name; those called `connections` and `calls` are the case now,
  // the others count since the start. Null: it is off.
  std::function<std::vector<std::pair<std::string_view, uint64_t>>()> native = nullptr;
};

}  // namespace larder

#endif  // LARDER_ADMIN_VIEW_H_
