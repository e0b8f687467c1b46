// What a caller may choose: once for a client (ClientOptions) and for each call (the structs below
// it).
// Thread safety: plain values; share copies, not objects that are being changed. Limits and
// defaults are said beside each field. A value outside its limits is INVALID_ARGUMENT, never cut
// silently.

#ifndef LARDER_OPTIONS_H_
#define LARDER_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// When and how often a failed attempt is repeated. docs/client.md says which calls are repeated at
// all.
struct RetryPolicy {
  // Attempts of one call, the first included; 1 to 10. 1 never repeats.
  int attempts_max = 4;
  // The wait before the second attempt; doubles with each further one. Every wait is drawn between
  // half of this and all of it. 1 ms to 10 s.
  absl::Duration backoff_first = absl::Milliseconds(20);
  // The longest such wait; backoff_first to 60 s.
  absl::Duration backoff_max = absl::Seconds(1);
  // How many repeats each call earns for the whole client; 0 to 1. 0.1 means: in the long run at
  // most one repeat for ten calls, so that clients do not multiply the load on a server that is
  // down.
  double budget_ratio = 0.1;
  // How many repeats may be saved up; 0 to 1,000. A new client starts with all of them.
  int budget_max = 20;
};

// Gathers Gets that different threads make at the same time into one BatchGet.
struct BatchPolicy {
  // How long the first Get waits for others to go with; 1 us to 10 ms. Zero = each goes by itself.
  absl::Duration window = absl::ZeroDuration();
  // So many go at once, without waiting longer; 2 to 1,000.
  int keys_max = 128;
};

// Which of several targets gets a call.
enum class Routing {
  // One for all calls; the next one when it is UNAVAILABLE. A caller reads from where it wrote.
  kOneAtATime,
  // Calls for a key go to the same target from every client, as long as it is there: its memory
  // holds the key, and the other targets' need not. When it is away, they go to the key's next one,
  // and back when it is back. Calls for several keys, or for none, go as with kOneAtATime.
  kByKey,
};

// When a target that fails is left alone.
struct BreakerPolicy {
  // After so many attempts in a row that found no server, or of Get and BatchGet no answer in time;
  // 0 to 1,000. 0 = never. When no target is left, calls fail with UNAVAILABLE at once, and a
  // GetOrLoad runs its loader without the cache at once.
  int failures = 0;
  // How long; then one call at a time tries again. Also how long Routing::kByKey stays away from a
  // target that is not there; 10 ms to 60 s.
  absl::Duration open_for = absl::Seconds(1);
};

// Sends a Get that takes long a second time, to the next target where there are several, and takes
// the answer that comes first.
struct HedgePolicy {
  // After the time within which this part of all Gets is answered, as measured; 0.5 to 0.999.
  // 0 = never.
  double percentile = 0;
  // And at most so many for each Get, so that a server that is slow is not asked twice as much;
  // 0 to 1.
  double budget_ratio = 0.05;
  // At the earliest after this; 100 us to 10 s.
  absl::Duration delay_min = absl::Milliseconds(1);
};

// Encrypted connections. Files are PEM, and read again when they change: connections that are made
// later use what they hold then.
struct TlsOptions {
  // True encrypts, and checks that the server's certificate is of a CA below and for its name.
  bool enabled = false;
  // Whose servers are trusted; empty = those whom gRPC trusts on this machine.
  std::string ca_file;
  // Shown to servers that ask who calls; both or neither.
  std::string certificate_file;
  std::string key_file;
  // The name that the server's certificate must be for; empty = the host in the target.
  std::string server_name;
};

class ClientMetrics;

struct ClientOptions {
  // Neither has a default: where larder is, and how long a call may take in all, its repeats
  // included. There is no client without a deadline.
  ClientOptions(std::string target_in, absl::Duration default_deadline_in)
      : target(std::move(target_in)), default_deadline(default_deadline_in) {}

