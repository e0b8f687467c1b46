// The epoch is one for the whole process, so these tests compare stamps and say nothing about
// their numbers.

#include "base/epoch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <latch>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "tests/base/threads.h"

namespace larder {
namespace {

// A thread inside a Reader, from the constructor until Leave.
class ThreadInside {
 public:
  ThreadInside() : thread_([this] { Stay(); }) { entered_.wait(); }
  ~ThreadInside() { Leave(); }

  void Leave() {
    if (!thread_.joinable()) return;
    leave_.count_down();
    thread_.join();
  }
  // A reader is where its thread's slot lies, and nothing else.
  uintptr_t slot() const { return slot_; }

 private:
  void Stay() {
    const Epoch::Reader reader;
    static_assert(sizeof(reader) == sizeof(slot_));
    std::memcpy(&slot_, &reader, sizeof(slot_));
    entered_.count_down();
    leave_.wait();
  }

  uintptr_t slot_ = 0;
  std::latch entered_{1};
  std::latch leave_{1};
  std::thread thread_;
};

TEST(EpochTest, StampsGrowAndAreNeverGivenTwice) {
  constexpr int kThreads = 4;
  constexpr int kStamps = 1'000;
  std::array<std::vector<uint64_t>, kThreads> stamps;
  Threads(kThreads, [&](int i) {
    for (int n = 0; n < kStamps; ++n) stamps[i].push_back(Epoch::Stamp());
  }).Join();
  std::set<uint64_t> all;
  for (const std::vector<uint64_t>& mine : stamps) {
    EXPECT_TRUE(std::ranges::is_sorted(mine));
    all.insert(mine.begin(), mine.end());
  }
  EXPECT_EQ(all.size(), kThreads * kStamps);
  EXPECT_FALSE(all.contains(0));
}

TEST(EpochTest, PassesEveryStampWhenNobodyReads) {
  const uint64_t stamp = Epoch::Stamp();
  const uint64_t passed = Epoch::Passed();
  EXPECT_GE(passed, stamp);
  EXPECT_LT(passed, Epoch::Stamp()) << "passed a stamp that was not given yet";
}

TEST(EpochTest, ReaderInsideHoldsBackWhatIsStampedAfterItBegan) {
  const uint64_t before = Epoch::Stamp();
  ThreadInside reader;
  const uint64_t after = Epoch::Stamp();
  const uint64_t later = Epoch::Stamp();
  EXPECT_GE(Epoch::Passed(), before);
  EXPECT_LT(Epoch::Passed(), after);
  reader.Leave();
  EXPECT_GE(Epoch::Passed(), later);
}

TEST(EpochTest, ReaderHoldsBackItsOwnThread) {
  std::optional<Epoch::Reader> reader(std::in_place);
  const uint64_t stamp = Epoch::Stamp();
  EXPECT_LT(Epoch::Passed(), stamp);
  reader.reset();
  EXPECT_GE(Epoch::Passed(), stamp);
}

TEST(EpochTest, ReaderThatBeganAfterAStampDoesNotHoldItBack) {
  for (int n = 0; n < 100; ++n) {
    const uint64_t stamp = Epoch::Stamp();
    const Epoch::Reader reader;
    ASSERT_GE(Epoch::Passed(), stamp);
  }
}

TEST(EpochTest, TheOldestReaderCountsInWhateverOrderTheyLeave) {
  constexpr int kReaders = 4;
  std::array<int, kReaders> order = {0, 1, 2, 3};
  do {
    std::array<std::unique_ptr<ThreadInside>, kReaders> readers;
    // stamps[i] is held back by readers up to i.
    std::array<uint64_t, kReaders> stamps;
    for (int i = 0; i < kReaders; ++i) {
      readers[i] = std::make_unique<ThreadInside>();
      stamps[i] = Epoch::Stamp();
    }
    for (const int leaving : order) {
      readers[leaving].reset();
      const uint64_t passed = Epoch::Passed();
      bool held_back = false;
      for (int i = 0; i < kReaders; ++i) {
        held_back = held_back || readers[i] != nullptr;
        ASSERT_EQ(passed < stamps[i], held_back) << "stamp " << i << " after " << leaving;
      }
    }
  } while (std::ranges::next_permutation(order).found);
}

TEST(EpochTest, GivesTheSlotsOfThreadsThatEndedToNewOnes) {
  std::set<uintptr_t> slots;
  for (int round = 0; round < 50; ++round) {
    std::array<ThreadInside, 4> inside;
    std::set<uintptr_t> now;
    for (const ThreadInside& reader : inside) now.insert(reader.slot());
    ASSERT_EQ(now.size(), inside.size()) << "two threads share a slot";
    slots.merge(now);
  }
  // Tests before this one may have left more free than four.
  EXPECT_LE(slots.size(), 12u);
  const uint64_t stamp = Epoch::Stamp();
  EXPECT_GE(Epoch::Passed(), stamp) << "a thread that ended holds it back";
}

TEST(EpochTest, ThreadKeepsItsSlot) {
  const auto slot = [] {
    const Epoch::Reader reader;
    uintptr_t number;
    std::memcpy(&number, &reader, sizeof(number));
    return number;
  };
  const uintptr_t first = slot();
  const ThreadInside another;
  EXPECT_NE(another.slot(), first);
  EXPECT_EQ(slot(), first);
}

// Cells that readers follow without a lock, and whose nodes are written over as soon as the epoch
// says that they can be. The nodes are plain memory, so that the thread sanitizer sees a node that
// is used again too early, also where this test does not.
class Cells {
 public:
  static constexpr int kCells = 4;

