// Gets of the RocksDB tier against db_bench, which reads a store of its own with the same options
// and as much data. What a Get of the tier does more than db_bench's: a coroutine, a look into
// memory before the disk, two hops when the disk is needed, the checksum, and an entry as the
// engine uses it.
//
// 16 callers, on two threads, each wait for their answer before they ask again; db_bench has two
// threads, as the tier has for its reads. The script empties the page cache of both stores before
// each turn. With Zipf, which is what a cache sees, the block cache helps more than it helps the
// uniform keys of readrandom; the figure with uniform keys, where nearly every Get needs the disk
// and pays the hops, is told beside it and has no bar.

#include "bench/l2/rocksdb_gets.h"

#include <atomic>
#include <filesystem>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/strings.h"
#include "base/task.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "bench/zipf.h"
#include "core/key.h"
#include "tier/envelope.h"
#include "tier/rocksdb_tier.h"

namespace larder::bench {

namespace {

constexpr uint64_t kKeys = 2'000'000;
constexpr size_t kRocksValueBytes = 200;
constexpr int kCallers = 16;
constexpr int kThreads = 2;
constexpr size_t kFillBatch = 250;
constexpr size_t kFillBatchesAtOnce = 8;
constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

class Rig {
 public:
  Rig(const std::string& path, uint64_t max_bytes)
      : executor_(ThreadPool::New({.threads = kThreads})) {
    RocksTierOptions options;
    options.path = path;
    options.max_bytes = max_bytes;
    options.memory_bytes = 128 << 20;
    options.threads = kThreads;
    options.executor = executor_.get();
    auto tier = NewRocksTier(options);
    if (!tier.ok()) Broken(tier.status().ToString().c_str());
    tier_ = *std::move(tier);
  }

  RocksTier& tier() { return *tier_; }
  Executor* executor() { return executor_.get(); }

 private:
  const std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<RocksTier> tier_;
};

std::string FullKeyOf(uint64_t id) {
  char key[kKeyBytes];
  WriteKey(id, key);
  return std::string(FullKey("", {key, kKeyBytes}).view());
}

// Half of it compresses.
std::string ValueOf(uint64_t id, size_t bytes) {
  QuickRandom random(id);
  std::string value(bytes, 'v');
  for (size_t i = 0; i < bytes / 2; ++i) value[i] = static_cast<char>(random.Next());
  return value;
}

TierPut PutOf(uint64_t id, Version version, size_t bytes) {
  TierPut put;
  put.full_key = FullKeyOf(id);
  put.version = version;
  put.usable_until = kNever;
  const std::string value = ValueOf(id, bytes);
  EntryFields fields;
  fields.full_key = put.full_key;
  fields.value = value;
  fields.version = version;
  fields.fresh_until = fields.usable_until = kNever;
  put.envelope = EncodeEnvelope(fields, "user", *Clock::System());
  return put;
}

// Puts batches made by `next`, a few at a time, until it makes an empty one.
template <typename Next>
void PutAll(RocksTier& tier, Next next) {
  std::vector<std::future<void>> waiting;
  for (auto puts = next(); !puts.empty(); puts = next()) {
    auto done = std::make_shared<std::promise<void>>();
    waiting.push_back(done->get_future());
    Spawn(tier.Put(std::move(puts), kNever), [done](absl::StatusOr<std::vector<TierChange>> got) {
      if (!got.ok()) Broken(got.status().ToString().c_str());
      done->set_value();
    });
    if (waiting.size() == kFillBatchesAtOnce) {
      waiting.front().wait();
      waiting.erase(waiting.begin());
    }
  }
  for (auto& each : waiting) each.wait();
}

struct Load {
  Tier* tier;
  Zipf ranks{kKeys, kSkew};
  bool zipf;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> gets{0};
  std::atomic<int> running{0};
};

Task<bool> Caller(Load* load, Executor* executor, uint64_t seed) {
  co_await Hop(executor);
  QuickRandom random(seed);
  while (!load->stop.load(std::memory_order_relaxed)) {
    // Some on each stretch of this thread, so that counting costs nothing.
    constexpr int kStretch = 16;
    for (int i = 0; i < kStretch; ++i) {
      const uint64_t id =
          load->zipf ? Mixed64(load->ranks.Next(random)) % kKeys : random.Next() % kKeys;
      std::vector<std::string> keys;
      keys.push_back(FullKeyOf(id));
      const auto reads = co_await load->tier->Get(std::move(keys), kNever);
      if (!reads.ok()) Broken(reads.status().ToString().c_str());
      if (reads->front().entry.stored().size() != kRocksValueBytes) Broken("the tier misses");
    }
    load->gets.fetch_add(kStretch, std::memory_order_relaxed);
    // Lets the thread's other callers have their turn.
    co_await Hop(executor);
  }
  co_return true;
}

uint64_t BytesOf(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    const uint64_t size = at->is_regular_file(gone) ? at->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

}  // namespace

void FillRocks(const std::string& path) {
  Rig rig(path, uint64_t{4} << 30);
  const double start = WallSeconds();
  uint64_t id = 0;
  PutAll(rig.tier(), [&] {
    std::vector<TierPut> puts;
    for (; id < kKeys && puts.size() < kFillBatch; ++id) {
      // In no order, as keys come.
      const uint64_t key = id * 1'000'003 % kKeys;
      puts.push_back(PutOf(key, VersionOf(Clock::System()->Mono()), kRocksValueBytes));
    }
    return puts;
  });
  Report("rocksdb_puts", static_cast<double>(kKeys) / (WallSeconds() - start), "puts/s");
}

void MeasureRocksGets(const std::string& path, bool zipf, double seconds, const char* name) {
  Rig rig(path, uint64_t{4} << 30);
  Load load{.tier = &rig.tier(), .zipf = zipf};
  load.running = kCallers;
  std::promise<void> ended;
  const double start = WallSeconds();
  for (uint64_t i = 0; i < kCallers; ++i) {
    Spawn(Caller(&load, rig.executor(), i + 1), [&](bool) {
      if (--load.running == 0) ended.set_value();
    });
  }
  std::promise<void>().get_future().wait_for(std::chrono::duration<double>(seconds));
  load.stop = true;
  ended.get_future().wait();
  Report(name, static_cast<double>(load.gets) / (WallSeconds() - start), "gets/s");
  Report("rocksdb_memory", static_cast<double>(rig.tier().Stats().memory_bytes) / (1 << 20), "MiB");
}

void MeasureRocksRoom(const std::string& path) {
  constexpr uint64_t kRoom = uint64_t{512} << 20;
  constexpr size_t kBytes = 1000;
  Rig rig(path, kRoom);
  QuickRandom random(1);
  uint64_t left = 4 * kRoom / kBytes, most = 0;
  const double start = WallSeconds();
  PutAll(rig.tier(), [&] {
    std::vector<TierPut> puts;
    for (; left > 0 && puts.size() < kFillBatch; --left) {
      const Version version = VersionOf(Clock::System()->Mono());
      puts.push_back(PutOf(random.Next() % kKeys, version, kBytes));
    }
    if (left % 10'000 < kFillBatch) most = std::max(most, BytesOf(path));
    return puts;
  });
  const TierStats stats = rig.tier().Stats();
  Report("rocksdb_room_used", static_cast<double>(most) / kRoom, "of max_bytes at most");
  Report("rocksdb_room_skipped",
         100.0 * static_cast<double>(stats.skipped) / (4.0 * kRoom / kBytes), "% of the puts");
  Report("rocksdb_room_puts", 4.0 * kRoom / kBytes / (WallSeconds() - start), "puts/s");
}

}  // namespace larder::bench
