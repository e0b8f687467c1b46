// Replicas of one fleet, from outside, by the C++ client: how long the others go on serving an old
// value, and whether anybody ever does after an Invalidate that waited for the fleet.
//
//   larder_coherence_bench lag SECONDS ADDRESS ADDRESS...
//   larder_coherence_bench fleet TRIES ADDRESS ADDRESS...
//
// lag: a thousand keys, each in the memory of every replica. Every millisecond one of them gets a
// larger number on the first replica; of every tenth a thread for each other replica reads it there
// until the old number is gone. The time runs from the answer of the Set to the first arrival of an
// answer that is not old: never less than the replica took, and more by the reader's own lateness.
// Changes that a reader is too far behind to look at are missed, and counted.
//
// fleet: Set on one replica, read on the others, Invalidate on one with `wait: FLEET`; if all have
// acknowledged, the one that was asked included, reads on all of them that begin after the answer
// must not give the old value.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bench/report.h"
#include "larder/client.h"

namespace larder::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;
Time Now() { return std::chrono::steady_clock::now(); }

constexpr int kKeys = 1'000;
constexpr auto kChangeEvery = std::chrono::milliseconds(1);
constexpr int kWriters = 4;
// Readers look at every tenth change: all of them, each until it is seen, would be more work than
// that of the servers, on the same two cores, and measure how readers queue.
constexpr int64_t kLookedAt = 10;
constexpr auto kGiveUp = std::chrono::seconds(10);
// Changes that wait for one reader. A key changes again after kKeys changes.
constexpr size_t kBacklogMax = kKeys / kLookedAt / 2;

std::unique_ptr<Client> ClientOf(const std::string& address) {
  absl::StatusOr<std::unique_ptr<Client>> client =
      Connect(ClientOptions(address, absl::Seconds(20)));
  if (!client.ok()) Broken(client.status().ToString().c_str());
  return *std::move(client);
}

std::string Key(int number) { return "key:" + std::to_string(number); }

constexpr int64_t kMiss = -1;
constexpr int64_t kFailed = -2;

// What `client` serves under the key; kMiss or kFailed without a value.
int64_t Read(Client* client, const std::string& key) {
  const absl::StatusOr<GetResult> got = client->Get(key);
  if (!got.ok()) return kFailed;
  return got->entry.has_value() ? std::stoll(got->entry->value) : kMiss;
}

void Write(Client* client, const std::string& key, int64_t number) {
  const absl::StatusOr<SetResult> set = client->Set(key, std::to_string(number));
  if (!set.ok()) Broken(set.status().ToString().c_str());
}

struct Change {
  int key;
  int64_t number;
  Time done;
};

// Reads on one replica until the value before each change is gone.
class Reader {
 public:
  explicit Reader(const std::string& address) : client_(ClientOf(address)) {}

  void Warm() {
    const Time began = Now();
    for (int key = 0; key < kKeys; ++key) {
      while (Read(client_.get(), Key(key)) < 0) {
        if (Now() - began > kGiveUp) Broken("a replica does not get what it is to forget");
      }
    }
  }
  void Begin() {
    thread_ = std::thread([this] { Run(); });
  }
  void Add(const Change& change) {
    {
      std::lock_guard lock(mu_);
      if (queue_.size() >= kBacklogMax) {
        ++missed_;
        return;
      }
      queue_.push_back(change);
      backlog_ = std::max(backlog_, queue_.size());
    }
    more_.notify_one();
  }
  // Looks at what still waits.
  void End() {
    {
      std::lock_guard lock(mu_);
      ended_ = true;
    }
    more_.notify_one();
    thread_.join();
  }

  // After End: a time for each change that was looked at; how many were not; the most that waited.
  const std::vector<double>& millis() const { return millis_; }
  int64_t missed() const { return missed_; }
  size_t backlog() const { return backlog_; }

 private:
  void Run() {
    for (;;) {
      Change change;
      {
        std::unique_lock lock(mu_);
        more_.wait(lock, [this] { return ended_ || !queue_.empty(); });
        if (queue_.empty()) return;
        change = queue_.front();
        queue_.pop_front();
      }
      // Until it has a copy again, for the key's next change.
      for (bool gone = false;;) {
        const int64_t seen = Read(client_.get(), Key(change.key));
        const auto since = Now() - change.done;
        // A miss is no old value either; a failure tells nothing.
        if (!gone && (seen == kMiss || seen >= change.number)) {
          gone = true;
          millis_.push_back(std::chrono::duration<double, std::milli>(since).count());
        }
        if (seen >= change.number) break;
        if (since > kGiveUp) Broken("a replica never shows a change");
      }
    }
  }

  std::unique_ptr<Client> client_;
  std::mutex mu_;
  std::condition_variable more_;
  std::deque<Change> queue_;
  size_t backlog_ = 0;
  int64_t missed_ = 0;
  bool ended_ = false;
  std::vector<double> millis_;
  std::thread thread_;
};

