#include "config/units.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

template <typename T>
std::string ErrorOf(const absl::StatusOr<T>& result) {
  return result.ok() ? "ok" : std::string(result.status().message());
}

TEST(UnitsTest, ReadsDurations) {
  EXPECT_EQ(*ParseDuration("250ms"), absl::Milliseconds(250));
  EXPECT_EQ(*ParseDuration("30s"), absl::Seconds(30));
  EXPECT_EQ(*ParseDuration("5m"), absl::Minutes(5));
  EXPECT_EQ(*ParseDuration("2h"), absl::Hours(2));
  EXPECT_EQ(*ParseDuration("7d"), absl::Hours(7 * 24));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("1d2h3m4s5ms"),
            absl::Hours(26) + absl::Minutes(3) + absl::Milliseconds(4005));
  EXPECT_EQ(*ParseDuration("1.5s"), absl::Milliseconds(1500));
  EXPECT_EQ(*ParseDuration("0.25ms"), absl::Microseconds(250));
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
  EXPECT_EQ(*ParseDuration("0s"), absl::ZeroDuration());
}

TEST(UnitsTest, RefusesWhatIsNoDuration) {
  const std::string how = " is no duration; write it like 250ms, 30s, 5m, 2h, 7d or 1h30m";
  EXPECT_EQ(ErrorOf(ParseDuration("")), "\"\"" + how);
  EXPECT_EQ(ErrorOf(ParseDuration("soon")), "\"soon\"" + how);
  EXPECT_EQ(ErrorOf(ParseDuration("1.s")), "\"1.s\"" + how);
  EXPECT_EQ(ErrorOf(ParseDuration("1 s")), "\"1 s\" needs a unit: ms, s, m, h or d");
  EXPECT_EQ(ErrorOf(ParseDuration("30")), "\"30\" needs a unit: ms, s, m, h or d");
  EXPECT_EQ(ErrorOf(ParseDuration("30sec")),
            "\"30sec\" has an unknown unit \"sec\"; use ms, s, m, h or d");
  EXPECT_EQ(ErrorOf(ParseDuration("5M")), "\"5M\" has an unknown unit \"M\"; use ms, s, m, h or d");
  EXPECT_EQ(ErrorOf(ParseDuration("30m1h")),
            "\"30m1h\" must name each unit once, the largest first, like 1h30m");
  EXPECT_EQ(ErrorOf(ParseDuration("1h1h")),
            "\"1h1h\" must name each unit once, the largest first, like 1h30m");
  EXPECT_EQ(ErrorOf(ParseDuration("0.0000001ms")), "\"0.0000001ms\" is finer than a nanosecond");
  EXPECT_TRUE(absl::IsOutOfRange(ParseDuration("-5s").status()));
  EXPECT_TRUE(absl::IsOutOfRange(ParseDuration("100001d").status()));
  EXPECT_TRUE(absl::IsOutOfRange(ParseDuration(std::string(1000, '9') + "d").status()));
}

