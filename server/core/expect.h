// What a conditional write expects to find. Thread safety: values.

#ifndef LARDER_CORE_EXPECT_H_
#define LARDER_CORE_EXPECT_H_

#include <cstdint>

#include "core/version.h"

namespace larder {

// A negative or expired entry counts as absent.
struct Expect {
  enum class Kind : uint8_t {
    kAny,
    kAbsent,
    kPresent,
    kVersion,    // a live entry of exactly `version`
    kUnchanged,  // nothing at all, or exactly `version`, negative entries and tombstones included
  };
  Kind kind = Kind::kAny;
  Version version = kNoVersion;  // for kVersion and kUnchanged
};

// Whether it holds for a key of which the entry of `version` is there; `live`: and counts. What is
// unchanged is not for this to say.
inline bool Holds(const Expect& expect, bool live, Version version) {
  switch (expect.kind) {
    case Expect::Kind::kAny:
    case Expect::Kind::kUnchanged:
      return true;
    case Expect::Kind::kAbsent:
      return !live;
    case Expect::Kind::kPresent:
      return live;
    case Expect::Kind::kVersion:
      return live && version == expect.version;
  }
  return false;
}

}  // namespace larder

#endif  // LARDER_CORE_EXPECT_H_
