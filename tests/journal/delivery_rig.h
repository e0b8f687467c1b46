// What the tests of deliveries do again and again. Thread safety: none.

#ifndef LARDER_TESTS_JOURNAL_DELIVERY_RIG_H_
#define LARDER_TESTS_JOURNAL_DELIVERY_RIG_H_

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/journal/journal_rig.h"

namespace larder {

class DeliveryTest : public JournalTest {
 protected:
  // What the origin says to each write of these keys.
  void Answer(std::set<std::string> keys, JournalDelivered::Kind kind, absl::Status error) {
    sink_.of_write = [keys, kind, error](const JournalRecord& write) {
      const bool chosen = keys.contains(std::string(FullKey::KeyOf(write.full_key)));
      return chosen ? JournalDelivered{kind, error}
                    : JournalDelivered{JournalDelivered::Kind::kDone, {}};
    };
  }
  // Calls fail while this key is among their writes.
  void BreakCallsWith(const std::string& key, absl::Status error) {
    sink_.of_call = [key, error](const JournalDelivery& delivery) {
      FakeSink::Fate fate;
      for (const JournalRecord& write : delivery.writes) {
        if (FullKey::KeyOf(write.full_key) == key) fate.error = error;
      }
      return fate;
    };
  }
  void AppendMany(int count, int from = 0) {
    std::vector<JournalRecord> writes;
    for (int i = from; i < from + count; ++i) {
      writes.push_back(WriteOf("k" + std::to_string(i), 1 + i));
    }
    ASSERT_TRUE(Append(std::move(writes)).ok());
  }
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_DELIVERY_RIG_H_
