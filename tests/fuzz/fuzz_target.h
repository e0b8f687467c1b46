// A FuzzTarget is what a fuzzer does to one input. Each tests/fuzz/NAME_fuzz.cc has one; it is run
// without end by `./dev fuzz NAME`, and in a bounded number of mutations by the tests.
// Thread safety: pure functions.

#ifndef LARDER_TESTS_FUZZ_FUZZ_TARGET_H_
#define LARDER_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace larder {

struct FuzzTarget {
  // Aborts when the code under it breaks its contract. True when the input was accepted.
  bool (*run)(std::string_view input);
  // Valid inputs of every shape: where mutations begin.
  std::vector<std::string> (*seeds)();
};

// Ends the process, so that a fuzzer keeps the input, when `holds` is false.
inline void FuzzRequire(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "the contract is broken: %s\n", what);
  std::abort();
}

}  // namespace larder

#endif  // LARDER_TESTS_FUZZ_FUZZ_TARGET_H_
