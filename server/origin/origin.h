// An Origin is where the truth of some data types lives: a user's gRPC service, PostgreSQL, SQLite.
// Thread safety: any method, any thread, any time. No method blocks its thread: what may block runs
// elsewhere, and the task goes on on the executor. Answers come in the order of the request, one
// for each item, whatever the other side does: what it left out has failed, what it answered twice
// or without being asked is ignored. A key that the origin does not have is an answer, never an
// error; an error of the whole call says nothing about any item (after a failed Store a write may
// have happened). Requests own what they hold, because a call that lost its time limit may outlive
// the caller. Never calls a tier, the engine or another origin.
//
// Errors, of calls and of items: DEADLINE_EXCEEDED no answer in time, UNAVAILABLE not reachable or
// told to come again, RESOURCE_EXHAUSTED too much at once, FAILED_PRECONDITION the type cannot do
// that here (no such statement), INVALID_ARGUMENT the key or value can never work, DATA_LOSS an
// answer that makes no sense; what the other side calls otherwise stays what it is.

#ifndef LARDER_ORIGIN_ORIGIN_H_
#define LARDER_ORIGIN_ORIGIN_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/task.h"
#include "core/entry.h"
#include "core/version.h"

namespace larder {

// Keys or writes of one call.
inline constexpr size_t kOriginItemsMax = 1'000;
// Entries of one page of a Scan.
inline constexpr uint32_t kOriginPageMax = 10'000;

// What all calls say.
struct OriginCall {
  std::string name_space;  // never empty
  std::string type;        // name of the data type
  // W3C trace context of the caller; empty: none.
  std::string trace_parent = {};
  std::string trace_state = {};
};

struct OriginLoad {
  struct Item {
    std::string key;
    // Of the copy that is held; empty: none. See OriginLoaded::validator.
    std::string validator = {};
  };
  OriginCall call;
  // Each key once; 1 to kOriginItemsMax.
  std::vector<Item> items;
};

// What the origin said of one key.
struct OriginLoaded {
  enum class Kind : uint8_t {
    kFound,
    kAbsent,     // the origin does not have it
    kUnchanged,  // it is as the item's validator says
    kFailed,     // `error` says why
  };
  Kind kind = Kind::kFailed;
  std::string value = {};
  // How long it is fresh; unset: as the type's policy says. Positive.
  std::optional<absl::Duration> ttl = std::nullopt;
  // Within the limits that callers have, too (core/key.h).
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
  // Names this content, so that an unchanged value need not be sent again; at most
  // kValidatorBytesMax.
  std::string validator = {};
  absl::Status error = absl::OkStatus();
};

struct OriginStore {
  struct Write {
    std::string key;
    bool remove = false;
    std::string value = {};
    // Applied only above the version that the origin has stored for the key.
    Version version = kNoVersion;
    // The same for every delivery of the same write; at most 64 bytes.
    std::string idempotency_id = {};
    // W3C trace context of the call that made it; empty: none is known.
    std::string trace_parent = {};
  };
  OriginCall call;
  // Each key once; 1 to kOriginItemsMax.
  std::vector<Write> writes;
};

// What became of one write.
struct OriginStored {
  enum class Kind : uint8_t {
    kDone,    // applied, or not needed because something newer is there
    kRetry,   // not applied; the same write may succeed later
    kReject,  // not applied, and never will be
    // Not applied by the last of several attempts, and perhaps by one before it. The guard's.
    kUnknown,
  };
  Kind kind = Kind::kRetry;
  absl::Status error = absl::OkStatus();  // unless kDone
};

struct OriginScan {
  OriginCall call;
  uint32_t limit = 1'000;  // 1 to kOriginPageMax
  // From the page before; empty: from the start.
  std::string cursor = {};
  bool keys_only = false;
  // How many keys there are in all is wanted too, counted no further than this; 0: it is not.
  uint64_t count_to = 0;
};

struct OriginPage {
  struct Item {
    std::string key;
    OriginLoaded loaded;  // kFound; without a value when only keys were asked for
  };
  // At most the limit. A page may be empty and not be the last.
  std::vector<Item> items;
  // Empty: there is no more.
  std::string cursor;
  // How many keys there are in all, if that was asked for and can be told; may be beyond
  // `count_to`.
  std::optional<uint64_t> total = std::nullopt;
};

// Monotonic counts since the start, and what is there now.
struct OriginStats {
  std::string name;         // as the configuration calls it
  std::string kind;         // `grpc`, `postgres`, `sqlite`
  std::string state;        // `ok`, or why not, in a few words
  uint64_t load_calls = 0;  // attempts, retries included
  uint64_t load_items = 0;  // keys asked for
  uint64_t store_calls = 0;
  uint64_t store_items = 0;
  uint64_t scan_calls = 0;
  uint64_t errors = 0;       // attempts that failed as a whole
  uint64_t item_errors = 0;  // items that failed in attempts that did not
  uint64_t bad_answers = 0;  // items left out, answered twice, not asked for, or out of limits
  uint64_t connections = 0;  // open now, where they are counted
  // The guard's.
  uint64_t under_way = 0;  // calls, now
  uint64_t queued = 0;     // calls that wait for their turn, now
  uint64_t timeouts = 0;
  uint64_t retries = 0;
  uint64_t refused = 0;  // calls: the breaker was open, or the queue was full
  uint64_t breaker_opened = 0;
  std::string breaker;         // `closed`, `open`, `half-open`; empty without a guard
  std::string breaker_reason;  // what opened it last
  // How long its attempts took, without the wait for their turn, late ones as long as they were
  // waited for.
  Histogram::Snapshot loads_took;
  Histogram::Snapshot stores_took;
};

class Origin {
 public:
  virtual ~Origin() = default;

  virtual Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load,
                                                               MonoNanos deadline) = 0;
  virtual Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore store,
                                                                MonoNanos deadline) = 0;
  virtual Task<absl::StatusOr<OriginPage>> Scan(OriginScan scan, MonoNanos deadline) = 0;

  virtual OriginStats Stats() const = 0;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_ORIGIN_H_
