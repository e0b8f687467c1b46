// A read is tried in memory first, on the calling thread: memtables, filters and cached blocks, a
// microsecond or two, and most keys that are not there at all. Only what RocksDB says it would have
// to read from the disk goes to a thread that may block, and comes back on the executor: two hops,
// some ten microseconds, which do not matter beside a disk, and would beside memory. Rejected: a
// thread for every read (five times the price of a read from memory), and reading on the caller's
// thread (a slow disk would stop the lanes).
//
// After its last hop a call touches nothing of the tier: a task that was abandoned by the guard may
// go on when the tier is gone.

#include "tier/rocksdb_tier.h"

#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <algorithm>
#include <utility>

#include "base/counters.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/glob.h"
#include "core/key.h"
#include "tier/envelope.h"
#include "tier/rocksdb_store.h"
#include "tier/rocksdb_sweep.h"
#include "tier/rocksdb_writer.h"

namespace larder {
namespace {

// Keys that one page of a scan looks at, whatever it finds.
constexpr size_t kScanKeysMax = 10'000;
constexpr size_t kScanLimitMax = 10'000;

rocksdb::Slice Slice(std::string_view text) { return {text.data(), text.size()}; }

// Goes on on a thread of `pool`, as new work. False, on the same thread, when its queue is full.
struct TryHop {
  explicit TryHop(Executor* to) : pool(to) {}
  Executor* const pool;
  bool refused = false;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> awaiting) {
    if (pool->TryPost([awaiting] { awaiting.resume(); })) return true;
    refused = true;
    return false;
  }
  bool await_resume() const noexcept { return !refused; }
};

// The least string that is above all that begin with `prefix`; empty when there is none.
std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

template <typename T>
absl::Status InRange(const char* name, T value, T least, T most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("rocksdb: ", name, " is ", value, "; ", least, " to ", most));
}

absl::Status Check(const RocksTierOptions& options) {
  constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;
  RETURN_IF_ERROR(InRange("max_bytes", options.max_bytes, 32 * kMiB, 16384 * kGiB));
  RETURN_IF_ERROR(InRange("memory_bytes", options.memory_bytes, 8 * kMiB, 1024 * kGiB));
  RETURN_IF_ERROR(InRange("threads", options.threads, 1, 64));
  RETURN_IF_ERROR(InRange<uint64_t>("reads_max", options.reads_max, 1, 1'000'000));
  RETURN_IF_ERROR(InRange<uint64_t>("write_queue_bytes_max", options.write_queue_bytes(), 64 << 10,
                                    options.memory_bytes / 2));
  RETURN_IF_ERROR(InRange<uint64_t>("entry_bytes_min", options.entry_bytes_min, 0, kMiB));
  RETURN_IF_ERROR(
      InRange<uint64_t>("entry_bytes_max", options.entry_bytes_max, 64 << 10, 256 * kMiB));
  RETURN_IF_ERROR(
      InRange("life_min in seconds", absl::ToDoubleSeconds(options.life_min), 0.0, 3600.0));
  RETURN_IF_ERROR(InRange("sweep_period in seconds", absl::ToDoubleSeconds(options.sweep_period),
                          0.01, 3600.0));
  RETURN_IF_ERROR(InRange("reopen_first in seconds", absl::ToDoubleSeconds(options.reopen_first),
                          0.01, 3600.0));
  RETURN_IF_ERROR(InRange("reopen_max in seconds", absl::ToDoubleSeconds(options.reopen_max),
                          absl::ToDoubleSeconds(options.reopen_first), 3600.0));
  if (options.executor == nullptr) return absl::InvalidArgumentError("rocksdb: no executor");
  return absl::OkStatus();
}

class RocksTierImpl : public RocksTier {
 public:
  RocksTierImpl(const RocksTierOptions& options, std::unique_ptr<RocksStore> store)
      : options_(options),
        counters_(kRocksCounters),
        store_(std::move(store)),
        sweep_(store_.get()),
        writer_(store_.get(), &sweep_, &counters_),
        readers_(ThreadPool::New({.threads = options.threads,
                                  .queue_max = options.reads_max,
                                  .gives_way = true,
                                  .name = "l2-read"})) {}

