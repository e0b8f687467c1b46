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

}  // namespace
}  // namespace larder
