#include "admin/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/admin/sample_view.h"

namespace larder {
namespace {

using Format = Exposition::Format;
using testing::HasSubstr;
using testing::Not;

std::string Text() { return RenderMetrics(SampleView(), true, Format::kText); }

// The value of one series; empty when it is not there.
std::string ValueOf(const std::string& text, const std::string& series) {
  const size_t at = ("\n" + text).find("\n" + series + " ");
  if (at == std::string::npos) return "";
  const size_t from = at + series.size() + 1;
  return text.substr(from, text.find('\n', from) - from);
}

std::vector<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n'); }

// Names of families with their types, in order.
std::vector<std::pair<std::string, std::string>> Families(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> families;
  for (const std::string& line : Lines(text)) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() == 4 && words[0] == "#" && words[1] == "TYPE")
      families.emplace_back(words[2], words[3]);
  }
  return families;
}

TEST(MetricsTest, TellsWhatTheServerCounts) {
  const std::string text = Text();
  const std::map<std::string, std::string> expected = {
      {"larder_build_info{version=\"1.2.3\",node=\"larder-0\"}", "1"},
      {"larder_ready", "1"},
      {"larder_rpc_calls_total{rpc=\"Get\",code=\"OK\"}", "2"},
      {"larder_rpc_calls_total{rpc=\"Get\",code=\"NOT_FOUND\"}", "1"},
      {"larder_hits_total{type=\"user\"}", "7"},
      {"larder_misses_total{type=\"user\"}", "3"},
      {"larder_hits_total{type=\"default\"}", "0"},
      {"larder_entries_bytes{type=\"user\",part=\"overhead\"}", "30"},
      {"larder_evictions_total{type=\"user\",cause=\"cold\"}", "4"},
      {"larder_compression_values_total{type=\"user\",how=\"lz4\"}", "2"},
      {"larder_compression_seconds_total{type=\"user\"}", "0.0015"},
      {"larder_type_share_max_ratio{type=\"user\"}", "0.5"},
      {"larder_auth_denied_total{permission=\"read\"}", "4"},
      {"larder_auth_denied_total{permission=\"admin\"}", "1"},
      {"larder_auth_unknown_total", "6"},
      {"larder_tls_certificate_not_after_timestamp_seconds{lane=\"native\"}", "1900000000"},
      {"larder_watchers", "3"},
      {"larder_watch_cut_total", "2"},
      {"larder_filter_keys{type=\"user\"}", "5"},
      {"larder_namespace_hits_total{namespace=\"a\\\"b\\\\c\"}", "0"},
      {"larder_memory_budget_bytes", "1000"},
      {"larder_memory_tight", "0"},
      {"larder_memory_left_bytes", "3000"},
      {"larder_memory_refused_below_bytes", "400"},
      {"larder_memory_budget_fixed", "1"},
      {"larder_tier_up{tier=\"l1\"}", "1"},
      {"larder_tier_up{tier=\"l2\"}", "0"},
      {"larder_tier_info{tier=\"l2\",kind=\"redis\"}", "1"},
      {"larder_tier_timeouts_total{tier=\"l2\"}", "6"},
      {"larder_breaker_state{breaker=\"l2\",state=\"open\"}", "1"},
      {"larder_breaker_state{breaker=\"l2\",state=\"closed\"}", "0"},
      {"larder_breaker_opened_total{breaker=\"l2\"}", "2"},
      {"larder_warm_running", "1"},
      {"larder_warm_loaded_total", "9"},
      {"larder_origin_up{origin=\"shop\"}", "1"},
      {"larder_bus_up", "1"},
      {"larder_bus_lag_seconds", "0.25"},
      {"larder_journal_up", "1"},
      {"larder_journal_dead_letters", "8"},
      {"larder_journal_used_ratio", "0.5"},
      {"larder_journal_writes{type=\"user\"}", "11"},
      {"larder_journal_oldest_age_seconds{type=\"user\"}", "12"},
      {"larder_journal_delivery_seconds_count{type=\"user\"}", "3"},
      {"larder_tier_duration_seconds_count{tier=\"l2\",operation=\"read\"}", "3"},
      {"larder_tier_duration_seconds_count{tier=\"l2\",operation=\"change\"}", "0"},
      {"larder_origin_duration_seconds_count{origin=\"shop\",operation=\"load\"}", "3"},
      {"larder_reference_connections", "2"},
      {"larder_reference_accepts_total{result=\"accepted\"}", "7"},
      {"larder_reference_accepts_total{result=\"refused\"}", "1"},
      {"larder_native_connections", "3"},
      {"larder_native_calls", "1"},
      {"larder_native_events_total{event=\"connections_accepted\"}", "5"},
      {"larder_process_start_time_seconds", "1700000000"},
  };
  for (const auto& [series, value] : expected) EXPECT_EQ(ValueOf(text, series), value) << series;
  EXPECT_EQ(ValueOf(RenderMetrics(SampleView(), false, Format::kText), "larder_ready"), "0");
}

TEST(MetricsTest, TellsWhatTheProcessUses) {
  const std::string text = Text();
  for (const char* series :
       {"larder_process_cpu_seconds_total", "larder_process_resident_memory_bytes",
        "larder_process_open_fds", "larder_process_max_fds", "larder_process_threads"}) {
    EXPECT_GT(std::atof(ValueOf(text, series).c_str()), 0) << series;
  }
}

