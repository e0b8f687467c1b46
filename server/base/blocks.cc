// larderd runs on jemalloc, which keeps freed memory for a while in case it is wanted again. That
// is right for small blocks, which are. Large values come in many sizes, and the pages that one
// leaves behind often do not fit the next: under churn of 16 KiB to 1 MiB the process held a fifth
// more than what was live, and memory.l1 would not be what the operator pays for. The index leaves
// all the sizes behind that its tables had. So blocks have an arena of their own whose free pages
// go back to the system at once; without thread caches; and from 16 KiB on page boundaries, because
// jemalloc otherwise scatters them by an offset that costs a page each. The price is a page fault
// for each page of a new large value (in that churn 0.3 ms for half a MiB instead of 0.06); hits
// allocate nothing. Purging in larger steps was no better: cheaper only where it kept as much, and
// with pauses of 5 to 16 ms.
//
// jemalloc is called through weak symbols, because tests and sanitizer builds run without it. Then
// malloc serves, and the size that we say is an estimate of its rounding.

#include "base/blocks.h"

#include <sys/types.h>

#include <cstdio>
#include <cstdlib>

extern "C" {
__attribute__((weak)) int mallctl(const char* name, void* old_value, size_t* old_bytes,
                                  void* new_value, size_t new_bytes) noexcept;
__attribute__((weak)) void* mallocx(size_t size, int flags) noexcept;
__attribute__((weak)) void sdallocx(void* block, size_t size, int flags) noexcept;
__attribute__((weak)) size_t nallocx(size_t size, int flags) noexcept;
}

namespace larder {
namespace {

constexpr size_t kPageBlockBytes = 16 << 10;

// As jemalloc's MALLOCX_LG_ALIGN(6) and (12), MALLOCX_TCACHE_NONE and MALLOCX_ARENA(arena).
constexpr int kOnLineBoundary = 6;
constexpr int kOnPageBoundary = 12;
constexpr int kNoThreadCache = 1 << 8;
constexpr int InArena(unsigned arena) { return static_cast<int>((arena + 1) << 20); }

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

bool HasJemalloc() {
  return mallctl != nullptr && mallocx != nullptr && sdallocx != nullptr && nallocx != nullptr;
}

int NewArena() {
  const int flags = kNoThreadCache;
  unsigned arena = 0;
  size_t bytes = sizeof(arena);
  // Without an arena of its own, blocks go where jemalloc puts all others.
  if (mallctl("arenas.create", &arena, &bytes, nullptr, 0) != 0) return flags;
  for (const char* decay : {"dirty_decay_ms", "muzzy_decay_ms"}) {
    char name[64];
    std::snprintf(name, sizeof(name), "arena.%u.%s", arena, decay);
    ssize_t at_once = 0;
    mallctl(name, nullptr, nullptr, &at_once, sizeof(at_once));
  }
  return flags | InArena(arena);
}

int FlagsFor(size_t bytes) {
  static const int arena = NewArena();
  return arena | (bytes < kPageBlockBytes ? kOnLineBoundary : kOnPageBoundary);
}

}  // namespace

size_t BlockBytes(size_t bytes) {
  if (HasJemalloc()) return nallocx(bytes, FlagsFor(bytes));
  constexpr size_t kMapped = 128 << 10;  // from here on malloc maps whole pages
  const size_t unit = bytes < kMapped ? 16 : 4096;
  return RoundUp(RoundUp(bytes, kBlockAlign) + 2 * sizeof(void*), unit);
}

void* AllocateBlock(size_t bytes) {
  void* const memory = HasJemalloc() ? mallocx(bytes, FlagsFor(bytes))
                                     : std::aligned_alloc(kBlockAlign, RoundUp(bytes, kBlockAlign));
  // As operator new would, had it thrown where nobody catches.
  if (memory == nullptr) std::abort();
  return memory;
}

void FreeBlock(void* memory, size_t bytes) {
  if (HasJemalloc()) return sdallocx(memory, bytes, FlagsFor(bytes));
  std::free(memory);
}

}  // namespace larder