  Cells() {
    for (int i = 0; i < kNodes; ++i) free_.push_back(&nodes_[i]);
    for (std::atomic<Node*>& cell : cells_) cell.store(Fill());
  }

  // Writer only.
  void Replace(int cell) {
    Node* const old = cells_[cell].exchange(Fill(), std::memory_order_acq_rel);
    waiting_.push_back({old, Epoch::Stamp()});
    while (free_.empty()) Reclaim();
  }
  void Reclaim() {
    const uint64_t passed = Epoch::Passed();
    std::erase_if(waiting_, [&](const Waiting& waiting) {
      if (waiting.stamp > passed) return false;
      for (uint64_t& word : waiting.node->words) word = 0;
      free_.push_back(waiting.node);
      ++reclaimed_;
      return true;
    });
  }
  uint64_t reclaimed() const { return reclaimed_; }
  bool nothing_waits() const { return waiting_.empty(); }

  // Any thread. Whether what a reader saw stayed as it was for as long as it was inside.
  bool IsWhole(int cell) const {
    const Epoch::Reader reader;
    const Node* const node = cells_[cell].load(std::memory_order_acquire);
    const uint64_t first = node->words[0];
    bool whole = first != 0;
    for (int again = 0; again < 20; ++again) {
      for (const volatile uint64_t& word : node->words) whole = whole && word == first;
    }
    return whole;
  }

 private:
  static constexpr int kNodes = 16;
  struct Node {
    std::array<uint64_t, 8> words = {};
  };
  struct Waiting {
    Node* node;
    uint64_t stamp;
  };

  Node* Fill() {
    Node* const node = free_.back();
    free_.pop_back();
    ++last_;
    for (uint64_t& word : node->words) word = last_;
    return node;
  }

  std::array<Node, kNodes> nodes_;
  std::array<std::atomic<Node*>, kCells> cells_;
  std::vector<Node*> free_;
  std::vector<Waiting> waiting_;
  uint64_t last_ = 0;
  uint64_t reclaimed_ = 0;
};

TEST(EpochTest, NothingChangesUnderReadersThatComeAndGo) {
  constexpr int kReaders = 8;
  constexpr int kRounds = 20;
  constexpr int kReads = 2'000;
  Cells cells;
  std::atomic<uint64_t> torn{0};
  std::atomic<int> reading{kReaders};
  Threads readers(kReaders, [&](int i) {
    // A thread in a thread, so that slots change hands all the time.
    for (int round = 0; round < kRounds; ++round) {
      std::thread([&] {
        for (int n = 0; n < kReads; ++n) {
          if (!cells.IsWhole((i + n) % Cells::kCells)) ++torn;
        }
      }).join();
    }
    --reading;
  });
  for (int n = 0; reading.load() > 0; ++n) cells.Replace(n % Cells::kCells);
  readers.Join();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_GT(cells.reclaimed(), 0u);
  cells.Reclaim();
  EXPECT_TRUE(cells.nothing_waits());
}

}  // namespace
}  // namespace larder
