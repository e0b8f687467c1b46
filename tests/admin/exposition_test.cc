#include "admin/exposition.h"

#include <gtest/gtest.h>

#include <limits>

namespace larder {
namespace {

using Format = Exposition::Format;

TEST(ExpositionTest, WritesTheTextFormat) {
  Exposition out(Format::kText);
  out.Counter("larder_hits_total", "Reads.");
  out.Add({{"type", "user"}}, uint64_t{18'446'744'073'709'551'615u});
  out.Gauge("larder_ratio", "Part.");
  out.Add({}, 0.25);
  EXPECT_EQ(out.Take(),
            "# HELP larder_hits_total Reads.\n"
            "# TYPE larder_hits_total counter\n"
            "larder_hits_total{type=\"user\"} 18446744073709551615\n"
            "# HELP larder_ratio Part.\n"
            "# TYPE larder_ratio gauge\n"
            "larder_ratio 0.25\n");
}

TEST(ExpositionTest, WritesOpenMetrics) {
  Exposition out(Format::kOpenMetrics);
  out.Counter("larder_hits_total", "Reads, \"quoted\".");
  out.Add({{"type", "user"}}, uint64_t{3});
  EXPECT_EQ(out.Take(),
            "# HELP larder_hits Reads, \\\"quoted\\\".\n"
            "# TYPE larder_hits counter\n"
            "larder_hits_total{type=\"user\"} 3\n"
            "# EOF\n");
}

TEST(ExpositionTest, EscapesWhatWouldEndALabelOrALine) {
  Exposition out(Format::kText);
  out.Gauge("g", "back\\slash and\nline");
  out.Add({{"namespace", "a\"b\\c\nd"}, {"type", "größe"}}, uint64_t{1});
  EXPECT_EQ(out.Take(),
            "# HELP g back\\\\slash and\\nline\n"
            "# TYPE g gauge\n"
            "g{namespace=\"a\\\"b\\\\c\\nd\",type=\"größe\"} 1\n");
}

TEST(ExpositionTest, WritesNumbersThatAreLargeSmallOrNone) {
  Exposition out(Format::kText);
  out.Gauge("g", "h");
  out.Add({{"a", "1"}}, std::numeric_limits<double>::infinity());
  out.Add({{"a", "2"}}, -std::numeric_limits<double>::infinity());
  out.Add({{"a", "3"}}, std::numeric_limits<double>::quiet_NaN());
  out.Add({{"a", "4"}}, 1.7e9);
  out.Add({{"a", "5"}}, 1e300);
  out.Add({{"a", "6"}}, -1e-12);
  const std::string text = out.Take();
  EXPECT_NE(text.find("g{a=\"1\"} +Inf\ng{a=\"2\"} -Inf\ng{a=\"3\"} NaN\ng{a=\"4\"} 1700000000\n"
                      "g{a=\"5\"} 1e+300\ng{a=\"6\"} -1e-12\n"),
            std::string::npos)
      << text;
}

TEST(ExpositionTest, AHistogramEndsWithAllThatWereCounted) {
  Exposition out(Format::kText);
  out.Histogram("d_seconds", "h");
  const std::vector<Exposition::Bucket> buckets = {{0.00005, 1}, {1, 4}};
  out.AddBuckets({{"rpc", "Get"}}, buckets, 5, 12.5);
  EXPECT_EQ(out.Take(),
            "# HELP d_seconds h\n"
            "# TYPE d_seconds histogram\n"
            "d_seconds_bucket{rpc=\"Get\",le=\"0.00005\"} 1\n"
            "d_seconds_bucket{rpc=\"Get\",le=\"1\"} 4\n"
            "d_seconds_bucket{rpc=\"Get\",le=\"+Inf\"} 5\n"
            "d_seconds_sum{rpc=\"Get\"} 12.5\n"
            "d_seconds_count{rpc=\"Get\"} 5\n");
}

TEST(ExpositionTest, GivesWhatTheClientLikesBest) {
  EXPECT_EQ(Exposition::FormatFor(""), Format::kText);
  EXPECT_EQ(Exposition::FormatFor("*/*"), Format::kText);
  EXPECT_EQ(Exposition::FormatFor("text/html"), Format::kText);
  EXPECT_EQ(Exposition::FormatFor("application/openmetrics-text"), Format::kOpenMetrics);
  EXPECT_EQ(Exposition::FormatFor("Application/OpenMetrics-Text; version=1.0.0"),
            Format::kOpenMetrics);
  EXPECT_EQ(Exposition::FormatFor("application/openmetrics-text;q=0,text/plain"), Format::kText);
  EXPECT_EQ(Exposition::FormatFor("text/plain;q=0.9, application/openmetrics-text;q=0.2"),
            Format::kText);
  EXPECT_EQ(Exposition::FormatFor("application/openmetrics-text;q=nonsense"), Format::kText);
  // Prometheus 2.42.
  EXPECT_EQ(Exposition::FormatFor("application/openmetrics-text;version=1.0.0,"
                                  "application/openmetrics-text;version=0.0.1;q=0.75,"
                                  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
            Format::kOpenMetrics);
}

}  // namespace
}  // namespace larder
