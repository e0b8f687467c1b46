// What rocks_writer writes to its standard output for each change that was acknowledged.

#ifndef LARDER_TESTS_TIER_WRITER_ACKNOWLEDGED_CHANGE_H_
#define LARDER_TESTS_TIER_WRITER_ACKNOWLEDGED_CHANGE_H_

#include <cstdint>

#include "core/version.h"

namespace larder {

struct AcknowledgedChange {
  Version version;
  int32_t key;     // of `k` and this number
  int32_t erased;  // 1: an erase, 0: a put
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_WRITER_ACKNOWLEDGED_CHANGE_H_
