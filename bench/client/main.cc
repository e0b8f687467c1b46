// The C++ client against real larderds: hits of its near cache, how soon it sees changes, how old
// its reads become when its stream is cut, and what gathering Gets brings.
//
//   larder_client_bench hits ADDRESS
//   larder_client_bench batch ADDRESS SECONDS WINDOW_MICROS
//   larder_client_bench lag WRITER READER SECONDS
//   larder_client_bench cut WRITER READER SILENCE_MS
//
// hits: 1,000 copies with values of 100 bytes, looked up in a random order by one thread; by Find,
// which hands out the copy, and by Get, which makes a result of it. The best of some rounds. Then
// the same with 10,000, which no longer fit a core's own caches: that measures the machine's
// memory.
//
// batch: 64 threads that get one key after the other, by a client that gathers and one that does
// not, in turns.
//
// lag: a thousand keys in the near cache of a client of READER. Every millisecond one of them gets
// a larger number on WRITER, and a thread looks at the near cache until the old number is gone. The
// time runs from the answer of the Set. Changes that it is too far behind to look at are counted.
//
// cut: the near cache is filled and says `ready` on standard output; whoever runs this then cuts
// READER off and writes a line. From then on all keys change on WRITER all the time, and the near
// cache is read until it has nothing old to serve any more, which is not to take long. Told is how
// old, since the answer of the Set that made it untrue, the oldest read was.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bench/report.h"
#include "bench/zipf.h"
#include "larder/near_cache.h"

namespace larder::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;
Time Now() { return std::chrono::steady_clock::now(); }
double SecondsSince(Time start) { return std::chrono::duration<double>(Now() - start).count(); }

constexpr int kKeys = 1'000;
constexpr auto kGiveUp = std::chrono::seconds(10);

std::unique_ptr<Client> ClientOf(const std::string& address, absl::Duration window = {}) {
  ClientOptions options(address, absl::Seconds(20));
  options.batch.window = window;
  options.batch.keys_max = 64;
  absl::StatusOr<std::unique_ptr<Client>> client = Connect(options);
  if (!client.ok()) Broken(client.status().ToString().c_str());
  return *std::move(client);
}

std::unique_ptr<NearClient> NearOf(const std::string& address, NearCacheOptions options = {}) {
  absl::StatusOr<std::unique_ptr<NearClient>> client = NewNearClient(ClientOf(address), options);
  if (!client.ok()) Broken(client.status().ToString().c_str());
  if (!(*client)->AwaitLive(absl::Seconds(20))) Broken("no stream of changes comes up");
  return *std::move(client);
}

std::string Key(int number) { return "key:" + std::to_string(number); }

void Write(Client* client, int key, const std::string& value) {
  const absl::StatusOr<SetResult> set = client->Set(Key(key), value);
  if (!set.ok()) Broken(set.status().ToString().c_str());
}

// Reads the key until the near cache holds it.
void Keep(NearClient* near, int key) {
  const Time began = Now();
  while (!near->Find(Key(key))) {
    if (Now() - began > kGiveUp) Broken("the near cache does not keep a key");
    near->Get(Key(key)).IgnoreError();
  }
}

void MeasureHits(const std::string& address, int copies, const std::string& suffix) {
  constexpr int kLookups = 2'000'000;
  constexpr int kRounds = 5;
  const std::unique_ptr<NearClient> near = NearOf(address);
  std::vector<std::string> keys;
  for (int i = 0; i < copies; ++i) {
    Write(near.get(), i, std::string(100, 'v'));
    Keep(near.get(), i);
    keys.push_back(Key(i));
  }
  QuickRandom random(1);
  std::vector<uint32_t> order(1 << 16);
  for (uint32_t& next : order) next = random.Below(static_cast<uint32_t>(copies));
  double find_best = 0;
  double get_best = 0;
  for (int round = 0; round < kRounds; ++round) {
    size_t bytes = 0;
    Time began = Now();
    for (int i = 0; i < kLookups; ++i) {
      const NearValue found = near->Find(keys[order[static_cast<size_t>(i) & 0xFFFF]]);
      if (!found) Broken("a copy is gone");
      bytes += found.value().size();
    }
    find_best = std::max(find_best, kLookups / SecondsSince(began));
    began = Now();
    for (int i = 0; i < kLookups; ++i) {
      const absl::StatusOr<GetResult> found =
          near->Get(keys[order[static_cast<size_t>(i) & 0xFFFF]]);
      if (!found.ok() || !found->hit()) Broken("a copy is gone");
      bytes += found->entry->value.size();
    }
    get_best = std::max(get_best, kLookups / SecondsSince(began));
    if (bytes != size_t{200} * kLookups) Broken("values are not what was stored");
  }
  Report(("near_find_hits" + suffix).c_str(), find_best, "hits/s");
  Report(("near_get_hits" + suffix).c_str(), get_best, "hits/s");
}

