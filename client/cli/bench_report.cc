#include "client/cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace larder::cli {
namespace {

using google::protobuf::Struct;

// Parts of the keys that are as good as alike: the same keys, drawn by chance.
constexpr double kAlike = 0.05;
// A percentile that fewer calls are beyond is theirs, and differs from run to run.
constexpr double kCallsBeyond = 10;

std::string Took(absl::Duration duration) {
  const double us = absl::ToDoubleMicroseconds(duration);
  if (us < 1e3) return fmt::format("{:.0f}us", us);
  if (us < 1e6) return fmt::format("{:.2f}ms", us / 1e3);
  return fmt::format("{:.2f}s", us / 1e6);
}

double Ratio(uint64_t part, uint64_t of) {
  return of == 0 ? 0 : static_cast<double>(part) / static_cast<double>(of);
}

double HitRatio(const BenchOutcome& outcome) {
  return Ratio(outcome.hits, outcome.hits + outcome.misses);
}

double PastRatio(const BenchOutcome& outcome) {
  return Ratio(outcome.past, outcome.hits + outcome.misses + outcome.past);
}

void AddLatencies(const char* name, const Latencies& latencies, Json* object) {
  Json one;
  one.Field("count", latencies.count);
  one.Field("mean_seconds", latencies.mean);
  one.Field("p50_seconds", latencies.p50);
  one.Field("p90_seconds", latencies.p90);
  one.Field("p99_seconds", latencies.p99);
  one.Field("p999_seconds", latencies.p999);
  one.Field("p9999_seconds", latencies.p9999);
  one.Field("max_seconds", latencies.max);
  object->Object(name, one);
}

void AddPart(const BenchPart& part, Json* object) {
  const BenchOutcome& outcome = part.outcome;
  object->Field("name", part.name);
  object->Field("intended_rate", outcome.intended_rate);
  object->Field("achieved_rate", outcome.achieved_rate);
  object->Field("span_seconds", outcome.span);
  object->Field("planned", outcome.planned);
  object->Field("ok", outcome.ok);
  object->Field("failed", outcome.failed());
  object->Field("unsent", outcome.unsent);
  Json errors;
  for (const auto& [code, count] : outcome.errors) errors.Field(code, count);
  object->Object("errors", errors);
  object->Field("hits", outcome.hits);
  object->Field("misses", outcome.misses);
  object->Field("stale", outcome.stale);
  if (outcome.hits + outcome.misses > 0) object->Field("hit_ratio", HitRatio(outcome));
  object->Field("past", outcome.past);
  object->Field("past_ratio", PastRatio(outcome));
  if (part.kept_ratio.has_value()) object->Field("kept_ratio", *part.kept_ratio);
  object->Field("late_starts", outcome.late_starts);
  object->Field("late_p99_seconds", outcome.late_p99);
  object->Field("late_max_seconds", outcome.late_max);
  if (part.origin_loads.has_value()) object->Field("origin_loads", *part.origin_loads);
  object->Field("interrupted", outcome.interrupted);
  AddLatencies("latency", outcome.all, object);
  AddLatencies("reads", outcome.reads, object);
  AddLatencies("writes", outcome.writes, object);
  AddLatencies("from_start", outcome.from_start, object);
}

Row LatencyRow(const std::string& name, const Latencies& latencies) {
  return {name,
          absl::StrCat(latencies.count),
          Took(latencies.mean),
          Took(latencies.p50),
          Took(latencies.p90),
          Took(latencies.p99),
          Took(latencies.p999),
          Took(latencies.max)};
}

void PrintPart(const BenchPart& part, Output* out) {
  const BenchOutcome& outcome = part.outcome;
  std::string line = fmt::format("{}: {:.0f} calls/s asked for, {:.0f}/s answered, for {}",
                                 part.name, outcome.intended_rate, outcome.achieved_rate,
                                 Shown(absl::Trunc(outcome.span, absl::Milliseconds(1))));
  if (outcome.hits + outcome.misses > 0)
    line += fmt::format("; hit ratio {:.1f}%", 100 * HitRatio(outcome));
  if (outcome.stale > 0) line += fmt::format(", {} stale", outcome.stale);
  if (part.origin_loads.has_value())
    line += fmt::format("; the origin loaded {} keys", *part.origin_loads);
  out->Line(line);
  if (outcome.past > 0) {
    out->Line(
        fmt::format("  {:.1f}% of the reads were of keys that the cache is not used for (rollout): "
                    "the hit ratio is of the others",
                    100 * PastRatio(outcome)));
  }
  if (part.kept_ratio.value_or(1) < 1) {
    out->Line(fmt::format("  the cache kept {:.1f}% of its own keys when they were stored",
                          100 * *part.kept_ratio));
  }
  if (outcome.failed() > 0) {
    line = fmt::format("  {} of {} calls failed:", outcome.failed(), outcome.planned);
    for (const auto& [code, count] : outcome.errors) line += fmt::format(" {} {},", count, code);
    if (outcome.unsent > 0) line += fmt::format(" {} could not be sent,", outcome.unsent);
    line.pop_back();
    out->Line(line);
  }
  out->Line(fmt::format("  {} calls began more than {} late; 99% by {} or less, the latest by {}",
                        outcome.late_starts, Took(kLate), Took(outcome.late_p99),
                        Took(outcome.late_max)));
  // Late starts are in the latencies; that they are the generator's fault is for the reader to
  // know.
  if (outcome.late_starts * 100 > outcome.planned) {
    out->Line(
        "  more than 1% began late: this machine cannot keep the rate, or the server held it up; "
        "compare with the last line of the table");
  }
  std::vector<Row> rows = {LatencyRow("all", outcome.all)};
  if (outcome.reads.count > 0 && outcome.writes.count > 0) {
    rows.push_back(LatencyRow("reads", outcome.reads));
    rows.push_back(LatencyRow("writes", outcome.writes));
  }
  rows.push_back(LatencyRow("from the sending", outcome.from_start));
  out->Table({"LATENCY", ">CALLS", ">MEAN", ">P50", ">P90", ">P99", ">P99.9", ">MAX"}, rows);
}

std::string Times(double a, double b) { return b <= 0 ? "-" : fmt::format("{:.1f}", a / b); }

// What the cache is worth: the same calls with it and without.
void PrintWorth(const BenchPart& cache, const BenchPart& origin, Output* out) {
  const auto row = [](const char* name, absl::Duration with, absl::Duration without) {
    return Row{name, Took(with), Took(without),
               Times(absl::ToDoubleSeconds(without), absl::ToDoubleSeconds(with))};
  };
  const Latencies& with = cache.outcome.all;
  const Latencies& without = origin.outcome.all;
  out->Line("");
  std::vector<Row> rows = {row("mean", with.mean, without.mean), row("p50", with.p50, without.p50),
                           row("p99", with.p99, without.p99), row("max", with.max, without.max)};
  if (cache.origin_loads.has_value() && origin.origin_loads.has_value()) {
    rows.push_back({"keys that the origin loaded", absl::StrCat(*cache.origin_loads),
                    absl::StrCat(*origin.origin_loads),
                    Times(static_cast<double>(*origin.origin_loads),
                          static_cast<double>(*cache.origin_loads))});
  }
  rows.push_back({"calls that failed", absl::StrCat(cache.outcome.failed()),
                  absl::StrCat(origin.outcome.failed()), ""});
  out->Table({"WHAT THE CACHE SAVES", ">WITH IT", ">WITHOUT", ">TIMES"}, rows);
}

double Number(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? 0 : found->second.number_value();
}

const Struct& Inner(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? Struct::default_instance() : found->second.struct_value();
}

std::string Text(const Struct& object, const std::string& name) {
  const auto found = object.fields().find(name);
  return found == object.fields().end() ? "" : found->second.string_value();
}

std::map<std::string, Struct> PartsOf(const Struct& bench) {
  std::map<std::string, Struct> parts;
  const auto found = bench.fields().find("parts");
  if (found == bench.fields().end()) return parts;
  for (const auto& value : found->second.list_value().values())
    parts[Text(value.struct_value(), "name")] = value.struct_value();
  return parts;
}

// Why hits and loads of the two say nothing about each other; empty where they do.
std::string UsedDifferently(const Struct& a, const Struct& b) {
  // An older `larder` did not tell.
  const auto kept = [](const Struct& part) {
    return part.fields().count("kept_ratio") > 0 ? Number(part, "kept_ratio") : 1;
  };
  if (std::abs(Number(a, "past_ratio") - Number(b, "past_ratio")) > kAlike) {
    return fmt::format("{:.1f}% / {:.1f}% of the reads went past the cache (rollout)",
                       100 * Number(a, "past_ratio"), 100 * Number(b, "past_ratio"));
  }
  if (std::abs(kept(a) - kept(b)) > kAlike) {
    return fmt::format("the cache kept {:.1f}% / {:.1f}% of what was stored (rollout)",
                       100 * kept(a), 100 * kept(b));
  }
  return "";
}

void AddLatencyFigures(const std::string& name, const Struct& a, const Struct& b,
                       std::vector<Figure>* figures) {
  // The part of the calls that is beyond it; of the largest, none.
  constexpr std::pair<const char*, double> kPercentiles[] = {
      {"mean", 1}, {"p50", 0.5}, {"p90", 0.1}, {"p99", 0.01}, {"p999", 0.001}, {"max", 0}};
  const double calls = std::min(Number(a, "count"), Number(b, "count"));
  for (const auto& [which, beyond] : kPercentiles) {
    const std::string what = absl::StrCat(which, "_seconds");
    Figure figure{absl::StrCat(name, " ", what), Number(a, what), Number(b, what)};
    // By less than a call: 1,000 calls times 1% are a little below 10.
    if (calls * beyond < kCallsBeyond - 0.5)
      figure.unjudged = fmt::format("fewer than {:.0f} calls took longer", kCallsBeyond);
    figures->push_back(std::move(figure));
  }
}

void AddFigures(const std::string& name, const Struct& a, const Struct& b,
                std::vector<Figure>* figures) {
  const auto add = [&](const std::string& what, double of_a, double of_b, bool more_is_better,
                       std::string unjudged = "") {
    figures->push_back(
        {absl::StrCat(name, " ", what), of_a, of_b, more_is_better, std::move(unjudged)});
  };
  const std::string differently = UsedDifferently(a, b);
  add("achieved_rate", Number(a, "achieved_rate"), Number(b, "achieved_rate"), true);
  if (a.fields().count("hit_ratio") > 0 && b.fields().count("hit_ratio") > 0)
    add("hit_ratio", Number(a, "hit_ratio"), Number(b, "hit_ratio"), true, differently);
  const auto failed = [](const Struct& part) {
    return Number(part, "failed") / std::max(Number(part, "planned"), 1.0);
  };
  add("failed", failed(a), failed(b), false);
  AddLatencyFigures(name, Inner(a, "latency"), Inner(b, "latency"), figures);
  if (a.fields().count("origin_loads") > 0 && b.fields().count("origin_loads") > 0)
    add("origin_loads", Number(a, "origin_loads"), Number(b, "origin_loads"), false, differently);
}

absl::StatusOr<Struct> ParseBench(const std::string& text, const char* which) {
  Struct bench;
  if (!google::protobuf::util::JsonStringToMessage(text, &bench).ok() || PartsOf(bench).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", which, " file is not what `larder --json bench` prints"));
  }
  return bench;
}

std::string ShownFigure(const Figure& figure, double value) {
  if (figure.name.ends_with("_seconds")) return Took(absl::Seconds(value));
  if (figure.name.ends_with("hit_ratio") || figure.name.ends_with("failed"))
    return fmt::format("{:.2f}%", 100 * value);
  return fmt::format("{:.0f}", value);
}

}  // namespace

