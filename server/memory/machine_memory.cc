// Limits nest: a container's cgroup lies in its pod's, that one in a slice of the machine, and each
// of them counts everything below it. So each level is read by itself, with its own limit and with
// what its own members have used, and the caller asks which of them is the tightest. Where the
// ancestors cannot be seen from inside a container, v1 still names the least of their limits
// (hierarchical_memory_limit in memory.stat); v2 has nothing of the kind.
//
// In v2 a cgroup that exceeds memory.high is slowed down until it is useless long before it reaches
// memory.max, so the lesser of the two is the limit. v1 writes a number near 2^63 for no limit; it
// is larger than the machine and falls away with all others that are.
//
// "Used" counts the page cache, which the kernel fills with whatever the process reads and writes
// and gives up before anything else. It is taken off: an L1 that made room for it would hand its
// memory to old log files. The kubelet takes off only the inactive part; the active part is as
// reclaimable, and where it is really needed the pressure readings show it.
//
// Pressure (PSI) is read from the process's own cgroup where it has any. The machine's own is
// another matter, because it also rises when some other container stalls at its own limit; the
// reading says which of the two it is.

#include "memory/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/cgroup.h"

namespace larder {
namespace {

std::optional<uint64_t> Number(const std::string& text) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

// The numbers that lines of `name number` or `name: number unit` give, for one name.
std::optional<uint64_t> NumberOf(const std::string& text, const std::string& name) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string first, second;
    words >> first >> second;
    if (first == name || first == name + ":") return Number(second);
  }
  return std::nullopt;
}

class Reader {
 public:
  explicit Reader(std::string root) : root_(std::move(root)) {}

  MemoryReading Read() {
    const MemoryLevel machine = Machine();
    const std::vector<std::string> v2 = CgroupDirectories(root_, "");
    const std::vector<std::string> v1 = CgroupDirectories(root_, "memory");
    for (const std::string& directory : v2) LevelV2(directory);
    for (const std::string& directory : v1) LevelV1(directory, directory == v1.front());
    if (machine.limit_bytes != 0) {
      std::erase_if(reading_.levels, [&](const MemoryLevel& level) {
        return level.limit_bytes >= machine.limit_bytes;
      });
      reading_.levels.push_back(machine);
    }
    if (!v2.empty()) EventsV2(v2.front());
    if (!v1.empty()) EventsV1(v1.front());
    Pressure(v2.empty() ? "" : v2.front());
    ResidentSet();
    return std::move(reading_);
  }

 private:
  // The text of a file; empty when it is not there or cannot be read, which is a problem then.
  std::string Text(const std::string& path, bool limit = false) {
    absl::StatusOr<std::string> text = ReadKernelFile(path);
    if (text.ok()) return std::string(absl::StripAsciiWhitespace(*text));
    if (!absl::IsNotFound(text.status())) {
      Problem(std::string(text.status().message()));
      if (limit) reading_.limits_certain = false;
    }
    return "";
  }

  void Problem(std::string problem) { reading_.problems.push_back(std::move(problem)); }

  void NotUnderstood(const std::string& path, const std::string& what) {
    Problem(absl::StrCat(path, ": holds no ", what));
  }

  // A limit in a file of its own; nothing when there is none.
  std::optional<uint64_t> Limit(const std::string& path) {
    const std::string text = Text(path, /*limit=*/true);
    if (text.empty() || text == "max") return std::nullopt;
    const std::optional<uint64_t> limit = Number(text);
    if (!limit || *limit == 0) {
      // `echo 0 > memory.max` is possible, and no limit that a process can live under.
      NotUnderstood(path, "limit");
      reading_.limits_certain = false;
      return std::nullopt;
    }
    return limit;
  }

  void AddLevel(MemoryLevel level, const std::string& usage_path, uint64_t file_cache) {
    const std::string text = Text(usage_path);
    const std::optional<uint64_t> used = Number(text);
    if (!used) NotUnderstood(usage_path, "number of bytes in use");
    const uint64_t in_use = used.value_or(0) - std::min(used.value_or(0), file_cache);
    level.available_bytes = level.limit_bytes - std::min(level.limit_bytes, in_use);
    reading_.levels.push_back(level);
  }

  void LevelV2(const std::string& directory) {
    const std::optional<uint64_t> most = Limit(directory + "/memory.max");
    const std::optional<uint64_t> high = Limit(directory + "/memory.high");
    if (!most && !high) return;
    MemoryLevel level{.source = MemorySource::kCgroupV2};
    level.high = high && (!most || *high < *most);
    level.limit_bytes = level.high ? *high : *most;
    const std::string stat = Text(directory + "/memory.stat");
    AddLevel(
        level, directory + "/memory.current",
        NumberOf(stat, "inactive_file").value_or(0) + NumberOf(stat, "active_file").value_or(0));
  }

