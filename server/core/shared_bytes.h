// SharedBytes is a block of bytes that never changes and lives as long as anybody holds it: a large
// value, in memory and in the replies that are being written at the same time. Thread safety: any
// method, any thread; one handle is one thread's. Never blocks.

#ifndef LARDER_CORE_SHARED_BYTES_H_
#define LARDER_CORE_SHARED_BYTES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace larder {

class SharedBytes {
 public:
  // Holds nothing.
  SharedBytes() = default;
  // A copy of `bytes` in an allocation of its own.
  static SharedBytes Copy(std::string_view bytes);

  SharedBytes(const SharedBytes& other) : block_(other.block_) { Hold(); }
  SharedBytes(SharedBytes&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  SharedBytes& operator=(SharedBytes other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~SharedBytes() { Release(); }

  explicit operator bool() const { return block_ != nullptr; }
  std::string_view view() const;

  // Bytes that the allocation takes, the allocator's rounding included; 0 for none.
  size_t allocated_bytes() const;
  // The same for `size` bytes that are not copied yet.
  static size_t AllocatedBytesFor(size_t size);

  // The handle as a number and back, for holders that keep it in raw memory. Detach leaves this
  // handle empty and its reference with the number; Borrow makes a further handle of a number that
  // is still owed its Adopt; Adopt takes the number's reference over.
  uint64_t Detach() { return reinterpret_cast<uint64_t>(std::exchange(block_, nullptr)); }
  static SharedBytes Borrow(uint64_t detached);
  static SharedBytes Adopt(uint64_t detached);

 private:
  struct Block {
    std::atomic<uint32_t> references;
    uint32_t size;
  };

  explicit SharedBytes(Block* block) : block_(block) {}
  void Hold() const {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  void Release();

  Block* block_ = nullptr;
};

}  // namespace larder

#endif  // LARDER_CORE_SHARED_BYTES_H_
