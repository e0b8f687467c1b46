// In a program that is linked with this, send and sendmsg count how often threads that ask for it
// write to sockets. Thread safety: any thread.

#ifndef LARDER_TESTS_ALLOCATIONS_COUNTED_WRITES_H_
#define LARDER_TESTS_ALLOCATIONS_COUNTED_WRITES_H_

#include <cstdint>

namespace larder {

// From now on, or no longer, what this thread writes is counted.
void CountWritesHere(bool count);

// Writes of all counted threads so far.
uint64_t WritesCounted();

}  // namespace larder

#endif  // LARDER_TESTS_ALLOCATIONS_COUNTED_WRITES_H_
