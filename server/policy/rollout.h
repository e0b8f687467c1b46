// Which part of the keys the cache is used for, while it is introduced step by step. A key is in a
// part or out of it by its hash: on every replica alike, and still in when the part grows. Thread
// safety: pure functions.

#ifndef LARDER_POLICY_ROLLOUT_H_
#define LARDER_POLICY_ROLLOUT_H_

#include <string_view>

namespace larder {

struct RolloutPolicy {
  // The part of the keys that are read from the cache, and the part whose writes it keeps, which is
  // no larger; 0 to 1.
  double reads = 1;
  double writes = 1;

  bool ReadsAll() const { return reads >= 1; }
  bool Reads(std::string_view full_key) const { return ReadsAll() || IsIn(reads, full_key); }
  bool Keeps(std::string_view full_key) const { return writes >= 1 || IsIn(writes, full_key); }

 private:
  static bool IsIn(double part, std::string_view full_key);
};

}  // namespace larder

#endif  // LARDER_POLICY_ROLLOUT_H_
