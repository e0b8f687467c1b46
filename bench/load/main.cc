// Load on larderds whose values come from an origin; bench/load/run starts both and judges.
//
//   larder_load_bench cold ADDRESSES CALLERS KEY         one key, all callers at once
//   larder_load_bench each ADDRESS KEYS PREFIX           as many keys, a call for each, at once
//   larder_load_bench batch ADDRESS KEYS PREFIX          the same keys in one BatchGetOrLoad
//   larder_load_bench hot ADDRESS KEY RATE SECONDS       one key, RATE calls a second
//   larder_load_bench keys ADDRESS KEYS RATE SECONDS     KEYS keys in turn; 0: each call another
//                                                        one
//   larder_load_bench retry ADDRESS RATE SECONDS         each call another key, and tried three
//                                                        times; answered in each second
//   larder_load_bench zipf ADDRESS KEYS CALLERS SECONDS  each caller calls again at once
//
// ADDRESSES are joined by commas. Rates are kept whether answers come or not: whoever waits for an
// answer before he sends the next call does not see the calls that a slow server would have got.
// Moments (`..._at`) are seconds on the machine's monotonic clock.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bench/load/callers.h"
#include "bench/report.h"
#include "bench/zipf.h"

namespace larder::bench {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTimeout{10'000};
constexpr auto kPatience = std::chrono::seconds(60);
constexpr int kConnections = 4;

// What many calls came to.
class Book {
 public:
  void Began() { ++began_; }
  void Note(const Answer& answer) {
    const std::lock_guard lock(mu_);
    answers_.push_back(answer);
    if (!answer.ok && failed_++ == 0)
      std::fprintf(stderr, "first error: %s\n", answer.error.c_str());
  }
  size_t under_way() const {
    const std::lock_guard lock(mu_);
    return began_ - answers_.size();
  }
  // Waits for the last answer: every call has a time limit.
  void Close() const {
    const Time give_up = Now() + kPatience;
    while (under_way() > 0) {
      if (Now() > give_up) Broken("a call was never answered");
      // Nothing tells when the last answer is there, and to wait longer costs nothing.
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  const std::vector<Answer>& answers() const { return answers_; }
  size_t failed() const { return failed_; }
  double Percentile(double part) const {
    std::vector<double> times;
    for (const Answer& answer : answers_) times.push_back(answer.ms());
    if (times.empty()) Broken("no call was answered");
    std::sort(times.begin(), times.end());
    return times[std::min(times.size() - 1, static_cast<size_t>(part * times.size()))];
  }

 private:
  mutable std::mutex mu_;
  std::vector<Answer> answers_;
  std::atomic<size_t> began_{0};
  size_t failed_ = 0;
};

void Send(Callers& callers, size_t replica, const std::string& key, milliseconds timeout,
          Book* book) {
  book->Began();
  callers.Call(replica, key, timeout, [book](const Answer& answer) { book->Note(answer); });
}

// Calls `send(i)` `rate` times a second.
template <typename SendOne>
void AtRate(int rate, int seconds, SendOne send) {
  const Time start = Now();
  for (int i = 0; i < rate * seconds; ++i) {
    // The rate is what is measured at: no event tells when the next call is due.
    std::this_thread::sleep_until(start + std::chrono::nanoseconds(1'000'000'000LL / rate * i));
    send(i);
  }
}

void ReportAll(const std::string& mode, const Book& book) {
  const auto report = [&](const char* name, double value, const char* unit) {
    Report((mode + "_" + name).c_str(), value, unit);
  };
  double stale = 0, loaded = 0, last_stale = 0, last_failed = 0;
  for (const Answer& answer : book.answers()) {
    loaded += answer.loaded;
    if (answer.stale) {
      ++stale;
      last_stale = std::max(last_stale, SecondsOf(answer.began));
    }
    if (!answer.ok) last_failed = std::max(last_failed, SecondsOf(answer.began));
  }
  report("calls", static_cast<double>(book.answers().size()), "calls");
  report("failed", static_cast<double>(book.failed()), "calls");
  report("stale", stale, "calls");
  report("loaded", loaded, "calls");
  report("p50", book.Percentile(0.5), "ms");
  report("p99", book.Percentile(0.99), "ms");
  report("slowest", book.Percentile(1), "ms");
  report("last_stale_at", last_stale, "s");
  report("last_failed_at", last_failed, "s");
}

void Cold(Callers& callers, int count, const std::string& key) {
  Book book;
  const Time start = Now();
  for (int i = 0; i < count; ++i) {
    Send(callers, static_cast<size_t>(i) % callers.replicas(), key, kTimeout, &book);
  }
  Report("cold_all_begun_after", Ms(Now() - start), "ms");
  book.Close();
  ReportAll("cold", book);
  Report("cold_first_answer_after", Ms(book.answers().front().ended - start), "ms");
  Report("cold_last_answer_after", Ms(book.answers().back().ended - start), "ms");
}

void Each(Callers& callers, int keys, const std::string& prefix) {
  Book book;
  for (int i = 0; i < keys; ++i) Send(callers, 0, prefix + std::to_string(i), kTimeout, &book);
  book.Close();
  ReportAll("each", book);
}

void Batch(Callers& callers, int count, const std::string& prefix) {
  std::vector<std::string> keys;
  for (int i = 0; i < count; ++i) keys.push_back(prefix + std::to_string(i));
  Book book;
  book.Began();
  book.Note(callers.CallBatch(keys, kTimeout));
  ReportAll("batch", book);
}

void Hot(Callers& callers, const std::string& key, int rate, int seconds) {
  Book first;
  Send(callers, 0, key, kTimeout, &first);
  first.Close();
  if (first.failed() > 0) Broken("the first call failed");
  Book book;
  AtRate(rate, seconds, [&](int) { Send(callers, 0, key, kTimeout, &book); });
  book.Close();
  ReportAll("hot", book);
}

void Keys(Callers& callers, int keys, int rate, int seconds) {
  Book book;
  size_t most = 0;
  AtRate(rate, seconds, [&](int i) {
    Send(callers, 0, "item:" + std::to_string(keys > 0 ? i % keys : i), kTimeout, &book);
    if (i % 64 == 0) most = std::max(most, book.under_way());
  });
  book.Close();
  ReportAll("keys", book);
  Report("keys_most_under_way", static_cast<double>(most), "calls");
}

// Callers who try again at once when a call fails, as bad clients do.
void Retry(Callers& callers, int rate, int seconds) {
  constexpr int kTries = 3;
  constexpr milliseconds kEach{1'000};
  struct Tried {
    std::string key;
    int tries = 1;
  };
  const Time start = Now();
  std::vector<std::atomic<uint64_t>> answered(static_cast<size_t>(seconds) + 10);
  std::atomic<int64_t> under_way{0};
  std::function<void(std::shared_ptr<Tried>)> attempt = [&](std::shared_ptr<Tried> call) {
    callers.Call(0, call->key, kEach, [&, call](const Answer& answer) {
      if (!answer.ok && call->tries++ < kTries) return attempt(call);
      const auto second = static_cast<size_t>((answer.ended - start) / std::chrono::seconds(1));
      if (answer.ok && second < answered.size()) ++answered[second];
      --under_way;
    });
  };
  Report("retry_began_at", SecondsOf(start), "s");
  AtRate(rate, seconds, [&](int i) {
    ++under_way;
    attempt(std::make_shared<Tried>(Tried{"item:" + std::to_string(i)}));
  });
  const Time give_up = Now() + kPatience;
  while (under_way > 0) {
    if (Now() > give_up) Broken("a call was never answered");
    // Nothing tells when the last answer is there, and to wait longer costs nothing.
    std::this_thread::sleep_for(milliseconds(1));
  }
  for (int i = 0; i < seconds; ++i) {
    Report(("retry_second_" + std::to_string(i)).c_str(),
           static_cast<double>(answered[static_cast<size_t>(i)]), "calls");
  }
}

// Callers that never pause. What they get done in each second.
class Closed {
 public:
  Closed(Callers* callers, uint64_t keys, int seconds)
      : callers_(callers),
        zipf_(keys, 0.9),
        start_(Now()),
        end_(start_ + std::chrono::seconds(seconds)),
        done_(static_cast<size_t>(seconds)) {}

  void Run(int count) {
    active_ = count;
    for (int i = 0; i < count; ++i) Next();
    while (active_ > 0) {
      // Nothing tells when the last caller has gone, and to wait longer costs nothing.
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  uint64_t failed() const { return failed_; }
  double In(size_t second) const { return static_cast<double>(done_[second].load()); }
  size_t seconds() const { return done_.size(); }

 private:
  void Next() {
    std::string key = "item:";
    {
      const std::lock_guard lock(mu_);
      key += std::to_string(zipf_.Next(random_));
    }
    callers_->Call(0, key, kTimeout, [this](const Answer& answer) {
      const auto second = static_cast<size_t>((answer.ended - start_) / std::chrono::seconds(1));
      if (!answer.ok) ++failed_;
      if (second < done_.size()) ++done_[second];
      if (answer.ended < end_) {
        Next();
      } else {
        --active_;
      }
    });
  }

  Callers* const callers_;
  std::mutex mu_;
  QuickRandom random_{1};
  const Zipf zipf_;
  const Time start_;
  const Time end_;
  std::vector<std::atomic<uint64_t>> done_;
  std::atomic<uint64_t> failed_{0};
  std::atomic<int> active_{0};
};

void ZipfStart(Callers& callers, uint64_t keys, int count, int seconds) {
  Closed closed(&callers, keys, seconds);
  closed.Run(count);
  const size_t all = closed.seconds();
  const size_t last = std::min<size_t>(10, all / 2);
  double steady = 0;
  for (size_t i = all - last; i < all; ++i) steady += closed.In(i);
  steady /= static_cast<double>(last);
  // The first second after which five on average reach it: one may be lucky or not.
  constexpr size_t kAverage = 5;
  size_t reached = all;
  for (size_t i = 0; i + kAverage <= all && reached == all; ++i) {
    double sum = 0;
    for (size_t j = i; j < i + kAverage; ++j) sum += closed.In(j);
    if (sum >= 0.95 * steady * kAverage) reached = i;
  }
  Report("zipf_first_second", closed.In(0), "calls/s");
  Report("zipf_steady", steady, "calls/s");
  Report("zipf_seconds_to_steady", static_cast<double>(reached), "s");
  Report("zipf_failed", static_cast<double>(closed.failed()), "calls");
}

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

bool Run(const std::vector<std::string>& args) {
  if (args.size() < 4) return false;
  const std::string& mode = args[0];
  Callers callers(Split(args[1]), kConnections);
  const auto number = [&](size_t i) { return std::atoi(args[i].c_str()); };
  if (mode == "cold" && args.size() == 4) {
    Cold(callers, number(2), args[3]);
  } else if (mode == "each" && args.size() == 4) {
    Each(callers, number(2), args[3]);
  } else if (mode == "batch" && args.size() == 4) {
    Batch(callers, number(2), args[3]);
  } else if (mode == "hot" && args.size() == 5) {
    Hot(callers, args[2], number(3), number(4));
  } else if (mode == "keys" && args.size() == 5) {
    Keys(callers, number(2), number(3), number(4));
  } else if (mode == "retry" && args.size() == 4) {
    Retry(callers, number(2), number(3));
  } else if (mode == "zipf" && args.size() == 5) {
    ZipfStart(callers, static_cast<uint64_t>(number(2)), number(3), number(4));
  } else {
    return false;
  }
  return true;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) {
  if (larder::bench::Run({argv + 1, argv + argc})) return 0;
  std::fprintf(stderr, "usage: larder_load_bench MODE ADDRESS ... (see bench/load/main.cc)\n");
  return 2;
}