Json BenchJson(const BenchReport& report) {
  Json answer;
  answer.Field("server", report.server);
  answer.Field("server_version", report.server_version);
  answer.Field("client_version", report.client_version);
  answer.Field("time", report.time);
  Json settings;
  for (const auto& [name, value] : report.settings) settings.Field(name, value);
  answer.Object("settings", settings);
  answer.Array("parts", report.parts, AddPart);
  return answer;
}

void PrintBench(const BenchReport& report, Output* out) {
  for (size_t i = 0; i < report.parts.size(); ++i) {
    if (i > 0) out->Line("");
    PrintPart(report.parts[i], out);
  }
  if (report.parts.size() == 2) PrintWorth(report.parts[0], report.parts[1], out);
}

double Figure::ratio() const {
  if (a == b) return 1;
  return a == 0 ? std::numeric_limits<double>::infinity() : b / a;
}

double Figure::worse() const {
  if (a == b) return 1;
  const double worse_is = more_is_better ? a : b;
  const double better_is = more_is_better ? b : a;
  return better_is == 0 ? std::numeric_limits<double>::infinity() : worse_is / better_is;
}

bool BenchComparison::Worse(double factor) const {
  return std::any_of(figures.begin(), figures.end(), [factor](const Figure& figure) {
    return figure.unjudged.empty() && figure.worse() > factor;
  });
}

