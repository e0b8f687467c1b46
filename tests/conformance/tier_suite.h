// The one suite that every tier passes: RocksDB, Redis, the fake of the simulations, and the guard
// round each of them. A tier's test file makes it with
//
//   INSTANTIATE_TEST_SUITE_P(RocksDb, TierSuite, testing::Values(TierMaker{"Rocks", &NewRocksRig}),
//                            TierSuite::Name);
//
// The rules that tier.h leaves to this suite:
//   - Expect is looked at before the version: a put that fails both answers kConditionFailed.
//   - A put of the version that is there already is the same put once more, after a lost answer: it
//     is kDone whatever it expects.
//     A put of a version that was removed is refused.
//   - A tombstone whose time is over is nothing at all for Expect, and so is an entry that has
//   ended,
//     but for kUnchanged: that is about versions.
//   - Several changes of one key in one call are made in their order.
//   - A put that is skipped leaves the key without a live entry, and older ones stay refused.

#ifndef LARDER_TESTS_CONFORMANCE_TIER_SUITE_H_
#define LARDER_TESTS_CONFORMANCE_TIER_SUITE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "core/key.h"
#include "tests/base/await_task.h"
#include "tier/envelope.h"
#include "tier/tier.h"

namespace larder {

// A tier that is fresh and empty, on a clock of its own.
class TierRig {
 public:
  virtual ~TierRig() = default;
  virtual Tier& tier() = 0;
  virtual ManualClock& clock() = 0;
  // Puts these bytes under the key behind the tier's back.
  virtual void SetRaw(std::string_view full_key, std::string_view bytes) = 0;
  // Runs some of the work that waits for this thread, if the rig has no threads of its own. False
  // when there was none.
  virtual bool RunSome() { return false; }
};

struct TierMaker {
  std::string name;
  std::function<std::unique_ptr<TierRig>()> make;
  // The largest envelope that the tier takes.
  size_t envelope_bytes_max = 1 << 20;
  // Whether calls may come from several threads.
  bool threads = true;
};
// For the lists of tests.
inline void PrintTo(const TierMaker& maker, std::ostream* out) { *out << maker.name; }

class TierSuite : public testing::TestWithParam<TierMaker> {
 public:
  static std::string Name(const testing::TestParamInfo<TierMaker>& info) { return info.param.name; }

 protected:
  using Outcome = TierChange::Outcome;
  using Kind = TierRead::Kind;

  template <typename T>
  T Await(Task<T> task);

  static std::string Key(std::string_view key) { return std::string(FullKey("shop", key).view()); }

  // An entry that lives for a minute unless told otherwise. Views are of the caller.
  EntryFields Fields(std::string_view full_key, Version version, std::string_view value);
  TierPut PutOf(const EntryFields& fields, Expect expect = {}, std::string_view type = "user");
  TierPut NewPut(std::string_view full_key, Version version, std::string_view value,
                 Expect expect = {}) {
    return PutOf(Fields(full_key, version, value), expect);
  }

  // Calls of one key; the test fails when they answer an error.
  TierChange Put(TierPut put);
  TierChange Put(std::string_view key, Version version, std::string_view value,
                 Expect expect = {}) {
    return Put(NewPut(key, version, value, expect));
  }
  TierChange Erase(std::string_view key, Version version);
  TierRead Get(std::string_view key);
  // The value of a live entry, or what is there instead.
  std::string Value(std::string_view key);
  // All pages, at most `limit` keys each.
  std::vector<TierPage::Item> ScanAll(std::string prefix, std::string glob, size_t limit);

  Tier& tier() { return rig_->tier(); }
  ManualClock& clock() { return rig_->clock(); }
  MonoNanos Soon() { return clock().Mono() + 60'000'000'000; }

  const std::unique_ptr<TierRig> rig_ = GetParam().make();
};

template <typename T>
T TierSuite::Await(Task<T> task) {
  return AwaitTask(std::move(task), [this] { return rig_->RunSome(); });
}

}  // namespace larder

#endif  // LARDER_TESTS_CONFORMANCE_TIER_SUITE_H_
