// The program's own malloc comes before glibc's for every library that it is linked with, and hands
// on to glibc's, which has a second name for that. operator new is libstdc++'s, which calls malloc.

#include "tests/allocations/counted_malloc.h"

#include <execinfo.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <iterator>

extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* block, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace larder {
namespace {

thread_local bool counted = false;
std::atomic<uint64_t> allocations = 0;
std::atomic<int> to_print = 0;

void Count() {
  if (!counted) return;
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (to_print.load(std::memory_order_relaxed) <= 0 || to_print.fetch_sub(1) <= 0) return;
  counted = false;  // what printing allocates is not to be
  void* stack[24];
  backtrace_symbols_fd(stack, backtrace(stack, std::size(stack)), STDERR_FILENO);
  if (write(STDERR_FILENO, "\n", 1) < 0) errno = 0;
  counted = true;
}

}  // namespace

void CountAllocationsHere(bool count) { counted = count; }
uint64_t AllocationsCounted() { return allocations.load(); }
void PrintAllocations(int first) { to_print.store(first); }

}  // namespace larder

extern "C" {

void* malloc(size_t size) {
  larder::Count();
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  larder::Count();
  return __libc_calloc(count, size);
}

void* realloc(void* block, size_t size) {
  larder::Count();
  return __libc_realloc(block, size);
}

void* memalign(size_t alignment, size_t size) {
  larder::Count();
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  larder::Count();
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** block, size_t alignment, size_t size) {
  larder::Count();
  *block = __libc_memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}

}  // extern "C"