  // A gRPC target (`host:50051`, `dns:///larder:50051`, `unix:/run/larder.sock`) or up to 16 of
  // them with commas between. Of several, one is used at a time, the first to begin with; the next
  // one when it is UNAVAILABLE. A caller therefore reads from the replica that it wrote to. See
  // `routing` for another way.
  std::string target;
  // 1 ms to 1 h.
  absl::Duration default_deadline;
  // Namespace of calls that do not say one; empty = `default`. At most 64 of a-z, A-Z, 0-9, `.`,
  // `_` and `-`.
  std::string ns;
  RetryPolicy retry;
  Routing routing = Routing::kOneAtATime;
  BreakerPolicy breaker;
  HedgePolicy hedge;
  BatchPolicy batch;
  // Hears of calls (larder/metrics.h); may be null.
  std::shared_ptr<ClientMetrics> metrics;
  // Largest message in bytes that the client sends or takes; 64 KiB to 1 GiB. Must hold a whole
  // batch.
  size_t message_bytes_max = size_t{64} << 20;
  // Goes before gRPC's own user agent; at most 128 printable ASCII characters. Default
  // `larder-cpp/VERSION`.
  std::string user_agent;
  // Gives every Set, BatchSet, Delete, BatchDelete and Increment without a request id a random one,
  // which makes it safe to repeat. Without one these calls are never repeated.
  bool request_ids = true;

  TlsOptions tls;
  // Tells the server who calls: goes along as `authorization: Bearer TOKEN`. At most one of the two
  // is set; neither = the call says nothing. Printable ASCII without spaces, at most 4,096 bytes.
  std::string token;
  // A file that holds it, read again within five seconds when it changes; white space around it
  // does not count.
  std::string token_file;
  // A token goes over TLS, or to this machine itself (`localhost`, 127.*, [::1], `unix:`). True
  // sends it in plain text as well, to whoever listens on the way.
  bool token_without_tls = false;
};

// OK, or INVALID_ARGUMENT with the first field that is outside its limits.
absl::Status ValidateClientOptions(const ClientOptions& options);

// What every call may say.
struct CallOptions {
  // How long the call may take from now on, its repeats included; 1 ms to 1 h. Unset = the client's
  // default.
  std::optional<absl::Duration> deadline = {};
  // The namespace. Unset = the client's.
  std::optional<std::string> ns = {};
  // W3C trace context that goes along as metadata: `00-TRACE-PARENT-FLAGS` in lower-case hex; empty
  // = none. At most 512 printable ASCII characters of tracestate.
  std::string traceparent = {};
  std::string tracestate = {};
};

struct GetOptions {
  // Data type; empty = by pattern.
  std::string type = {};
  // True leaves the values out of the answer: an existence check.
  bool metadata_only = false;
  CallOptions call = {};
};

// What must hold for a Set to be stored.
struct Condition {
  enum class Kind { kNone, kAbsent, kPresent, kVersion };

  // Only when no live entry exists.
  static Condition IfAbsent() { return {Kind::kAbsent, 0}; }
  // Only when a live entry exists.
  static Condition IfPresent() { return {Kind::kPresent, 0}; }
  // Only when the live entry has exactly this version.
  static Condition IfVersion(uint64_t version) { return {Kind::kVersion, version}; }

  Kind kind = Kind::kNone;
  uint64_t version = 0;
};

struct SetOptions {
  // How long the value is fresh; 1 ms to 100 years, and cut to the type's maximum. Unset = by the
  // type's policy.
  std::optional<absl::Duration> ttl = {};
  // Data type; empty = by pattern.
  std::string type = {};
  // Tags to invalidate by; at most 16, each 1 to 128 bytes.
  std::vector<std::string> tags = {};
  // Keys whose change invalidates this entry; at most 16.
  std::vector<std::string> depends_on = {};
  Condition condition = {};
  // The lease that this value fulfils; empty = none.
  std::string lease_token = {};
  // Makes a repeat safe: the same id within 10 minutes answers what the first call answered. Empty
  // = the client makes one up. At most 64 bytes.
  std::string request_id = {};
  CallOptions call = {};
};

// One value of a BatchSet. Fields mean what they mean in SetOptions.
struct SetItem {
  std::string key = {};
  std::string value = {};
  // True remembers that the key does not exist; `value` is then not sent.
  bool absent = false;
  std::optional<absl::Duration> ttl = {};
  std::string type = {};
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
  Condition condition = {};
  std::string lease_token = {};
};

struct BatchSetOptions {
  // For the whole batch; as in SetOptions.
  std::string request_id = {};
  CallOptions call = {};
};

// For Delete and BatchDelete.
struct DeleteOptions {
  // Data type; empty = by pattern.
  std::string type = {};
  // As in SetOptions.
  std::string request_id = {};
  CallOptions call = {};
};