double GetsASecond(Client* client, double seconds) {
  constexpr int kCallers = 64;
  std::atomic<bool> stop{false};
  std::atomic<int64_t> gets{0};
  std::vector<std::thread> callers;
  const Time began = Now();
  for (int t = 0; t < kCallers; ++t) {
    callers.emplace_back([&, t] {
      int64_t mine = 0;
      for (int i = t; !stop.load(std::memory_order_relaxed); ++i, ++mine) {
        const absl::StatusOr<GetResult> got = client->Get(Key(i % kKeys));
        if (!got.ok()) Broken(got.status().ToString().c_str());
        if (!got->hit()) Broken("a key is missing");
      }
      gets += mine;
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (std::thread& caller : callers) caller.join();
  return static_cast<double>(gets.load()) / SecondsSince(began);
}

void MeasureBatch(const std::string& address, double seconds, int window_micros) {
  constexpr int kTurns = 5;
  const std::unique_ptr<Client> plain = ClientOf(address);
  const std::unique_ptr<Client> gathering = ClientOf(address, absl::Microseconds(window_micros));
  for (int key = 0; key < kKeys; ++key) Write(plain.get(), key, std::string(100, 'v'));
  std::vector<double> of_plain, of_gathering;
  for (int turn = 0; turn < kTurns; ++turn) {
    of_plain.push_back(GetsASecond(plain.get(), seconds / (2 * kTurns)));
    of_gathering.push_back(GetsASecond(gathering.get(), seconds / (2 * kTurns)));
  }
  Report("batch_plain", Median(of_plain), "gets/s");
  Report("batch_gathered", Median(of_gathering), "gets/s");
  Report("batch_ratio", MedianRatio(of_gathering, of_plain), "of plain");
}

struct Change {
  int key;
  int64_t number;
  Time done;
};

// Looks at the near cache until the value before each change is gone.
class Looker {
 public:
  explicit Looker(NearClient* near) : near_(near), thread_([this] { Run(); }) {}

  void Add(const Change& change) {
    {
      std::lock_guard lock(mu_);
      if (queue_.size() >= kKeys / 2) {
        ++missed_;
        return;
      }
      queue_.push_back(change);
    }
    more_.notify_one();
  }
  void End() {
    {
      std::lock_guard lock(mu_);
      ended_ = true;
    }
    more_.notify_one();
    thread_.join();
  }
  // After End.
  std::vector<double>& millis() { return millis_; }
  int64_t missed() const { return missed_; }

 private:
  void Run() {
    std::vector<Change> open;
    for (;;) {
      {
        std::unique_lock lock(mu_);
        if (open.empty()) more_.wait(lock, [this] { return ended_ || !queue_.empty(); });
        if (open.empty() && queue_.empty()) return;
        open.insert(open.end(), queue_.begin(), queue_.end());
        queue_.clear();
      }
      for (size_t i = 0; i < open.size();) {
        const Change change = open[i];
        const NearValue found = near_->Find(Key(change.key));
        if (found && std::stoll(std::string(found.value())) < change.number) {
          if (Now() - change.done > kGiveUp) Broken("the near cache never hears of a change");
          ++i;
          continue;
        }
        millis_.push_back(SecondsSince(change.done) * 1e3);
        // A copy again, for the key's next change; the replica may still have the old number.
        near_->GetAsync(Key(change.key), {}, [](const absl::StatusOr<GetResult>&) {});
        open[i] = open.back();
        open.pop_back();
      }
      std::this_thread::yield();
    }
  }

  NearClient* const near_;
  std::mutex mu_;
  std::condition_variable more_;
  std::deque<Change> queue_;
  int64_t missed_ = 0;
  bool ended_ = false;
  std::vector<double> millis_;
  std::thread thread_;
};

void MeasureLag(const std::string& writer_address, const std::string& reader_address,
                double seconds) {
  const std::unique_ptr<Client> writer = ClientOf(writer_address);
  for (int key = 0; key < kKeys; ++key) Write(writer.get(), key, "0");
  const std::unique_ptr<NearClient> near = NearOf(reader_address);
  for (int key = 0; key < kKeys; ++key) Keep(near.get(), key);
  Looker looker(near.get());
  const Time began = Now();
  Time next = began;
  int64_t number = 0;
  while (SecondsSince(began) < seconds) {
    std::this_thread::sleep_until(next);
    next += std::chrono::milliseconds(1);
    const int key = static_cast<int>(++number % kKeys);
    Write(writer.get(), key, std::to_string(number));
    looker.Add({key, number, Now()});
  }
  const double took = SecondsSince(began);
  looker.End();
  std::vector<double>& millis = looker.millis();
  std::sort(millis.begin(), millis.end());
  const auto percentile = [&millis](double part) {
    return millis[std::min(millis.size() - 1,
                           static_cast<size_t>(part * static_cast<double>(millis.size())))];
  };
  const NearStats stats = near->Near();
  Report("lag_changes_per_second", static_cast<double>(number) / took, "changes/s");
  Report("lag_median", percentile(0.5), "ms");
  Report("lag_p99", percentile(0.99), "ms");
  Report("lag_max", millis.back(), "ms");
  Report("lag_missed", static_cast<double>(looker.missed()),
         "changes that were looked at too late");
  Report("lag_dropped_copies", static_cast<double>(stats.invalidated), "copies");
  Report("lag_streams_lost", static_cast<double>(stats.streams_lost), "streams");
}

void MeasureCut(const std::string& writer_address, const std::string& reader_address,
                int silence_ms) {
  const std::unique_ptr<Client> writer = ClientOf(writer_address);
  for (int key = 0; key < kKeys; ++key) Write(writer.get(), key, "0");
  NearCacheOptions options;
  options.silence_max = absl::Milliseconds(silence_ms);
  const std::unique_ptr<NearClient> near = NearOf(reader_address, options);
  for (int key = 0; key < kKeys; ++key) Keep(near.get(), key);
  std::printf("ready\n");
  std::fflush(stdout);
  std::string line;
  std::getline(std::cin, line);
  // When each key's first change was answered; 0 = not yet.
  std::vector<std::atomic<int64_t>> changed(kKeys);
  std::thread change([&] {
    for (int key = 0; key < kKeys; ++key) {
      Write(writer.get(), key, "1");
      changed[static_cast<size_t>(key)] = Now().time_since_epoch().count();
    }
  });
  double oldest_ms = 0;
  int64_t old_reads = 0;
  const Time began = Now();
  Time last_copy = began;
  while (Now() - last_copy < std::chrono::milliseconds(2 * silence_ms)) {
    for (int key = 0; key < kKeys; ++key) {
      // Taken before the read: what changes during it may be read either way.
      const int64_t since = changed[static_cast<size_t>(key)];
      const Time asked = Now();
      const NearValue found = near->Find(Key(key));
      if (!found) continue;
      last_copy = Now();
      if (since == 0 || found.value() != "0") continue;
      ++old_reads;
      oldest_ms =
          std::max(oldest_ms, static_cast<double>(asked.time_since_epoch().count() - since) / 1e6);
    }
    if (Now() - began > kGiveUp) Broken("the near cache serves on and on");
  }
  change.join();
  Report("cut_old_reads", static_cast<double>(old_reads), "reads");
  Report("cut_oldest_read", oldest_ms, "ms");
  Report("cut_served_for", std::chrono::duration<double, std::milli>(last_copy - began).count(),
         "ms after the cut");
  // The stream may come back: nothing of the above depends on it.
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 2 && words[0] == "hits") {
    larder::bench::MeasureHits(words[1], 1'000, "");
    larder::bench::MeasureHits(words[1], 10'000, "_10k");
  } else if (words.size() == 4 && words[0] == "batch") {
    larder::bench::MeasureBatch(words[1], std::stod(words[2]), std::stoi(words[3]));
  } else if (words.size() == 4 && words[0] == "lag") {
    larder::bench::MeasureLag(words[1], words[2], std::stod(words[3]));
  } else if (words.size() == 4 && words[0] == "cut") {
    larder::bench::MeasureCut(words[1], words[2], std::stoi(words[3]));
  } else {
    std::fprintf(stderr,
                 "usage: %s hits A | batch A SECONDS MICROS | lag A B SECONDS | cut A B MS\n",
                 argv[0]);
    return 2;
  }
  return 0;
}
