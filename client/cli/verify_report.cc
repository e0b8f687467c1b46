#include "client/cli/verify_report.h"

#include <fmt/format.h>

#include "absl/strings/str_cat.h"

namespace larder::cli {
namespace {

// The places of the histogram.
std::vector<size_t> Buckets() {
  std::vector<size_t> places;
  for (size_t i = 0; i <= Comparison::kBuckets.size(); ++i) places.push_back(i);
  return places;
}

uint64_t StaleCopies(const Comparison::Report& report) {
  uint64_t copies = 0;
  for (const uint64_t count : report.staleness) copies += count;
  return copies;
}

void PrintStaleness(const Comparison::Report& report, Output* out) {
  if (StaleCopies(report) == 0) return;
  std::vector<Row> rows;
  for (const size_t i : Buckets()) {
    const bool last = i == Comparison::kBuckets.size();
    rows.push_back({last ? absl::StrCat("above ", Shown(Comparison::kBuckets.back()))
                         : absl::StrCat("up to ", Shown(Comparison::kBuckets[i])),
                    absl::StrCat(report.staleness[i])});
  }
  out->Line("");
  out->Table({"OLDER THAN THE NEWEST FOR", ">COPIES"}, rows);
}

void PrintViolations(const Verified& verified, Output* out) {
  const Comparison::Report& report = verified.report;
  if (report.violations.empty()) return;
  std::vector<Row> rows;
  for (const Violation& violation : report.violations) {
    rows.push_back({Name(violation.kind), violation.name.ns.empty() ? "default" : violation.name.ns,
                    Shown(violation.name.key), verified.replicas[violation.replica].address,
                    std::string(Name(violation.tier)), absl::StrCat(violation.version),
                    violation.kind == ViolationKind::kConflict ? "" : Shown(violation.behind),
                    violation.what});
  }
  out->Line("");
  out->Table({"VIOLATION", "NAMESPACE", "KEY", "REPLICA", "TIER", ">VERSION", ">FOR", "BECAUSE"},
             rows);
  if (report.violations_total > report.violations.size()) {
    out->Line(fmt::format("and {} more", report.violations_total - report.violations.size()));
  }
}

}  // namespace

Json VerifyJson(const Verified& verified) {
  const Comparison::Report& report = verified.report;
  Json answer;
  answer.Field("keys", verified.keys);
  answer.Field("rounds", verified.rounds);
  answer.Field("complete", verified.complete);
  answer.Array("replicas", verified.replicas, [](const VerifiedReplica& replica, Json* object) {
    object->Field("address", replica.address);
    object->Field("answers", replica.answers);
    object->Field("failures", replica.failures);
    if (!replica.error.empty()) object->Field("error", replica.error);
  });
  Json copies;
  copies.Field("l1", report.memory_copies);
  copies.Field("l2", report.lower_copies);
  copies.Field("origin", report.origin_copies);
  copies.Field("suspect", report.suspect);
  answer.Object("copies", copies);
  Json origin;
  origin.Field("differs", report.differs);
  origin.Field("waiting", report.waiting);
  origin.Field("errors", report.origin_errors);
  answer.Object("origin", origin);
  answer.Array("staleness", Buckets(), [&report](size_t i, Json* object) {
    if (i < Comparison::kBuckets.size()) object->Field("up_to_seconds", Comparison::kBuckets[i]);
    object->Field("copies", report.staleness[i]);
  });
  answer.Array("violations", report.violations, [&](const Violation& violation, Json* object) {
    object->Field("kind", Name(violation.kind));
    object->Field("namespace", violation.name.ns);
    object->Field("key", violation.name.key);
    object->Field("replica", verified.replicas[violation.replica].address);
    object->Field("tier", Name(violation.tier));
    object->Version("version", violation.version);
    object->Field("behind_seconds", violation.behind);
    object->Field("because", violation.what);
  });
  answer.Field("violations_total", report.violations_total);
  return answer;
}

void PrintVerified(const Verified& verified, bool origin, Output* out) {
  const Comparison::Report& report = verified.report;
  out->Line(fmt::format(
      "{} keys on {} replicas, {} rounds: {} copies in memory, {} in second tiers", verified.keys,
      verified.replicas.size(), verified.rounds, report.memory_copies, report.lower_copies));
  if (origin) {
    out->Line(fmt::format(
        "origins told {} times, {} differences; {} writes still wait for them; {} errors",
        report.origin_copies, report.differs, report.waiting, report.origin_errors));
  }
  for (const VerifiedReplica& replica : verified.replicas) {
    if (replica.failures == 0) continue;
    out->Line(fmt::format("{}: {} answers, {} failures, the last: {}", replica.address,
                          replica.answers, replica.failures, Shown(replica.error)));
  }
  if (report.suspect > 0) {
    out->Line(fmt::format("{} copies are doubted by their replicas, and were not judged",
                          report.suspect));
  }
  PrintStaleness(report, out);
  PrintViolations(verified, out);
  if (report.violations_total > 0) {
    out->Line(fmt::format("{} violations", report.violations_total));
  } else {
    out->Line(fmt::format("no violation{}; {} stale copies within the bound",
                          verified.complete ? "" : " was found, but not all could be checked",
                          StaleCopies(report)));
  }
}

}  // namespace larder::cli
