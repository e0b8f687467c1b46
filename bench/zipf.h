// Zipf draws ranks 0, 1, 2, ... of which rank r comes up in proportion to 1 / (r + 1)^s: the skew
// of real caches, where s is 0.7 to 1.2. Mixed64 scrambles numbers, so that what is hot is not what
// lies side by side. Thread safety: one object is one thread's. Never allocates.

#ifndef LARDER_BENCH_ZIPF_H_
#define LARDER_BENCH_ZIPF_H_

#include <cmath>
#include <cstdint>

namespace larder::bench {

// A one-to-one function of 64-bit numbers without visible pattern (the finalizer of SplitMix64).
inline uint64_t Mixed64(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Random numbers of a few instructions each: for choices inside a measured loop.
class QuickRandom {
 public:
  explicit QuickRandom(uint64_t seed) : state_(seed) {}
  uint64_t Next() { return Mixed64(state_ += 0x9e3779b97f4a7c15u); }
  // Below `limit`, which is far below 2^32.
  uint32_t Below(uint32_t limit) {
    return static_cast<uint32_t>(((Next() >> 32) * uint64_t{limit}) >> 32);
  }
  // In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

// Exact for any n, without a table: rejection-inversion (Hörmann and Derflinger, 1996).
class Zipf {
 public:
  // REQUIRES: n >= 1, s > 0.
  Zipf(uint64_t n, double s)
      : n_(static_cast<double>(n)),
        s_(s),
        integral_first_(Integral(1.5) - 1),
        integral_last_(Integral(n_ + 0.5)),
        sure_(2 - IntegralInverse(Integral(2.5) - Density(2))) {}

  uint64_t Next(QuickRandom& random) const {
    for (;;) {
      const double u = integral_last_ + random.Unit() * (integral_first_ - integral_last_);
      const double x = IntegralInverse(u);
      const double k = std::fmin(std::fmax(std::floor(x + 0.5), 1), n_);
      if (k - x <= sure_ || u >= Integral(k + 0.5) - Density(k)) {
        return static_cast<uint64_t>(k) - 1;
      }
    }
  }

 private:
  double Density(double x) const { return std::exp(-s_ * std::log(x)); }
  double Integral(double x) const {
    const double log_x = std::log(x);
    return ExpOverX((1 - s_) * log_x) * log_x;
  }
  double IntegralInverse(double x) const {
    return std::exp(LogOverX(std::fmax(x * (1 - s_), -1)) * x);
  }
  // (e^x - 1) / x and ln(1 + x) / x, also where x is next to 0.
  static double ExpOverX(double x) { return std::fabs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2; }
  static double LogOverX(double x) { return std::fabs(x) > 1e-8 ? std::log1p(x) / x : 1 - x / 2; }

  const double n_;
  const double s_;
  const double integral_first_;
  const double integral_last_;
  const double sure_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_ZIPF_H_
