// Rendezvous hashing: each target draws a number for the key, made from both names, and the largest
// is the key's target, the second largest its next one. All clients draw the same numbers, a target
// that goes away moves only its own keys, to all others alike, and there is no table to keep.
//
// A target that is away is tried again by one call each `open_for`, which is a breaker. With one
// target at a time there is none unless it is asked for: the next target is current then, and stays
// so. Calls that are not about one key take the current target in both kinds of routing.

#include "client/src/routes.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace larder::internal {
namespace {

// Spreads every bit of its argument over all of the result (the finalizer of splitmix64).
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t RouteHash(std::string_view key) {
  // FNV-1a: simple to do the same way in another language.
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

Routes::Routes(std::vector<std::string> targets, Routing routing, const BreakerPolicy& breaker,
               std::shared_ptr<ClientMetrics> metrics)
    : names_(std::move(targets)),
      routing_(routing),
      failures_max_(breaker.failures),
      open_for_(absl::ToInt64Nanoseconds(breaker.open_for)),
      metrics_(std::move(metrics)) {
  for (const std::string& name : names_) hashes_.push_back(RouteHash(name));
  MutexLock lock(&mu_);
  targets_.resize(names_.size());
}

std::vector<size_t> Routes::Order(std::optional<uint64_t> key) const {
  std::vector<size_t> order(names_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (routing_ == Routing::kByKey && key.has_value()) {
    const auto drawn = [this, key](size_t target) { return Mix(*key ^ Mix(hashes_[target])); };
    std::sort(order.begin(), order.end(),
              [&drawn](size_t a, size_t b) { return drawn(a) > drawn(b); });
  } else {
    std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(current_), order.end());
  }
  return order;
}

std::optional<size_t> Routes::Pick(std::optional<uint64_t> key, std::optional<size_t> avoid,
                                   int64_t now) {
  MutexLock lock(&mu_);
  std::vector<size_t> order = Order(key);
  if (avoid.has_value()) {
    std::stable_partition(order.begin(), order.end(), [&](size_t t) { return t != *avoid; });
  }
  for (const size_t number : order) {
    Target& target = targets_[number];
    if (target.open && now < target.retry_at) continue;
    // One attempt finds out; should nothing be heard of it, another one does after the same time.
    if (target.open) target.retry_at = now + open_for_;
    return number;
  }
  if (failures_max_ > 0) return std::nullopt;
  return order.front();
}

void Routes::Answered(size_t number) {
  bool was_open;
  {
    MutexLock lock(&mu_);
    Target& target = targets_[number];
    was_open = target.open;
    target = Target{};
  }
  if (was_open && metrics_ != nullptr) metrics_->OnBreaker(names_[number], false);
}

void Routes::Failed(size_t number, int64_t now) {
  bool opened = false;
  {
    MutexLock lock(&mu_);
    // Unless another call has moved on already.
    if (current_ == number) current_ = (current_ + 1) % names_.size();
    Target& target = targets_[number];
    ++target.failures;
    int most = failures_max_;
    if (most == 0 && routing_ == Routing::kByKey && names_.size() > 1) most = 1;
    if (most == 0 || target.failures < most) return;
    opened = !target.open;
    target.open = true;
    target.retry_at = now + open_for_;
  }
  if (opened && metrics_ != nullptr) metrics_->OnBreaker(names_[number], true);
}

void Routes::Unknown(size_t number) {
  MutexLock lock(&mu_);
  // The next call may find out at once.
  targets_[number].retry_at = 0;
}

}  // namespace larder::internal
