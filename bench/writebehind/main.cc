// Writes behind; bench/writebehind/run starts the servers and judges.
//
//   larder_writebehind_bench upserts URL CALLERS SECONDS      to PostgreSQL, by libpq
//   larder_writebehind_bench rocksdb FOLDER CALLERS SECONDS   RocksDB's own sync writes
//   larder_writebehind_bench journal FOLDER CALLERS SECONDS   larder's journal in this process
//   larder_writebehind_bench fill ADDRESS KEYS                KEYS keys, one write each
//   larder_writebehind_bench deliver ADDRESS ROWS             distinct rows, to the origin
//   larder_writebehind_bench burst ADDRESS KEYS WRITES SECONDS
//                                                  each of the keys so often in so long
//   larder_writebehind_bench poison ADDRESS KEYS RATE SECONDS POISON
//                                                  one of the keys is refused, with POISON 1
//   larder_writebehind_bench gets ADDRESS KEYS RATE SECONDS   deliveries idle and busy by turns
//
// Rates are kept whether answers come or not: whoever waits for an answer before he sends the next
// call does not see the calls that a slow server would have got.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/report.h"
#include "bench/writebehind/callers.h"
#include "bench/writebehind/local.h"

namespace larder::bench {
namespace {

constexpr int kConnections = 4;
constexpr int kTurns = 5;
// What the origin refuses.
constexpr char kPoison[] = "poison";

// How long calls took, and how many failed.
class Book {
 public:
  void Note(bool ok, double ms) {
    const std::lock_guard lock(mu_);
    times_.push_back(ms);
    failed_ += ok ? 0 : 1;
  }
  size_t calls() const { return times_.size(); }
  double failed() const { return failed_; }
  double Percentile(double part) {
    if (times_.empty()) Broken("no call was answered");
    std::sort(times_.begin(), times_.end());
    return times_[std::min(times_.size() - 1,
                           static_cast<size_t>(part * static_cast<double>(times_.size())))];
  }

