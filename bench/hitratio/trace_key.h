// The key that stands for a trace's key in L1: 12 decimal digits. All have one length, so that
// entries with values of one size are of one size. Thread safety: pure functions.

#ifndef LARDER_BENCH_HITRATIO_TRACE_KEY_H_
#define LARDER_BENCH_HITRATIO_TRACE_KEY_H_

#include <cstdint>
#include <string_view>

#include "core/key.h"

namespace larder::bench {

inline constexpr size_t kTraceKeyBytes = 12;

// REQUIRES: number < 10^12.
inline FullKey TraceKey(uint64_t number) {
  char digits[kTraceKeyBytes];
  for (size_t i = kTraceKeyBytes; i > 0; --i, number /= 10) {
    digits[i - 1] = static_cast<char>('0' + number % 10);
  }
  return FullKey("", {digits, kTraceKeyBytes});
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_HITRATIO_TRACE_KEY_H_
