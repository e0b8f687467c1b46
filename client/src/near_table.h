// NearTable holds the copies of the near cache and decides which may be served and which answers
// may be kept. No I/O and no clock: times are nanoseconds that the caller reads off the steady
// clock. Thread safety: any method, any thread. Never blocks for longer than one shard's lock is
// held.

#ifndef LARDER_CLIENT_SRC_NEAR_TABLE_H_
#define LARDER_CLIENT_SRC_NEAR_TABLE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "client/src/mutex.h"
#include "client/src/near_entry.h"
#include "larder/near_cache.h"
#include "larder/watch.h"

namespace larder::internal {

class NearTable {
 public:
  static constexpr size_t kStreamsMax = 16;

  // What was the case when a key was asked for.
  struct Ticket {
    uint64_t hash = 0;
    uint64_t epoch = 0;
    uint64_t changes = 0;
    uint64_t rules = 0;
    int64_t asked = 0;
    uint32_t stream = 0;
    bool followed = false;
  };

  // REQUIRES: valid sizes (ValidateNearCacheOptions).
  NearTable(size_t bytes_max, size_t value_bytes_max, int64_t ttl_max);
  ~NearTable();

  // The copy of the key, with a reference for the caller; null when there is none to serve. Then
  // `ticket` is for the answer that the server gives; without one it counts as no miss.
  const NearEntry* Find(std::string_view key, uint32_t stream, int64_t now, Ticket* ticket);

  // Whether nothing that has come since makes the answer to be expected too old for somebody who
  // asks now.
  bool IsCurrent(const Ticket& ticket);

  // Keeps the answer to a read that began with the ticket, unless it may be outdated.
  void Land(const Ticket& ticket, std::string_view key, const Entry& entry, int64_t now);

  // The stream told, or a write of this client was answered: nothing of the key below `version` is
  // true any more.
  void Changed(std::string_view key, uint64_t version);
  // This client may have changed the key, and does not know to which version.
  void ChangedUnknown(std::string_view key);
  // Whatever the rule covers, up to this version, is gone.
  void Ruled(const WatchRule& rule, uint64_t version, int64_t now);

  // Where a stream stands. Copies under it are served until `trusted_until`; answers to reads that
  // begin while it is followed may be kept.
  void SetTrust(uint32_t stream, int64_t trusted_until);
  void SetFollowed(uint32_t stream);
  // Changes were lost: every copy under the stream goes, and it is not followed until said so.
  void DropStream(uint32_t stream);

  // Adds what it counts.
  void AddStats(NearStats* stats);
  // Crashes when what it counts is not what it holds. For tests.
  void CheckInvariants();

 private:
  struct Slot {
    uint64_t hash = 0;
    NearEntry* entry = nullptr;
  };
  // The last change of a key, by its hash.
  struct Change {
    uint64_t hash = 0;
    uint64_t version_min = 0;  // what may still be kept
    uint64_t number = 0;       // of the change, within the shard; 0 = none
    bool unknown = false;      // no answer to a read that began before it may be kept
  };
  struct Rule {
    WatchRule rule;
    uint64_t version;
    int64_t heard;
  };
  struct Counts {
    uint64_t hits = 0, misses = 0, suspect = 0, kept = 0, outdated = 0, refused = 0,
             invalidated = 0, expired = 0, evicted = 0;
  };
  static constexpr size_t kRules = 512;

  struct alignas(64) Shard {
    Mutex mu;
    std::vector<Slot> slots ABSL_GUARDED_BY(mu);  // open addressing, a power of two
    size_t count ABSL_GUARDED_BY(mu) = 0;
    size_t entry_bytes ABSL_GUARDED_BY(mu) = 0;
    size_t hand ABSL_GUARDED_BY(mu) = 0;
    std::vector<Change> changes ABSL_GUARDED_BY(mu);  // by hash, a power of two
    uint64_t change_number ABSL_GUARDED_BY(mu) = 0;
    uint64_t change_lost ABSL_GUARDED_BY(mu) =
        0;  // the newest change that another one has displaced
    std::array<std::shared_ptr<const Rule>, kRules> rules ABSL_GUARDED_BY(mu);  // by number
    uint64_t rule_number ABSL_GUARDED_BY(mu) = 0;                               // of the last one
    Counts counts ABSL_GUARDED_BY(mu);
  };
  struct alignas(64) Stream {
    std::atomic<int64_t> trusted_until{INT64_MIN};
    std::atomic<uint64_t> epoch{1};
    std::atomic<bool> followed{false};
  };

  Shard& ShardOf(uint64_t hash) { return shards_[(hash >> 48) & shard_mask_]; }
  // The slot of the key, or the empty one where it would be.
  static size_t Place(const Shard& shard, uint64_t hash, std::string_view key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  void EraseAt(Shard& shard, size_t at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  // Makes room for so many bytes and one more slot. False: they are more than the shard may hold.
  bool MakeRoom(Shard& shard, size_t bytes, int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  void EvictOne(Shard& shard, int64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static void Grow(Shard& shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static size_t BytesOf(const Shard& shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  bool Covered(Shard& shard, NearEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static void Note(Shard& shard, uint64_t hash, uint64_t version_min, bool unknown)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  bool Outdated(const Shard& shard, const Ticket& ticket, uint64_t version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  static uint64_t RulesBefore(const Shard& shard, const Ticket& ticket)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mu);
  bool Alive(const NearEntry& entry, int64_t now) const;

  const size_t value_bytes_max_;
  const int64_t ttl_max_;
  size_t shard_mask_;
  size_t shard_bytes_max_;
  std::vector<Shard> shards_;
  std::array<Stream, kStreamsMax> streams_;
  std::atomic<uint64_t> change_count_{0};
  std::atomic<uint64_t> rule_count_{0};
};

// The hash that the table keeps the key by; differs from process to process.
uint64_t NearHash(std::string_view key);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_NEAR_TABLE_H_
