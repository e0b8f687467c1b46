#include "client/cli/latency_buckets.h"

#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace larder::cli {
namespace {

constexpr std::string_view kSeries = "larder_rpc_duration_seconds_bucket{";

// The text between `NAME="` and the quotation mark; empty when it is not there. Neither calls nor
// bounds hold one.
std::string_view Label(std::string_view labels, std::string_view name) {
  const size_t at = labels.find(name);
  if (at == std::string_view::npos) return "";
  const size_t begin = at + name.size();
  const size_t end = labels.find('"', begin);
  return end == std::string_view::npos ? "" : labels.substr(begin, end - begin);
}

}  // namespace

LatencyBuckets ReadLatencyBuckets(std::string_view metrics) {
  LatencyBuckets all;
  for (const absl::string_view one :
       absl::StrSplit(absl::string_view(metrics.data(), metrics.size()), '\n')) {
    const std::string_view line(one.data(), one.size());
    if (!line.starts_with(kSeries)) continue;
    const size_t end = line.find("} ");
    if (end == std::string_view::npos) continue;
    const std::string_view labels = line.substr(kSeries.size(), end - kSeries.size());
    const std::string_view rpc = Label(labels, "rpc=\"");
    const std::string_view le = Label(labels, "le=\"");
    const std::string_view count = line.substr(end + 2);
    double bound = std::numeric_limits<double>::infinity();
    double number = 0;
    const auto view = [](std::string_view text) {
      return absl::string_view(text.data(), text.size());
    };
    if (rpc.empty() || (le != "+Inf" && !absl::SimpleAtod(view(le), &bound)) ||
        !absl::SimpleAtod(view(count), &number) || !(number >= 0))
      continue;
    all[std::string(rpc)][bound] = static_cast<uint64_t>(number);
  }
  return all;
}

Buckets Since(const Buckets& before, const Buckets& now) {
  Buckets since = now;
  for (auto& [bound, count] : since) {
    const auto earlier = before.find(bound);
    if (earlier == before.end()) continue;
    if (earlier->second > count) return now;
    count -= earlier->second;
  }
  return since;
}

void AddTo(const Buckets& more, Buckets* sum) {
  for (const auto& [bound, count] : more) (*sum)[bound] += count;
}

std::optional<absl::Duration> Quantile(const Buckets& buckets, double part) {
  if (buckets.empty() || buckets.rbegin()->second == 0) return std::nullopt;
  const double rank = part * static_cast<double>(buckets.rbegin()->second);
  double below = 0;
  double counted = 0;
  for (const auto& [bound, count] : buckets) {
    const auto upto = static_cast<double>(count);
    if (upto >= rank) {
      if (std::isinf(bound)) return absl::Seconds(below);
      const double inside = upto - counted;
      const double share = inside <= 0 ? 1 : (rank - counted) / inside;
      return absl::Seconds(below + (bound - below) * share);
    }
    below = bound;
    counted = upto;
  }
  return absl::Seconds(below);
}

}  // namespace larder::cli
