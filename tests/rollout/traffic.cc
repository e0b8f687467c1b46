// Calls a fleet through the C++ client until its stdin ends: reads, writes and loads from four
// threads. Prints `ready` when every key has been loaded once, `calls N` on the way, and at the end
// a line of JSON: how many calls, which failed, and how many loads ran although the fleet had the
// value.
//   rollout_traffic TARGETS [phases]
// With `phases` the cache is used for a part of the keys, another one from time to time: then a
// miss and a load are as good, and what is hit has to be right.

#include <array>
#include <atomic>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "larder/client.h"

namespace {

constexpr int kThreads = 4;
constexpr int kKeys = 40;
constexpr int kStep = 100;

struct Tally {
  std::atomic<uint64_t> calls{0};
  std::atomic<uint64_t> loads{0};
  std::mutex mutex;
  std::vector<std::string> failures;

  void Count(const absl::Status& status, const std::string& what) {
    const uint64_t now = ++calls;
    const std::lock_guard lock(mutex);
    if (!status.ok()) failures.push_back(absl::StrCat(what, ": ", status.ToString()));
    if (now % kStep == 0) std::cout << "calls " << now << std::endl;
  }
};

std::string KeyOf(int number) { return absl::StrCat("cpp:", number); }

void Load(larder::Client* client, const std::string& key, Tally* tally) {
  const absl::StatusOr<larder::LoadResult> found =
      client->GetOrLoad(key, [&](const larder::LoadCall&) -> absl::StatusOr<larder::Loaded> {
        ++tally->loads;
        larder::Loaded loaded;
        loaded.value = key;
        return loaded;
      });
  tally->Count(found.status(), "GetOrLoad " + key);
}

void Run(larder::Client* client, int thread, bool phases, const std::atomic<bool>* over,
         Tally* tally) {
  const std::string own = absl::StrCat("cpp:own:", thread);
  for (int i = 0; !*over; ++i) {
    if (i % 3 == 0) {
      Load(client, KeyOf((i + thread) % kKeys), tally);
    } else if (i % 3 == 1) {
      tally->Count(client->Set(own, absl::StrCat(i)).status(), "Set " + own);
    } else {
      const absl::StatusOr<larder::GetResult> got = client->Get(own);
      // What this thread wrote last, wherever it is read now.
      const bool right =
          got.ok() && (got->hit() ? got->entry->value == absl::StrCat(i - 1) : phases);
      tally->Count(got.ok() && !right ? absl::InternalError("not what was set") : got.status(),
                   "Get " + own);
    }
    absl::SleepFor(absl::Milliseconds(2));  // leaves the machine to the other programs
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) return 2;
  const bool phases = argc == 3;
  const larder::ClientOptions options(argv[1], absl::Seconds(20));
  const absl::StatusOr<std::unique_ptr<larder::Client>> client = larder::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  Tally tally;
  for (int i = 0; i < kKeys; ++i) Load(client->get(), KeyOf(i), &tally);
  std::cout << "ready" << std::endl;

  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back(Run, client->get(), i, phases, &over, &tally);
  std::string line;
  while (std::getline(std::cin, line)) continue;
  over = true;
  for (std::thread& thread : threads) thread.join();

  std::string failures;
  for (const std::string& one : tally.failures) {
    absl::StrAppend(&failures, failures.empty() ? "" : ",", "\"", absl::CHexEscape(one), "\"");
  }
  std::cout << "{\"calls\":" << tally.calls << ",\"bridged\":" << tally.loads - kKeys
            << ",\"failures\":[" << failures << "]}" << std::endl;
  return 0;
}
