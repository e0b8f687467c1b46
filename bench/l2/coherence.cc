// Replicas of one fleet, from outside: how long the others go on serving an old value, and whether
// anybody ever does after an Invalidate that waited for the fleet.
//
//   larder_coherence_bench lag SECONDS ADDRESS ADDRESS...
//   larder_coherence_bench fleet TRIES ADDRESS ADDRESS...
//
// lag: a thousand keys, each in the memory of every replica. Every millisecond one of them gets a
// larger number on the first replica, which the other replicas are then asked for until the old
// number is gone. The time runs from the answer of the Set to the first arrival of an answer that
// is not old: never less than the replica took, and more by how late the bench looks. All of it is
// one thread (bench/raw_client.h): what it does not need the replicas have.
//
// fleet: Set on one replica, read on the others, Invalidate on one with `wait: FLEET`; if all have
// acknowledged, the one that was asked included, reads on all of them that begin after the answer
// must not give the old value.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/raw_client.h"
#include "bench/report.h"
#include "larder/client.h"
#include "larder/v1/cache.pb.h"

namespace larder::bench {
namespace {

using Time = std::chrono::steady_clock::time_point;
Time Now() { return std::chrono::steady_clock::now(); }

constexpr int kKeys = 1'000;
constexpr auto kChangeEvery = std::chrono::milliseconds(1);
// A reader that has seen an old value looks again after that.
constexpr auto kLookEvery = std::chrono::microseconds(500);
constexpr auto kGiveUp = std::chrono::seconds(10);
constexpr auto kPatience = std::chrono::milliseconds(100);

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

double Percentile(std::vector<double>& sorted, double part) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(part * static_cast<double>(sorted.size())))];
}

// What is under way of `lag`: Sets on the first replica, Gets on the others, all on one thread.
class Lag {
 public:
  Lag(double seconds, const std::vector<std::string>& addresses)
      : seconds_(seconds), writer_(AddressesOf(addresses[0])[0], &sets_) {
    sets_.answered = [this](const Call& call) { OnSet(call); };
    poller_.Add(&writer_);
    for (size_t i = 1; i < addresses.size(); ++i) {
      readers_.push_back(std::make_unique<Reader>(AddressesOf(addresses[i])[0], this));
      poller_.Add(&readers_.back()->connection);
    }
  }

  void Run();

 private:
  // A change that one replica is asked for until it shows.
  struct Look {
    int64_t number;
    Time done;
    bool gone = false;
  };
  struct Reader {
    Reader(const Address& to, Lag* lag) : connection(to, &gets) {
      gets.answered = [this, lag](const Call& call) { lag->OnGet(this, call); };
    }
    Questions gets{.path = "/larder.v1.Cache/Get", .asks_again = false, .keeps_answers = true};
    Connection connection;
    std::map<uint64_t, Look> looks;               // by their tags
    std::deque<std::pair<Time, uint64_t>> later;  // tags that are asked for again then
  };

  static std::string KeyOf(int64_t number) { return Key(static_cast<int>(number % kKeys)); }

  void Write(int64_t number) {
    v1::SetRequest request;
    request.set_key(KeyOf(number));
    request.set_value(std::to_string(number));
    writer_.AskFor(Framed(request), static_cast<uint64_t>(number));
  }
  void OnSet(const Call& call) {
    if (call.status != 0) Broken("a Set failed");
    ++changes_;
    for (auto& reader : readers_) {
      reader->looks[call.tag] = {static_cast<int64_t>(call.tag), Now()};
      Ask(reader.get(), call.tag);
    }
  }

  void Ask(Reader* reader, uint64_t tag) {
    v1::GetRequest request;
    request.set_key(KeyOf(static_cast<int64_t>(tag)));
    reader->connection.AskFor(Framed(request), tag);
  }
  void OnGet(Reader* reader, const Call& call) {
    const auto it = reader->looks.find(call.tag);
    Look& look = it->second;
    const int64_t seen = ValueOf(call);
    const auto since = Now() - look.done;
    // A miss is no old value either; a failure tells nothing.
    if (!look.gone && (seen == kMiss || seen >= look.number)) {
      look.gone = true;
      millis_.push_back(std::chrono::duration<double, std::milli>(since).count());
    }
    if (since > kGiveUp) Broken("a replica never shows a change");
    // Until it has a copy again, for the key's next change.
    if (seen >= look.number) {
      reader->looks.erase(it);
    } else {
      reader->later.emplace_back(Now() + kLookEvery, call.tag);
    }
  }
  static int64_t ValueOf(const Call& call) {
    v1::GetResponse response;
    if (call.status != 0 || call.answer.size() < 5 ||
        !response.ParseFromArray(call.answer.data() + 5,
                                 static_cast<int>(call.answer.size()) - 5)) {
      return kFailed;
    }
    return response.has_hit() ? std::stoll(response.hit().value()) : kMiss;
  }

  // Asks again for what is due, and waits until something comes, or `until`. Looks under way.
  size_t Turn(Time until) {
    size_t looks = 0;
    for (auto& reader : readers_) {
      while (!reader->later.empty() && reader->later.front().first <= Now()) {
        Ask(reader.get(), reader->later.front().second);
        reader->later.pop_front();
      }
      if (!reader->later.empty()) until = std::min(until, reader->later.front().first);
      looks += reader->looks.size();
    }
    poller_.Turn(until);
    return looks;
  }

  const double seconds_;
  Questions sets_{.path = "/larder.v1.Cache/Set", .asks_again = false};
  Connection writer_;
  std::vector<std::unique_ptr<Reader>> readers_;
  Poller poller_;
  int64_t changes_ = 0;
  std::vector<double> millis_;
};

void Lag::Run() {
  // So that all keys are in every memory.
  for (int key = 0; key < kKeys; ++key) Write(key);
  while (Turn(Now() + kPatience) > 0 || changes_ < kKeys) {
  }
  changes_ = 0;
  millis_.clear();
  const Time began = Now();
  int64_t sent = 0;
  while (Now() - began < Seconds(seconds_)) {
    for (; began + sent * kChangeEvery <= Now(); ++sent) Write(kKeys + sent);
    Turn(began + sent * kChangeEvery);
  }
  const double took = Seconds(Now() - began).count();
  const auto made = static_cast<double>(changes_);
  while (Turn(Now() + kPatience) > 0 || changes_ < sent) {
  }
  std::sort(millis_.begin(), millis_.end());
  Report("coherence_changes_per_second", made / took, "changes/s");
  Report("coherence_looked_at", static_cast<double>(millis_.size()), "changes on a replica");
  Report("coherence_median", Percentile(millis_, 0.5), "ms");
  Report("coherence_p99", Percentile(millis_, 0.99), "ms");
  Report("coherence_max", millis_.back(), "ms");
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
    larder::bench::Lag(std::stod(argv[2]), addresses).Run();
  } else if (mode == "fleet") {
    larder::bench::MeasureFleet(std::stoll(argv[2]), addresses);
  } else {
    return 2;
  }
  return 0;
}
