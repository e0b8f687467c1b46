// One allocation holds the count of references, the size and the bytes.
//
// larderd runs on jemalloc, which keeps freed memory for a while in case it is wanted again. That
// is right for small blocks, which are. Large values come in many sizes, and the pages that one
// leaves behind often do not fit the next: under churn of 16 KiB to 1 MiB the process held a fifth
// more than what was live, and memory.l1 would not be what the operator pays for. So blocks of 16
// KiB and more have an arena of their own whose free pages go back to the system at once; without
// thread caches; and on page boundaries, because jemalloc otherwise scatters them by an offset that
// costs a page each. The price is a page fault for each page of a new large value (in that churn
// 0.3 ms for half a MiB instead of 0.06); hits allocate nothing. Purging in larger steps was no
// better: cheaper only where it kept as much, and with pauses of 5 to 16 ms.
//
// jemalloc is called through weak symbols, because tests and sanitizer builds run without it. Then
// malloc serves, and the size that we say is an estimate of its rounding.

#include "core/shared_bytes.h"

#include <sys/types.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

extern "C" {
__attribute__((weak)) int mallctl(const char* name, void* old_value, size_t* old_bytes,
                                  void* new_value, size_t new_bytes) noexcept;
__attribute__((weak)) void* mallocx(size_t size, int flags) noexcept;
__attribute__((weak)) void sdallocx(void* block, size_t size, int flags) noexcept;
__attribute__((weak)) size_t nallocx(size_t size, int flags) noexcept;
}

namespace larder {
namespace {

constexpr size_t kOwnArenaBytes = 16 << 10;

// As jemalloc's MALLOCX_LG_ALIGN(12), MALLOCX_TCACHE_NONE and MALLOCX_ARENA(arena).
constexpr int kOnPageBoundary = 12;
constexpr int kNoThreadCache = 1 << 8;
constexpr int InArena(unsigned arena) { return static_cast<int>((arena + 1) << 20); }

bool HasJemalloc() {
  return mallctl != nullptr && mallocx != nullptr && sdallocx != nullptr && nallocx != nullptr;
}

int NewLargeArena() {
  int flags = kOnPageBoundary | kNoThreadCache;
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
  if (bytes < kOwnArenaBytes) return 0;
  static const int flags = NewLargeArena();
  return flags;
}

// What an allocation of `bytes` takes: always the same for the same size, so that nobody has to
// write it down.
size_t Rounded(size_t bytes) {
  if (HasJemalloc()) return nallocx(bytes, FlagsFor(bytes));
  constexpr size_t kMapped = 128 << 10;  // from here on malloc maps whole pages
  const size_t unit = bytes < kMapped ? 16 : 4096;
  return (bytes + 2 * sizeof(void*) + unit - 1) / unit * unit;
}

void* Allocate(size_t bytes) {
  return HasJemalloc() ? mallocx(bytes, FlagsFor(bytes)) : std::malloc(bytes);
}

void Free(void* memory, size_t bytes) {
  if (HasJemalloc()) return sdallocx(memory, bytes, FlagsFor(bytes));
  std::free(memory);
}

}  // namespace

SharedBytes SharedBytes::Copy(std::string_view bytes) {
  if (bytes.size() > std::numeric_limits<uint32_t>::max()) std::abort();
  void* const memory = Allocate(sizeof(Block) + bytes.size());
  // As operator new would, had it thrown where nobody catches.
  if (memory == nullptr) std::abort();
  auto* const block = new (memory) Block{1, static_cast<uint32_t>(bytes.size())};
  if (!bytes.empty()) std::memcpy(static_cast<void*>(block + 1), bytes.data(), bytes.size());
  return SharedBytes(block);
}

std::string_view SharedBytes::view() const {
  if (block_ == nullptr) return {};
  return {reinterpret_cast<const char*>(block_ + 1), block_->size};
}

size_t SharedBytes::allocated_bytes() const {
  return block_ == nullptr ? 0 : AllocatedBytesFor(block_->size);
}

size_t SharedBytes::AllocatedBytesFor(size_t size) { return Rounded(sizeof(Block) + size); }

SharedBytes SharedBytes::Borrow(uint64_t detached) {
  SharedBytes further(reinterpret_cast<Block*>(detached));
  further.Hold();
  return further;
}

SharedBytes SharedBytes::Adopt(uint64_t detached) {
  return SharedBytes(reinterpret_cast<Block*>(detached));
}

void SharedBytes::Release() {
  // Holders on other threads have read the bytes before this one frees them.
  if (block_ == nullptr || block_->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const size_t bytes = sizeof(Block) + block_->size;
  block_->~Block();
  Free(block_, bytes);
}

}  // namespace larder
