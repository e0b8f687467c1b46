// larder_warm_bench measures what a restart costs: a million entries in the embedded tier, memory
// for about half of them, reads by Zipf 0.99. Run by bench/l2/run.
//
//   larder_warm_bench run | warm | cold  PATH
//
// `run` is the process before: it writes the entries, reads until memory has settled, tells the
// part of the reads that memory answered, and ends in order. `warm` and `cold` are the process
// after, with and without the hot list. Its time runs from its first line; when it is ready, reads
// begin on one thread, and those that memory does not answer go to the tier, as calls do. Told are
// the hit ratio of the first half second of reads, and of the half second that ends ten seconds
// after the start.
//
// Exits 0 when it has measured, 1 when it cannot, 2 on a usage error.

#include "engine/warm.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/data_dir.h"
#include "base/executor.h"
#include "base/task.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "bench/zipf.h"
#include "engine/engine.h"
#include "tier/rocksdb_tier.h"

namespace larder::bench {
namespace {

constexpr uint64_t kKeys = 1'000'000;
constexpr size_t kEntryBytes = 200;
constexpr uint64_t kMemoryBytes = 128 << 20;
constexpr int kSettlingReads = 4'000'000;
constexpr int kReads = 1'000'000;
constexpr double kWindowSeconds = 0.5;
constexpr double kEndSeconds = 10;
constexpr size_t kWriteBatch = 1000;

template <typename T>
T Await(Task<T> task) {
  auto result = std::make_shared<std::promise<T>>();
  std::future<T> future = result->get_future();
  Spawn(std::move(task), [result](T value) { result->set_value(std::move(value)); });
  return future.get();
}

class Process {
 public:
  Process(const std::string& path, bool warm) : executor_(ThreadPool::New({.threads = 2})) {
    auto data_dir = DataDir::Open(path);
    if (!data_dir.ok()) Broken(data_dir.status().ToString().c_str());
    data_dir_ = *std::move(data_dir);
    RocksTierOptions rocks;
    rocks.path = path + "/l2";
    rocks.max_bytes = uint64_t{2} << 30;
    rocks.executor = executor_.get();
    auto tier = NewRocksTier(rocks);
    if (!tier.ok()) Broken(tier.status().ToString().c_str());
    tier_ = *std::move(tier);
    Engine::Options options;
    options.executor = executor_.get();
    options.types = *TypeTable::Make({});
    options.memory_bytes = kMemoryBytes;
    options.tier = tier_.get();
    engine_ = std::make_unique<Engine>(options);
    engine_->Start();
    Warmer::Options warmer;
    if (warm) warmer.engine = engine_.get();
    warmer.data_dir = data_dir_.get();
    warmer.executor = executor_.get();
    warmer_ = std::make_unique<Warmer>(warmer);
    warmer_->Start();
    warmer_->WaitUntilReady();
  }
  ~Process() {
    warmer_->Stop();
    executor_->Shutdown();
  }

  WarmStats WarmingStats() const { return warmer_->Stats(); }

  void WriteAll() {
    // No codec makes it smaller.
    std::string value;
    while (value.size() < kEntryBytes) value.push_back(static_cast<char>(random_.Next()));
    for (uint64_t first = 0; first < kKeys; first += kWriteBatch) {
      std::vector<char> keys(kWriteBatch * kKeyBytes);
      std::vector<WriteRequest> writes(kWriteBatch);
      for (size_t i = 0; i < kWriteBatch; ++i) {
        WriteKey(first + i, &keys[i * kKeyBytes]);
        writes[i].key.key = {&keys[i * kKeyBytes], kKeyBytes};
        writes[i].value = value;
        writes[i].ttl = absl::Hours(1);
      }
      for (const auto& written : Await(engine_->BatchSet(std::move(writes))))
        if (!written.ok()) Broken(written.status().ToString().c_str());
    }
  }

  // One read as a lane makes it. True when memory answered.
  bool Read() {
    char key[kKeyBytes];
    WriteKey(Mixed64(zipf_.Next(random_)) % kKeys, key);
    const std::string_view name(key, kKeyBytes);
    if (engine_->FindHit(FullKey("", name), Clock::System()->Mono(), true, &entry_)) return true;
    const auto read = Await(engine_->Get({"", name, ""}, true, /*again=*/true));
    if (!read.ok() || !read->entry.has_value()) Broken("an entry is missing in the tier");
    return false;
  }
  double HitRatio(int reads) {
    int hits = 0;
    for (int i = 0; i < reads; ++i) hits += Read();
    return static_cast<double>(hits) / reads;
  }
  double HitRatioUntil(double wall_seconds) {
    uint64_t reads = 0;
    uint64_t hits = 0;
    while (WallSeconds() < wall_seconds) {
      hits += Read();
      ++reads;
    }
    return static_cast<double>(hits) / static_cast<double>(std::max<uint64_t>(reads, 1));
  }

 private:
  const std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<DataDir> data_dir_;
  std::unique_ptr<Tier> tier_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Warmer> warmer_;
  const Zipf zipf_{kKeys, kSkew};
  QuickRandom random_{static_cast<uint64_t>(Clock::System()->Mono())};
  Entry entry_;
};

void Run(const std::string& path) {
  Process process(path, /*warm=*/true);
  process.WriteAll();
  process.HitRatio(kSettlingReads);
  Report("hit_ratio", process.HitRatio(kReads), "");
}

void Restart(const std::string& path, bool warm, double begun) {
  Process process(path, warm);
  const double ready = WallSeconds();
  Report("ready", ready - begun, "s");
  Report("fetched", static_cast<double>(process.WarmingStats().loaded), "entries");
  Report("hit_ratio_at_once", process.HitRatioUntil(ready + kWindowSeconds), "");
  process.HitRatioUntil(begun + kEndSeconds - kWindowSeconds);
  Report("hit_ratio_at_10s", process.HitRatioUntil(begun + kEndSeconds), "");
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  using namespace larder::bench;  // NOLINT: a program of one function
  const double begun = WallSeconds();
  const std::string_view mode = argc == 3 ? argv[1] : "";
  if (mode == "run") {
    Run(argv[2]);
  } else if (mode == "warm" || mode == "cold") {
    Restart(argv[2], mode == "warm", begun);
  } else {
    std::fprintf(stderr, "usage: %s run | warm | cold  PATH\n", argv[0]);
    return 2;
  }
  return 0;
}
