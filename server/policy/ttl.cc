// ComputeTtl and ExplainTtl are one walk over the arithmetic that tells an observer each step.
// ComputeTtl's observer ignores the steps, and the compiler removes them; so the explanation cannot
// drift away from what is done.
//
// Each product is rounded to a whole microsecond. A TTL needs no more, and binary fractions would
// otherwise show up as 5m59.99999999975s in explanations and replies.

#include "policy/ttl.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr absl::Duration kLeast = absl::Milliseconds(1);

absl::Duration Times(absl::Duration ttl, double factor) {
  return absl::Trunc(ttl * factor + absl::Nanoseconds(500), absl::Microseconds(1));
}

const AccessStep* StepFor(const TtlPolicy& policy, uint64_t hits) {
  const AccessStep* found = nullptr;
  for (const AccessStep& step : policy.access_steps) {
    if (hits <= step.hits) break;
    found = &step;
  }
  return found;
}

double AccessFactor(const TtlPolicy& policy, uint64_t hits) {
  return std::min(policy.access_max,
                  1 + static_cast<double>(hits) / policy.access_per_hits * policy.access_gain);
}

const SizeBand* BandFor(const TtlPolicy& policy, uint64_t value_bytes) {
  for (const SizeBand& band : policy.size_bands) {
    // The last band has no upper end, not even for UINT64_MAX itself.
    if (value_bytes < band.below_bytes || &band == &policy.size_bands.back()) return &band;
  }
  return nullptr;
}

// Calls on_step(name, factor, ttl after it, why), where why() makes the words, for each step in
// turn.
template <typename OnStep>
class Walk {
 public:
  Walk(const TtlPolicy& policy, const TtlInput& input, OnStep on_step)
      : policy_(policy), input_(input), on_step_(std::move(on_step)) {}

  absl::Duration Run() {
    if (input_.requested) {
      SetTo("requested", *input_.requested, [] { return std::string("the request's own TTL"); });
    } else if (input_.absent) {
      SetTo("absent", policy_.absent,
            [] { return std::string("the type's TTL for keys that the origin does not have"); });
    } else if (policy_.forever) {
      SetTo("base", absl::InfiniteDuration(), [] {
        return std::string("the type's entries live until they are evicted or removed");
      });
      return ttl_;
    } else {
      SetTo("base", policy_.base, [] { return std::string("the type's base TTL"); });
      Adapt();
    }
    Jitter();
    const bool by_policy = !input_.requested && !input_.absent;
    if (by_policy && ttl_ < policy_.min) {
      SetTo("min", policy_.min, [] { return std::string("the type allows no less"); });
    }
    if (ttl_ > policy_.max)
      SetTo("max", policy_.max, [] { return std::string("the type allows no more"); });
    if (ttl_ < kLeast)
      SetTo("min", kLeast, [] { return std::string("no TTL is shorter than 1 ms"); });
    if (SlidingTtl(policy_, input_, ttl_) != absl::ZeroDuration())
      SetTo("sliding", ttl_, [] { return std::string("every hit starts this TTL again"); });
    return ttl_;
  }

 private:
  void Adapt() {
    const AccessStep* const step = policy_.adapt_access ? StepFor(policy_, input_.hits) : nullptr;
    if (step != nullptr) {
      SetTo("access", step->ttl,
            [&] { return absl::StrCat(Hits(), " are more than ", step->hits, ": another base"); });
    }
    Multiply("multiplier", policy_.multiplier, [] { return std::string("the type's multiplier"); });
    if (step == nullptr) AdaptToAccess();
    const SizeBand* const band =
        policy_.adapt_size ? BandFor(policy_, input_.value_bytes) : nullptr;
    Multiply("size", band == nullptr ? 1 : band->factor, [&] {
      if (band == nullptr) return std::string("off");
      if (band == &policy_.size_bands.back())
        return absl::StrCat(input_.value_bytes, " bytes: the last band");
      return absl::StrCat(input_.value_bytes, " bytes: below ", band->below_bytes);
    });
    if (!policy_.adapt_change) return;
    Multiply("change", input_.learned, [&] {
      return absl::StrCat(input_.learned_of_key
                              ? "learned of this key"
                              : "the mean of the type's keys, as this one is not known",
                          "; comes to rest where ", policy_.change_target * 100,
                          "% of the loads find another value");
    });
  }

  void AdaptToAccess() {
    const bool by_factor = policy_.adapt_access && policy_.access_steps.empty();
    Multiply("access", by_factor ? AccessFactor(policy_, input_.hits) : 1, [&] {
      if (!policy_.adapt_access) return std::string("off");
      if (!by_factor) return absl::StrCat(Hits(), " reach no step");
      return absl::StrCat(Hits(), ": 1 + ", input_.hits, " / ", policy_.access_per_hits, " x ",
                          policy_.access_gain, ", at most ", policy_.access_max);
    });
  }

  std::string Hits() const {
    return absl::StrCat(input_.hits, " hits (halved every ",
                        absl::FormatDuration(policy_.access_half_life), ")");
  }

  void Jitter() {
    Multiply("jitter", 1 + policy_.jitter * input_.jitter_draw, [&] {
      if (policy_.jitter == 0) return std::string("off");
      return absl::StrCat("spread by up to ", policy_.jitter * 100, "% either way",
                          input_.jitter_draw == 0 ? "; left out here" : "");
    });
  }

  template <typename Why>
  void SetTo(std::string_view name, absl::Duration ttl, const Why& why) {
    ttl_ = ttl;
    on_step_(name, 1.0, ttl_, why);
  }

  template <typename Why>
  void Multiply(std::string_view name, double factor, const Why& why) {
    if (factor != 1) ttl_ = Times(ttl_, factor);
    on_step_(name, factor, ttl_, why);
  }

  const TtlPolicy& policy_;
  const TtlInput& input_;
  OnStep on_step_;
  absl::Duration ttl_;
};

}  // namespace

absl::Duration ComputeTtl(const TtlPolicy& policy, const TtlInput& input) {
  return Walk(policy, input, [](std::string_view, double, absl::Duration, const auto&) {}).Run();
}

absl::Duration SlidingTtl(const TtlPolicy& policy, const TtlInput& input, absl::Duration ttl) {
  const bool slides = policy.sliding && !input.absent && ttl != absl::InfiniteDuration();
  return slides ? ttl : absl::ZeroDuration();
}

std::vector<TtlStep> ExplainTtl(const TtlPolicy& policy, const TtlInput& input) {
  std::vector<TtlStep> steps;
  Walk(policy, input,
       [&](std::string_view name, double factor, absl::Duration ttl, const auto& why) {
         steps.push_back({std::string(name), factor, ttl, why()});
       })
      .Run();
  return steps;
}

}  // namespace larder
