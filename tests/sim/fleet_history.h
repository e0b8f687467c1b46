// FleetHistory remembers what was changed in a fleet, and when, and judges what reads see.
//
// Each change of a key raises the key's number, which is the value that it stores, or that loads
// bring from the origin from then on. So every value says which change it comes from, and it is out
// of date when a change that began after that one was over has taken effect for the reader.
//   - A change is over when nothing of it is under way any more: it was answered, and the tier has
//     taken it or refused it. Changes that overlap may come in either order.
//   - It takes effect for its own replica with its acknowledgement; for the others when they have
//     been told, or, as long as they know that they are told nothing, when the tier has it.
// Thread safety: none.

#ifndef LARDER_TESTS_SIM_FLEET_HISTORY_H_
#define LARDER_TESTS_SIM_FLEET_HISTORY_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace larder {

// Orders what happens: later is greater. 0 is before everything.
using Moment = uint64_t;
inline constexpr Moment kNotYet = std::numeric_limits<Moment>::max();

// One start of one replica.
struct Instance {
  int replica = 0;
  int number = 0;
  friend bool operator==(const Instance&, const Instance&) = default;
};

struct SentChange {
  int64_t number = 0;
  Instance by;
  Moment began = 0;
  MonoNanos began_at = 0;
  Moment answered = kNotYet;
  MonoNanos answered_at = 0;
  bool acknowledged = false;
  // Calls of its replica's tier that began before it was answered, for the world to follow.
  uint64_t calls = 0;
  Moment over = kNotYet;
  // The tier has it: acknowledged, over, and not lost with its replica.
  Moment in_tier = kNotYet;
  MonoNanos in_tier_at = 0;
  // Everybody has been told, except those who were not there to be told.
  Moment told = kNotYet;
  // Its replica could not tell anybody when it made it, and died before it could.
  bool untold = false;
  bool sender_unsure = false;
  // Until when its value may be fresh.
  MonoNanos fresh_until = 0;
};

// Who reads, and since when.
struct Reading {
  Instance by;
  Moment began = 0;
  MonoNanos began_at = 0;
  // Knows that it is told nothing, so it asks the tier.
  bool asks = false;
  // Said when the read began that what its memory holds is true, and had noticed so many gaps.
  bool vouched = true;
  uint64_t gaps = 0;
  // May serve what it cannot vouch for: only its own changes count.
  bool alone = false;
};

class FleetHistory {
 public:
  explicit FleetHistory(size_t keys) : keys_(keys) {}

  Moment Next() { return ++moment_; }
  int64_t newest(size_t key) const { return static_cast<int64_t>(keys_[key].size()); }
  std::vector<SentChange>& changes(size_t key) { return keys_[key]; }
  SentChange& change(size_t key, int64_t number) { return keys_[key][number - 1]; }

  int64_t Begin(size_t key, Instance by, MonoNanos now) {
    SentChange change;
    change.number = newest(key) + 1;
    change.by = by;
    change.began = Next();
    change.began_at = now;
    keys_[key].push_back(change);
    return change.number;
  }
  void Answer(size_t key, int64_t number, bool acknowledged, uint64_t calls, bool unsure,
              MonoNanos now) {
    SentChange& change = this->change(key, number);
    change.answered = Next();
    change.answered_at = now;
    change.acknowledged = acknowledged;
    change.calls = calls;
    change.sender_unsure = unsure;
  }

  // Why a read must not see `number`; empty when it may.
  std::string WhyOutdated(size_t key, int64_t number, const Reading& reading) const {
    if (number < 0 || number > newest(key)) return "nobody wrote it";
    const Moment over = number == 0 ? 0 : keys_[key][number - 1].over;
    for (const SentChange& change : keys_[key]) {
      if (change.began > over && TookEffect(change, reading))
        return absl::StrCat("change ", change.number, " by replica ", change.by.replica,
                            " had taken effect");
    }
    return "";
  }

  // Whether the value could be fresh yet, give or take how far the clocks differ.
  bool MayBeFresh(size_t key, int64_t number, MonoNanos now, absl::Duration slack) const {
    return number == 0 || now <= MonoAfter(keys_[key][number - 1].fresh_until, slack);
  }
  void ExtendFresh(size_t key, int64_t number, MonoNanos until) {
    if (number == 0) return;
    SentChange& of = change(key, number);
    of.fresh_until = std::max(of.fresh_until, until);
  }

 private:
  static bool TookEffect(const SentChange& change, const Reading& reading) {
    if (!change.acknowledged) return false;
    if (change.by == reading.by && change.answered <= reading.began) return true;
    if (reading.alone) return false;
    if (change.told <= reading.began) return true;
    return reading.asks && change.in_tier <= reading.began;
  }

  std::vector<std::vector<SentChange>> keys_;
  Moment moment_ = 0;
};

}  // namespace larder

#endif  // LARDER_TESTS_SIM_FLEET_HISTORY_H_