  ~RocksTierImpl() override {
    readers_->Shutdown();
    writer_.Shutdown();
  }

  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) override;
  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts,
                                                    MonoNanos deadline) override;
  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                      MonoNanos deadline) override;
  Task<absl::StatusOr<TierPage>> Scan(TierScan scan, MonoNanos deadline) override;

  void DropCovered(std::shared_ptr<const TierCover> cover) override {
    store_->cutoff().SetCover(std::move(cover));
  }
  bool shared() const override { return false; }
  TierStats Stats() const override;
  Drops drops() const override { return store_->drops(); }
  void Sweep() override { sweep_.Run(); }

 private:
  // The reads of a call, and which of them are still to be made.
  struct Reading {
    std::vector<std::string> keys;
    std::vector<TierRead> reads;
    std::vector<size_t> open;
  };

  Task<absl::StatusOr<std::vector<TierChange>>> Change(std::shared_ptr<RocksCall> call);
  // Makes the open reads of `reading`; what needs the disk stays open when `memory_only`.
  absl::Status Read(bool memory_only, Reading* reading);
  absl::Status ReadOne(const rocksdb::Status& status, std::string_view value, bool memory_only,
                       size_t index, Reading* reading, std::vector<size_t>* left);
  absl::StatusOr<TierPage> ReadPage(const TierScan& scan);
  absl::Status TimeLeft(MonoNanos deadline) const {
    if (options_.clock->Mono() < deadline) return absl::OkStatus();
    return absl::DeadlineExceededError("rocksdb: no time left");
  }
  // Counts a call of `keys` keys that fails.
  absl::Status Failed(absl::Status status, size_t keys) {
    counters_.Add(kRocksErrors, keys);
    return status;
  }

  const RocksTierOptions options_;
  CounterBlock counters_;
  const std::unique_ptr<RocksStore> store_;
  RocksSweep sweep_;
  RocksWriter writer_;
  const std::unique_ptr<ThreadPool> readers_;
};

Task<absl::StatusOr<std::vector<TierRead>>> RocksTierImpl::Get(std::vector<std::string> full_keys,
                                                               MonoNanos deadline) {
  const size_t count = full_keys.size();
  counters_.Add(kRocksGets, count);
  Reading reading;
  reading.keys = std::move(full_keys);
  reading.reads.resize(count);
  reading.open.resize(count);
  for (size_t i = 0; i < count; ++i) reading.open[i] = i;
  absl::Status status = TimeLeft(deadline);
  if (status.ok()) status = Read(/*memory_only=*/true, &reading);
  if (status.ok() && !reading.open.empty()) {
    counters_.Add(kRocksDiskReads, reading.open.size());
    // Not in the condition: g++ 12 makes nothing of a coroutine that awaits there and returns.
    const bool hopped = co_await TryHop(readers_.get());
    if (!hopped) {
      co_return Failed(absl::ResourceExhaustedError("rocksdb: too many reads wait"), count);
    }
    status = TimeLeft(deadline);
    if (status.ok()) status = Read(/*memory_only=*/false, &reading);
    if (!status.ok()) counters_.Add(kRocksErrors, count);
    co_await Hop(options_.executor);
  } else if (!status.ok()) {
    counters_.Add(kRocksErrors, count);
  }
  if (!status.ok()) co_return status;
  co_return std::move(reading.reads);
}

