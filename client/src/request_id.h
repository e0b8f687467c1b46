// Makes request ids that no other caller makes.
// Thread safety: any method, any thread. Never blocks.

#ifndef LARDER_CLIENT_SRC_REQUEST_ID_H_
#define LARDER_CLIENT_SRC_REQUEST_ID_H_

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"

namespace larder::internal {

// 128 random bits for the client, then a number for the call: at most 49 bytes.
class RequestIds {
 public:
  RequestIds() {
    std::random_device device;
    for (int i = 0; i < 4; ++i) absl::StrAppend(&prefix_, absl::Hex(device(), absl::kZeroPad8));
  }

  std::string Next() {
    return absl::StrCat(prefix_, "-", absl::Hex(next_.fetch_add(1, std::memory_order_relaxed)));
  }

 private:
  std::string prefix_;
  std::atomic<uint64_t> next_{1};
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_REQUEST_ID_H_
