// A few threads each keep a part of the schedule: they sleep until the next call is due, begin it,
// and never wait for an answer. Answers come on the client's threads, which only count. A sleep
// that lasts longer than asked makes the next calls late, by microseconds as a rule: the calls are
// then begun at once, one after the other, and measured from when they were due.

#include "client/cli/bench_run.h"

#include <poll.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/string_view.h"
#include "client/cli/draw.h"
#include "client/cli/interrupt.h"
#include "client/cli/tally.h"

namespace larder::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPoolBytes = 4 << 20;
constexpr absl::Duration kShow = absl::Milliseconds(100);

// What calls count, from all threads.
struct Books {
  Tally all;
  Tally reads;
  Tally writes;
  Tally from_start;
  Tally late;
  std::atomic<uint64_t> planned{0};
  std::atomic<uint64_t> ok{0};
  std::atomic<uint64_t> hits{0};
  std::atomic<uint64_t> misses{0};
  std::atomic<uint64_t> stale{0};
  std::atomic<uint64_t> past{0};
  std::atomic<uint64_t> unsent{0};
  std::atomic<uint64_t> late_starts{0};
  std::atomic<uint64_t> answered{0};  // those of the warm-up, too
  std::atomic<uint64_t> failed{0};
  std::atomic<int64_t> last_answer{0};  // nanoseconds since the beginning
  std::atomic<size_t> in_flight{0};
  std::mutex mu;
  std::map<std::string, uint64_t> errors;
};

// One call: when it was due and when it was sent, since the beginning.
struct Call {
  absl::Duration due;
  absl::Duration sent;
  bool measured = false;
  bool write = false;
};

Latencies LatenciesOf(const Tally& tally) {
  Latencies latencies;
  latencies.count = tally.count();
  if (latencies.count == 0) return latencies;
  latencies.mean = tally.mean();
  latencies.p50 = tally.Quantile(0.5);
  latencies.p90 = tally.Quantile(0.9);
  latencies.p99 = tally.Quantile(0.99);
  latencies.p999 = tally.Quantile(0.999);
  latencies.p9999 = tally.Quantile(0.9999);
  latencies.max = tally.max();
  return latencies;
}

class Generator {
 public:
  Generator(const BenchPlan& plan, const std::vector<std::unique_ptr<Client>>& clients)
      : plan_(plan),
        clients_(clients),
        ranks_(plan.keys.size(), plan.zipf),
        end_(plan.warmup + plan.duration),
        planned_(static_cast<uint64_t>(absl::ToDoubleSeconds(end_) * plan.rate)) {
    if (plan.read_share < 1)
      pool_ = BenchValue(plan.seed, std::max(kPoolBytes, 2 * plan.value_bytes_max));
  }

