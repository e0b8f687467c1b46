#include "config/auto.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "config/units.h"

namespace larder {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kMemoryLeast = 8 * kMiB;
constexpr uint64_t kMemoryMost = 64 * 1024 * kMiB;
constexpr uint64_t kMemoryWhenUnknown = 256 * kMiB;
constexpr uint32_t kNodeIds = 1024;
constexpr int kThreadsLeast = 2;
constexpr int kThreadsMost = 256;

// A container's memory is there for larder; a machine's is shared with whatever else runs on it.
// What is not given to entries is for connections, messages in flight and the allocator.
AutoValue Memory(const Machine& machine) {
  if (machine.memory_bytes == 0)
    return {WriteBytes(kMemoryWhenUnknown), "the machine's memory is unknown"};
  const uint64_t share = machine.memory_bytes / (machine.memory_limited ? 2 : 4) / kMiB * kMiB;
  const uint64_t bytes = std::clamp(share, kMemoryLeast, kMemoryMost);
  const std::string limit = bytes > share   ? ", at least 8MiB"
                            : bytes < share ? ", at most 64GiB"
                                            : "";
  return {WriteBytes(bytes),
          absl::StrCat(machine.memory_limited ? "half of the " : "a quarter of the ",
                       machine.memory_why, limit)};
}

// Host names are not always host names: whatever the kernel allows may stand there.
AutoValue HostName(const Machine& machine) {
  std::string name = machine.hostname.substr(0, 253);
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_') c = '-';
  }
  if (name.empty()) return {"larder", "the machine has no host name"};
  return {name, "host name"};
}

uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (const unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  return hash;
}

}  // namespace

AutoValue NodeIdOf(const std::string& name) {
  const size_t dash = name.rfind('-');
  const std::string tail = dash == std::string::npos ? "" : name.substr(dash + 1);
  uint32_t ordinal = 0;
  const bool digits = tail.find_first_not_of("0123456789") == std::string::npos;
  if (digits && absl::SimpleAtoi(tail, &ordinal) && ordinal < kNodeIds) {
    return {absl::StrCat(ordinal), absl::StrCat("the number at the end of ", name)};
  }
  const uint64_t hash = Fnv1a(name);
  return {absl::StrCat((hash ^ (hash >> 32)) % kNodeIds),
          absl::StrCat("a hash of the name ", name)};
}

AutoValue ResolveAuto(config::v1::Auto from, const Machine& machine,
                      const config::v1::Config& so_far) {
  switch (from) {
    case config::v1::AUTO_HOST_NAME:
      return HostName(machine);
    case config::v1::AUTO_NODE_ID:
      return NodeIdOf(so_far.node().name());
    case config::v1::AUTO_MEMORY:
      return Memory(machine);
    case config::v1::AUTO_CPUS:
      return {absl::StrCat(std::clamp(machine.cpus, kThreadsLeast, kThreadsMost)),
              absl::StrCat(machine.cpus, machine.cpus == 1 ? " CPU, at least 2 threads" : " CPUs")};
    default:
      return {};
  }
}

}  // namespace larder
