// The time of a set against the time of a hit, on one thread, with a million keys: sets that
// replace values, of the keys that the hits ask for, and sets of keys that were never there, in an
// L1 that is full, so that each pushes something out. In turns, judged by the median of the ratios;
// the clock is read once for 100 operations on all sides. Where versions come from is not part of
// it.

#include "bench/l1/modes.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "core/key.h"

namespace larder::bench {

namespace {

constexpr uint64_t kKeys = 1'000'000;
constexpr size_t kRounds = 16;
constexpr size_t kRoundOps = 200'000;

// Runs `operation(key, now)`, which returns whether all is well, for one turn of the sequence.
// Returns nanoseconds each.
template <typename Operation>
double Turn(const Sequence& sequence, size_t first, Operation operation) {
  Clock* const clock = Clock::System();
  size_t well = 0;
  const double start = ThreadSeconds();
  for (size_t i = first; i < first + kRoundOps; i += kBatch) {
    const MonoNanos now = clock->Mono();
    for (size_t j = i; j < i + kBatch; ++j) well += operation(sequence[j], now);
  }
  const double nanos = (ThreadSeconds() - start) * 1e9 / kRoundOps;
  if (well != kRoundOps) Broken("an operation was refused");
  return nanos;
}

}  // namespace

void MeasureSets() {
  const Sequence asked(kKeys, kRounds * kRoundOps, /*seed=*/3);
  const Sequence fresh = Sequence::Fresh(kKeys, kRounds * kRoundOps);
  const auto l1 = FilledL1(kKeys);
  const auto full = FullL1(kKeys);

  Entry entry;
  MissReason why;
  Version version = VersionOf(Clock::System()->Mono());
  const std::string value(kValueBytes, 'v');
  const auto set = [&](L1* into, std::string_view key, MonoNanos now) {
    const FullKey full_key("", key);
    return into->Insert(Fields(full_key.view(), value, ++version, now), Expect{}, now).outcome ==
           InsertOutcome::kStored;
  };
  std::vector<double> hit, replaced, inserted;
  for (size_t round = 0; round < kRounds; ++round) {
    const size_t first = round * kRoundOps;
    const double hit_nanos = Turn(asked, first, [&](std::string_view key, MonoNanos now) {
      return l1->Find(FullKey("", key).view(), now, &entry, &why) &&
             entry.stored().size() == kValueBytes;
    });
    const double replaced_nanos = Turn(
        asked, first, [&](std::string_view key, MonoNanos now) { return set(l1.get(), key, now); });
    const double inserted_nanos = Turn(fresh, first, [&](std::string_view key, MonoNanos now) {
      return set(full.get(), key, now);
    });
    if (round == 0) continue;  // warm-up
    hit.push_back(hit_nanos);
    replaced.push_back(replaced_nanos);
    inserted.push_back(inserted_nanos);
  }
  Report("set_hit_ns", Median(hit), "ns");
  Report("set_replace_ns", Median(replaced), "ns");
  Report("set_insert_full_ns", Median(inserted), "ns");
  Report("set_replace_ratio", MedianRatio(replaced, hit), "of a hit");
  Report("set_insert_full_ratio", MedianRatio(inserted, hit), "of a hit");
}

}  // namespace larder::bench
