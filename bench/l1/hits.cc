// The time of a hit, on one thread, against absl::flat_hash_map<std::string, std::string>: find and
// copy into a string that is used again.
//
// Both sides are given the same key as a view of 20 bytes and end with the 100 bytes of the value
// in memory of their own. L1's time includes making the full key (namespace and key) and copying
// what else an Entry has. The clock is read once for 100 lookups, as the engine does for a batch,
// inside the measured time; `..._clock_each` is L1 with the clock read for every lookup, as for a
// single Get. The map expires nothing, evicts nothing and must not be shared by threads: the figure
// says what a cache costs over the fastest table there is.
//
// The two take turns of about a tenth of a second; the ratio is the median over the turns.

#include <string>

#include "absl/container/flat_hash_map.h"
#include "base/strings.h"
#include "bench/l1/modes.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "core/key.h"

namespace larder::bench {

namespace {

using Map = absl::flat_hash_map<std::string, std::string>;

constexpr size_t kRounds = 24;
constexpr size_t kRoundOps = 500'000;
// Fewer turns than these many operations have would let the processor learn the order by heart.
constexpr size_t kSequenceOps = 4'000'000;

Map FilledMap(uint64_t keys) {
  Map map;
  map.reserve(keys);
  char key[kKeyBytes];
  char value[kValueBytes];
  for (uint64_t id = 0; id < keys; ++id) {
    WriteKey(id, key);
    WriteValue({key, kKeyBytes}, value);
    map.emplace(std::string(key, kKeyBytes), std::string(value, kValueBytes));
  }
  return map;
}

// Each of these runs one turn and returns the nanoseconds of one hit.
double TurnOfMap(const Map& map, const Sequence& sequence, size_t first, std::string* value) {
  size_t hits = 0;
  const double start = ThreadSeconds();
  for (size_t i = first; i < first + kRoundOps; ++i) {
    const auto found = map.find(ToAbsl(sequence[i]));
    if (found == map.end()) continue;
    value->assign(found->second);
    hits += (*value)[0] != '\0';
  }
  const double nanos = (ThreadSeconds() - start) * 1e9 / kRoundOps;
  if (hits != kRoundOps) Broken("the map misses");
  return nanos;
}

double TurnOfL1(L1* l1, const Sequence& sequence, size_t first, size_t batch, Entry* entry) {
  Clock* const clock = Clock::System();
  MissReason why;
  size_t hits = 0;
  const double start = ThreadSeconds();
  for (size_t i = first; i < first + kRoundOps; i += batch) {
    const MonoNanos now = clock->Mono();
    for (size_t j = i; j < i + batch; ++j) {
      const FullKey key("", sequence[j]);
      if (!l1->Find(key.view(), now, entry, &why)) continue;
      hits += entry->stored()[0] != '\0';
    }
  }
  const double nanos = (ThreadSeconds() - start) * 1e9 / kRoundOps;
  if (hits != kRoundOps) Broken("L1 misses");
  return nanos;
}

// The values are those of the keys: a figure of a wrong answer is none.
void CheckValues(L1* l1, const Map& map, const Sequence& sequence) {
  Entry entry;
  MissReason why;
  char value[kValueBytes];
  for (size_t i = 0; i < 100'000; ++i) {
    const std::string_view key = sequence[i];
    WriteValue(key, value);
    const std::string_view expected(value, kValueBytes);
    if (!l1->Find(FullKey("", key).view(), Clock::System()->Mono(), &entry, &why) ||
        entry.stored() != expected) {
      Broken("L1 answers something else than what was inserted");
    }
    if (map.at(ToAbsl(key)) != expected) Broken("the map answers something else");
  }
}

}  // namespace

void MeasureHits(uint64_t keys, const char* label) {
  const Sequence sequence(keys, kSequenceOps, /*seed=*/keys);
  const auto l1 = FilledL1(keys);
  const Map map = FilledMap(keys);
  CheckValues(l1.get(), map, sequence);

  std::string value;
  Entry entry;
  std::vector<double> of_map, of_l1, of_l1_clock_each;
  for (size_t round = 0; round < kRounds + 2; ++round) {
    const size_t first = round * kRoundOps % kSequenceOps;
    double map_nanos = 0, l1_nanos = 0, each_nanos = 0;
    const auto run_map = [&] { map_nanos = TurnOfMap(map, sequence, first, &value); };
    const auto run_l1 = [&] { l1_nanos = TurnOfL1(l1.get(), sequence, first, kBatch, &entry); };
    // Whoever comes second finds the caches warmed by nobody: the other's data is not its own.
    if (round % 2 == 0) {
      run_map();
      run_l1();
    } else {
      run_l1();
      run_map();
    }
    each_nanos = TurnOfL1(l1.get(), sequence, first, 1, &entry);
    if (round < 2) continue;  // warm-up
    of_map.push_back(map_nanos);
    of_l1.push_back(l1_nanos);
    of_l1_clock_each.push_back(each_nanos);
  }
  const std::string name = std::string("hit_") + label;
  Report((name + "_map_ns").c_str(), Median(of_map), "ns");
  Report((name + "_ns").c_str(), Median(of_l1), "ns");
  Report((name + "_ns_clock_each").c_str(), Median(of_l1_clock_each), "ns");
  Report((name + "_ratio").c_str(), MedianRatio(of_l1, of_map), "of the map");
  Report((name + "_ratio_clock_each").c_str(), MedianRatio(of_l1_clock_each, of_map), "of the map");
}

}  // namespace larder::bench
