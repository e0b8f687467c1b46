// What libFuzzer calls: hands its inputs to the one FuzzTarget that the program is linked with, and
// writes the target's seeds into the corpus, which is the last argument, before it is read.

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

namespace larder {
extern const FuzzTarget kFuzzTarget;
}  // namespace larder

extern "C" int LLVMFuzzerInitialize(const int* argc, char*** argv) {
  const std::string corpus = (*argv)[*argc - 1];
  struct stat found = {};
  // A file is an input to run once more.
  if (stat(corpus.c_str(), &found) != 0 || !S_ISDIR(found.st_mode)) return 0;
  const std::vector<std::string> seeds = larder::kFuzzTarget.seeds();
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream file(corpus + "/seed-" + std::to_string(i), std::ios::binary);
    file.write(seeds[i].data(), static_cast<std::streamsize>(seeds[i].size()));
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  larder::kFuzzTarget.run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