// What an invalidation covers in place of a list of keys; exactly one of these five is set.
struct Selector {
  std::vector<std::string> tags = {};  // entries with one of these tags; at most 100
  std::string prefix = {};             // keys that begin with this
  std::string glob = {};               // keys that match: `*`, `?`, `[a-z]`, `\\` escapes
  std::string type = {};               // entries of this data type
  bool all = false;                    // the whole namespace
};

struct InvalidateOptions {
  // True keeps the values of types that allow stale ones, as stale; the next reader has them
  // refreshed.
  bool mark_stale = false;
  // True changes nothing and only estimates.
  bool dry_run = false;
  // True waits until every live replica has done it; the result says how many have.
  bool fleet = false;
  // How long to wait for them, 30 s at most. Unset = the server's default, 2 s. Ends a little
  // before the call's deadline in any case.
  std::optional<absl::Duration> wait = {};
  CallOptions call = {};
};

// For GetOrLease, GetOrLoad and their batches. The lease is for types without an origin.
struct LoadOptions {
  // Data type; empty = by pattern.
  std::string type = {};
  // How long the lease lasts if this caller gets it; 10 ms to 5 min. Unset = the server's default,
  // 10 s. Choose more than the load takes: a value that comes later is not stored.
  std::optional<absl::Duration> lease_ttl = {};
  // How long to wait while another caller loads; then the answer is a miss with reason kLoading.
  // Unset = nearly to the deadline. Zero = do not wait.
  std::optional<absl::Duration> wait = {};
  // For GetOrLoad: true runs the loader without the cache when the cache does not work. False
  // returns its error.
  bool fail_open = true;
  CallOptions call = {};
};

struct WarmOptions {
  // Loads what the origin of this type lists. With `keys`: the type that they have; empty = by
  // pattern.
  std::string type = {};
  // Loads these; at most 100,000. Those of types without an origin come from the second tier.
  std::vector<std::string> keys = {};
  // At most so many; 0 = all of `keys`, or the type's `warm.limit`.
  uint64_t limit = 0;
  // Entries a second at most; 0 = not limited.
  uint32_t rate = 0;
  // The deadline is 1 ms to 24 h; unset = 24 h, and not the client's default.
  CallOptions call = {};
};

enum class TouchMode {
  kSet,          // the TTL becomes the given one
  kExtendOnly,   // unless it is longer already
  kShortenOnly,  // unless it is shorter already
};

struct TouchOptions {
  // The TTL from now. Unset = by the type's policy.
  std::optional<absl::Duration> ttl = {};
  TouchMode mode = TouchMode::kSet;
  // Data type; empty = by pattern.
  std::string type = {};
  CallOptions call = {};
};

struct IncrementOptions {
  // What an absent counter starts from before the addition.
  int64_t initial = 0;
  // The TTL of a new counter. Unset = by the type's policy.
  std::optional<absl::Duration> ttl = {};
  // True starts the TTL anew with each call (sliding window); false is a fixed window.
  bool extend = false;
  // Data type; empty = by pattern.
  std::string type = {};
  // As in SetOptions.
  std::string request_id = {};
  CallOptions call = {};
};

struct StatsOptions {
  // Only these; empty = all that the caller may see.
  std::vector<std::string> namespaces = {};
  std::vector<std::string> types = {};
  CallOptions call = {};
};

// What makes a key hot.
enum class HotKeyOrder {
  kHits,
  kMisses,
  kBytes,       // sent
  kValueBytes,  // the size of its value
};

// CallOptions::ns empty = all namespaces that the caller may see.
struct HotKeysOptions {
  HotKeyOrder order = HotKeyOrder::kHits;
  // Data type; empty = all.
  std::string type = {};
  // At most so many; at most 1,000. 0 = 20.
  uint32_t limit = 20;
  CallOptions call = {};
};

struct ExplainOptions {
  // Data type as a request would give it; empty = by pattern.
  std::string type = {};
  // Size of a value to explain the TTL for; 0 = that of the cached value.
  uint64_t value_bytes = 0;
  // Tells the checksum of each copy's value, for which the server reads the values.
  bool checksums = false;
  // Asks the type's origin, too, past the cache: a copy of Tier::kOrigin, without a version.
  bool ask_origin = false;
  CallOptions call = {};
};

struct ReloadConfigOptions {
  // True only checks, and tells what would change.
  bool dry_run = false;
  CallOptions call = {};
};

struct PingOptions {
  // What to ask about: `liveness`, `readiness`, or empty for the server in all.
  std::string service = {};
  CallOptions call = {};
};

}  // namespace larder

#endif  // LARDER_OPTIONS_H_
