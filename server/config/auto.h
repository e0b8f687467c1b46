// What `auto` stands for on a machine. The `auto` of memory stands for no value: it is followed
// while the server runs (memory/governor.h).
// Thread safety: pure functions.

#ifndef LARDER_CONFIG_AUTO_H_
#define LARDER_CONFIG_AUTO_H_

#include <cstdint>
#include <string>

#include "config/machine.h"
#include "larder/config/v1/config.pb.h"
#include "larder/config/v1/options.pb.h"
#include "memory/governor.h"

namespace larder {

struct AutoValue {
  std::string text;  // as a file would write it
  std::string why;   // such as `half of the cgroup limit 512MiB`
};

// `so_far` is the configuration with the fields before this one filled in.
AutoValue ResolveAuto(config::v1::Auto from, const Machine& machine,
                      const config::v1::Config& so_far);

// The number after the last '-' of `name` when it is 0 to 1,023, else a hash of the name in that
// range, which is the same in every process and version. `why` says which.
AutoValue NodeIdOf(const std::string& name);

// How the size of L1 is decided; the memory of an embedded second tier is kept for that one.
GovernorOptions MemoryOptionsOf(const config::v1::Config& config);

// What `memory.l1: auto` means on this machine now: `now 3.5GiB: cgroup v2 limit 4GiB, ...`. Empty
// where the size is given.
std::string MemoryNow(const config::v1::Config& config, const Machine& machine);

}  // namespace larder

#endif  // LARDER_CONFIG_AUTO_H_