absl::Status RocksTierImpl::Read(bool memory_only, Reading* reading) {
  const auto db = store_->db();
  if (db == nullptr) return absl::UnavailableError(StrCat("rocksdb: ", store_->state()));
  rocksdb::ReadOptions options;
  if (memory_only) options.read_tier = rocksdb::kBlockCacheTier;
  std::vector<size_t> left;
  if (reading->open.size() == 1) {
    const size_t index = reading->open.front();
    rocksdb::PinnableSlice value;
    const rocksdb::Status status =
        db->Get(options, db->DefaultColumnFamily(), Slice(reading->keys[index]), &value);
    RETURN_IF_ERROR(
        ReadOne(status, {value.data(), value.size()}, memory_only, index, reading, &left));
  } else if (!reading->open.empty()) {
    const size_t count = reading->open.size();
    std::vector<rocksdb::Slice> keys;
    keys.reserve(count);
    for (const size_t index : reading->open) keys.push_back(Slice(reading->keys[index]));
    std::vector<rocksdb::PinnableSlice> values(count);
    std::vector<rocksdb::Status> statuses(count);
    db->MultiGet(options, db->DefaultColumnFamily(), count, keys.data(), values.data(),
                 statuses.data());
    for (size_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(ReadOne(statuses[i], {values[i].data(), values[i].size()}, memory_only,
                              reading->open[i], reading, &left));
    }
  }
  reading->open = std::move(left);
  return absl::OkStatus();
}

absl::Status RocksTierImpl::ReadOne(const rocksdb::Status& status, std::string_view value,
                                    bool memory_only, size_t index, Reading* reading,
                                    std::vector<size_t>* left) {
  if (status.IsIncomplete()) {
    left->push_back(index);
    return absl::OkStatus();
  }
  if (status.IsNotFound()) return absl::OkStatus();
  if (status.IsCorruption()) {
    // A miss; the store behind it is dropped.
    counters_.Add(kRocksBad);
    store_->Report(status);
    return absl::OkStatus();
  }
  if (!status.ok()) return absl::UnavailableError(StrCat("rocksdb: ", status.ToString()));
  auto read = DecodeEnvelope(reading->keys[index], value, *options_.clock);
  // RocksDB 7.8 sometimes says OK and gives nothing where it should say that it has to read a file.
  if (!read.ok() && memory_only) {
    left->push_back(index);
    return absl::OkStatus();
  }
  if (!read.ok()) {
    counters_.Add(kRocksBad);
    return absl::OkStatus();
  }
  reading->reads[index] = *std::move(read);
  if (reading->reads[index].kind == TierRead::Kind::kEntry) counters_.Add(kRocksHits);
  return absl::OkStatus();
}

Task<absl::StatusOr<std::vector<TierChange>>> RocksTierImpl::Put(std::vector<TierPut> puts,
                                                                 MonoNanos deadline) {
  auto call = std::make_shared<RocksCall>(options_.executor);
  call->puts = std::move(puts);
  call->deadline = deadline;
  return Change(std::move(call));
}

Task<absl::StatusOr<std::vector<TierChange>>> RocksTierImpl::Erase(std::vector<TierErase> erases,
                                                                   MonoNanos deadline) {
  auto call = std::make_shared<RocksCall>(options_.executor);
  call->erases = std::move(erases);
  call->deadline = deadline;
  return Change(std::move(call));
}

Task<absl::StatusOr<std::vector<TierChange>>> RocksTierImpl::Change(
    std::shared_ptr<RocksCall> call) {
  if (call->size() == 0) co_return std::vector<TierChange>();
  absl::Status status = TimeLeft(call->deadline);
  if (status.ok() && !store_->takes_writes()) {
    // What still answers reads is not unavailable: the guard would stop those as well.
    const std::string why = StrCat("rocksdb: ", store_->state());
    status =
        store_->db() != nullptr ? absl::ResourceExhaustedError(why) : absl::UnavailableError(why);
  }
  if (status.ok() && !writer_.TryAdd(call))
    status = absl::ResourceExhaustedError("rocksdb: too much waits to be written");
  if (!status.ok()) co_return Failed(std::move(status), call->size());
  co_await call->done;
  if (!call->status.ok()) co_return call->status;
  co_return std::move(call->changes);
}