absl::StatusOr<BenchComparison> CompareBenches(const std::string& a, const std::string& b) {
  const absl::StatusOr<Struct> first = ParseBench(a, "first");
  if (!first.ok()) return first.status();
  const absl::StatusOr<Struct> second = ParseBench(b, "second");
  if (!second.ok()) return second.status();
  BenchComparison comparison;
  const Struct& settings_a = Inner(*first, "settings");
  const Struct& settings_b = Inner(*second, "settings");
  std::set<std::string> names;
  for (const auto& [name, value] : settings_a.fields()) names.insert(name);
  for (const auto& [name, value] : settings_b.fields()) names.insert(name);
  for (const std::string& name : names) {
    const std::string of_a = Text(settings_a, name);
    const std::string of_b = Text(settings_b, name);
    if (of_a != of_b) comparison.unlike.push_back(fmt::format("{}: {} / {}", name, of_a, of_b));
  }
  const std::map<std::string, Struct> parts_b = PartsOf(*second);
  for (const auto& [name, part] : PartsOf(*first)) {
    const auto other = parts_b.find(name);
    if (other != parts_b.end()) AddFigures(name, part, other->second, &comparison.figures);
  }
  if (comparison.figures.empty())
    return absl::InvalidArgumentError("the two benches have no part in common");
  return comparison;
}