TEST(MetricsTest, CountsLatenciesInBucketsThatGrow) {
  const std::string text = Text();
  const auto bucket = [&](const std::string& bound) {
    return ValueOf(text, "larder_rpc_duration_seconds_bucket{rpc=\"Get\",le=\"" + bound + "\"}");
  };
  EXPECT_EQ(bucket("0.00005"), "1");
  EXPECT_EQ(bucket("0.00025"), "1");
  EXPECT_EQ(bucket("0.0005"), "2");
  EXPECT_EQ(bucket("10"), "2");
  EXPECT_EQ(bucket("+Inf"), "3");
  EXPECT_EQ(ValueOf(text, "larder_rpc_duration_seconds_count{rpc=\"Get\"}"), "3");
  EXPECT_NEAR(std::atof(ValueOf(text, "larder_rpc_duration_seconds_sum{rpc=\"Get\"}").c_str()),
              60.00044, 1e-6);
}

// A record at a bound may be counted by the next bucket, never one that is slower by the bound's.
TEST(MetricsTest, NoBucketCountsWhatIsSlowerThanItsBound) {
  for (int64_t nanos = 1'000; nanos < 20'000'000'000; nanos += nanos / 97 + 1) {
    Histogram histogram;
    histogram.RecordNanos(nanos);
    AdminView view = SampleView();
    Histogram::Snapshot snap = histogram.Snap();
    Exposition out(Format::kText);
    view.rpcs = [&snap] {
      std::vector<RpcTally> tallies(1);
      tallies[0] = {"Get", {}, snap};
      return tallies;
    };
    view.stats = [] { return v1::StatsResponse(); };
    view.native = nullptr;
    view.deliveries = nullptr;
    const std::string text = RenderMetrics(view, true, Format::kText);
    static const std::regex line(
        "larder_rpc_duration_seconds_bucket\\{rpc=\"Get\",le=\"([0-9.e-]+)"
        "\"\\} (\\d)");
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it) {
      const double bound = std::atof((*it)[1].str().c_str());
      const double took = static_cast<double>(nanos) * 1e-9;
      if ((*it)[2] == "1") {
        EXPECT_LE(took, bound);
      } else {
        EXPECT_GT(took, bound / 1.07);
      }
    }
  }
}

TEST(MetricsTest, EveryFamilyIsThereOnceInBothFormats) {
  for (const Format format : {Format::kText, Format::kOpenMetrics}) {
    std::set<std::string> seen;
    for (const auto& [name, type] : Families(RenderMetrics(SampleView(), true, format))) {
      EXPECT_TRUE(name.starts_with("larder_")) << name;
      EXPECT_TRUE(seen.insert(name).second) << name;
      EXPECT_EQ(format == Format::kText && type == "counter", name.ends_with("_total")) << name;
    }
    EXPECT_GT(seen.size(), 100u);
  }
  EXPECT_TRUE(RenderMetrics(SampleView(), true, Format::kOpenMetrics).ends_with("\n# EOF\n"));
}

TEST(MetricsTest, EverySampleBelongsToTheFamilyAboveIt) {
  std::string family;
  for (const std::string& line : Lines(Text())) {
    if (line.starts_with("# TYPE "))
      family = std::vector<std::string>(absl::StrSplit(line, ' '))[2];
    if (line.empty() || line.starts_with("#")) continue;
    const std::string name = line.substr(0, line.find_first_of("{ "));
    EXPECT_THAT(name,
                testing::AnyOf(family, family + "_bucket", family + "_sum", family + "_count"))
        << line;
  }
}

TEST(MetricsTest, HoldsNoKeys) { EXPECT_THAT(Text(), Not(HasSubstr("customer"))); }

TEST(MetricsTest, WhatIsNotThereIsNotTold) {
  AdminView view = SampleView();
  view.stats = [] { return v1::StatsResponse(); };
  view.native = nullptr;
  view.reference = nullptr;
  view.deliveries = nullptr;
  view.tiers_took = nullptr;
  view.origins_took = [] { return std::vector<BelowTally>(); };
  const std::string text = RenderMetrics(view, true, Format::kText);
  for (const char* part :
       {"larder_journal", "larder_bus", "larder_native", "larder_reference", "larder_origin",
        "larder_breaker", "larder_filter_", "larder_warm", "larder_tier_duration"}) {
    EXPECT_THAT(text, Not(HasSubstr(absl::StrCat("# TYPE ", part)))) << part;
  }
}

// docs/metrics.md has a row `| `name` | type | labels | ...` for each family, with its help text.
TEST(MetricsTest, TheDocumentNamesEveryMetricAndNoOther) {
  std::ifstream in(LARDER_SOURCE_DIR "/docs/metrics.md");
  std::stringstream document;
  document << in.rdbuf();
  std::map<std::string, std::string> documented;
  for (const std::string& line : Lines(document.str())) {
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    if (cells.size() < 4 || cells[1].find("`larder_") == std::string::npos) continue;
    const std::string name = cells[1].substr(2, cells[1].size() - 4);
    EXPECT_TRUE(documented.emplace(name, cells[2]).second) << name << " is there twice";
  }
  std::map<std::string, std::string> real;
  for (const auto& [name, type] : Families(Text())) real[name] = absl::StrCat(" ", type, " ");
  EXPECT_EQ(documented, real);
}

}  // namespace
}  // namespace larder
