// One block holds the count of references, the size and the bytes.

#include "core/shared_bytes.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "base/blocks.h"

namespace larder {

SharedBytes SharedBytes::Copy(std::string_view bytes) {
  if (bytes.size() > std::numeric_limits<uint32_t>::max()) std::abort();
  void* const memory = AllocateBlock(sizeof(Block) + bytes.size());
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

size_t SharedBytes::AllocatedBytesFor(size_t size) { return BlockBytes(sizeof(Block) + size); }

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
  FreeBlock(block_, bytes);
}

}  // namespace larder
