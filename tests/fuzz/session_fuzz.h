// What a client may send on a connection of the native lane, frame by frame, for the fuzzer and for
// the test that runs a bounded part of its work. Thread safety: one thread at a time; the lane that
// answers is made at the first call and lives until the process ends.

#ifndef LARDER_TESTS_FUZZ_SESSION_FUZZ_H_
#define LARDER_TESTS_FUZZ_SESSION_FUZZ_H_

#include <string>
#include <string_view>
#include <vector>

namespace larder {

// Plays `input`, a script of frames, on a connection of its own. At its end the lane must answer a
// ping or have closed the connection, must have said nothing on a stream after its end, must serve
// another connection beside it (unless calls of the script hold all the memory that calls may), and
// must keep nothing of either. True when it answered a call of the script.
bool FuzzSession(std::string_view input);

std::vector<std::string> SessionSeeds();

}  // namespace larder

#endif  // LARDER_TESTS_FUZZ_SESSION_FUZZ_H_
