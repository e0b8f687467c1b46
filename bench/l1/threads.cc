// Two threads against one: hits a second of both together, each pinned to a core of its own, over
// hits a second of one alone (the mean of one on either core), at 0, 1 and 10% of sets among the
// operations. A set replaces a value of the same popularity as the hits. One million keys.
//
// Measured by the wall clock, because waiting is what would spoil it; so what else the machine does
// spoils it too. A round in which other processes took more than 3% of the processors does not
// count, while there is time to repeat it; how much they took in the rounds that count is reported.

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "bench/l1/modes.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "bench/zipf.h"
#include "core/key.h"

namespace larder::bench {

namespace {

constexpr uint64_t kKeys = 1'000'000;
constexpr size_t kSequenceOps = 2'000'000;
constexpr int kRounds = 9;
constexpr int kRoundsMost = 40;
constexpr double kSeconds = 0.3;
constexpr double kOthersMost = 0.03;

// Processor seconds that all processes and those that this one has used.
struct Used {
  double all = 0;
  double own = 0;

  static Used Now() {
    Used used;
    if (std::FILE* file = std::fopen("/proc/stat", "r")) {
      double user, nice, system, idle, io, irq, softirq, steal;
      if (std::fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle,
                      &io, &irq, &softirq, &steal) == 8) {
        used.all = (user + nice + system + irq + softirq + steal) /
                   static_cast<double>(sysconf(_SC_CLK_TCK));
      }
      std::fclose(file);
    }
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    used.own = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return used;
  }
};

// Reads and writes for kSeconds, from `start_at` on, and returns hits a second.
double Work(L1* l1, const Sequence& sequence, int core, uint32_t sets_percent, double start_at) {
  PinTo(core);
  Clock* const clock = Clock::System();
  const std::string value(kValueBytes, 'v');
  QuickRandom random(static_cast<uint64_t>(core) + 1);
  Entry entry;
  MissReason why;
  uint64_t hits = 0;
  size_t at = 0;
  while (WallSeconds() < start_at) {
  }
  double now_seconds;
  do {
    const MonoNanos now = clock->Mono();
    for (size_t i = 0; i < kBatch; ++i, ++at) {
      if (at == sequence.size()) at = 0;
      const FullKey key("", sequence[at]);
      if (sets_percent > 0 && random.Below(100) < sets_percent) {
        // Grows for both threads alike, and no two threads make the same one.
        const Version version = VersionOf(clock->Mono(), core);
        l1->Insert(Fields(key.view(), value, version, now), Expect{}, now);
      } else {
        hits += l1->Find(key.view(), now, &entry, &why);
      }
    }
    now_seconds = WallSeconds();
  } while (now_seconds < start_at + kSeconds);
  return static_cast<double>(hits) / (now_seconds - start_at);
}

// Hits a second of threads on these cores together.
double Together(L1* l1, const std::vector<Sequence>& sequences, const std::vector<int>& cores,
                uint32_t sets_percent) {
  std::vector<double> rates(cores.size());
  std::vector<std::thread> threads;
  const double start_at = WallSeconds() + 0.005;  // by then all have started
  for (size_t i = 0; i < cores.size(); ++i) {
    threads.emplace_back(
        [&, i] { rates[i] = Work(l1, sequences[cores[i]], cores[i], sets_percent, start_at); });
  }
  double sum = 0;
  for (size_t i = 0; i < cores.size(); ++i) {
    threads[i].join();
    sum += rates[i];
  }
  return sum;
}

struct Round {
  double one;
  double two;
  double others;  // share of the processors
};

Round Measure(L1* l1, const std::vector<Sequence>& sequences, uint32_t sets_percent) {
  const Used before = Used::Now();
  const double start = WallSeconds();
  Round round;
  round.one =
      (Together(l1, sequences, {0}, sets_percent) + Together(l1, sequences, {1}, sets_percent)) / 2;
  round.two = Together(l1, sequences, {0, 1}, sets_percent);
  const Used after = Used::Now();
  round.others = ((after.all - before.all) - (after.own - before.own)) /
                 ((WallSeconds() - start) * static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN)));
  return round;
}

}  // namespace

void MeasureThreads() {
  if (sysconf(_SC_NPROCESSORS_ONLN) < 2) Broken("two cores are needed");
  std::vector<Sequence> sequences;
  sequences.emplace_back(kKeys, kSequenceOps, /*seed=*/5);
  sequences.emplace_back(kKeys, kSequenceOps, /*seed=*/6);
  const auto l1 = FilledL1(kKeys);
  Measure(l1.get(), sequences, 0);  // warm-up
  for (const uint32_t sets_percent : {0u, 1u, 10u}) {
    std::vector<Round> rounds;
    int quiet = 0;
    for (int i = 0; i < kRoundsMost && quiet < kRounds; ++i) {
      rounds.push_back(Measure(l1.get(), sequences, sets_percent));
      quiet += rounds.back().others <= kOthersMost;
    }
    // The quietest, whether quiet or not.
    std::sort(rounds.begin(), rounds.end(),
              [](const Round& a, const Round& b) { return a.others < b.others; });
    rounds.resize(kRounds);
    std::vector<double> one, two, others;
    for (const Round& round : rounds) {
      one.push_back(round.one);
      two.push_back(round.two);
      others.push_back(round.others * 100);
    }
    const std::string name = "threads_" + std::to_string(sets_percent) + "pct_sets";
    Report((name + "_one").c_str(), Median(one), "hits/s");
    Report((name + "_two").c_str(), Median(two), "hits/s");
    Report((name + "_ratio").c_str(), MedianRatio(two, one), "of one thread");
    Report((name + "_others").c_str(), Median(others), "% of the machine");
  }
}

}  // namespace larder::bench
