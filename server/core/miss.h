// Why a read found nothing to serve.

#ifndef LARDER_CORE_MISS_H_
#define LARDER_CORE_MISS_H_

#include <cstdint>

namespace larder {

enum class MissReason : uint8_t {
  kAbsent,       // not held, and not remembered why
  kExpired,      // outlived its TTL
  kInvalidated,  // deleted or invalidated
  kNegative,     // the origin has no such key
  kLoading,      // another caller loads it and the allowed wait is over
  kTierFailed,   // a tier that may hold it did not answer
  kRolledPast,   // the cache is not used for it, by its type's rollout
};

}  // namespace larder

#endif  // LARDER_CORE_MISS_H_
