// Capacity in entries, as simulators of eviction policies count it. A cache that is bounded in
// bytes is given the bytes of so many entries and not one more: BytesFor of one entry times their
// number. What L1 needs besides (the free part of its segments, room that its index keeps, what it
// remembers of entries that left) comes out of that, and costs it hits.
//
// The value's size is 256 bytes, or larger where the budget would be below 4 MiB: then 4 MiB
// divided by the number of entries, rounded up. With larger values what is needed besides would
// weigh less.
//
// A request is a get which inserts on a miss; `s` counts like `g`, and sizes and TTLs of the trace
// are left out. Time passes at 10,000 requests a second, with a Sweep every tenth of a second, and
// nothing expires.

#include <algorithm>
#include <memory>
#include <string>

#include "bench/hitratio/replay.h"
#include "bench/hitratio/trace_key.h"
#include "memory/l1.h"

namespace larder::bench {

namespace {

constexpr absl::Duration kBetweenRequests = absl::Microseconds(100);
constexpr size_t kSweepEvery = 1'000;
// Longer than any trace at that pace.
constexpr MonoNanos kTtl = MonoNanos{7} * 24 * 3'600 * 1'000'000'000;

}  // namespace

ByEntries ReplayByEntries(const Trace& trace, double fraction, const ReplayOptions& options) {
  ByEntries result;
  result.entries = std::max<uint64_t>(2, static_cast<uint64_t>(trace.distinct * fraction + 0.5));
  result.value_bytes = std::max(options.value_bytes_min,
                                (options.budget_bytes_min + result.entries - 1) / result.entries);
  const std::string value(result.value_bytes, 'v');
  ManualClock clock;
  L1::Options l1_options;
  l1_options.budget_bytes = result.entries * result.value_bytes;
  l1_options.entry_bytes_max = std::max(l1_options.entry_bytes_max, result.value_bytes + 1'024);
  l1_options.hash_seed = options.hash_seed;
  l1_options.clock = &clock;

  EntryFields fields;
  fields.value = value;
  // What an entry takes may depend on how large L1 is, so it is asked at the size that comes of it.
  for (int i = 0; i < 3; ++i) {
    const FullKey key = TraceKey(0);
    fields.full_key = key.view();
    l1_options.budget_bytes = result.entries * L1::New(l1_options)->BytesFor(fields);
  }
  result.budget_bytes = l1_options.budget_bytes;

  const auto l1 = L1::New(l1_options);
  Entry entry;
  MissReason why;
  uint64_t hits = 0;
  VersionClock versions(&clock, /*node_id=*/1);
  size_t since_sweep = 0;
  for (const Request& request : trace.requests) {
    const MonoNanos now = clock.Mono();
    const FullKey key = TraceKey(request.id);
    if (l1->Find(key.view(), now, &entry, &why)) {
      ++hits;
    } else {
      fields.full_key = key.view();
      fields.version = versions.Next();
      fields.fresh_until = fields.usable_until = now + kTtl;
      // What is too large once is too large always: all entries are of one size.
      if (l1->Insert(fields, Expect{}, now).outcome == InsertOutcome::kTooLarge) return result;
    }
    clock.Advance(kBetweenRequests);
    if (++since_sweep == kSweepEvery) {
      while (l1->Sweep(clock.Mono())) {
      }
      since_sweep = 0;
    }
  }
  result.hit_ratio = static_cast<double>(hits) / static_cast<double>(trace.requests.size());
  return result;
}

}  // namespace larder::bench
