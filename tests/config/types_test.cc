#include "config/types.h"

#include <gtest/gtest.h>

#include "config/config.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

TypePolicy Default() {
  const auto config = LoadConfig({}, Machine{.memory = MemoryOf(uint64_t{8} << 30)});
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config->types->Get(0);
}

TEST(ConfigTypesTest, DefaultsOfTypesAreThoseOfThePolicy) {
  const TtlPolicy want;
  const TtlPolicy got = Default().ttl;
  EXPECT_EQ(got.base, want.base);
  EXPECT_EQ(got.multiplier, want.multiplier);
  EXPECT_EQ(got.jitter, want.jitter);
  EXPECT_EQ(got.adapt_access, want.adapt_access);
  EXPECT_EQ(got.access_per_hits, want.access_per_hits);
  EXPECT_EQ(got.access_gain, want.access_gain);
  EXPECT_EQ(got.access_max, want.access_max);
  EXPECT_TRUE(got.access_steps.empty());
  EXPECT_EQ(got.access_half_life, want.access_half_life);
  EXPECT_EQ(got.adapt_size, want.adapt_size);
  ASSERT_EQ(got.size_bands.size(), want.size_bands.size());
  for (size_t i = 0; i < want.size_bands.size(); ++i) {
    EXPECT_EQ(got.size_bands[i].below_bytes, want.size_bands[i].below_bytes);
    EXPECT_EQ(got.size_bands[i].factor, want.size_bands[i].factor);
  }
  EXPECT_EQ(got.adapt_change, want.adapt_change);
  EXPECT_EQ(got.change_target, want.change_target);
  EXPECT_EQ(got.min, want.min);
  EXPECT_EQ(got.max, want.max);
  EXPECT_EQ(got.absent, want.absent);
  EXPECT_EQ(got.forever, want.forever);
  EXPECT_EQ(got.sliding, want.sliding);
}

TEST(ConfigTypesTest, DefaultsOfSharesAndTiersAreThoseOfThePolicy) {
  const TypePolicy want;
  const TypePolicy got = Default();
  EXPECT_EQ(got.share_min, want.share_min);
  EXPECT_EQ(got.share_max, want.share_max);
  EXPECT_EQ(got.second_tier, want.second_tier);
}

TEST(ConfigTypesTest, DefaultsOfTheReadPathAreThoseOfThePolicy) {
  const TypePolicy want;
  const TypePolicy got = Default();
  EXPECT_EQ(got.origin, want.origin);
  EXPECT_EQ(got.freshness.refresh_ahead, want.freshness.refresh_ahead);
  EXPECT_EQ(got.freshness.stale_while_revalidate, want.freshness.stale_while_revalidate);
  EXPECT_EQ(got.freshness.stale_if_error, want.freshness.stale_if_error);
  EXPECT_TRUE(got.freshness.errors == want.freshness.errors);
  EXPECT_EQ(got.freshness.error_pause, want.freshness.error_pause);
  EXPECT_EQ(got.freshness.soft_timeout, want.freshness.soft_timeout);
  EXPECT_EQ(got.freshness.hard_timeout, want.freshness.hard_timeout);
  EXPECT_EQ(got.filter.bloom, want.filter.bloom);
  EXPECT_EQ(got.filter.error, want.filter.error);
  EXPECT_EQ(got.filter.keys_max, want.filter.keys_max);
  EXPECT_EQ(got.filter.rebuild, want.filter.rebuild);
  EXPECT_EQ(got.warm.on_start, want.warm.on_start);
  EXPECT_EQ(got.warm.limit, want.warm.limit);
  EXPECT_EQ(got.warm.rate, want.warm.rate);
  EXPECT_EQ(got.warm.ready_share, want.warm.ready_share);
  EXPECT_EQ(got.warm.ready_timeout, want.warm.ready_timeout);
}

TEST(ConfigTypesTest, TypesHaveWhatTheFileSaysOfTheReadPath) {
  const auto config = LoadConfig(
      {.text = "origins: {profiles: {grpc: {target: x}}}\n"
               "types:\n"
               "  a:\n"
               "    origin: profiles\n"
               "    ttl: {adapt: {change: {target: 10%}}}\n"
               "    freshness: {refresh_ahead: 80%, stale_while_revalidate: 30s, stale_if_error: "
               "1h, error_pause: 2s, errors: [not_found, data_loss], soft_timeout: 100ms, "
               "hard_timeout: 2s}\n"
               "    filter: {bloom: true, error: 0.1%, keys_max: 5000, rebuild: 30m}\n"
               "    warm: {on_start: true, limit: 7, rate: 8, ready_share: 90%, ready_timeout: "
               "9s}\n"},
      SomeMachine());
  ASSERT_TRUE(config.ok()) << config.status().message();
  const TypePolicy& a = *config->types->Find("a");
  EXPECT_EQ(a.origin, "profiles");
  EXPECT_TRUE(a.ttl.adapt_change);
  EXPECT_EQ(a.ttl.change_target, 0.1);
  EXPECT_EQ(a.freshness.refresh_ahead, 0.8);
  EXPECT_EQ(a.freshness.stale_while_revalidate, absl::Seconds(30));
  EXPECT_EQ(a.freshness.stale_if_error, absl::Hours(1));
  EXPECT_EQ(a.freshness.error_pause, absl::Seconds(2));
  EXPECT_TRUE(a.freshness.errors.Has(absl::StatusCode::kNotFound));
  EXPECT_TRUE(a.freshness.errors.Has(absl::StatusCode::kDataLoss));
  EXPECT_FALSE(a.freshness.errors.Has(absl::StatusCode::kUnavailable));
  EXPECT_EQ(a.freshness.soft_timeout, absl::Milliseconds(100));
  EXPECT_EQ(a.freshness.hard_timeout, absl::Seconds(2));
  EXPECT_TRUE(a.filter.bloom);
  EXPECT_EQ(a.filter.error, 0.001);
  EXPECT_EQ(a.filter.keys_max, 5000u);
  EXPECT_EQ(a.filter.rebuild, absl::Minutes(30));
  EXPECT_TRUE(a.warm.on_start);
  EXPECT_EQ(a.warm.limit, 7u);
  EXPECT_EQ(a.warm.rate, 8u);
  EXPECT_EQ(a.warm.ready_share, 0.9);
  EXPECT_EQ(a.warm.ready_timeout, absl::Seconds(9));
}

}  // namespace
}  // namespace larder
