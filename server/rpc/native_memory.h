// NativeMemory gives nghttp2 the memory of its streams and frames out of lists of blocks that it
// gave back, so that a call costs no allocation once its loop is warm. Thread safety: none; one
// loop's. Under AddressSanitizer it keeps nothing, so that mistakes show.

#ifndef LARDER_RPC_NATIVE_MEMORY_H_
#define LARDER_RPC_NATIVE_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace larder {

class NativeMemory {
 public:
  NativeMemory();
  // REQUIRES: all blocks were given back.
  ~NativeMemory();
  NativeMemory(const NativeMemory&) = delete;
  NativeMemory& operator=(const NativeMemory&) = delete;

  // The nghttp2_mem for nghttp2_session_server_new3. Lives as long as this.
  void* mem() const { return mem_; }

  // False where a sanitizer should see each use of what was freed: then nothing is to be kept.
  static bool Keeps();

  void* Allocate(size_t size);
  void Free(void* block);
  void* Reallocate(void* block, size_t size);

 private:
  // Blocks of 64, 128, ... 1,024 bytes, their head included; larger ones are malloc's.
  static constexpr size_t kStep = 64;
  static constexpr size_t kClasses = 16;
  // What one list keeps.
  static constexpr uint32_t kKeptMax = 4096;

  // Before each block. Keeps its alignment.
  struct alignas(16) Head {
    size_t size;  // of the block, without its head
    Head* next;   // in the list
  };
  static size_t ClassOf(size_t size) { return (size + sizeof(Head) - 1) / kStep; }

  struct List {
    Head* first = nullptr;
    uint32_t count = 0;
  };
  std::array<List, kClasses> lists_;
  void* const mem_;  // an nghttp2_mem
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_MEMORY_H_