  BenchOutcome Run(const BenchProgress& so_far) {
    const size_t senders =
        std::clamp<size_t>(clients_.size(), 1, std::max(1u, std::thread::hardware_concurrency()));
    began_ = Clock::now();
    std::atomic<size_t> sending{senders};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < senders; ++i) {
      threads.emplace_back([this, i, senders, &sending] {
        Send(i, senders);
        sending.fetch_sub(1);
      });
    }
    while (sending.load() > 0 ||
           (books_.in_flight.load() > 0 && Elapsed() < end_ + 2 * plan_.patience)) {
      poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(kShow)));
      so_far(books_.answered.load(), books_.failed.load(), planned_);
      if (Interrupted() && sending.load() == 0) break;
    }
    for (std::thread& thread : threads) thread.join();
    // Every call has a deadline. Those that are under way still write into the books.
    while (books_.in_flight.load() > 0) poll(nullptr, 0, 1);
    return Outcome();
  }

 private:
  absl::Duration Elapsed() const { return absl::FromChrono(Clock::now() - began_); }

  void SleepUntil(absl::Duration due) const {
    while (!Interrupted()) {
      const absl::Duration left = due - Elapsed();
      if (left <= absl::ZeroDuration()) return;
      // In steps, so that Ctrl-C is not slept over.
      std::this_thread::sleep_for(
          absl::ToChronoNanoseconds(std::min(left, absl::Milliseconds(200))));  // the pace itself
    }
  }

  // The part of the schedule that is `sender`'s of `senders`.
  void Send(size_t sender, size_t senders) {
    prctl(PR_SET_TIMERSLACK, 1'000UL);  // wakes up when it asked to, to the microsecond
    Draw draw(plan_.seed * 1'000'003 + sender);
    const absl::Duration gap = absl::Seconds(static_cast<double>(senders) / plan_.rate);
    // Begin apart from each other, or they would all send at once.
    absl::Duration due = gap * (static_cast<double>(sender) / static_cast<double>(senders));
    if (plan_.poisson) due = gap * -std::log(1 - draw.Unit());
    for (uint64_t i = 0; due < end_ && !Interrupted(); ++i) {
      SleepUntil(due);
      if (Interrupted()) return;
      while (books_.in_flight.load(std::memory_order_relaxed) >= plan_.in_flight_max &&
             Elapsed() < end_ + plan_.patience && !Interrupted()) {
        poll(nullptr, 0, 1);
      }
      const bool measured = due >= plan_.warmup;
      if (measured) books_.planned.fetch_add(1, std::memory_order_relaxed);
      if (Elapsed() >= end_ + plan_.patience) {
        books_.unsent.fetch_add(1, std::memory_order_relaxed);
      } else {
        SendOne(clients_[(sender + i * senders) % clients_.size()].get(), due, measured, &draw);
      }
      due += plan_.poisson ? gap * -std::log(1 - draw.Unit()) : gap;
    }
  }

  void SendOne(Client* client, absl::Duration due, bool measured, Draw* draw) {
    const std::string& key = plan_.keys[ranks_.Next(draw)];
    Call call{due, Elapsed(), measured, draw->Unit() >= plan_.read_share};
    if (measured) {
      const absl::Duration late = call.sent - due;
      books_.late.Add(late);
      if (late > kLate) books_.late_starts.fetch_add(1, std::memory_order_relaxed);
    }
    books_.in_flight.fetch_add(1, std::memory_order_relaxed);
    if (call.write) {
      const size_t more = plan_.value_bytes_max - plan_.value_bytes_min;
      const size_t bytes = plan_.value_bytes_min + (more == 0 ? 0 : draw->Below(more + 1));
      const size_t at = draw->Below(pool_.size() - bytes + 1);
      SetOptions options;
      options.type = plan_.type;
      options.ttl = plan_.ttl;
      client->SetAsync(key, std::string_view(pool_).substr(at, bytes), options,
                       [this, call](const absl::StatusOr<SetResult>& result) {
                         Answered(call, result.status());
                       });
    } else if (plan_.read == BenchRead::kOrigin) {
      ExplainOptions options;
      options.type = plan_.type;
      options.ask_origin = true;
      client->ExplainAsync(key, options, [this, call](const absl::StatusOr<ExplainResult>& result) {
        if (result.ok() && !result->origin_error.empty()) {
          Answered(call, absl::UnknownError(result->origin_error));
        } else {
          Answered(call, result.status());
        }
      });
    } else if (plan_.read == BenchRead::kLoad) {
      LoadOptions options;
      options.type = plan_.type;
      client->GetOrLeaseAsync(key, options, [this, call](absl::StatusOr<LeaseResult> result) {
        if (result.ok()) NoteLoad(call, result->entry);
        Answered(call, result.status());
      });
    } else {
      GetOptions options;
      options.type = plan_.type;
      client->GetAsync(key, options, [this, call](absl::StatusOr<GetResult> result) {
        if (result.ok()) NoteGet(call, *result);
        Answered(call, result.status());
      });
    }
  }

  void NoteGet(const Call& call, const GetResult& result) {
    if (result.hit()) return NoteHit(call, *result.entry);
    Count(call, result.miss.reason == MissReason::kRolledPast ? &books_.past : &books_.misses);
  }

  // A value that was loaded for this call was none of the cache's. One that is over at once was
  // loaded past the cache, by the rollout: whatever is kept has a TTL.
  void NoteLoad(const Call& call, const std::optional<Entry>& entry) {
    const bool loaded = entry.has_value() && entry->tier == Tier::kOrigin;
    if (entry.has_value() && !loaded) return NoteHit(call, *entry);
    const bool past = loaded && entry->remaining_ttl <= absl::ZeroDuration();
    Count(call, past ? &books_.past : &books_.misses);
  }

  void NoteHit(const Call& call, const Entry& entry) {
    Count(call, &books_.hits);
    if (entry.stale) Count(call, &books_.stale);
  }

  static void Count(const Call& call, std::atomic<uint64_t>* what) {
    if (call.measured) what->fetch_add(1, std::memory_order_relaxed);
  }

  void Answered(const Call& call, const absl::Status& status) {
    const absl::Duration now = Elapsed();
    if (!status.ok()) books_.failed.fetch_add(1, std::memory_order_relaxed);
    if (call.measured) {
      if (status.ok() || absl::IsDeadlineExceeded(status)) {
        books_.all.Add(now - call.due);
        (call.write ? books_.writes : books_.reads).Add(now - call.due);
        books_.from_start.Add(now - call.sent);
      }
      if (status.ok()) {
        books_.ok.fetch_add(1, std::memory_order_relaxed);
      } else {
        const std::string reason = ErrorReason(status);
        const std::lock_guard lock(books_.mu);
        ++books_.errors[reason.empty() ? absl::StatusCodeToString(status.code()) : reason];
      }
      const int64_t nanos = absl::ToInt64Nanoseconds(now);
      int64_t last = books_.last_answer.load(std::memory_order_relaxed);
      while (nanos > last && !books_.last_answer.compare_exchange_weak(last, nanos)) {
      }
    }
    books_.answered.fetch_add(1, std::memory_order_relaxed);
    // Last: whoever sees the end of all calls reads the books.
    books_.in_flight.fetch_sub(1, std::memory_order_release);
  }

  BenchOutcome Outcome() {
    BenchOutcome outcome;
    outcome.interrupted = Interrupted();
    outcome.intended_rate = plan_.rate;
    const absl::Duration last = absl::Nanoseconds(books_.last_answer.load());
    outcome.span =
        std::max(outcome.interrupted ? absl::Milliseconds(1) : plan_.duration, last - plan_.warmup);
    outcome.planned = books_.planned.load();
    outcome.ok = books_.ok.load();
    outcome.achieved_rate = static_cast<double>(outcome.ok) / absl::ToDoubleSeconds(outcome.span);
    outcome.hits = books_.hits.load();
    outcome.misses = books_.misses.load();
    outcome.stale = books_.stale.load();
    outcome.past = books_.past.load();
    outcome.unsent = books_.unsent.load();
    outcome.late_starts = books_.late_starts.load();
    outcome.late_p99 = books_.late.Quantile(0.99);
    outcome.late_max = books_.late.max();
    outcome.all = LatenciesOf(books_.all);
    outcome.reads = LatenciesOf(books_.reads);
    outcome.writes = LatenciesOf(books_.writes);
    outcome.from_start = LatenciesOf(books_.from_start);
    const std::lock_guard lock(books_.mu);
    outcome.errors = books_.errors;
    return outcome;
  }

  const BenchPlan& plan_;
  const std::vector<std::unique_ptr<Client>>& clients_;
  const Ranks ranks_;
  const absl::Duration end_;
  const uint64_t planned_;
  std::string pool_;
  Clock::time_point began_;
  Books books_;
};

}  // namespace

uint64_t BenchOutcome::failed() const {
  uint64_t sum = unsent;
  for (const auto& [code, count] : errors) sum += count;
  return sum;
}

std::string BenchValue(uint64_t seed, size_t bytes) {
  // Words of a small vocabulary beside chance: neither as compressible as zeros nor as little as
  // noise.
  constexpr std::string_view kWord = "{\"name\": \"larder\", ";
  std::string value;
  value.reserve(bytes + kWord.size() + 16);
  Draw draw(seed);
  while (value.size() < bytes) {
    value += kWord;
    for (int i = 0; i < 20; ++i) value += static_cast<char>('!' + draw.Below(90));
  }
  value.resize(bytes);
  return value;
}

BenchOutcome RunBench(const BenchPlan& plan, const std::vector<std::unique_ptr<Client>>& clients,
                      const BenchProgress& so_far) {
  // On the heap: the books are large for a stack.
  return std::make_unique<Generator>(plan, clients)->Run(so_far);
}

}  // namespace larder::cli