Json ComparisonJson(const BenchComparison& comparison) {
  Json answer;
  answer.Array("figures", comparison.figures, [](const Figure& figure, Json* object) {
    object->Field("name", figure.name);
    object->Field("a", figure.a);
    object->Field("b", figure.b);
    object->Field("ratio", figure.ratio());
    object->Field("worse", figure.worse());
    if (!figure.unjudged.empty()) object->Field("unjudged", figure.unjudged);
  });
  answer.Field("unlike", comparison.unlike);
  return answer;
}

void PrintComparison(const BenchComparison& comparison, Output* out) {
  std::vector<Row> rows;
  for (const Figure& figure : comparison.figures) {
    rows.push_back({figure.name, ShownFigure(figure, figure.a), ShownFigure(figure, figure.b),
                    fmt::format("{:.2f}", figure.ratio())});
  }
  out->Table({"FIGURE", ">A", ">B", ">B / A"}, rows);
  std::map<std::string, std::vector<std::string>> unjudged;
  for (const Figure& figure : comparison.figures) {
    if (!figure.unjudged.empty()) unjudged[figure.unjudged].push_back(figure.name);
  }
  for (const auto& [why, names] : unjudged)
    out->Line(fmt::format("not judged: {}: {}", absl::StrJoin(names, ", "), why));
  for (const std::string& unlike : comparison.unlike)
    out->Line("measured differently: " + Shown(unlike));
}

}  // namespace larder::cli
