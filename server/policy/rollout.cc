#include "policy/rollout.h"

#include "base/keyed_hash.h"

namespace larder {

bool RolloutPolicy::IsIn(double part, std::string_view full_key) {
  // No secret: all replicas, of whatever kind of machine, have to agree.
  static const KeyedHash hash(0x6c61726465722121, 0x726f6c6c6f757421);
  constexpr double kAll = 18446744073709551616.0;  // 2^64
  return static_cast<double>(KeyedHash::Sip(hash, full_key)) < part * kAll;
}

}  // namespace larder
