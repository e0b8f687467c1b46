// What an envelope may be made of, for the fuzzer and for the test that runs a bounded part of its
// work. Thread safety: pure functions.

#ifndef LARDER_TESTS_FUZZ_ENVELOPE_FUZZ_H_
#define LARDER_TESTS_FUZZ_ENVELOPE_FUZZ_H_

#include <string>
#include <string_view>
#include <vector>

namespace larder {

// Decodes `input` as it is, and once more with a checksum that is right, so that the parser behind
// it is reached. What decodes must encode and decode to the same again. True when either decoded.
bool FuzzEnvelope(std::string_view input);

// Envelopes of every shape, as the encoder makes them: where mutations begin.
std::vector<std::string> EnvelopeSeeds();

}  // namespace larder

#endif  // LARDER_TESTS_FUZZ_ENVELOPE_FUZZ_H_
