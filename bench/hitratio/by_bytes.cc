// The trace as it is: sizes, TTLs, sets, and its own time, which the clock follows, with a Sweep or
// two between requests. Gets insert on a miss; the hit ratio is that of the gets.
//
// Traces count whole seconds, so that gets come in the very moment of expiry, which in life they do
// not; every entry therefore lives half a second longer than its TTL, on both sides.
//
// LRU gets a fraction of the bytes of all distinct entries (with its 48 bytes for each), L1 half of
// what LRU gets, everything that L1 allocates included. An LRU with half of it runs beside them.
//
// The traces are small, and L1 begins at 1 MiB. Where half of the memory is below 4 MiB, so many
// copies of the trace are replayed in one cache, side by side, with keys of their own, as reach 4
// MiB: the sizes and what an entry costs stay what they are, which they would not if sizes were
// multiplied, and LRU's hit ratio is the same for many copies as for one. At most 40 million
// requests are made of it; what is below 1 MiB even so is not replayed.
//
// Dead data is measured from outside at up to 200 moments: what L1 says it holds, minus the bytes
// of every entry that is still alive and found, is held for nothing. What it says itself to be
// dead, which includes versions that were replaced, is told beside it.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bench/hitratio/lru.h"
#include "bench/hitratio/replay.h"
#include "bench/hitratio/trace_key.h"
#include "memory/l1.h"

namespace larder::bench {

namespace {

constexpr uint64_t kRequestsMost = 40'000'000;
constexpr MonoNanos kSweepNanos = 100'000'000;  // larderd's
// Sweeps between two requests; after a longer silence that is less often than larderd sweeps.
constexpr int kSweepsMost = 2;
constexpr MonoNanos kForEver = MonoNanos{100} * 365 * 24 * 3'600 * 1'000'000'000;
constexpr MonoNanos kHalfSecond = 500'000'000;
constexpr uint64_t kSamplesMost = 200;
constexpr uint64_t kPeeksMost = 20'000'000;

uint64_t DistinctBytes(const Trace& trace) {
  std::vector<uint32_t> bytes(trace.distinct);
  for (const Request& request : trace.requests) bytes[request.id] = request.bytes;
  uint64_t sum = 0;
  for (const uint32_t size : bytes) sum += size + Lru::kOverheadBytes;
  return sum;
}

class Replay {
 public:
  Replay(const Trace& trace, const ReplayOptions& options, ByBytes* out)
      : trace_(trace),
        out_(*out),
        keys_(uint64_t{trace.distinct} * out->copies),
        lru_(out->lru_bytes, keys_),
        half_lru_(out->budget_bytes, keys_),
        value_(LargestValue(trace), 'v'),
        inserted_(keys_) {
    L1::Options l1_options;
    l1_options.budget_bytes = out->budget_bytes;
    l1_options.hash_seed = options.hash_seed;
    l1_options.clock = &clock_;
    l1_ = L1::New(l1_options);
    fields_.value = value_;
  }

  void Run() {
    const MonoNanos end = trace_.requests.back().time;
    const auto samples =
        static_cast<MonoNanos>(std::clamp<uint64_t>(kPeeksMost / keys_, 1, kSamplesMost));
    MonoNanos sample_at = end / (samples + 1);
    for (const Request& request : trace_.requests) {
      PassTimeUntil(request.time);
      if (request.time >= sample_at) {
        Sample();
        sample_at += end / (samples + 1);
      }
      for (uint64_t copy = 0; copy < out_.copies; ++copy) {
        Make(request, static_cast<uint32_t>(copy * trace_.distinct + request.id));
      }
    }
    out_.hit_ratio = static_cast<double>(hits_) / static_cast<double>(gets_);
    out_.lru_hit_ratio = static_cast<double>(lru_hits_) / static_cast<double>(gets_);
    out_.half_lru_hit_ratio = static_cast<double>(half_lru_hits_) / static_cast<double>(gets_);
    if (samples_ > 0) {
      out_.expired_mean /= samples_;
      out_.dead_mean /= samples_;
    }
  }

 private:
  struct Inserted {
    uint32_t value_bytes = 0;
    MonoNanos usable_until = 0;
  };

  static size_t LargestValue(const Trace& trace) {
    uint32_t largest = 0;
    for (const Request& request : trace.requests) largest = std::max(largest, request.bytes);
    return largest + 1;
  }
  static uint32_t ValueBytes(const Request& request) {
    return request.bytes > kTraceKeyBytes ? request.bytes - kTraceKeyBytes : 1;
  }

