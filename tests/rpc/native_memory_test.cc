// The memory that nghttp2 gets from a loop.

#include "rpc/native_memory.h"

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace larder {
namespace {

TEST(NativeMemoryTest, KeepsWhatIsWrittenThroughAllocationsOfAllSizes) {
  NativeMemory memory;
  std::mt19937_64 random(3);
  std::vector<std::pair<char*, std::string>> blocks;
  for (int i = 0; i < 20'000; ++i) {
    const size_t size = random() % (random() % 10 == 0 ? 5'000 : 300);
    if (blocks.size() < 200 && random() % 2 == 0) {
      auto* const block = static_cast<char*>(memory.Allocate(size));
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(block) % alignof(std::max_align_t), 0u);
      blocks.emplace_back(block, std::string(size, static_cast<char>(random())));
      std::memcpy(block, blocks.back().second.data(), size);
    } else if (!blocks.empty()) {
      auto& [block, content] = blocks[random() % blocks.size()];
      ASSERT_EQ(std::string(block, content.size()), content);
      if (random() % 3 == 0) {
        block = static_cast<char*>(memory.Reallocate(block, size));
        content.resize(std::min(content.size(), size));
        ASSERT_EQ(std::string(block, content.size()), content);
        content.resize(size, 'n');
        std::memcpy(block, content.data(), size);
      } else {
        memory.Free(block);
        // Its place goes to the last one.
        std::swap(block, blocks.back().first);
        content.swap(blocks.back().second);
        blocks.pop_back();
      }
    }
  }
  for (const auto& [block, content] : blocks) memory.Free(block);
}

TEST(NativeMemoryTest, RefusesSizesThatDoNotExist) {
  NativeMemory memory;
  auto* const mem = static_cast<nghttp2_mem*>(memory.mem());
  EXPECT_EQ(mem->malloc(SIZE_MAX - 8, mem->mem_user_data), nullptr);
  EXPECT_EQ(mem->calloc(SIZE_MAX / 2, 4, mem->mem_user_data), nullptr);
  mem->free(nullptr, mem->mem_user_data);
  void* const zeroes = mem->calloc(10, 10, mem->mem_user_data);
  EXPECT_EQ(std::string(static_cast<char*>(zeroes), 100), std::string(100, '\0'));
  mem->free(zeroes, mem->mem_user_data);
}

}  // namespace
}  // namespace larder