TEST(UnitsTest, ReadsSizes) {
  EXPECT_EQ(*ParseBytes("0"), 0u);
  EXPECT_EQ(*ParseBytes("256B"), 256u);
  EXPECT_EQ(*ParseBytes("64KiB"), 65536u);
  EXPECT_EQ(*ParseBytes("2MiB"), 2u << 20);
  EXPECT_EQ(*ParseBytes("20GiB"), uint64_t{20} << 30);
  EXPECT_EQ(*ParseBytes("1TiB"), uint64_t{1} << 40);
  EXPECT_EQ(*ParseBytes("1.5KiB"), 1536u);
  EXPECT_EQ(*ParseBytes("64kB"), 64'000u);
  EXPECT_EQ(*ParseBytes("2MB"), 2'000'000u);
  EXPECT_EQ(*ParseBytes("20GB"), 20'000'000'000u);
}

TEST(UnitsTest, RefusesWhatIsNoSize) {
  const std::string units = "B, KiB, MiB, GiB, TiB (or kB, MB, GB, TB in powers of 1000)";
  EXPECT_EQ(ErrorOf(ParseBytes("big")),
            "\"big\" is no size; write it like 256B, 64KiB, 2MiB or 20GiB");
  EXPECT_EQ(ErrorOf(ParseBytes("1024")), "\"1024\" needs a unit: " + units);
  EXPECT_EQ(ErrorOf(ParseBytes("64K")), "\"64K\" has an unknown unit \"K\"; use " + units);
  EXPECT_EQ(ErrorOf(ParseBytes("64KB")), "\"64KB\" has an unknown unit \"KB\"; use " + units);
  EXPECT_EQ(ErrorOf(ParseBytes("1.1KiB")), "\"1.1KiB\" is no whole number of bytes");
  EXPECT_TRUE(absl::IsOutOfRange(ParseBytes("-1B").status()));
  EXPECT_TRUE(absl::IsOutOfRange(ParseBytes("99999999TiB").status()));
}

TEST(UnitsTest, ReadsRatiosAndNumbers) {
  EXPECT_EQ(*ParseRatio("10%"), 0.1);
  EXPECT_EQ(*ParseRatio("0.1"), 0.1);
  EXPECT_EQ(*ParseRatio("0"), 0);
  EXPECT_EQ(ErrorOf(ParseRatio("ten")), "\"ten\" is no ratio; write it like 10% or 0.1");
  EXPECT_EQ(ErrorOf(ParseRatio("%")), "\"%\" is no ratio; write it like 10% or 0.1");
  EXPECT_EQ(*ParseReal("1.25"), 1.25);
  EXPECT_EQ(*ParseReal("-2e3"), -2000);
  EXPECT_TRUE(absl::IsOutOfRange(ParseReal("1e999").status()));
  for (const char* const bad : {"", "nan", "inf", "0x10", "1_000", "1 ", "1.2.3", "--1"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseReal(bad).status())) << bad;
  }
  EXPECT_EQ(*ParseWhole("18446744073709551615"), UINT64_MAX);
  EXPECT_TRUE(absl::IsOutOfRange(ParseWhole("18446744073709551616").status()));
  EXPECT_TRUE(absl::IsOutOfRange(ParseWhole("-1").status()));
  for (const char* const bad : {"", "-", "1.0", "1e3", "10k", "+1", " 1"}) {
    EXPECT_EQ(ErrorOf(ParseWhole(bad)), absl::StrCat("\"", bad, "\" is no whole number"));
  }
}

TEST(UnitsTest, ChecksAddresses) {
  for (const char* const good :
       {"0.0.0.0:50051", "[::]:0", "[fe80::1]:65535", "localhost:80", "db-1.shop.local:1"}) {
    EXPECT_TRUE(CheckAddress(good).ok()) << good;
  }
  for (const char* const bad :
       {"", ":80", "50051", "host", "host:", "host:x", "1.2.3:80", "1.2.3.999:80", "::1:80",
        "[::1:80", "[xyz]:80", "a b:80", "host:80:90"}) {
    EXPECT_EQ(
        std::string(CheckAddress(bad).message()),
        absl::StrCat("\"", bad,
                     "\" is no address; write host:port, such as 0.0.0.0:50051 or [::1]:50051"));
  }
  EXPECT_EQ(std::string(CheckAddress("host:65536").message()),
            "\"host:65536\" has a port beyond 65535");
}

TEST(UnitsTest, WritesTheShortForm) {
  EXPECT_EQ(WriteDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(WriteDuration(absl::Minutes(90)), "1h30m");
  EXPECT_EQ(WriteDuration(absl::Hours(24 * 30)), "30d");
  EXPECT_EQ(WriteDuration(absl::Microseconds(1'002'500)), "1s2.5ms");
  EXPECT_EQ(WriteDuration(absl::Nanoseconds(1)), "0.000001ms");
  EXPECT_EQ(WriteBytes(0), "0B");
  EXPECT_EQ(WriteBytes(1 << 20), "1MiB");
  EXPECT_EQ(WriteBytes(64'000), "64kB");
  EXPECT_EQ(WriteBytes(1'000'000'000'000), "1TB");
  EXPECT_EQ(WriteBytes(1025), "1025B");
  EXPECT_EQ(WriteRatio(0.1), "10%");
  EXPECT_EQ(WriteRatio(0.07), "0.07");
  EXPECT_EQ(WriteReal(0.5), "0.5");
  EXPECT_EQ(WriteReal(2), "2");
}

TEST(UnitsTest, ReadsBackWhatItWrites) {
  const uint64_t seed = 99;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    const int shift = static_cast<int>(random() % 40);
    const absl::Duration duration = absl::Nanoseconds(
        static_cast<int64_t>(random() >> (2 + shift)) % 8'640'000'000'000'000'000);
    ASSERT_EQ(*ParseDuration(WriteDuration(duration)), duration) << WriteDuration(duration);
    const uint64_t bytes = (random() >> (20 + shift)) << (random() % 4 * 5);
    ASSERT_EQ(*ParseBytes(WriteBytes(bytes)), bytes) << WriteBytes(bytes);
    const double ratio = std::uniform_real_distribution<double>(0, 1)(random);
    ASSERT_EQ(*ParseRatio(WriteRatio(ratio)), ratio) << WriteRatio(ratio);
    const double rounded = std::round(ratio * 1000) / 1000;
    ASSERT_EQ(*ParseRatio(WriteRatio(rounded)), rounded) << WriteRatio(rounded);
    ASSERT_EQ(*ParseReal(WriteReal(ratio * 1e6)), ratio * 1e6);
  }
}

}  // namespace
}  // namespace larder
