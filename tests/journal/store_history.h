// StoreHistory makes random changes for a store and knows what is there after each of them, so that
// a test can say which of them a store that was opened again must have.

#ifndef LARDER_TESTS_JOURNAL_STORE_HISTORY_H_
#define LARDER_TESTS_JOURNAL_STORE_HISTORY_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/strings.h"
#include "tests/journal/store_rig.h"

namespace larder {

class StoreHistory {
 public:
  struct Moment {
    std::set<uint64_t> records;
    std::set<uint64_t> letters;
    friend bool operator==(const Moment&, const Moment&) = default;
  };

  StoreHistory(uint64_t seed, size_t value_bytes) : random_(seed), value_bytes_(value_bytes) {}

  // A few records more, some less, a letter now and then. To be told what became of it.
  JournalStore::Changes Next() {
    next_ = moments_.back();
    JournalStore::Changes changes;
    for (uint64_t n = random_() % 4; n > 0; --n) {
      changes.append.push_back(RecordOf(++last_, random_() % (2 * value_bytes_ + 1)));
      next_.records.insert(last_);
    }
    while (next_.records.size() > 20 || (!next_.records.empty() && random_() % 3 == 0)) {
      auto at = next_.records.begin();
      std::advance(at, random_() % std::min<size_t>(next_.records.size(), 5));
      changes.erase.push_back(*at);
      if (random_() % 8 == 0) {
        changes.bury.push_back(LetterOf(++last_, *at));
        next_.letters.insert(last_);
      }
      next_.records.erase(at);
    }
    while (next_.letters.size() > 5) {
      changes.drop_letters.push_back(*next_.letters.begin());
      next_.letters.erase(next_.letters.begin());
    }
    // So that no two moments are alike.
    if (changes.append.empty()) {
      changes.append.push_back(RecordOf(++last_, 10));
      next_.records.insert(last_);
    }
    return changes;
  }
  // It was acknowledged, and everything before it is safe if `sync`.
  void Acknowledged(bool sync) {
    moments_.push_back(next_);
    acknowledged_ = moments_.size() - 1;
    if (sync) synced_ = acknowledged_;
  }
  // Nobody knows.
  void Failed() { moments_.push_back(next_); }
  // What was found is `content`, and goes on from here.
  void Found(const StoreContent& content, bool safe) {
    moments_.push_back(MomentOf(content));
    acknowledged_ = moments_.size() - 1;
    if (safe) synced_ = acknowledged_;
  }

  // Whether it is as it was after one of the changes, and none that had to survive is missing.
  testing::AssertionResult Holds(const StoreContent& content, bool after_power_loss) const {
    const Moment found = MomentOf(content);
    for (size_t i = moments_.size(); i-- > (after_power_loss ? synced_ : acknowledged_);) {
      if (moments_[i] == found) return testing::AssertionSuccess();
    }
    return testing::AssertionFailure()
           << found.records.size() << " records and " << found.letters.size()
           << " letters, which is no moment since the last that had to survive, of "
           << moments_[synced_].records.size() << " and " << moments_[synced_].letters.size();
  }

  static Moment MomentOf(const StoreContent& content) {
    Moment moment;
    for (const auto& [seq, record] : content.records) moment.records.insert(seq);
    moment.letters.insert(content.letters.begin(), content.letters.end());
    return moment;
  }
  const Moment& now() const { return moments_.back(); }
  uint64_t last() const { return last_; }
  std::mt19937_64& random() { return random_; }

 private:
  std::mt19937_64 random_;
  const size_t value_bytes_;
  uint64_t last_ = 0;
  std::vector<Moment> moments_ = {{}};
  Moment next_;
  size_t acknowledged_ = 0;
  size_t synced_ = 0;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_STORE_HISTORY_H_