Task<absl::StatusOr<TierPage>> RocksTierImpl::Scan(TierScan scan, MonoNanos deadline) {
  absl::Status status = TimeLeft(deadline);
  if (!status.ok()) co_return Failed(std::move(status), 1);
  const bool hopped = co_await TryHop(readers_.get());
  if (!hopped) co_return Failed(absl::ResourceExhaustedError("rocksdb: too many reads wait"), 1);
  absl::StatusOr<TierPage> page = TierPage();
  status = TimeLeft(deadline);
  if (status.ok()) {
    page = ReadPage(scan);
  } else {
    page = std::move(status);
  }
  if (!page.ok()) counters_.Add(kRocksErrors);
  co_await Hop(options_.executor);
  co_return page;
}

absl::StatusOr<TierPage> RocksTierImpl::ReadPage(const TierScan& scan) {
  std::optional<Glob> glob;
  if (!scan.glob.empty()) {
    ASSIGN_OR_RETURN(glob, Glob::Parse(scan.glob));
  }
  const auto db = store_->db();
  if (db == nullptr) return absl::UnavailableError(StrCat("rocksdb: ", store_->state()));
  const std::string end = PrefixEnd(scan.full_prefix);
  const rocksdb::Slice end_slice = Slice(end);
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  if (!end.empty()) options.iterate_upper_bound = &end_slice;
  const std::unique_ptr<rocksdb::Iterator> at(db->NewIterator(options));
  const int64_t now_ms = store_->cutoff().NowMs();
  const size_t limit = std::clamp<size_t>(scan.limit, 1, kScanLimitMax);
  TierPage page;
  size_t looked_at = 0;
  // The cursor is the last key that was looked at.
  const bool goes_on = scan.cursor >= scan.full_prefix && !scan.cursor.empty();
  at->Seek(Slice(goes_on ? scan.cursor : scan.full_prefix));
  if (goes_on && at->Valid() && at->key() == Slice(scan.cursor)) at->Next();
  for (; at->Valid(); at->Next()) {
    const std::string_view key(at->key().data(), at->key().size());
    const auto head = DecodeEnvelopeHead({at->value().data(), at->value().size()});
    if (head.ok() && head->live(now_ms) &&
        (!glob.has_value() || glob->Matches(FullKey::KeyOf(key)))) {
      page.items.push_back({std::string(key), head->version});
    }
    if (++looked_at == kScanKeysMax || page.items.size() == limit) {
      page.cursor = key;
      break;
    }
  }
  store_->Report(at->status());
  if (!at->status().ok())
    return absl::UnavailableError(StrCat("rocksdb: ", at->status().ToString()));
  return page;
}

TierStats RocksTierImpl::Stats() const {
  TierStats stats;
  stats.name = "rocksdb";
  stats.state = store_->state();
  stats.gets = counters_.Sum(kRocksGets);
  stats.hits = counters_.Sum(kRocksHits);
  stats.puts = counters_.Sum(kRocksPuts);
  stats.erases = counters_.Sum(kRocksErases);
  stats.outdated = counters_.Sum(kRocksOutdated);
  stats.skipped = counters_.Sum(kRocksSkipped);
  stats.bad_envelopes = counters_.Sum(kRocksBad);
  stats.errors = counters_.Sum(kRocksErrors);
  stats.entries = sweep_.entries();
  stats.bytes = sweep_.bytes();
  stats.bytes_max = sweep_.bytes_max();
  stats.memory_bytes = store_->memory_used() + writer_.queued_bytes();
  stats.evictions = store_->cutoff().evicted.load();
  const Drops drops = store_->drops();
  stats.dropped_damaged = drops.damaged;
  stats.dropped_power_loss = drops.power_loss;
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RocksTier>> NewRocksTier(const RocksTierOptions& options) {
  RETURN_IF_ERROR(Check(options));
  ASSIGN_OR_RETURN(auto store, RocksStore::Open(options));
  return std::make_unique<RocksTierImpl>(options, std::move(store));
}

}  // namespace larder