double Percentile(std::vector<double>& sorted, double part) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(part * static_cast<double>(sorted.size())))];
}

void MeasureLag(double seconds, const std::vector<std::string>& addresses) {
  const std::unique_ptr<Client> writer = ClientOf(addresses[0]);
  std::vector<std::unique_ptr<Reader>> readers;
  for (int key = 0; key < kKeys; ++key) Write(writer.get(), Key(key), 0);
  for (size_t i = 1; i < addresses.size(); ++i) {
    readers.push_back(std::make_unique<Reader>(addresses[i]));
    readers.back()->Warm();
  }
  for (auto& reader : readers) reader->Begin();
  const Time began = Now();
  // Each writes its share of the numbers, at their times; a call that takes long delays no other.
  std::vector<std::thread> writers;
  std::atomic<int64_t> number{0};
  for (int writer_number = 0; writer_number < kWriters; ++writer_number) {
    writers.emplace_back([&, writer_number] {
      const std::unique_ptr<Client> own = ClientOf(addresses[0]);
      for (int64_t at = writer_number + 1;; at += kWriters) {
        const Time due = began + at * kChangeEvery;
        if (due - began >= std::chrono::duration<double>(seconds)) return;
        std::this_thread::sleep_until(due);
        const int key = static_cast<int>(at % kKeys);
        Write(own.get(), Key(key), at);
        ++number;
        const Change change{key, at, Now()};
        if (at % kLookedAt != 0) continue;
        for (auto& reader : readers) reader->Add(change);
      }
    });
  }
  for (std::thread& thread : writers) thread.join();
  const double took = std::chrono::duration<double>(Now() - began).count();
  std::vector<double> millis;
  int64_t missed = 0;
  size_t backlog = 0;
  for (auto& reader : readers) {
    reader->End();
    millis.insert(millis.end(), reader->millis().begin(), reader->millis().end());
    missed += reader->missed();
    backlog = std::max(backlog, reader->backlog());
  }
  std::sort(millis.begin(), millis.end());
  Report("coherence_changes_per_second", static_cast<double>(number.load()) / took, "changes/s");
  Report("coherence_median", Percentile(millis, 0.5), "ms");
  Report("coherence_p99", Percentile(millis, 0.99), "ms");
  Report("coherence_max", millis.back(), "ms");
  Report("coherence_missed", static_cast<double>(missed),
         "changes that a reader came too late for");
  Report("coherence_backlog", static_cast<double>(backlog), "changes that waited for one reader");
}

void MeasureFleet(int64_t tries, const std::vector<std::string>& addresses) {
  // So many keys side by side, each with a thread of its own.
  constexpr int kThreads = 8;
  std::atomic<int64_t> acknowledged{0}, stale{0}, failed{0}, unread{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::unique_ptr<Client>> clients;
      for (const std::string& address : addresses) clients.push_back(ClientOf(address));
      const std::string key = Key(t);
      for (int64_t i = 0; i < tries / kThreads; ++i) {
        Client* const one = clients[static_cast<size_t>(i) % clients.size()].get();
        Client* const other = clients[static_cast<size_t>(i + 1) % clients.size()].get();
        if (!one->Set(key, std::to_string(i)).ok()) {
          ++failed;
          continue;
        }
        for (auto& client : clients) Read(client.get(), key);
        const absl::StatusOr<InvalidateResult> gone =
            other->Invalidate({key}, {.fleet = true, .wait = absl::Seconds(5)});
        // A replica that the others take for gone has acknowledged nothing. And where the answer
        // names more replicas than have acknowledged, it does not say that nothing old is left.
        if (!gone.ok() || gone->replicas_acknowledged < addresses.size() ||
            gone->replicas_acknowledged < gone->replicas_total) {
          ++failed;
          continue;
        }
        ++acknowledged;
        for (auto& client : clients) {
          const int64_t seen = Read(client.get(), key);
          stale += seen >= 0 ? 1 : 0;
          unread += seen == kFailed ? 1 : 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Report("fleet_invalidations", static_cast<double>(acknowledged.load()), "acknowledged by all");
  Report("fleet_not_acknowledged", static_cast<double>(failed.load()), "tries");
  Report("fleet_stale_reads", static_cast<double>(stale.load()), "reads");
  Report("fleet_failed_reads", static_cast<double>(unread.load()), "reads");
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s lag SECONDS | fleet TRIES, then two addresses or more\n",
                 argv[0]);
    return 2;
  }
  const std::vector<std::string> addresses(argv + 3, argv + argc);
  const std::string mode = argv[1];
  if (mode == "lag") {
    larder::bench::MeasureLag(std::stod(argv[2]), addresses);
  } else if (mode == "fleet") {
    larder::bench::MeasureFleet(std::stoll(argv[2]), addresses);
  } else {
    return 2;
  }
  return 0;
}
