// What a client may send in the DATA frames and headers of a gRPC call, for the fuzzer and for the
// test that runs a bounded part of its work. Thread safety: pure functions.

#ifndef LARDER_TESTS_FUZZ_NATIVE_FUZZ_H_
#define LARDER_TESTS_FUZZ_NATIVE_FUZZ_H_

#include <string>
#include <string_view>
#include <vector>

namespace larder {

// Reads `input` as the framed messages of a stream, whole and cut into pieces, which must find the
// same; as the value of each header that the lane reads; and as what a balancer says first. True
// when a message, or a balancer's header, was found.
bool FuzzNative(std::string_view input);

std::vector<std::string> NativeSeeds();

}  // namespace larder

#endif  // LARDER_TESTS_FUZZ_NATIVE_FUZZ_H_