  void PassTimeUntil(MonoNanos time) {
    const MonoNanos step = std::max(kSweepNanos, (time - time_) / kSweepsMost);
    while (time_ < time) {
      const MonoNanos next = std::min(time_ + step, time);
      clock_.Advance(absl::Nanoseconds(next - time_));
      time_ = next;
      while (l1_->Sweep(clock_.Mono())) {
      }
    }
  }

  void Make(const Request& request, uint32_t key) {
    const MonoNanos now = clock_.Mono();
    const MonoNanos usable_until = now + (request.ttl == 0 ? kForEver : request.ttl) + kHalfSecond;
    const FullKey full_key = TraceKey(key);
    bool insert = request.set, lru_insert = request.set, half_lru_insert = request.set;
    if (!request.set) {
      ++gets_;
      MissReason why;
      insert = !l1_->Find(full_key.view(), now, &entry_, &why);
      lru_insert = !lru_.Find(key, now);
      half_lru_insert = !half_lru_.Find(key, now);
      hits_ += !insert;
      lru_hits_ += !lru_insert;
      half_lru_hits_ += !half_lru_insert;
    }
    if (lru_insert) lru_.Insert(key, request.bytes, usable_until);
    if (half_lru_insert) half_lru_.Insert(key, request.bytes, usable_until);
    if (!insert) return;
    inserted_[key] = {ValueBytes(request), usable_until};
    fields_.full_key = full_key.view();
    fields_.value = std::string_view(value_).substr(0, ValueBytes(request));
    fields_.version = versions_.Next();
    fields_.fresh_until = fields_.usable_until = usable_until;
    l1_->Insert(fields_, Expect{}, now);
  }

  void Sample() {
    const MonoNanos now = clock_.Mono();
    uint64_t alive = 0;
    MissReason why;
    for (uint64_t key = 0; key < keys_; ++key) {
      if (inserted_[key].usable_until < now) continue;
      const FullKey full_key = TraceKey(key);
      if (!l1_->Peek(full_key.view(), now, &entry_, &why)) continue;
      fields_.full_key = full_key.view();
      fields_.value = std::string_view(value_).substr(0, inserted_[key].value_bytes);
      alive += l1_->BytesFor(fields_);
    }
    const L1Usage usage = l1_->Usage();
    const auto budget = static_cast<double>(out_.budget_bytes);
    const double expired =
        std::max(0.0, static_cast<double>(usage.total.bytes()) - static_cast<double>(alive)) /
        budget;
    const double dead = static_cast<double>(usage.dead_bytes) / budget;
    ++samples_;
    out_.expired_mean += expired;
    out_.expired_most = std::max(out_.expired_most, expired);
    out_.dead_mean += dead;
    out_.dead_most = std::max(out_.dead_most, dead);
  }

  const Trace& trace_;
  ByBytes& out_;
  const uint64_t keys_;
  ManualClock clock_;
  VersionClock versions_{&clock_, /*node_id=*/1};
  MonoNanos time_ = 0;  // of the trace
  std::unique_ptr<L1> l1_;
  Lru lru_;
  Lru half_lru_;
  const std::string value_;
  std::vector<Inserted> inserted_;  // last, by key
  EntryFields fields_;
  Entry entry_;
  uint64_t gets_ = 0;
  uint64_t hits_ = 0;
  uint64_t lru_hits_ = 0;
  uint64_t half_lru_hits_ = 0;
  double samples_ = 0;
};

}  // namespace

bool ReplayByBytes(const Trace& trace, double fraction, const ReplayOptions& options,
                   ByBytes* out) {
  *out = ByBytes{};
  const double lru_bytes = fraction * static_cast<double>(DistinctBytes(trace));
  const auto wanted =
      static_cast<uint64_t>(2 * static_cast<double>(options.budget_bytes_min) / lru_bytes) + 1;
  out->copies = std::clamp<uint64_t>(wanted, 1, kRequestsMost / trace.requests.size() + 1);
  out->lru_bytes = static_cast<uint64_t>(lru_bytes * static_cast<double>(out->copies));
  out->budget_bytes = out->lru_bytes / 2;
  if (out->budget_bytes < L1::kBudgetBytesMin) return false;
  Replay(trace, options, out).Run();
  return true;
}

}  // namespace larder::bench
