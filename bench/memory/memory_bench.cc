// larder_memory_bench looks at what L1 costs the process: its resident set, as the kernel counts
// it. Run by bench/memory/run, which judges.
//
//   larder_memory_bench entries | map | churn
//
// entries: 10 million entries of 20-byte keys and 100-byte values, TTLs of an hour give or take a
// tenth, in an L1 with room for all. Overhead is resident bytes for each entry beyond the 120 that
// the user stored; judged on the whole process, and told without what it had before L1 as well.
// map: the same in absl::flat_hash_map<std::string, std::string>, for comparison.
// churn: churn.cc.
//
// Each mode is a process of its own. Exits 0 when it has measured, 1 when it cannot, 2 on a usage
// error.

#include <cstdio>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "bench/memory/churn.h"
#include "bench/memory/resident.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "bench/zipf.h"
#include "core/key.h"
#include "memory/l1.h"

namespace larder::bench {

namespace {

constexpr uint64_t kEntries = 10'000'000;
constexpr uint64_t kBudget = uint64_t{2} << 30;

void ReportOverhead(const std::string& name, uint64_t before, uint64_t after) {
  const auto beyond = [](uint64_t bytes) {
    return static_cast<double>(bytes) / kEntries - kKeyBytes - kValueBytes;
  };
  Report((name + "_resident").c_str(), static_cast<double>(after) / 1e6, "MB");
  Report((name + "_overhead").c_str(), beyond(after), "bytes");
  Report((name + "_overhead_grown").c_str(), beyond(after - before), "bytes");
}

void MeasureEntries() {
  const uint64_t before = ResidentBytes();
  const auto l1 = L1::New({.budget_bytes = kBudget});
  QuickRandom random(1);
  const Version version = VersionOf(Clock::System()->Mono());
  char key[kKeyBytes];
  char value[kValueBytes];
  for (uint64_t id = 0; id < kEntries; ++id) {
    WriteKey(id, key);
    WriteValue({key, kKeyBytes}, value);
    const FullKey full("", {key, kKeyBytes});
    const MonoNanos now = Clock::System()->Mono();
    EntryFields fields = Fields(full.view(), {value, kValueBytes}, version + id, now);
    fields.usable_until -= (fields.usable_until - now) / 1'000 * random.Below(200);
    fields.fresh_until = fields.usable_until;
    if (l1->Insert(fields, Expect{}, now).outcome != InsertOutcome::kStored) {
      Broken("an insert of a new key is refused");
    }
  }
  const L1Usage usage = l1->Usage();
  if (usage.total.entries != kEntries) Broken("L1 does not hold what it has room for");
  ReportOverhead("entry", before, ResidentBytes());
  Report("entry_by_the_books",
         static_cast<double>(usage.bytes) / kEntries - kKeyBytes - kValueBytes, "bytes");
  Report("entry_index", static_cast<double>(usage.index_bytes) / kEntries, "bytes");
}

void MeasureMap() {
  const uint64_t before = ResidentBytes();
  absl::flat_hash_map<std::string, std::string> map;
  char key[kKeyBytes];
  char value[kValueBytes];
  for (uint64_t id = 0; id < kEntries; ++id) {
    WriteKey(id, key);
    WriteValue({key, kKeyBytes}, value);
    map.emplace(std::string(key, kKeyBytes), std::string(value, kValueBytes));
  }
  ReportOverhead("map", before, ResidentBytes());
}

}  // namespace

}  // namespace larder::bench

int main(int argc, char** argv) {
  using namespace larder::bench;  // NOLINT: a program of one function
  const std::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "entries") {
    MeasureEntries();
  } else if (mode == "map") {
    MeasureMap();
  } else if (mode == "churn") {
    MeasureChurn();
  } else {
    std::fprintf(stderr, "usage: %s entries | map | churn\n", argv[0]);
    return 2;
  }
  return 0;
}
