#include "bench/l1/modes.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "core/key.h"

namespace larder::bench {

namespace {

// More than an entry of 20 and 100 bytes takes.
constexpr uint64_t kEntryRoom = 200;
constexpr uint64_t kBudgetLeast = 64 << 20;

void Fill(L1* l1, uint64_t keys) {
  char key[kKeyBytes];
  char value[kValueBytes];
  const Version version = VersionOf(Clock::System()->Mono());
  for (uint64_t id = 0; id < keys; ++id) {
    WriteKey(id, key);
    WriteValue({key, kKeyBytes}, value);
    const FullKey full("", {key, kKeyBytes});
    const MonoNanos now = Clock::System()->Mono();
    const InsertResult result =
        l1->Insert(Fields(full.view(), {value, kValueBytes}, version + id, now), Expect{}, now);
    if (result.outcome != InsertOutcome::kStored) Broken("an insert of a new key is refused");
  }
}

}  // namespace

std::unique_ptr<L1> FilledL1(uint64_t keys) {
  auto l1 = L1::New({.budget_bytes = kBudgetLeast + keys * kEntryRoom});
  Fill(l1.get(), keys);
  if (l1->Usage().total.entries != keys) Broken("L1 does not hold what it has room for");
  return l1;
}

std::unique_ptr<L1> FullL1(uint64_t keys) {
  auto l1 = L1::New({.budget_bytes = keys * kEntryRoom / 3});
  Fill(l1.get(), keys);
  if (l1->Usage().total.evicted() == 0) Broken("L1 is not full");
  return l1;
}

}  // namespace larder::bench
