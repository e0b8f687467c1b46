// Blocks are allocations whose true size counts: large values and the tables of the index, which
// are part of a budget. Their memory goes back to the system as soon as they are freed. Thread
// safety: any function, any thread. Out of memory ends the process.

#ifndef LARDER_BASE_BLOCKS_H_
#define LARDER_BASE_BLOCKS_H_

#include <cstddef>

namespace larder {

// Blocks begin at multiples of this.
inline constexpr size_t kBlockAlign = 64;

void* AllocateBlock(size_t bytes);
// `bytes` as they were asked for.
void FreeBlock(void* memory, size_t bytes);
// What a block of `bytes` takes, the allocator's rounding included: always the same for the same
// size, so that nobody has to write it down.
size_t BlockBytes(size_t bytes);

}  // namespace larder

#endif  // LARDER_BASE_BLOCKS_H_