  void LevelV1(const std::string& directory, bool own) {
    std::optional<uint64_t> limit = Limit(directory + "/memory.limit_in_bytes");
    if (!limit) return;
    const std::string stat = Text(directory + "/memory.stat");
    if (own) limit = std::min(*limit, NumberOf(stat, "hierarchical_memory_limit").value_or(*limit));
    AddLevel({.source = MemorySource::kCgroupV1, .limit_bytes = *limit},
             directory + "/memory.usage_in_bytes",
             NumberOf(stat, "total_inactive_file").value_or(0) +
                 NumberOf(stat, "total_active_file").value_or(0));
  }

  // limit_bytes is 0 when it is unknown.
  MemoryLevel Machine() {
    const std::string path = root_ + "/proc/meminfo";
    const std::string text = Text(path);
    // `kB` means KiB there.
    const uint64_t total = NumberOf(text, "MemTotal").value_or(0) * 1024;
    if (total == 0) {
      NotUnderstood(path, "MemTotal");
      return {};
    }
    const std::optional<uint64_t> available = NumberOf(text, "MemAvailable");
    if (!available) NotUnderstood(path, "MemAvailable");
    return {.source = MemorySource::kMachine,
            .limit_bytes = total,
            .available_bytes = available ? std::min(total, *available * 1024) : total};
  }

  void EventsV2(const std::string& directory) {
    const std::string text = Text(directory + "/memory.events");
    reading_.pressure.limit_hits +=
        NumberOf(text, "high").value_or(0) + NumberOf(text, "max").value_or(0);
    reading_.pressure.ooms += NumberOf(text, "oom").value_or(0);
  }

  void EventsV1(const std::string& directory) {
    reading_.pressure.limit_hits += Number(Text(directory + "/memory.failcnt")).value_or(0);
    reading_.pressure.ooms +=
        NumberOf(Text(directory + "/memory.oom_control"), "oom_kill").value_or(0);
  }

  void Pressure(const std::string& own_directory) {
    const std::array<std::pair<std::string, bool>, 2> places = {
        {{own_directory + "/memory.pressure", true}, {root_ + "/proc/pressure/memory", false}}};
    for (const auto& [path, own] : places) {
      if (own && own_directory.empty()) continue;
      const std::string text = Text(path);
      if (text.empty()) continue;
      const std::optional<double> some = Stall(text, "some"), full = Stall(text, "full");
      if (!some) {
        NotUnderstood(path, "memory pressure");
        continue;
      }
      reading_.pressure.some = *some;
      reading_.pressure.full = full.value_or(0);
      reading_.pressure.known = true;
      reading_.pressure.own = own;
      return;
    }
    Problem("the kernel tells no memory pressure (PSI)");
  }

  // avg10 of a line like `some avg10=0.12 avg60=0.00 avg300=0.00 total=444588`.
  static std::optional<double> Stall(const std::string& text, const std::string& kind) {
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      if (words.size() < 2 || words[0] != kind || !words[1].starts_with("avg10=")) continue;
      double percent = 0;
      if (!absl::SimpleAtod(words[1].substr(6), &percent)) return std::nullopt;
      if (!(percent >= 0 && percent <= 100)) return std::nullopt;
      return percent;
    }
    return std::nullopt;
  }

  // The second number of statm is the resident set in pages.
  void ResidentSet() {
    const std::string path = root_ + "/proc/self/statm";
    const std::vector<std::string> words = absl::StrSplit(Text(path), ' ');
    const std::optional<uint64_t> pages = words.size() < 2 ? std::nullopt : Number(words[1]);
    if (!pages) return NotUnderstood(path, "resident set");
    reading_.resident_bytes = *pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  }

  const std::string root_;
  MemoryReading reading_;
};

}  // namespace

std::string MemoryLevel::Name() const {
  switch (source) {
    case MemorySource::kMachine:
      return absl::StrCat("machine's memory ", AboutBytes(limit_bytes));
    case MemorySource::kCgroupV1:
      return absl::StrCat("cgroup v1 limit ", AboutBytes(limit_bytes));
    case MemorySource::kCgroupV2:
      return absl::StrCat(high ? "cgroup v2 memory.high " : "cgroup v2 limit ",
                          AboutBytes(limit_bytes));
    default:
      return "unknown memory";
  }
}

const MemoryLevel* MemoryReading::Tightest() const {
  const auto least = std::min_element(
      levels.begin(), levels.end(),
      [](const MemoryLevel& a, const MemoryLevel& b) { return a.limit_bytes < b.limit_bytes; });
  return least == levels.end() ? nullptr : &*least;
}

const MemoryLevel* MemoryReading::Machine() const {
  if (levels.empty() || levels.back().source != MemorySource::kMachine) return nullptr;
  return &levels.back();
}

MemoryReading ReadMemory(const std::string& root) { return Reader(root).Read(); }

std::string AboutBytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g%s", value, kUnits[unit]);
  return text;
}

}  // namespace larder
