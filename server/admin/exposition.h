// Exposition writes metrics as Prometheus reads them: in its text format 0.0.4 or in OpenMetrics
// 1.0. One family at a time: what it is first, then its samples. Not thread-safe; never blocks.
// Errors: none. Help texts and label values may hold any UTF-8; names are the caller's to keep
// right, and a test runs promtool over all of them.

#ifndef LARDER_ADMIN_EXPOSITION_H_
#define LARDER_ADMIN_EXPOSITION_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace larder {

class Exposition {
 public:
  enum class Format { kText, kOpenMetrics };
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  // How often something took at most so many seconds.
  struct Bucket {
    double at_most_seconds = 0;
    uint64_t count = 0;
  };

  explicit Exposition(Format format) : format_(format) {}

  // What the client wants, by its Accept header; the text format when it does not say.
  static Format FormatFor(std::string_view accept);
  static std::string_view ContentType(Format format);

  // Begin a family, which ends the one before. Each name once. A counter's name ends in `_total`.
  void Counter(std::string_view name, std::string_view help);
  void Gauge(std::string_view name, std::string_view help);
  void Histogram(std::string_view name, std::string_view help);

  // Samples of the family. Sets of labels differ within one.
  void Add(const Labels& labels, uint64_t value);
  void Add(const Labels& labels, double value);
  // REQUIRES: a histogram; `buckets` grow in both their fields, and `count` is no less than the
  // last of them.
  void AddBuckets(const Labels& labels, std::span<const Bucket> buckets, uint64_t count,
                  double sum_seconds);

  // All of it.
  std::string Take();

 private:
  void Begin(std::string_view name, std::string_view type, std::string_view help);
  void Sample(std::string_view suffix, const Labels& labels, std::string_view value);

  const Format format_;
  std::string family_;
  std::string out_;
};

}  // namespace larder

#endif  // LARDER_ADMIN_EXPOSITION_H_
