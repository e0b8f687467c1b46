#include <gtest/gtest.h>

#include "tier/redis_tier.h"

namespace larder {
namespace {

bool Refused(void (*change)(RedisTierOptions&)) {
  RedisTierOptions options;
  change(options);
  return CheckRedisTierOptions(options).code() == absl::StatusCode::kInvalidArgument;
}

TEST(RedisTierOptionsTest, DefaultsAndLimitsAreTaken) {
  EXPECT_FALSE(Refused([](RedisTierOptions&) {}));
  EXPECT_FALSE(Refused([](RedisTierOptions& o) {
    o.life_min = o.linger = absl::ZeroDuration();
    o.envelope_bytes_max = o.batch_bytes_max = 64 << 10;
    o.batch_keys_max = o.scan_keys_max = 1;
  }));
  EXPECT_FALSE(Refused([](RedisTierOptions& o) {
    o.life_min = absl::Minutes(1);
    o.linger = kTombstoneTtl;
    o.envelope_bytes_max = 512 << 20;
    o.batch_bytes_max = 1 << 30;
    o.batch_keys_max = 10'000;
    o.scan_keys_max = 100'000;
  }));
}

TEST(RedisTierOptionsTest, OutOfRangeIsRefused) {
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.prefix = "{x}"; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.life_min = absl::Seconds(61); }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.life_min = -absl::Seconds(1); }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.linger = kTombstoneTtl + absl::Seconds(1); }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.linger = -absl::Seconds(1); }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.envelope_bytes_max = (64 << 10) - 1; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.envelope_bytes_max = (512 << 20) + 1; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.batch_keys_max = 0; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.batch_keys_max = 10'001; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.batch_bytes_max = (64 << 10) - 1; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.batch_bytes_max = (1 << 30) + 1; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.scan_keys_max = 0; }));
  EXPECT_TRUE(Refused([](RedisTierOptions& o) { o.scan_keys_max = 100'001; }));
}

}  // namespace
}  // namespace larder
