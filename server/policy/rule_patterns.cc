// New lengths and new globs are rare, and readers many: everything that readers see is replaced as
// a whole when one comes. What comes with every rule, a newer version, is an atomic inside.

#include "policy/rule_patterns.h"

#include <algorithm>

#include "base/epoch.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

// Directories that readers may still see. A newer one takes the place of one that waits longer.
constexpr size_t kRetiredMost = 16;
// A compiled glob and what holds it.
constexpr uint64_t kGlobBytes = 256 * (Glob::kBytesMax / 64 + 1) * sizeof(uint64_t) + 512;
constexpr uint64_t kLengthBytes = 64;

void RaiseTo(std::atomic<Version>* version, Version to) {
  if (to > version->load(std::memory_order_relaxed)) version->store(to, std::memory_order_release);
}

}  // namespace

RulePatterns::RulePatterns(const Limits& limits) : limits_(limits), directory_(new Directory) {}

RulePatterns::~RulePatterns() { delete &directory(); }

const RulePatterns::Patterns* RulePatterns::Of(std::string_view name_space) const {
  const Directory& directory = *directory_.load(std::memory_order_acquire);
  const auto it = directory.find(ToAbsl(name_space));
  return it == directory.end() ? nullptr : it->second.get();
}

RulePatterns::Patterns RulePatterns::CopyOf(std::string_view name_space) const {
  const Patterns* const there = Of(name_space);
  return there == nullptr ? Patterns() : *there;
}

absl::Status RulePatterns::CheckNamespace(std::string_view name_space) const {
  if (directory().size() < limits_.namespaces_max || Of(name_space) != nullptr)
    return absl::OkStatus();
  return Error(
      Reason::kRULES_FULL,
      StrCat("namespace \"", name_space, "\" would be one more with glob or prefix rules; at most ",
             limits_.namespaces_max));
}

absl::Status RulePatterns::AddPrefix(std::string_view name_space, size_t bytes, Version version) {
  Patterns patterns = CopyOf(name_space);
  for (const std::shared_ptr<PrefixLength>& length : patterns.lengths) {
    if (length->bytes != bytes) continue;
    RaiseTo(&length->newest, version);
    return absl::OkStatus();
  }
  if (patterns.lengths.size() >= limits_.prefix_lengths_max) {
    return Error(
        Reason::kRULES_FULL,
        StrCat("namespace \"", name_space, "\" has prefix rules of ", patterns.lengths.size(),
               " different lengths; at most ", limits_.prefix_lengths_max));
  }
  RETURN_IF_ERROR(CheckNamespace(name_space));
  patterns.lengths.push_back(std::make_shared<PrefixLength>(bytes));
  patterns.lengths.back()->newest.store(version, std::memory_order_relaxed);
  SwitchTo(name_space, std::move(patterns));
  return absl::OkStatus();
}

absl::Status RulePatterns::AddGlob(std::string_view name_space, std::string_view text,
                                   RuleSlots::Id id, Version version) {
  Patterns patterns = CopyOf(name_space);
  for (const std::shared_ptr<GlobRule>& rule : patterns.globs) {
    if (rule->glob.text() != text) continue;
    RaiseTo(&rule->newest, version);
    return absl::OkStatus();
  }
  absl::StatusOr<Glob> glob = Glob::Parse(text);
  if (!glob.ok()) return Error(Reason::kSELECTOR_INVALID, ToStd(glob.status().message()));
  if (patterns.globs.size() >= limits_.globs_max) {
    return Error(Reason::kRULES_FULL,
                 StrCat("namespace \"", name_space, "\" has ", patterns.globs.size(),
                        " glob rules; at most ", limits_.globs_max));
  }
  if (globs() >= limits_.all_globs_max) {
    return Error(Reason::kRULES_FULL, StrCat("all namespaces together have ", globs(),
                                             " glob rules; at most ", limits_.all_globs_max));
  }
  RETURN_IF_ERROR(CheckNamespace(name_space));
  patterns.globs.push_back(std::make_shared<GlobRule>(*std::move(glob), id));
  patterns.globs.back()->newest.store(version, std::memory_order_relaxed);
  SwitchTo(name_space, std::move(patterns));
  return absl::OkStatus();
}

void RulePatterns::DropUpTo(Version version, bool globs_too) {
  const auto is_old = [version](const auto& rule) {
    return rule->newest.load(std::memory_order_relaxed) <= version;
  };
  auto next = std::make_unique<Directory>();
  bool changed = false;
  for (const auto& [name_space, patterns] : directory()) {
    const auto is_old_glob = [&](const auto& rule) { return globs_too && is_old(rule); };
    if (std::ranges::none_of(patterns->lengths, is_old) &&
        std::ranges::none_of(patterns->globs, is_old_glob)) {
      next->emplace(name_space, patterns);
      continue;
    }
    changed = true;
    Patterns left = *patterns;
    std::erase_if(left.lengths, is_old);
    std::erase_if(left.globs, is_old_glob);
    if (left.lengths.empty() && left.globs.empty()) continue;
    next->emplace(name_space, std::make_shared<const Patterns>(std::move(left)));
  }
  if (changed) SwitchTo(std::move(next));
}

void RulePatterns::DropOf(std::string_view name_space, Version version) {
  if (Of(name_space) == nullptr) return;
  Patterns left = CopyOf(name_space);
  const auto is_old = [version](const auto& rule) {
    return rule->newest.load(std::memory_order_relaxed) <= version;
  };
  if (std::erase_if(left.lengths, is_old) + std::erase_if(left.globs, is_old) == 0) return;
  if (!left.lengths.empty() || !left.globs.empty()) return SwitchTo(name_space, std::move(left));
  auto next = std::make_unique<Directory>(directory());
  next->erase(ToAbsl(name_space));
  SwitchTo(std::unique_ptr<const Directory>(std::move(next)));
}

void RulePatterns::SwitchTo(std::string_view name_space, Patterns patterns) {
  auto next = std::make_unique<Directory>(directory());
  (*next)[std::string(name_space)] = std::make_shared<const Patterns>(std::move(patterns));
  SwitchTo(std::unique_ptr<const Directory>(std::move(next)));
}

void RulePatterns::SwitchTo(std::unique_ptr<const Directory> directory) {
  std::unique_ptr<const Directory> old(
      directory_.exchange(directory.release(), std::memory_order_acq_rel));
  retired_.push_back({std::move(old), Epoch::Stamp()});
}

size_t RulePatterns::globs() const {
  size_t count = 0;
  for (const auto& [name_space, patterns] : directory()) count += patterns->globs.size();
  return count;
}

void RulePatterns::Reclaim() {
  if (retired_.size() < kRetiredMost) return;
  const uint64_t passed = Epoch::Passed();
  std::erase_if(retired_, [&](const Retired& retired) { return retired.stamp <= passed; });
}

uint64_t RulePatterns::bytes() const {
  uint64_t bytes = 0;
  for (const auto& [name_space, patterns] : directory()) {
    bytes += sizeof(Directory::value_type) + sizeof(Patterns) +
             patterns->lengths.size() * kLengthBytes + patterns->globs.size() * kGlobBytes;
  }
  return bytes;
}

}  // namespace larder
