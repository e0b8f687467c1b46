// Encoding, decoding, training and retiring at the same time.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>

#include "policy/codec.h"
#include "policy/compressor.h"
#include "tests/base/threads.h"
#include "tests/policy/values.h"

namespace larder {
namespace {

constexpr int kWorkers = 4;
constexpr uint16_t kTypes = 2;
// The run ends when so much has happened.
constexpr uint64_t kTrainings = 3 * kTypes;
constexpr size_t kRetired = 2;
constexpr int kStepsMax = 1'000'000;
// Entries that a worker keeps.
constexpr size_t kKept = 300;

// What a worker keeps, as L1 would.
struct Kept {
  Compressor::Encoded encoded;
  std::string plain;
  uint16_t type;
};

struct Shared {
  std::unique_ptr<Compressor> compressor;
  ManualClock clock;
  std::vector<std::atomic<uint64_t>> entries =
      std::vector<std::atomic<uint64_t>>(1 << 16);  // by encoding
  std::array<std::atomic<uint64_t>, kTypes> trainings = {};
  std::atomic<bool> done{false};
  // Steps of each worker that are over.
  std::array<std::atomic<int>, kWorkers> steps = {};
};

void Work(int number, Shared* shared) {
  Generator generator(number);
  std::deque<Kept> kept;
  std::string out;
  for (int step = 0; step < kStepsMax && !shared->done.load(); ++step) {
    shared->steps[number].store(step);
    const auto type = static_cast<uint16_t>(generator() % kTypes);
    // Values are of another kind after each training, so that there is a next one.
    const std::string family = absl::StrCat("family_", type, "_", shared->trainings[type].load());
    std::string plain = Record(family, &generator);
    Compressor::Encoded encoded = shared->compressor->Encode(type, plain);
    if (encoded.encoding == kPlain) continue;
    shared->entries[encoded.encoding].fetch_add(1);
    kept.push_back({std::move(encoded), std::move(plain), type});
    if (kept.size() > kKept) {
      shared->entries[kept.front().encoded.encoding].fetch_sub(1);
      kept.pop_front();
    }
    const Kept& looked_at = kept[generator() % kept.size()];
    const absl::Status status =
        shared->compressor->Decode(looked_at.type, looked_at.encoded.encoding,
                                   looked_at.encoded.bytes, looked_at.plain.size(), &out);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(out, looked_at.plain);
  }
}

// Trains and retires until enough of both has happened. A tenth of a second passes only when every
// worker has made a step: what a worker has encoded is not counted before the end of its step, and
// a dictionary may go when it is not counted and nothing has used it for a second.
void Maintain(Shared* shared) {
  std::array<int, kWorkers> seen = {};
  size_t retired = 0;
  uint64_t trainings = 0;
  const auto all_moved = [&] {
    for (int i = 0; i < kWorkers; ++i) {
      if (shared->steps[i].load() == seen[i]) return false;
    }
    for (int i = 0; i < kWorkers; ++i) seen[i] = shared->steps[i].load();
    return true;
  };
  while ((trainings < kTrainings || retired < kRetired) && !shared->done.load()) {
    shared->compressor->TrainingStep();
    retired += shared->compressor->Retire(
        [shared](Encoding encoding) { return shared->entries[encoding].load(); });
    const std::vector<CompressionStats> stats = shared->compressor->Stats();
    trainings = 0;
    for (uint16_t type = 0; type < kTypes; ++type) {
      shared->trainings[type].store(stats[type].trainings);
      trainings += stats[type].trainings;
    }
    if (all_moved()) shared->clock.Advance(absl::Milliseconds(100));
  }
  shared->done.store(true);
  EXPECT_GE(trainings, kTrainings);
  EXPECT_GE(retired, kRetired);
}

TEST(CompressorThreadsTest, ValuesComeBackWhileDictionariesComeAndGo) {
  Shared shared;
  Compressor::Options options;
  options.types.assign(kTypes, {});
  options.sample_bytes_per_type = 100 << 10;
  options.dictionary_bytes_max = 4 << 10;
  options.retrain_after = absl::Seconds(1);
  options.retire_after = absl::Seconds(1);
  options.clock = &shared.clock;
  shared.compressor = Compressor::New(options);
  Threads(kWorkers + 1, [&](int number) {
    if (number == kWorkers) {
      Maintain(&shared);
    } else {
      Work(number, &shared);
      // A worker that came to its end without being told to holds time still.
      shared.done.store(true);
    }
  }).Join();
  for (const CompressionStats& stats : shared.compressor->Stats()) {
    EXPECT_EQ(stats.decodes_failed, 0u);
  }
}

}  // namespace
}  // namespace larder