 private:
  std::mutex mu_;
  std::vector<double> times_;
  double failed_ = 0;
};

// Calls `send(i)` `rate` times a second.
template <typename SendOne>
void AtRate(double rate, double seconds, const SendOne& send) {
  const Time start = Now();
  const auto count = static_cast<uint64_t>(rate * seconds);
  for (uint64_t i = 0; i < count; ++i) {
    // The rate is what is measured at: no event tells when the next call is due.
    std::this_thread::sleep_until(start + std::chrono::nanoseconds(static_cast<int64_t>(
                                              1e9 / rate * static_cast<double>(i))));
    send(i);
  }
}

// Each of `count` keys once.
void FillAll(Callers* callers, uint64_t first, uint64_t count) {
  std::vector<std::pair<std::string, std::string>> items;
  for (uint64_t i = first; i < first + count; ++i) {
    items.emplace_back(KeyOf(i), ValueOf(i));
    if (items.size() < 1'000 && i + 1 < first + count) continue;
    callers->SetAll(items);
    items.clear();
  }
}

void Fill(const std::string& address, uint64_t count) {
  Callers callers(address, 1);
  const Time begin = Now();
  FillAll(&callers, 0, count);
  Report("filled", static_cast<double>(count) / SecondsSince(begin), "writes/s");
  Report("waiting", callers.Stats().depth, "writes");
}

void Deliver(const std::string& address, uint64_t count) {
  Callers callers(address, 1);
  callers.PauseDelivery();
  FillAll(&callers, 0, count);
  const Waiting before = callers.Stats();
  const Time begin = Now();
  callers.ResumeDelivery();
  callers.Flush();
  const double seconds = SecondsSince(begin);
  const Waiting after = callers.Stats();
  if (before.depth != static_cast<double>(count) || after.dead > 0) Broken("not all was delivered");
  Report("delivery", (after.delivered - before.delivered) / seconds, "rows/s");
}

void Burst(const std::string& address, uint64_t keys, uint64_t writes, double seconds) {
  Callers callers(address, 1);
  const Time begin = Now();
  for (uint64_t turn = 0; turn < writes; ++turn) {
    std::this_thread::sleep_until(
        begin + std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(
                    seconds * static_cast<double>(turn) / static_cast<double>(writes))));
    std::vector<std::pair<std::string, std::string>> items;
    for (uint64_t i = 0; i < keys; ++i) items.emplace_back(KeyOf(i), ValueOf(turn));
    callers.SetAll(items);
  }
  Report("burst_took", SecondsSince(begin), "s");
  callers.Flush();
  const Waiting after = callers.Stats();
  Report("burst_delivered", after.delivered, "rows");
  Report("burst_coalesced", after.coalesced, "writes");
}

void Poison(const std::string& address, uint64_t keys, double rate, double seconds, bool poison) {
  Callers callers(address, kConnections);
  Book book;
  AtRate(rate, seconds, [&](uint64_t i) {
    const uint64_t key = i % keys;
    const bool bad = poison && key == keys / 2;
    callers.Set(KeyOf(key), bad ? kPoison : ValueOf(i),
                [&book](bool ok, double ms) { book.Note(ok, ms); });
  });
  callers.AwaitAll();
  callers.Flush();
  const Waiting after = callers.Stats();
  if (poison != (after.dead > 0)) Broken("the poison did not do what it is for");
  Report("poison_sets_failed", book.failed(), "calls");
  Report("poison_dead", after.dead, "writes");
  Report("poison_lag_p50", after.lag_p50_ms, "ms");
  Report("poison_lag_p99", after.lag_p99_ms, "ms");
}

void Gets(const std::string& address, uint64_t keys, double rate, double seconds) {
  Callers callers(address, kConnections);
  std::vector<double> idle, busy, ratios;
  double failed = 0, delivered = 0;
  callers.PauseDelivery();
  for (int turn = 0; turn < kTurns; ++turn) {
    FillAll(&callers, 0, keys);
    for (const bool delivering : {false, true}) {
      if (delivering) callers.ResumeDelivery();
      const Waiting before = callers.Stats();
      Book book;
      AtRate(rate, seconds, [&](uint64_t i) {
        callers.Get(KeyOf(i * 7919 % keys), [&book](bool ok, double ms) { book.Note(ok, ms); });
      });
      callers.AwaitAll();
      const Waiting after = callers.Stats();
      if (delivering && after.depth == 0) Broken("deliveries were over before the Gets");
      failed += book.failed();
      (delivering ? busy : idle).push_back(book.Percentile(0.99));
      if (delivering) delivered += after.delivered - before.delivered;
    }
    callers.Flush();
    callers.PauseDelivery();
  }
  Report("gets_failed", failed, "calls");
  Report("gets_delivery", delivered / (seconds * kTurns), "rows/s");
  Report("gets_idle_p99", Median(idle), "ms");
  Report("gets_busy_p99", Median(busy), "ms");
  Report("gets_ratio", MedianRatio(busy, idle), "of idle");
}

}  // namespace

int Main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string mode = words.empty() ? "" : words[0];
  const auto number = [&](size_t i) { return std::atof(words[i].c_str()); };
  const auto count = [&](size_t i) { return static_cast<uint64_t>(number(i)); };
  if (mode == "upserts" && words.size() == 4) {
    Report("upserts", Upserts(words[1], static_cast<int>(number(2)), number(3)), "rows/s");
  } else if (mode == "rocksdb" && words.size() == 4) {
    Report("rocksdb", RocksdbPuts(words[1], static_cast<int>(number(2)), number(3)), "writes/s");
  } else if (mode == "journal" && words.size() == 4) {
    Report("journal", JournalAppends(words[1], static_cast<int>(number(2)), number(3)), "writes/s");
  } else if (mode == "fill" && words.size() == 3) {
    Fill(words[1], count(2));
  } else if (mode == "deliver" && words.size() == 3) {
    Deliver(words[1], count(2));
  } else if (mode == "burst" && words.size() == 5) {
    Burst(words[1], count(2), count(3), number(4));
  } else if (mode == "poison" && words.size() == 6) {
    Poison(words[1], count(2), number(3), number(4), number(5) != 0);
  } else if (mode == "gets" && words.size() == 5) {
    Gets(words[1], count(2), number(3), number(4));
  } else {
    std::fprintf(stderr, "the modes are at the top of bench/writebehind/main.cc\n");
    return 2;
  }
  return 0;
}

}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
