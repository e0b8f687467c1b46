// A FakeTier is a tier in memory for tests and simulations: what Redis is to a fleet, without
// Redis. Each replica works through a handle of its own, as over a connection of its own, and each
// handle can be made to fail, to be slow, to hang and to lose answers; the tier itself can be
// emptied, fail over to an older copy and hold bytes that are no envelopes.
//
// Thread safety: any method, any thread. Time is the clock of the handle, delays are timers of its
// executor, and chance is its random, so that a ManualExecutor and a seed repeat a run. A handle
// that is destroyed ends what waits in it with UNAVAILABLE and without effect. A call that waits
// ignores its deadline, so that only a guard around the handle ends it in time.

#ifndef LARDER_TESTS_TIER_FAKE_TIER_H_
#define LARDER_TESTS_TIER_FAKE_TIER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "tests/tier/fake_content.h"
#include "tier/tier.h"

namespace larder {

// How the calls of one handle go wrong: those that begin while it holds.
struct FakeTierFaults {
  // That many calls fail without effect, then it is over.
  uint64_t fail_next = 0;
  // That many calls take effect and fail nevertheless.
  uint64_t lose_next = 0;
  // The same by chance, 0 to 1, of every call.
  double fail_ratio = 0;
  double lose_ratio = 0;
  absl::Status error = absl::UnavailableError("a fault of the test");
  // How long a request, and how long its answer, is on its way; uniform between the two. What is on
  // its way can be overtaken.
  absl::Duration delay_min = absl::ZeroDuration();
  absl::Duration delay_max = absl::ZeroDuration();
  // Calls wait before they take effect, until Release or Drop.
  bool hang = false;
  // Reads see the copy that FakeTier::TakeCopy made, as on a replica that lags behind.
  bool stale_reads = false;
};

class FakeTier {
 public:
  struct Options {
    std::string name = "fake";
    bool shared = true;
    FakeContent::Options content = {};
  };

  class Handle : public Tier {
   public:
    virtual void SetFaults(const FakeTierFaults& faults) = 0;
    // Lets the calls that hang now take effect, late as they are.
    virtual void Release() = 0;
    // Ends them with UNAVAILABLE, without effect.
    virtual void Drop() = 0;
    // What waits ends with UNAVAILABLE, and so does what is called from here on, without effect: as
    // when the handle is destroyed, for owners who cannot do that yet.
    virtual void Close() = 0;
    // What it may drop besides what has ended, which it never does by itself. Null: nobody said.
    virtual const TierCover* cover() const = 0;
    // Calls that hang, or are on their way, now.
    virtual size_t waiting() const = 0;
    // Calls since the start, those that failed included.
    virtual uint64_t calls() const = 0;
    // The oldest call that has not ended; the next one when all have. The first was 1.
    virtual uint64_t oldest_call() const = 0;
  };

  FakeTier() : FakeTier(Options()) {}
  explicit FakeTier(const Options& options);

  // Handles may outlive the FakeTier. `clock`, `executor` and `random` outlive the handle and the
  // calls on it.
  std::unique_ptr<Handle> NewHandle(Clock* clock, Executor* executor,
                                    Random* random = Random::System());

  // Empties the tier, tombstones included, as FLUSHALL does.
  void Clear() { content_->Clear(); }
  // Drops one key without a trace, as eviction does. False when it was not there.
  bool Evict(std::string_view full_key) { return content_->Evict(full_key); }
  // Remembers the content, for stale reads and FailOver.
  void TakeCopy() { content_->TakeCopy(); }
  // Goes back to what TakeCopy remembered: a replica that lags behind becomes the master.
  void FailOver() { content_->GoBackToCopy(); }
  // The same between two calls: those who use it have only seen their connections end.
  void RestartUnseen() {
    content_->GoBackToCopy();
    content_->CountLoss();
  }

  // The bytes under a key, and how to put others in their place.
  std::optional<std::string> Raw(std::string_view full_key) const {
    return content_->Raw(full_key);
  }
  void SetRaw(std::string_view full_key, std::string bytes) {
    content_->SetRaw(full_key, std::move(bytes));
  }
  // Entries and tombstones.
  size_t size() const { return content_->size(); }

 private:
  const Options options_;
  const std::shared_ptr<FakeContent> content_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_FAKE_TIER_H_
