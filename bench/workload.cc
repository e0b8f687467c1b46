#include "bench/workload.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "bench/report.h"
#include "bench/zipf.h"

namespace larder::bench {

namespace {

double Seconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

void WriteKey(uint64_t id, char* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  const uint64_t mixed = Mixed64(id);
  std::memcpy(out, "key:", 4);
  for (int i = 0; i < 16; ++i) out[4 + i] = kDigits[(mixed >> (4 * i)) & 15];
}

void WriteValue(std::string_view key, char* out) {
  for (size_t i = 0; i < kValueBytes; ++i) out[i] = key[kKeyBytes - 1 - i % kKeyBytes];
}

Sequence::Sequence(uint64_t keys, size_t count, uint64_t seed) : bytes_(count * kKeyBytes) {
  const Zipf zipf(keys, kSkew);
  QuickRandom random(seed);
  // Keys are inserted in the order of their numbers, so numbers are what is scrambled: rank r is
  // key r * step, and a step without common divisor reaches every key once.
  uint64_t step = keys / 2 + keys / 8 + 1;
  while (std::gcd(step, keys) != 1) ++step;
  for (size_t i = 0; i < count; ++i) {
    WriteKey(zipf.Next(random) * step % keys, &bytes_[i * kKeyBytes]);
  }
}

Sequence Sequence::Fresh(uint64_t first, size_t count) {
  Sequence sequence;
  sequence.bytes_.resize(count * kKeyBytes);
  for (size_t i = 0; i < count; ++i) WriteKey(first + i, &sequence.bytes_[i * kKeyBytes]);
  return sequence;
}

EntryFields Fields(std::string_view full_key, std::string_view value, Version version,
                   MonoNanos now) {
  constexpr MonoNanos kHour = 3'600'000'000'000;
  EntryFields fields;
  fields.full_key = full_key;
  fields.value = value;
  fields.version = version;
  fields.fresh_until = now + kHour;
  fields.usable_until = now + kHour;
  return fields;
}

Version VersionOf(MonoNanos mono, int thread) {
  static const MonoNanos start_mono = Clock::System()->Mono();
  static const Version start = VersionAt(Clock::System()->Now());
  // A millisecond is 2^22 versions, so these keep pace with the clock that versions follow.
  return start + 4 * static_cast<Version>(mono - start_mono) + static_cast<Version>(thread);
}

double ThreadSeconds() { return Seconds(CLOCK_THREAD_CPUTIME_ID); }
double WallSeconds() { return Seconds(CLOCK_MONOTONIC); }

void PinTo(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core % static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)), &cores);
  if (sched_setaffinity(0, sizeof(cores), &cores) != 0) Broken("cannot pin a thread to a core");
}

}  // namespace larder::bench
