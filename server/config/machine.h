// What the machine, or the container, gives this process: the source of every `auto` in the
// configuration. Thread safety: values; the functions from any thread. They read small files of the
// kernel and do not otherwise block.

#ifndef LARDER_CONFIG_MACHINE_H_
#define LARDER_CONFIG_MACHINE_H_

#include <string>

#include "memory/machine_memory.h"

namespace larder {

struct Machine {
  std::string hostname = {};
  MemoryReading memory = {};
  // CPUs that the process may use, counting a cgroup's quota in whole CPUs; at least 1.
  int cpus = 1;
};

// The machine that this process runs on.
Machine ThisMachine();

// The same from the files under `root` in place of `/`: root/proc and root/sys/fs/cgroup. What is
// missing there is unknown, not an error.
Machine ReadMachine(const std::string& root);

}  // namespace larder

#endif  // LARDER_CONFIG_MACHINE_H_
