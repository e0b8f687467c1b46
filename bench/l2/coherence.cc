// Replicas of one fleet, from outside, by the C++ client: how long the others go on serving an old
// value, and whether anybody ever does after an Invalidate that waited for the fleet.
//
//   larder_coherence_bench lag SECONDS ADDRESS ADDRESS...     changes on the first, read on the
//   others larder_coherence_bench fleet TRIES ADDRESS ADDRESS...
//
// lag: a thousand keys, each in the memory of every replica. Every millisecond one of them gets a
// larger number on the first replica, and a thread for each other replica reads it there until the
// new number shows. The time runs from the answer of the Set to the last arrival of an old value.
//
// fleet: Set on one replica, read on the others, Invalidate on one with `wait: FLEET`; if all have
// acknowledged, reads on all of them that begin after the answer must not give the old value.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
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
constexpr auto kGiveUp = std::chrono::seconds(10);

std::unique_ptr<Client> ClientOf(const std::string& address) {
  absl::StatusOr<std::unique_ptr<Client>> client =
      Connect(ClientOptions(address, absl::Seconds(20)));
  if (!client.ok()) Broken(client.status().ToString().c_str());
  return *std::move(client);
}

std::string Key(int number) { return "key:" + std::to_string(number); }

// What `client` serves under the key; -1 for a miss.
int64_t Read(Client* client, const std::string& key) {
  const absl::StatusOr<GetResult> got = client->Get(key);
  if (!got.ok()) return -1;
  return got->entry.has_value() ? std::stoll(got->entry->value) : -1;
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

// Reads on one replica until it shows each change.
class Reader {
 public:
  explicit Reader(const std::string& address) : client_(ClientOf(address)) {}

  void Warm() {
    for (int key = 0; key < kKeys; ++key) Read(client_.get(), Key(key));
  }
  void Begin() {
    thread_ = std::thread([this] { Run(); });
  }
  void Add(const Change& change) {
    {
      std::lock_guard lock(mu_);
      queue_.push_back(change);
    }
    more_.notify_one();
  }
  std::vector<double> End() {
    Add({-1, 0, Now()});
    thread_.join();
    return std::move(millis_);
  }

 private:
  void Run() {
    for (;;) {
      Change change;
      {
        std::unique_lock lock(mu_);
        more_.wait(lock, [this] { return !queue_.empty(); });
        change = queue_.front();
        queue_.pop_front();
      }
      if (change.key < 0) return;
      std::optional<Time> last_old;  // when an old value last arrived
      for (;;) {
        // A miss is no old value either.
        const int64_t seen = Read(client_.get(), Key(change.key));
        if (seen < 0 || seen >= change.number) break;
        last_old = Now();
        if (*last_old - change.done > kGiveUp) Broken("a replica never shows a change");
      }
      const double millis =
          last_old.has_value()
              ? std::chrono::duration<double, std::milli>(*last_old - change.done).count()
              : 0;
      millis_.push_back(std::max(millis, 0.0));
    }
  }

  std::unique_ptr<Client> client_;
  std::mutex mu_;
  std::condition_variable more_;
  std::deque<Change> queue_;
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
  Time next = began;
  int64_t number = 0;
  while (Now() - began < std::chrono::duration<double>(seconds)) {
    std::this_thread::sleep_until(next);
    next += kChangeEvery;
    const int key = static_cast<int>(++number % kKeys);
    Write(writer.get(), Key(key), number);
    const Change change{key, number, Now()};
    for (auto& reader : readers) reader->Add(change);
  }
  const double took = std::chrono::duration<double>(Now() - began).count();
  std::vector<double> millis;
  for (auto& reader : readers) {
    const std::vector<double> of_one = reader->End();
    millis.insert(millis.end(), of_one.begin(), of_one.end());
  }
  std::sort(millis.begin(), millis.end());
  Report("coherence_changes_per_second", static_cast<double>(number) / took, "changes/s");
  Report("coherence_median", Percentile(millis, 0.5), "ms");
  Report("coherence_p99", Percentile(millis, 0.99), "ms");
  Report("coherence_max", millis.back(), "ms");
}

void MeasureFleet(int64_t tries, const std::vector<std::string>& addresses) {
  // So many keys side by side, each with a thread of its own.
  constexpr int kThreads = 8;
  std::atomic<int64_t> acknowledged{0}, stale{0}, failed{0};
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
        if (!gone.ok() || gone->replicas_acknowledged < gone->replicas_total) {
          ++failed;
          continue;
        }
        ++acknowledged;
        for (auto& client : clients) stale += Read(client.get(), key) >= 0 ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Report("fleet_invalidations", static_cast<double>(acknowledged.load()), "acknowledged by all");
  Report("fleet_not_acknowledged", static_cast<double>(failed.load()), "tries");
  Report("fleet_stale_reads", static_cast<double>(stale.load()), "reads");
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
