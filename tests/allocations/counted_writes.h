// In a program that is linked with this, send and sendmsg count how often threads that ask for it
// write to sockets, and note from where. Thread safety: any thread; LargePieces while none of them
// writes.

#ifndef LARDER_TESTS_ALLOCATIONS_COUNTED_WRITES_H_
#define LARDER_TESTS_ALLOCATIONS_COUNTED_WRITES_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace larder {

// From now on, or no longer, what this thread writes is counted.
void CountWritesHere(bool count);

// Writes of all counted threads so far.
uint64_t WritesCounted();

// The first pieces of 2 KiB and more that were written, as far as there is room to note them.
struct WrittenPiece {
  const char* from;
  size_t size;
};
std::span<const WrittenPiece> LargePieces();
void ForgetLargePieces();

}  // namespace larder

#endif  // LARDER_TESTS_ALLOCATIONS_COUNTED_WRITES_H_
