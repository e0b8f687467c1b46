// The two formats differ in little: OpenMetrics names a counter's family without `_total`, escapes
// quotes in help texts, and ends with a line that says that nothing was cut off.

#include "admin/exposition.h"

#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr std::string_view kTotal = "_total";

// As short as it can be read back from, and without an exponent where people would write none.
std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char buffer[64];
  const bool plain = value == 0 || (std::abs(value) >= 1e-9 && std::abs(value) < 1e15);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::general;
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value, format).ptr);
}

void AppendEscaped(std::string_view text, bool quotes, std::string* out) {
  for (const char c : text) {
    if (c == '\\') {
      *out += "\\\\";
    } else if (c == '\n') {
      *out += "\\n";
    } else if (c == '"' && quotes) {
      *out += "\\\"";
    } else {
      *out += c;
    }
  }
}

// The q of one item of an Accept header; 1 when it has none, 0 when it is none.
double QualityOf(const std::vector<std::string>& parts) {
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string part(absl::StripAsciiWhitespace(parts[i]));
    if (part.rfind("q=", 0) != 0 && part.rfind("Q=", 0) != 0) continue;
    double q = 0;
    return absl::SimpleAtod(part.substr(2), &q) && q > 0 ? q : 0;
  }
  return 1;
}

}  // namespace

Exposition::Format Exposition::FormatFor(std::string_view accept) {
  double open = 0, text = 0;
  for (const absl::string_view item : absl::StrSplit(ToAbsl(accept), ',')) {
    const std::vector<std::string> parts = absl::StrSplit(item, ';');
    const std::string type = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts[0]));
    const double q = QualityOf(parts);
    if (type == "application/openmetrics-text") open = std::max(open, q);
    if (type == "text/plain") text = std::max(text, q);
  }
  return open > 0 && open >= text ? Format::kOpenMetrics : Format::kText;
}

std::string_view Exposition::ContentType(Format format) {
  return format == Format::kOpenMetrics
             ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
             : "text/plain; version=0.0.4; charset=utf-8";
}

void Exposition::Begin(std::string_view name, std::string_view type, std::string_view help) {
  family_ = name;
  std::string_view heading = name;
  if (format_ == Format::kOpenMetrics && type == "counter") heading.remove_suffix(kTotal.size());
  StrAppend(&out_, "# HELP ", heading, " ");
  AppendEscaped(help, format_ == Format::kOpenMetrics, &out_);
  StrAppend(&out_, "\n# TYPE ", heading, " ", type, "\n");
}

void Exposition::Counter(std::string_view name, std::string_view help) {
  Begin(name, "counter", help);
}

void Exposition::Gauge(std::string_view name, std::string_view help) { Begin(name, "gauge", help); }

void Exposition::Histogram(std::string_view name, std::string_view help) {
  Begin(name, "histogram", help);
}

void Exposition::Sample(std::string_view suffix, const Labels& labels, std::string_view value) {
  StrAppend(&out_, family_, suffix);
  char before = '{';
  for (const auto& [name, text] : labels) {
    out_ += before;
    StrAppend(&out_, name, "=\"");
    AppendEscaped(text, true, &out_);
    out_ += '"';
    before = ',';
  }
  if (!labels.empty()) out_ += '}';
  StrAppend(&out_, " ", value, "\n");
}

void Exposition::Add(const Labels& labels, uint64_t value) {
  Sample("", labels, std::to_string(value));
}

void Exposition::Add(const Labels& labels, double value) { Sample("", labels, Number(value)); }

void Exposition::AddBuckets(const Labels& labels, std::span<const Bucket> buckets, uint64_t count,
                            double sum_seconds) {
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  for (const Bucket& bucket : buckets) {
    const std::string bound = Number(bucket.at_most_seconds);
    with_bound.back().second = bound;
    Sample("_bucket", with_bound, std::to_string(bucket.count));
  }
  with_bound.back().second = "+Inf";
  Sample("_bucket", with_bound, std::to_string(count));
  Sample("_sum", labels, Number(sum_seconds));
  Sample("_count", labels, std::to_string(count));
}

std::string Exposition::Take() {
  if (format_ == Format::kOpenMetrics) out_ += "# EOF\n";
  return std::move(out_);
}

}  // namespace larder
