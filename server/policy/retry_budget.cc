#include "policy/retry_budget.h"

#include <algorithm>

namespace larder {
namespace {

constexpr int64_t kToken = 1'000'000;

}  // namespace

RetryBudget::RetryBudget(const Options& options)
    : share_(static_cast<int64_t>(options.ratio * static_cast<double>(kToken))),
      full_(options.ratio > 0 ? int64_t{options.burst} * kToken : 0),
      tokens_(full_) {}

void RetryBudget::Add() {
  int64_t tokens = tokens_.load(std::memory_order_relaxed);
  while (!tokens_.compare_exchange_weak(tokens, std::min(tokens + share_, full_),
                                        std::memory_order_relaxed)) {
  }
}

bool RetryBudget::TryRetry() {
  int64_t tokens = tokens_.load(std::memory_order_relaxed);
  do {
    if (tokens < kToken) return false;
  } while (!tokens_.compare_exchange_weak(tokens, tokens - kToken, std::memory_order_relaxed));
  return true;
}

double RetryBudget::left() const {
  return static_cast<double>(tokens_.load(std::memory_order_relaxed)) / static_cast<double>(kToken);
}

absl::Duration Backoff::Pause(int retry, Random* random) const {
  absl::Duration pause = first;
  for (int i = 1; i < retry && pause < max; ++i) pause *= 2;
  pause = std::min(pause, max);
  const double draw = (random->NextSigned() + 1) / 2;
  return pause * (0.5 + 0.5 * draw);
}

}  // namespace larder
