// Threads on one L1: readers that take no lock next to writers, eviction, expiry and a budget that
// moves. Every value says which key and version it belongs to and ends with a checksum, so that a
// torn, mixed or reused one is seen. Runs under the thread and address sanitizers like every test.

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>

#include "core/key.h"
#include "memory/l1.h"
#include "tests/base/threads.h"

namespace larder {
namespace {

constexpr int kThreads = 4;
#if defined(__SANITIZE_ADDRESS__) || defined(_GLIBCXX_TSAN)
constexpr int kSteps = 40'000;
#else
constexpr int kSteps = 200'000;
#endif

uint64_t Checksum(std::string_view bytes) {
  uint64_t sum = 1469598103934665603;
  for (const char byte : bytes) sum = (sum ^ static_cast<uint8_t>(byte)) * 1099511628211;
  return sum;
}

std::string ValueOf(const std::string& key, Version version, size_t size) {
  std::string value = key + "|" + std::to_string(version) + "|";
  value.resize(value.size() + size, static_cast<char>('a' + version % 26));
  const uint64_t sum = Checksum(value);
  value.append(reinterpret_cast<const char*>(&sum), sizeof(sum));
  return value;
}

bool IsWhole(std::string_view value, const std::string& key, Version version) {
  const std::string head = key + "|" + std::to_string(version) + "|";
  if (value.size() < head.size() + sizeof(uint64_t)) return false;
  uint64_t sum;
  std::memcpy(&sum, value.data() + value.size() - sizeof(sum), sizeof(sum));
  value.remove_suffix(sizeof(sum));
  return value.substr(0, head.size()) == head && Checksum(value) == sum;
}

struct Crowd {
  explicit Crowd(uint64_t budget) {
    L1::Options options;
    options.budget_bytes = budget;
    options.entry_bytes_max = 64 << 10;
    options.types.resize(2);
    options.types[1].share_max = 0.3;
    l1 = L1::New(options);
  }

  void Write(std::mt19937_64& random, const std::string& key) {
    const std::string full_key(FullKey("", key).view());
    const Version mine = ++version;
    const size_t size = random() % 20 == 0 ? random() % 30'000 : random() % 200;
    const std::string value = ValueOf(key, mine, size);
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = value;
    fields.version = mine;
    fields.type_id = static_cast<uint16_t>(random() % 3);
    const MonoNanos now = Clock::System()->Mono();
    fields.fresh_until = fields.usable_until = MonoAfter(now, absl::Milliseconds(random() % 500));
    if (random() % 10 == 0) fields.sliding = fields.fresh_until - now + 1;
    l1->Insert(fields, {}, now);
  }

  void Read(const std::string& key, Entry* entry) {
    MissReason why;
    if (!l1->Find(std::string(FullKey("", key).view()), Clock::System()->Mono(), entry, &why))
      return;
    ++hits;
    if (!IsWhole(entry->stored(), key, entry->version)) ++broken;
  }

  std::unique_ptr<L1> l1;
  std::atomic<Version> version{1};
  std::atomic<uint64_t> hits{0};
  std::atomic<uint64_t> broken{0};
};

class L1ThreadsTest : public testing::TestWithParam<uint64_t> {};

TEST_P(L1ThreadsTest, ReadersSeeWholeValuesWhileWritersEvict) {
  Crowd crowd(GetParam());
  Threads(kThreads, [&](int thread) {
    std::mt19937_64 random(static_cast<uint64_t>(thread));
    Entry entry;
    Entry held;
    for (int i = 0; i < kSteps; ++i) {
      // Few keys are busy, so that readers and writers meet on them.
      const uint64_t number = random() % (random() % 2 == 0 ? 20 : 20'000);
      const std::string key = "key:" + std::to_string(number);
      const uint64_t draw = random() % 100;
      if (draw < 60) {
        crowd.Read(key, &entry);
        if (draw == 0) held = entry;
      } else if (draw < 95) {
        crowd.Write(random, key);
      } else if (draw < 98) {
        crowd.l1->Erase(std::string(FullKey("", key).view()), ++crowd.version,
                        Clock::System()->Mono());
      } else {
        crowd.l1->Sweep(Clock::System()->Mono());
      }
      if (i % 2000 == 0) crowd.l1->SetBudget(GetParam() / (1 + random() % 3));
    }
  }).Join();
  EXPECT_EQ(crowd.broken, 0u);
  EXPECT_GT(crowd.hits, 0u);
  for (int i = 0; i < 10'000 && !crowd.l1->SetBudget(GetParam()); ++i) {
  }
  EXPECT_TRUE(crowd.l1->CheckInvariants());
}

INSTANTIATE_TEST_SUITE_P(Budgets, L1ThreadsTest, testing::Values(1 << 20, 8 << 20, 100 << 20));

TEST(L1ThreadsTest, AnAcknowledgedInsertIsSeenByEveryThreadAtOnce) {
  Crowd crowd(4 << 20);
  std::atomic<Version> acknowledged{0};
  std::atomic<bool> done{false};
  std::atomic<uint64_t> older{0};
  Threads(3, [&](int thread) {
    const std::string full_key(FullKey("", "one").view());
    Entry entry;
    MissReason why;
    if (thread == 0) {
      for (Version version = 1; version <= kSteps; ++version) {
        EntryFields fields;
        fields.full_key = full_key;
        fields.value = "value";
        fields.version = version;
        fields.fresh_until = fields.usable_until =
            MonoAfter(Clock::System()->Mono(), absl::Hours(1));
        crowd.l1->Insert(fields, {}, Clock::System()->Mono());
        acknowledged.store(version);
      }
      done = true;
      return;
    }
    while (!done) {
      const Version least = acknowledged.load();
      const bool hit = crowd.l1->Find(full_key, Clock::System()->Mono(), &entry, &why);
      if (least > 0 && (!hit || entry.version < least)) ++older;
    }
  }).Join();
  EXPECT_EQ(older, 0u);
}

}  // namespace
}  // namespace larder
