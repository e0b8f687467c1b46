// What may lie in the log of the bus, for the fuzzer and for the test that runs a bounded part of
// its work. Thread safety: pure functions.

#ifndef LARDER_TESTS_FUZZ_FRAME_FUZZ_H_
#define LARDER_TESTS_FUZZ_FRAME_FUZZ_H_

#include <string>
#include <string_view>
#include <vector>

namespace larder {

// Decodes `input` as it is, and once more with a check that is right, so that the parser behind it
// is reached. What decodes must encode and decode to the same again. True when either decoded.
bool FuzzFrame(std::string_view input);

std::vector<std::string> FrameSeeds();

}  // namespace larder

#endif  // LARDER_TESTS_FUZZ_FRAME_FUZZ_H_
