// larder_hitratio_bench replays one trace, read from standard input, through the real L1. Run by
// bench/hitratio/run, which unpacks traces, compares and judges.
//
//   larder_hitratio_bench [--budget-min BYTES] [--value-min BYTES] [--seed N] FRACTION...
//
// A FRACTION is the capacity as a part of the distinct keys, or of their bytes. Writes a figure a
// line as all benches do, with the fraction in the name: `entries.0.25.hit_ratio 0.51 ` and, for
// traces with sizes and TTLs, `bytes.0.25.hit_ratio 0.98 ` and so on. Exits 0 when it has measured,
// 1 when the trace cannot be read, 2 on a usage error.

#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "bench/hitratio/replay.h"
#include "bench/report.h"

namespace larder::bench {

namespace {

struct Arguments {
  ReplayOptions replay;
  std::vector<std::string> fractions;
};

bool ParseNumber(std::string_view text, uint64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

double FractionOf(const std::string& text) {
  double fraction = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), fraction);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && fraction > 0 && fraction <= 1 ? fraction : 0;
}

bool Parse(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    uint64_t* number = nullptr;
    if (argument == "--budget-min") number = &arguments->replay.budget_bytes_min;
    if (argument == "--value-min") number = &arguments->replay.value_bytes_min;
    if (argument == "--seed") number = &arguments->replay.hash_seed;
    if (number != nullptr) {
      if (++i == argc || !ParseNumber(argv[i], number)) return false;
    } else {
      arguments->fractions.emplace_back(argument);
      if (FractionOf(arguments->fractions.back()) == 0) return false;
    }
  }
  return !arguments->fractions.empty();
}

void ReportByEntries(const std::string& name, const ByEntries& result) {
  const auto line = [&](const char* what, double value, const char* unit) {
    Report((name + what).c_str(), value, unit);
  };
  line("entries", static_cast<double>(result.entries), "");
  line("value_bytes", static_cast<double>(result.value_bytes), "bytes");
  line("budget_bytes", static_cast<double>(result.budget_bytes), "bytes");
  line("hit_ratio", result.hit_ratio, "");
}

void ReportByBytes(const std::string& name, const ByBytes& result) {
  const auto line = [&](const char* what, double value, const char* unit) {
    Report((name + what).c_str(), value, unit);
  };
  line("copies", static_cast<double>(result.copies), "");
  line("lru_bytes", static_cast<double>(result.lru_bytes), "bytes");
  line("budget_bytes", static_cast<double>(result.budget_bytes), "bytes");
  line("lru_hit_ratio", result.lru_hit_ratio, "");
  line("half_lru_hit_ratio", result.half_lru_hit_ratio, "");
  line("hit_ratio", result.hit_ratio, "");
  line("expired_mean", 100 * result.expired_mean, "%");
  line("expired_most", 100 * result.expired_most, "%");
  line("dead_mean", 100 * result.dead_mean, "%");
  line("dead_most", 100 * result.dead_most, "%");
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (!Parse(argc, argv, &arguments)) {
    std::fprintf(
        stderr,
        "usage: %s [--budget-min BYTES] [--value-min BYTES] [--seed N] FRACTION... <TRACE\n",
        argv[0]);
    return 2;
  }
  const absl::StatusOr<Trace> trace = Trace::Read(stdin);
  if (!trace.ok()) {
    std::fprintf(stderr, "%s\n", std::string(trace.status().message()).c_str());
    return 1;
  }
  Report("trace.requests", static_cast<double>(trace->requests.size()), "");
  Report("trace.distinct", trace->distinct, "");
  for (const std::string& fraction : arguments.fractions) {
    ReportByEntries("entries." + fraction + ".",
                    ReplayByEntries(*trace, FractionOf(fraction), arguments.replay));
  }
  if (!trace->timed) return 0;
  for (const std::string& fraction : arguments.fractions) {
    ByBytes result;
    if (ReplayByBytes(*trace, FractionOf(fraction), arguments.replay, &result)) {
      ReportByBytes("bytes." + fraction + ".", result);
    }
  }
  return 0;
}

}  // namespace

}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
