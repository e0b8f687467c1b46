#include "rpc/native_memory.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace larder {
namespace {

// gcc says that it instruments by the one, clang 19 by the other.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeeps = false;
#elif defined(__has_feature)
constexpr bool kKeeps = !__has_feature(address_sanitizer);
#else
constexpr bool kKeeps = true;
#endif

NativeMemory* Of(void* memory) { return static_cast<NativeMemory*>(memory); }

}  // namespace

NativeMemory::NativeMemory()
    : mem_(new nghttp2_mem{
          .mem_user_data = this,
          .malloc = [](size_t size, void* memory) { return Of(memory)->Allocate(size); },
          .free = [](void* block, void* memory) { Of(memory)->Free(block); },
          .calloc = [](size_t count, size_t size, void* memory) -> void* {
            if (size != 0 && count > SIZE_MAX / size) return nullptr;
            void* const block = Of(memory)->Allocate(count * size);
            return block == nullptr ? nullptr : std::memset(block, 0, count * size);
          },
          .realloc = [](void* block, size_t size,
                        void* memory) { return Of(memory)->Reallocate(block, size); }}) {}

NativeMemory::~NativeMemory() {
  for (List& list : lists_) {
    while (list.first != nullptr) {
      Head* const head = list.first;
      list.first = head->next;
      std::free(head);
    }
  }
  delete static_cast<nghttp2_mem*>(mem_);
}

bool NativeMemory::Keeps() { return kKeeps; }

void* NativeMemory::Allocate(size_t size) {
  if (size > SIZE_MAX - 2 * kStep) return nullptr;
  const size_t at = ClassOf(size);
  Head* head = nullptr;
  if (at < kClasses && lists_[at].first != nullptr) {
    head = lists_[at].first;
    lists_[at].first = head->next;
    --lists_[at].count;
  } else {
    const size_t whole = at < kClasses ? (at + 1) * kStep : size + sizeof(Head);
    head = static_cast<Head*>(std::malloc(whole));
    if (head == nullptr) return nullptr;
  }
  head->size = size;
  return head + 1;
}

void NativeMemory::Free(void* block) {
  if (block == nullptr) return;
  Head* const head = static_cast<Head*>(block) - 1;
  const size_t at = ClassOf(head->size);
  if (!kKeeps || at >= kClasses || lists_[at].count >= kKeptMax) return std::free(head);
  head->next = lists_[at].first;
  lists_[at].first = head;
  ++lists_[at].count;
}

void* NativeMemory::Reallocate(void* block, size_t size) {
  if (block == nullptr) return Allocate(size);
  if (size > SIZE_MAX - 2 * kStep) return nullptr;
  Head* const head = static_cast<Head*>(block) - 1;
  const size_t at = ClassOf(size);
  if (at < kClasses && at == ClassOf(head->size)) {
    head->size = size;
    return block;
  }
  void* const moved = Allocate(size);
  if (moved == nullptr) return nullptr;
  std::memcpy(moved, block, std::min(size, head->size));
  Free(block);
  return moved;
}

}  // namespace larder
