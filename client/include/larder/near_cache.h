// NearClient is a Client that keeps copies of what it reads in the memory of the program, and keeps
// them true: it follows the changes of the keys through Watch and drops a copy when the key
// changes, wherever that happens.
//
//   larder::NearCacheOptions near;
//   near.prefixes = {"user:"};
//   auto client = larder::NewNearClient(*larder::Connect(options), near);
//   (*client)->Get("user:42");              // from memory when it is there
//   larder::NearValue user = (*client)->Find("user:42");   // the same without a copy, or nothing
//
// What it promises. An older version never takes the place of a newer one, and an answer that was
// on its way when the key changed is not kept. A copy lives no longer than the server said it stays
// fresh. While the stream of changes is not alive, copies are served for `stale_bound` and no
// longer (0: not at all); without a word from the server it counts as alive for `silence_max`. So
// no read is older than silence_max + stale_bound, and, while all is well, than a change takes from
// the server to here. After the stream came back, copies are served again when everything that was
// missed has been told, and dropped when that is not to be had. What this client itself writes it
// never reads in an older version afterwards.
//
// What is kept: hits of Get, BatchGet and of the lookups of GetOrLoad, when they are fresh and in
// scope (below); calls that name a namespace pass by. Callers of Get who want the same missing key
// with the same deadline at the same time share one call and its outcome. What is not: misses,
// stale answers, and entries that depend on other keys. Hits here do not lengthen a sliding TTL:
// `ttl_max` bounds what that hides.
//
// Thread safety: as Client says. Find never blocks for longer than another thread needs to look up
// or replace one copy.

#ifndef LARDER_NEAR_CACHE_H_
#define LARDER_NEAR_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/client.h"

namespace larder {

struct NearCacheOptions {
  // What copies take, with the index and what the allocator takes beside; 1 MiB to 64 GiB. A copy
  // that a caller still holds when it leaves the cache is the caller's.
  size_t bytes_max = size_t{64} << 20;
  // Larger values are not kept; 1 byte to a 256th of bytes_max, or to 256 KiB where that is more.
  size_t value_bytes_max = size_t{128} << 10;
  // What is kept: keys that begin with one of these (at most 16, each 1 to 1,024 bytes), and what
  // calls ask for with one of these types (at most 64). Both empty: everything. With `types`, or
  // with neither, the changes of the whole namespace are followed: only the server knows what type
  // a key has.
  std::vector<std::string> prefixes = {};
  std::vector<std::string> types = {};
  // The longest that a copy lives; 1 ms to 24 h.
  absl::Duration ttl_max = absl::Minutes(5);
  // How long copies are served on while the stream of changes is not alive; 0 to 1 h.
  absl::Duration stale_bound = absl::ZeroDuration();
  // After so long without a word of the server the stream is not alive; 300 ms to 3 min. The server
  // is asked for a heartbeat three times as often.
  absl::Duration silence_max = absl::Milliseconds(1500);
};

// OK, or INVALID_ARGUMENT with the first field that is outside its limits.
absl::Status ValidateNearCacheOptions(const NearCacheOptions& options);

// What the cache did and holds.
struct NearStats {
  uint64_t hits = 0;
  uint64_t misses = 0;        // reads in scope that it had nothing to serve for
  uint64_t suspect = 0;       // those of them that had a copy, while no stream was alive
  uint64_t shared = 0;        // misses that waited for another caller's call
  uint64_t kept = 0;          // answers that were kept
  uint64_t outdated = 0;      // answers that came too late: the key had changed meanwhile
  uint64_t refused = 0;       // answers that were too large, stale, or without a stream to follow
  uint64_t invalidated = 0;   // copies dropped by changes
  uint64_t expired = 0;       // copies that outlived their time
  uint64_t evicted = 0;       // copies that made room
  uint64_t changes = 0;       // changes that the streams told
  uint64_t rules = 0;         // invalidations by something else than keys that they told
  uint64_t streams_lost = 0;  // times that a stream ended or went silent
  uint64_t resumed = 0;       // times that one went on where it had ended
  uint64_t dropped_whole =
      0;  // times that all copies under a stream went, because changes were lost
  uint64_t entries = 0;
  uint64_t bytes = 0;  // of bytes_max
  // True when all streams are alive.
  bool live = false;
};

namespace internal {
struct NearEntry;
}  // namespace internal

// A copy, which stays as it is for as long as this lives, also when the cache drops it. Empty when
// there was none to serve.
// Thread safety: of one object, none; different objects may share a copy.
class NearValue {
 public:
  NearValue() = default;
  NearValue(const NearValue& other);
  NearValue(NearValue&& other) noexcept : entry_(other.entry_) { other.entry_ = nullptr; }
  NearValue& operator=(NearValue other) noexcept;
  ~NearValue() { Release(); }

  explicit operator bool() const { return entry_ != nullptr; }

  // REQUIRES for all below: not empty.
  std::string_view value() const;
  uint64_t version() const;
  // With what remains of its TTL now.
  Entry ToEntry() const;

  // Takes one reference over. For the client's own use.
  explicit NearValue(const internal::NearEntry* entry) : entry_(entry) {}

 private:
  void Release();

  const internal::NearEntry* entry_ = nullptr;
};

class NearClient : public Client {
 public:
  // The copy of the key, if there is one to serve now. Never calls the server; counts hits only.
  virtual NearValue Find(std::string_view key) = 0;

  // Blocks until all streams are alive, at most so long. False: they are not. Before that the first
  // reads go to the server and are not kept.
  virtual bool AwaitLive(absl::Duration timeout) = 0;

  virtual NearStats Near() const = 0;
};

// A client that reads through `client` and ends it with itself. Begins to follow at once.
// Errors: INVALID_ARGUMENT.
absl::StatusOr<std::unique_ptr<NearClient>> NewNearClient(std::unique_ptr<Client> client,
                                                          const NearCacheOptions& options);

}  // namespace larder

#endif  // LARDER_NEAR_CACHE_H_
