// A trace of cache requests as text, one request a line: `key`, or `key size ttl op time` (bytes of
// key and value; seconds, 0 = for ever; `g` get or `s` set; seconds since the start). Which of the
// two it is shows in the number of columns. Thread safety: values.

#ifndef LARDER_BENCH_HITRATIO_TRACE_H_
#define LARDER_BENCH_HITRATIO_TRACE_H_

#include <cstdint>
#include <cstdio>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace larder::bench {

struct Request {
  uint32_t id;  // of the key: 0, 1, 2, ... in the order of their first appearance
  uint32_t bytes = 0;
  MonoNanos ttl = 0;  // 0 = for ever
  MonoNanos time = 0;
  bool set = false;
};

struct Trace {
  std::vector<Request> requests;
  uint32_t distinct = 0;
  bool timed = false;  // five columns

  // Reads a whole trace. InvalidArgument names the line that has another form.
  static absl::StatusOr<Trace> Read(std::FILE* file);
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_HITRATIO_TRACE_H_
