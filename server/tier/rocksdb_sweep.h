// RocksSweep keeps the database below its size, drops what has ended, and heals it: on a thread of
// its own, each period and whenever files have changed.
// Thread safety: any method, any thread. full() and the figures never block, the others do.

#ifndef LARDER_TIER_ROCKSDB_SWEEP_H_
#define LARDER_TIER_ROCKSDB_SWEEP_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "tier/rocksdb_store.h"

namespace larder {

class RocksSweep {
 public:
  // `store` outlives it.
  explicit RocksSweep(RocksStore* store);
  ~RocksSweep();

  // One round: heals, measures, and makes room.
  void Run();

  // So many bytes were written; they are part of the size until it is measured again.
  void Wrote(uint64_t bytes) { written_.fetch_add(bytes, std::memory_order_relaxed); }
  // No room for another entry until some was made.
  bool full() const {
    return measured_.load(std::memory_order_relaxed) + written_.load(std::memory_order_relaxed) >
           limit_.load(std::memory_order_relaxed);
  }

  // As of the last round.
  uint64_t bytes() const { return measured_.load(std::memory_order_relaxed); }
  uint64_t entries() const { return entries_.load(std::memory_order_relaxed); }
  // What it may take: less than was configured when the disk has less.
  uint64_t bytes_max() const { return bytes_max_.load(std::memory_order_relaxed); }

 private:
  struct File {
    std::string name;
    int level = 0;
    uint64_t bytes = 0;
    bool busy = false;
    std::vector<EnvelopeHead> sample;
  };

  void Loop();
  // Returns the size above which room is made.
  uint64_t Measure(rocksdb::DB* db) ABSL_EXCLUSIVE_LOCKS_REQUIRED(running_);
  // Tells the store whether, by what the disk has left, puts are skipped.
  void NoteShortage(uint64_t free, uint64_t reserve, bool by_disk, uint64_t limit, uint64_t target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(running_);
  static std::vector<File> Files(rocksdb::DB* db);
  // Raises the cutoff so far that `excess` bytes of `files` are dead.
  void RaiseCutoff(const std::vector<File>& files, uint64_t excess);
  double DeadShare(const File& file) const;
  // Writes the file with the most dead bytes anew, if that is worth it. False when none was.
  bool CompactWorst(rocksdb::DB* db, const std::vector<File>& files, double dead_share_min);

  RocksStore* const store_;
  std::atomic<uint64_t> measured_{0};
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> limit_;
  std::atomic<uint64_t> bytes_max_;
  std::atomic<uint64_t> entries_{0};
  std::atomic<bool> stopping_{false};
  // Held through a whole round, I/O included: all it does is keep rounds apart, and only Run takes
  // it.
  Mutex running_;
  bool short_ ABSL_GUARDED_BY(running_) = false;
  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_TIER_ROCKSDB_SWEEP_H_
