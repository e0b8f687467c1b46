// In a program that is linked with this, malloc and all that is made of it count what threads that
// ask for it allocate. Thread safety: each thread has its own count; Taken and Print any thread.

#ifndef LARDER_TESTS_ALLOCATIONS_COUNTED_MALLOC_H_
#define LARDER_TESTS_ALLOCATIONS_COUNTED_MALLOC_H_

#include <cstdint>

namespace larder {

// From now on, or no longer, what this thread allocates is counted.
void CountAllocationsHere(bool count);

// Allocations of all counted threads so far: malloc, calloc, realloc, operator new and the rest.
uint64_t AllocationsCounted();

// From now on writes the stacks of the first allocations that are counted to standard error. Say so
// only where some may be expected: it takes time.
void PrintAllocations(int first);

}  // namespace larder

#endif  // LARDER_TESTS_ALLOCATIONS_COUNTED_MALLOC_H_
