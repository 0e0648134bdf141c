// Prints how far the functions of a register are from those of long double, in ulps of the result,
// over the whole range: one line each of name, type and worst error. Compile it with -DD3_ISA=avx2
// -DD3_BYTES=32 -mavx2 -mfma, or -DD3_ISA=baseline -DD3_BYTES=16.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "engine/simd/registers.h"

using namespace d3;
using namespace d3::D3_ISA;

namespace {

constexpr int tries = 200000;

template <class T> double ulps(T found, long double expected) {
  if (std::isnan(expected) || std::isinf(T(expected)) || expected == 0)
    return std::isnan(expected) ? (std::isnan(found) ? 0 : 1e9) : (found == T(expected) ? 0 : 1e9);
  int exponent;
  std::frexp(expected, &exponent);
  const long double ulp = std::ldexp(1.0L, exponent - std::numeric_limits<T>::digits);
  return double(std::abs((long double)found - expected) / ulp);
}

// The worst error of f at numbers that draw() gives, a register at a time.
template <class T, class F, class G, class D> double worst(F f, G exact, D draw) {
  constexpr int n = Simd<T>::size;
  double most = 0;
  for (int k = 0; k < tries; k += n) {
    T x[n], y[n];
    for (T& at : x) at = draw();
    f(Simd<T>::load(x)).store(y);
    for (int lane = 0; lane < n; ++lane)
      most = std::max(most, ulps<T>(y[lane], exact((long double)x[lane])));
  }
  return most;
}

template <class T> void check(const char* type) {
  std::mt19937_64 random(1);
  using Limits = std::numeric_limits<T>;
  const T last = T((Limits::max_exponent - 0.5) * std::log(2.0L)) - T(1e-3),
          first = T((Limits::min_exponent - 1) * std::log(2.0L));
  std::uniform_real_distribution<T> wide(first, last), near(-2, 2);
  std::uniform_real_distribution<double> power(Limits::min_exponent, Limits::max_exponent);
  const auto own = [](Simd<T> x) { return plain_exp(x); };
  const auto exact = [](long double x) { return std::exp(x); };
  const auto root = [](Simd<T> x) { return reciprocal_sqrt(x); };
  const auto exact_root = [](long double x) { return 1 / std::sqrt(x); };
  const T far[] = {0, Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), 800, -800};
  int next = 0;
  std::printf("exp %s %.3f\n", type, worst<T>(own, exact, [&] { return wide(random); }));
  std::printf("exp_near_0 %s %.3f\n", type, worst<T>(own, exact, [&] { return near(random); }));
  std::printf("exp_far %s %.3f\n", type,
              worst<T>(
                  own, [](long double x) { return (long double)std::exp(T(x)); },
                  [&] { return far[next++ % 6]; }));
  std::printf("reciprocal_sqrt %s %.3f\n", type,
              worst<T>(root, exact_root, [&] { return T(std::exp2(power(random))); }));
}

// Lanes that a mask picks, with their numbers: the same as one after the other.
template <class T> bool packs() {
  constexpr int n = Simd<T>::size;
  for (int bits = 0; bits < 1 << n; ++bits) {
    T x[n], packed[2 * n];
    int index[2 * n];
    for (int k = 0; k < n; ++k) x[k] = bits >> k & 1 ? T(k + 1) : T(-k - 1);
    const Simd<T> given = Simd<T>::load(x);
    const auto mask = given > Simd<T>(T(0));
    const int found = compress(mask, given, packed), also = compress(mask, 100, index);
    int count = 0;
    for (int k = 0; k < n; ++k) {
      if (!(bits >> k & 1)) continue;
      if (packed[count] != T(k + 1) || index[count] != 100 + k) return false;
      ++count;
    }
    if (found != count || also != count || any(mask) != (bits != 0)) return false;
  }
  return true;
}

}  // namespace

int main() {
  check<double>("double");
  check<float>("float");
  std::printf("compress both %d\n", packs<double>() && packs<float>() ? 0 : 1);
}
