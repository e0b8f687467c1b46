#include "bench/writebehind/local.h"

#include <libpq-fe.h>
#include <rocksdb/db.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/task.h"
#include "bench/report.h"
#include "bench/writebehind/callers.h"
#include "core/key.h"
#include "core/version.h"
#include "journal/journal.h"

namespace larder::bench {
namespace {

constexpr char kUpsert[] =
    "INSERT INTO direct (id, body) VALUES ($1, $2) "
    "ON CONFLICT (id) DO UPDATE SET body = excluded.body";

// A cheap generator for each caller.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % kKeys;
  }

 private:
  uint64_t state_;
};

// `write(caller, number)` again and again on a thread for each caller.
template <typename Write>
double OnThreads(int callers, double seconds, const Write& write) {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> writes{0};
  std::vector<std::thread> threads;
  const Time begin = Now();
  for (int caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&, caller] {
      Numbers numbers(static_cast<uint64_t>(caller) + 1);
      for (; !stop; ++writes) write(caller, numbers.Next());
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(writes) / SecondsSince(begin);
}

struct Run {
  Journal* journal;
  VersionClock* versions;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> writes{0};
};

Task<bool> AppendAgainAndAgain(Run* run, uint64_t caller) {
  Numbers numbers(caller + 1);
  while (!run->stop) {
    const uint64_t number = numbers.Next();
    std::vector<JournalRecord> writes(1);
    writes[0].full_key = std::string(FullKey("default", KeyOf(number)).view());
    writes[0].type = "item";
    writes[0].value = ValueOf(number);
    writes[0].version = run->versions->Next();
    const absl::Status status = co_await run->journal->Append(std::move(writes), INT64_MAX);
    if (!status.ok()) Broken(std::string(status.message()).c_str());
    ++run->writes;
  }
  co_return true;
}

}  // namespace

double Upserts(const std::string& url, int callers, double seconds) {
  using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
  std::vector<Connection> connections;
  for (int i = 0; i < callers; ++i) {
    connections.emplace_back(PQconnectdb(url.c_str()), &PQfinish);
    PGresult* const prepared = PQprepare(connections.back().get(), "upsert", kUpsert, 2, nullptr);
    if (PQresultStatus(prepared) != PGRES_COMMAND_OK) {
      Broken(PQerrorMessage(connections.back().get()));
    }
    PQclear(prepared);
  }
  return OnThreads(callers, seconds, [&](int caller, uint64_t number) {
    PGconn* const connection = connections[static_cast<size_t>(caller)].get();
    const std::string key = KeyOf(number);
    const std::string value = ValueOf(number);
    const char* const values[] = {key.c_str(), value.c_str()};
    PGresult* const done = PQexecPrepared(connection, "upsert", 2, values, nullptr, nullptr, 0);
    if (PQresultStatus(done) != PGRES_COMMAND_OK) Broken(PQerrorMessage(connection));
    PQclear(done);
  });
}

double RocksdbPuts(const std::string& folder, int callers, double seconds) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  rocksdb::DB* opened = nullptr;
  if (!rocksdb::DB::Open(options, folder, &opened).ok()) Broken("RocksDB does not open");
  const std::unique_ptr<rocksdb::DB> db(opened);
  rocksdb::WriteOptions write;
  write.sync = true;
  return OnThreads(callers, seconds, [&](int /*caller*/, uint64_t number) {
    if (!db->Put(write, KeyOf(number), ValueOf(number)).ok()) Broken("RocksDB does not take it");
  });
}

double JournalAppends(const std::string& folder, int callers, double seconds) {
  const auto pool = ThreadPool::New({.threads = 2});
  VersionClock versions(Clock::System(), 0);
  Journal::Type type;
  type.name = "item";
  type.origin = "nobody";
  type.policy.mode = WriteMode::kBehind;
  Journal::Options options;
  options.store.path = folder;
  options.types = {type};
  options.executor = pool.get();
  auto journal = Journal::Open(options);
  if (!journal.ok()) Broken(std::string(journal.status().message()).c_str());
  Run run{journal->get(), &versions};
  absl::BlockingCounter ended(callers);
  const Time begin = Now();
  for (int caller = 0; caller < callers; ++caller) {
    Spawn(AppendAgainAndAgain(&run, static_cast<uint64_t>(caller)),
          [&ended](bool) { ended.DecrementCount(); });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  run.stop = true;
  ended.Wait();
  const double rate = static_cast<double>(run.writes) / SecondsSince(begin);
  (*journal)->Stop(0);
  journal->reset();
  pool->Shutdown();
  return rate;
}

}  // namespace larder::bench
