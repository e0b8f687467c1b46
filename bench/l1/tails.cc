// How long the slowest operations take while everything that happens behind a reader's back
// happens. One thread inserts into a full L1 without a pause: entries of 16 bytes to 1 MiB that
// live for 20 ms to 2 s and expire; every fourth is a user profile and may be compressed. Another
// sweeps ten times a second, halves and doubles the budget in turns, and trains dictionaries from
// the profiles, far more often than a server would.
//
// The reader, pinned to a core that it has to itself as far as this process goes, times every
// single operation: nine Finds to one Insert. In turns with it the same loop times nothing: instead
// of an operation it reads the clock until the mean time of an operation is over. What that loop
// sees is what the machine does to any thread, other processes and the hypervisor; it belongs
// beside every figure of this kind. `..._rest` leaves out the long operations during which the
// reader's core was given to another thread: what then remains is waiting, and L1's own work.

#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>

#include "base/histogram.h"
#include "bench/dictionaries/profiles.h"
#include "bench/l1/modes.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "bench/zipf.h"
#include "core/key.h"
#include "policy/compressor.h"

namespace larder::bench {

namespace {

constexpr uint64_t kBudget = 256 << 20;
constexpr uint64_t kKeys = 500'000;
constexpr size_t kSequenceOps = 1'000'000;
constexpr int kTurns = 10;
constexpr MonoNanos kTurnNanos = 2'000'000'000;
constexpr size_t kLargestValue = 1 << 20;
constexpr uint32_t kTypes = 4;
constexpr MonoNanos kMillisecond = 1'000'000;
// An operation longer than this is looked at: was the thread taken off its core meanwhile?
constexpr MonoNanos kLong = 100'000;

// Sizes from 16 bytes to 64 KiB, every power of two as often as the next, and a few of 1 MiB.
size_t AnySize(QuickRandom& random) {
  if (random.Below(2'000) == 0) return kLargestValue;
  const size_t base = size_t{16} << random.Below(12);
  return base + random.Below(static_cast<uint32_t>(base));
}

EntryFields AnyFields(std::string_view full_key, std::string_view value, Version version,
                      MonoNanos now, QuickRandom& random) {
  EntryFields fields = Fields(full_key, value, version, now);
  fields.fresh_until = now + kMillisecond * (20 + random.Below(1'980));
  fields.usable_until = fields.fresh_until;
  fields.type_id = random.Below(kTypes);
  return fields;
}

// The threads behind the reader's back, all on core 1, from construction to destruction.
class Disturbance {
 public:
  explicit Disturbance(L1* l1)
      : l1_(l1), inserter_([this] { Insert(); }), keeper_([this] { Keep(); }) {}
  ~Disturbance() {
    stop_ = true;
    inserter_.join();
    keeper_.join();
  }

  uint64_t inserts() const { return inserts_; }
  uint64_t resizes() const { return resizes_; }
  const Histogram& insert_times() const { return insert_times_; }
  uint64_t trainings() const {
    uint64_t sum = 0;
    for (const CompressionStats& stats : compressor_->Stats()) {
      sum += stats.trainings + stats.trainings_refused;
    }
    return sum;
  }

 private:
  void Insert() {
    PinTo(1);
    QuickRandom random(7);
    const Zipf zipf(kKeys, 0.7);
    const std::string bytes(2 * kLargestValue, 'b');
    const std::vector<std::string> profiles = SomeProfiles();
    char key[kKeyBytes];
    Clock* const clock = Clock::System();
    for (; !stop_; ++inserts_) {
      WriteKey(zipf.Next(random), key);
      const FullKey full_key("", {key, kKeyBytes});
      EntryFields fields;
      Compressor::Encoded encoded;
      if (inserts_ % 4 == 0) {
        const std::string& profile = profiles[random.Below(profiles.size())];
        fields = AnyFields(full_key.view(), profile, 0, clock->Mono(), random);
        encoded = compressor_->Encode(fields.type_id, profile);
        if (encoded.encoding != kPlain) {
          fields.value = encoded.bytes;
          fields.encoding = encoded.encoding;
          fields.plain_bytes = static_cast<uint32_t>(profile.size());
        }
      } else {
        const std::string_view value(bytes.data() + random.Below(4'096), AnySize(random));
        fields = AnyFields(full_key.view(), value, 0, clock->Mono(), random);
      }
      const MonoNanos start = clock->Mono();
      fields.version = VersionOf(start, 1);
      l1_->Insert(fields, Expect{}, start);
      insert_times_.RecordNanos(clock->Mono() - start);
    }
  }

  void Keep() {
    PinTo(1);
    for (int tick = 0; !stop_; ++tick) {
      while (!stop_ && l1_->Sweep(Clock::System()->Mono())) std::this_thread::yield();
      if (tick % 5 == 4) {
        const uint64_t budget = resizes_ % 2 == 0 ? kBudget / 2 : kBudget;
        while (!stop_ && !l1_->SetBudget(budget)) {
        }
        ++resizes_;
      }
      while (!stop_ && compressor_->TrainingDue() && compressor_->TrainingStep()) {
      }
      compressor_->Retire([this](Encoding encoding) { return l1_->EntriesEncoded(encoding); });
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  static std::vector<std::string> SomeProfiles() {
    Profiles source(1);
    std::vector<std::string> profiles(4'096);
    for (std::string& profile : profiles) profile = source.Next();
    return profiles;
  }

  // Trains as often as it can: in a server that has run for a while, once an hour.
  static std::unique_ptr<Compressor> EagerCompressor() {
    Compressor::Options options;
    options.types.resize(kTypes);
    options.sampling_time = absl::Milliseconds(500);
    options.retrain_after = absl::Milliseconds(500);
    options.retire_after = absl::Milliseconds(500);
    return Compressor::New(options);
  }

  L1* const l1_;
  const std::unique_ptr<Compressor> compressor_ = EagerCompressor();
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> inserts_{0};
  std::atomic<uint64_t> resizes_{0};
  Histogram insert_times_;
  std::thread inserter_;
  std::thread keeper_;
};

// The times of one kind of turn.
class Times {
 public:
  void Record(MonoNanos nanos) {
    all_.RecordNanos(nanos);
    if (nanos > kLong || ++recorded_ % 1'024 == 0) {
      const int64_t taken = TakenOff();
      if (nanos > kLong && taken != taken_) {
        long_taken_off_++;
        taken_ = taken;
        return;
      }
      taken_ = taken;
    }
    undisturbed_.RecordNanos(nanos);
  }

  double MeanNanos() const { return absl::ToDoubleNanoseconds(undisturbed_.Snap().Mean()); }

  void ReportAs(const std::string& name) const {
    const Histogram::Snapshot all = all_.Snap();
    const Histogram::Snapshot undisturbed = undisturbed_.Snap();
    const auto line = [&](const char* what, double value, const char* unit) {
      Report((name + what).c_str(), value, unit);
    };
    line("_operations", static_cast<double>(all.count), "");
    line("_mean", absl::ToDoubleMicroseconds(all.Mean()), "us");
    line("_p9999", absl::ToDoubleMilliseconds(all.Quantile(0.9999)), "ms");
    line("_max", absl::ToDoubleMilliseconds(all.Quantile(1)), "ms");
    line("_taken_off", static_cast<double>(long_taken_off_), "operations");
    line("_p9999_rest", absl::ToDoubleMilliseconds(undisturbed.Quantile(0.9999)), "ms");
    line("_max_rest", absl::ToDoubleMilliseconds(undisturbed.Quantile(1)), "ms");
  }

 private:
  // How often this thread had to give its core to another one.
  static int64_t TakenOff() {
    rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
  }

  Histogram all_;
  Histogram undisturbed_;  // without those during which the thread was taken off its core
  uint64_t recorded_ = 0;
  int64_t long_taken_off_ = 0;
  int64_t taken_ = TakenOff();
};

template <typename Operation>
void Turn(Operation operation, Times* times) {
  Clock* const clock = Clock::System();
  const MonoNanos until = clock->Mono() + kTurnNanos;
  MonoNanos before = clock->Mono();
  while (before < until) {
    operation(before);
    const MonoNanos after = clock->Mono();
    times->Record(after - before);
    // Recording is not part of the next operation; nothing that could wait happens in it.
    before = clock->Mono();
  }
}

}  // namespace

void MeasureTails() {
  PinTo(0);
  const Sequence sequence(kKeys, kSequenceOps, /*seed=*/9);
  const auto l1 = L1::New({.budget_bytes = kBudget});
  const std::string value(kValueBytes, 'v');
  Times of_l1, of_nothing;
  uint64_t hits = 0, finds = 0;
  Entry entry;
  MissReason why;
  QuickRandom random(11);
  size_t at = 0;
  Disturbance disturbance(l1.get());
  for (int turn = 0; turn < kTurns; ++turn) {
    Turn(
        [&](MonoNanos now) {
          if (++at == sequence.size()) at = 0;
          const FullKey key("", sequence[at]);
          if (random.Below(10) == 0) {
            l1->Insert(AnyFields(key.view(), value, VersionOf(now, 0), now, random), Expect{}, now);
          } else {
            ++finds;
            hits += l1->Find(key.view(), now, &entry, &why);
          }
        },
        &of_l1);
    const auto mean = static_cast<MonoNanos>(of_l1.MeanNanos());
    Turn(
        [&](MonoNanos now) {
          while (Clock::System()->Mono() < now + mean) {
          }
        },
        &of_nothing);
  }
  if (l1->Usage().total.evicted() == 0 || l1->Usage().total.expirations == 0 ||
      disturbance.resizes() < 4 || disturbance.trainings() == 0) {
    Broken("nothing was evicted, expired, resized or trained: there was nothing to wait for");
  }
  of_l1.ReportAs("tail");
  of_nothing.ReportAs("tail_nothing");
  Report("tail_hits", 100 * static_cast<double>(hits) / static_cast<double>(finds), "%");
  const Histogram::Snapshot inserts = disturbance.insert_times().Snap();
  Report("tail_trainings", static_cast<double>(disturbance.trainings()), "");
  Report("tail_resizes", static_cast<double>(disturbance.resizes()), "");
  Report("tail_inserter_operations", static_cast<double>(disturbance.inserts()), "");
  Report("tail_inserter_mean", absl::ToDoubleMicroseconds(inserts.Mean()), "us");
  Report("tail_inserter_p9999", absl::ToDoubleMilliseconds(inserts.Quantile(0.9999)), "ms");
  Report("tail_inserter_max", absl::ToDoubleMilliseconds(inserts.Quantile(1)), "ms");
}

}  // namespace larder::bench
