// rocks_writer PATH VERSION opens the RocksDB tier at PATH, puts and erases a few hundred keys at
// random with versions from VERSION on, several at a time, and writes each acknowledged change to
// standard output, until it is killed.

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/executor.h"
#include "core/key.h"
#include "tests/tier/writer/acknowledged_change.h"
#include "tier/envelope.h"
#include "tier/rocksdb_tier.h"

namespace larder {
namespace {

constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

template <typename T>
void Acknowledge(const AcknowledgedChange& change, const absl::StatusOr<T>& changes) {
  if (!changes.ok()) _exit(4);
  // Of its size, a write to a pipe is one piece.
  if (changes->front().outcome == TierChange::Outcome::kDone &&
      write(STDOUT_FILENO, &change, sizeof(change)) != sizeof(change))
    _exit(5);
}

int Run(const std::string& path, Version version) {
  const auto executor = ThreadPool::New({.threads = 1});
  ManualClock clock;
  RocksTierOptions options;
  options.path = path;
  options.max_bytes = 64 << 20;
  options.memory_bytes = 8 << 20;
  options.sweep_period = absl::Milliseconds(50);
  options.executor = executor.get();
  options.clock = &clock;
  const auto tier = NewRocksTier(options);
  if (!tier.ok()) return 3;
  std::mt19937 random(static_cast<unsigned>(version));
  std::atomic<int> under_way{0};
  for (;; ++version) {
    while (under_way >= 8) std::this_thread::yield();
    ++under_way;
    AcknowledgedChange change{version, static_cast<int32_t>(random() % 200), random() % 4 == 0};
    const std::string full_key(FullKey("shop", absl::StrCat("k", change.key)).view());
    const auto done = [change, &under_way](absl::StatusOr<std::vector<TierChange>> changes) {
      Acknowledge(change, changes);
      --under_way;
    };
    if (change.erased != 0) {
      Spawn((*tier)->Erase({{full_key, version}}, kNever), done);
      continue;
    }
    const std::string value = absl::StrCat("v", version, "/", std::string(random() % 3000, 'x'));
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = value;
    fields.version = version;
    fields.fresh_until = fields.usable_until = kNever;
    std::vector<TierPut> puts(1);
    puts[0] = {full_key, version, kNever, EncodeEnvelope(fields, "user", clock), {}};
    Spawn((*tier)->Put(std::move(puts), kNever), done);
  }
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s PATH VERSION\n", argv[0]);
    return 2;
  }
  return larder::Run(argv[1], std::strtoull(argv[2], nullptr, 10));
}
