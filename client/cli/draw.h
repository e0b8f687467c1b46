// Chance for `bench`: quick random numbers of a seed, and ranks that come up as keys of real caches
// do (Zipf). Thread safety: one object of each is one thread's. Never allocates.

#ifndef LARDER_CLIENT_CLI_DRAW_H_
#define LARDER_CLIENT_CLI_DRAW_H_

#include <cmath>
#include <cstdint>

namespace larder::cli {

// SplitMix64.
class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  // In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // Below `limit`, which is below 2^53.
  uint64_t Below(uint64_t limit) {
    return static_cast<uint64_t>(Unit() * static_cast<double>(limit));
  }

 private:
  uint64_t state_;
};

// Rank r of 0 to n - 1 in proportion to 1 / (r + 1)^s, exactly and without a table: rejection-
// inversion (Hörmann and Derflinger, 1996). s = 0: all alike.
class Ranks {
 public:
  // REQUIRES: n >= 1, s >= 0.
  Ranks(uint64_t n, double s)
      : count_(n),
        s_(s),
        first_(Integral(1.5) - 1),
        last_(Integral(static_cast<double>(n) + 0.5)),
        sure_(2 - Inverse(Integral(2.5) - Density(2))) {}

  uint64_t Next(Draw* draw) const {
    if (s_ == 0) return draw->Below(count_);
    const auto n = static_cast<double>(count_);
    while (true) {
      const double u = last_ + draw->Unit() * (first_ - last_);
      const double x = Inverse(u);
      const double k = std::fmin(std::fmax(std::floor(x + 0.5), 1), n);
      if (k - x <= sure_ || u >= Integral(k + 0.5) - Density(k))
        return static_cast<uint64_t>(k) - 1;
    }
  }

 private:
  double Density(double x) const { return std::exp(-s_ * std::log(x)); }
  double Integral(double x) const {
    const double log_x = std::log(x);
    return ExpOverX((1 - s_) * log_x) * log_x;
  }
  double Inverse(double x) const { return std::exp(LogOverX(std::fmax(x * (1 - s_), -1)) * x); }
  // (e^x - 1) / x and ln(1 + x) / x, also where x is next to 0.
  static double ExpOverX(double x) { return std::fabs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2; }
  static double LogOverX(double x) { return std::fabs(x) > 1e-8 ? std::log1p(x) / x : 1 - x / 2; }

  const uint64_t count_;
  const double s_;
  const double first_;
  const double last_;
  const double sure_;
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_DRAW_H_
