// Machines for tests of the configuration.

#ifndef LARDER_TESTS_CONFIG_SOME_MACHINE_H_
#define LARDER_TESTS_CONFIG_SOME_MACHINE_H_

#include <cstdint>

#include "config/machine.h"

namespace larder {

// The memory of a machine without cgroups, or of a container, of which nothing is in use.
inline MemoryReading MemoryOf(uint64_t bytes, MemorySource source = MemorySource::kMachine) {
  return {.levels = {{.source = source, .limit_bytes = bytes, .available_bytes = bytes}}};
}

// A machine of eight GiB and four processors.
inline Machine SomeMachine() {
  return {.hostname = "larder-7", .memory = MemoryOf(uint64_t{8} << 30), .cpus = 4};
}

}  // namespace larder

#endif  // LARDER_TESTS_CONFIG_SOME_MACHINE_H_
