#include "config/auto.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "config/units.h"
#include "memory/l1.h"

namespace larder {
namespace {

// L1 refuses entries of more than a quarter of one of its shards, the key and the books included.
constexpr uint64_t kValuesInMemory = 8;
constexpr uint32_t kNodeIds = 1024;
constexpr int kWorkersLeast = 2;
constexpr int kThreadsMost = 256;
constexpr uint64_t kL2MemoryLeast = uint64_t{8} << 20;
constexpr uint64_t kL2MemoryMost = uint64_t{512} << 20;

// Host names are not always host names: whatever the kernel allows may stand there.
AutoValue HostName(const Machine& machine) {
  std::string name = machine.hostname.substr(0, 253);
  for (char& c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_') c = '-';
  }
  if (name.empty()) return {"larder", "the machine has no host name"};
  return {name, "host name"};
}

AutoValue EmbeddedTier(const config::v1::Config& so_far) {
  if (so_far.l2().none()) return {"false", "l2.none is true"};
  if (so_far.l2().redis().enabled()) return {"false", "l2.redis is the second tier"};
  if (so_far.data().path().empty()) return {"false", "data.path is empty"};
  return {"true", "data.path is set"};
}

AutoValue EmbeddedMemory(const Machine& machine) {
  const BudgetPlan left = PlanBudget({}, machine.memory, 0);
  const uint64_t bytes = std::clamp(left.bytes / 8 >> 20 << 20, kL2MemoryLeast, kL2MemoryMost);
  return {WriteBytes(bytes),
          absl::StrCat("an eighth of what the limits leave, 8MiB to 512MiB: ", left.why)};
}

// The types come after the journal, so that is filled in; a name that is none of it was reported.
AutoValue SyncOfJournal(const config::v1::Config& so_far) {
  const auto with = [](const char* text) {
    return AutoValue{text, absl::StrCat("journal.sync is ", text)};
  };
  switch (so_far.journal().sync()) {
    case config::v1::JOURNAL_SYNC_OS:
      return with("os");
    case config::v1::JOURNAL_SYNC_NONE:
      return with("none");
    default:
      return with("fsync");
  }
}

// An address that is none was reported.
AutoValue AddressOfNativeLane(const config::v1::Config& so_far) {
  const std::string& grpc = so_far.listen().grpc();
  const size_t colon = grpc.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(grpc.substr(colon + 1), &port)) {
    return {"0.0.0.0:50052", "listen.grpc is no address"};
  }
  const uint32_t next = port == 0 || port == 65535 ? 0 : port + 1;
  return {absl::StrCat(grpc.substr(0, colon), ":", next), "next to listen.grpc"};
}

// Where the gRPC port is a free one, as in tests, the other one must not be in the way either.
AutoValue AddressOfAdminPort(const config::v1::Config& so_far) {
  const std::string& grpc = so_far.listen().grpc();
  if (grpc.ends_with(":0")) return {"127.0.0.1:0", "a free port, as listen.grpc"};
  return {"127.0.0.1:8080", "this machine alone"};
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
    case config::v1::AUTO_CPUS:
      return {absl::StrCat(std::clamp(machine.cpus, 1, kThreadsMost)),
              absl::StrCat(machine.cpus, machine.cpus == 1 ? " CPU" : " CPUs")};
    case config::v1::AUTO_WORKERS:
      return {absl::StrCat(std::clamp(machine.cpus, kWorkersLeast, kThreadsMost)),
              absl::StrCat(machine.cpus, machine.cpus == 1 ? " CPU, at least 2 threads" : " CPUs")};
    case config::v1::AUTO_L2_EMBEDDED:
      return EmbeddedTier(so_far);
    case config::v1::AUTO_L2_MEMORY:
      return EmbeddedMemory(machine);
    case config::v1::AUTO_JOURNAL_SYNC:
      return SyncOfJournal(so_far);
    case config::v1::AUTO_NATIVE_ADDRESS:
      return AddressOfNativeLane(so_far);
    case config::v1::AUTO_ADMIN_ADDRESS:
      return AddressOfAdminPort(so_far);
    default:
      return {};
  }
}

GovernorOptions MemoryOptionsOf(const config::v1::Config& config) {
  const config::v1::Memory& memory = config.memory();
  const config::v1::RocksTier& embedded = config.l2().rocksdb();
  return {.fixed_bytes = memory.l1(),
          .min_bytes = memory.min(),
          .max_bytes = memory.max(),
          .floor_bytes = std::max<uint64_t>(kValuesInMemory * config.limits().value_bytes(),
                                            L1::kBudgetBytesMin),
          .beside_bytes = embedded.enabled() ? embedded.memory() : 0};
}

std::string MemoryNow(const config::v1::Config& config, const Machine& machine) {
  if (config.memory().l1() != 0) return "";
  const BudgetPlan plan =
      PlanBudget(MemoryOptionsOf(config), machine.memory, machine.memory.resident_bytes);
  return absl::StrCat("now ", AboutBytes(plan.bytes), ": ", plan.why);
}

}  // namespace larder
