#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace larder {
namespace {

using Function = uint32_t (*)(uint32_t before, std::string_view bytes);

std::vector<Function> Functions() {
  std::vector<Function> functions = {&Crc32c, &crc32c_internal::ByTable};
  if (crc32c_internal::HasInstruction()) functions.push_back(&crc32c_internal::ByInstruction);
  return functions;
}

std::string Range(int first, int last, int step) {
  std::string bytes;
  for (int b = first; b != last + step; b += step) bytes += static_cast<char>(b);
  return bytes;
}

// RFC 3720, appendix B.4, and the check value that catalogues of checksums give.
TEST(Crc32cTest, AgreesWithPublishedVectors) {
  for (const Function crc : Functions()) {
    EXPECT_EQ(crc(0, ""), 0u);
    EXPECT_EQ(crc(0, "123456789"), 0xe3069283u);
    EXPECT_EQ(crc(0, std::string(32, '\0')), 0x8a9136aau);
    EXPECT_EQ(crc(0, std::string(32, '\xff')), 0x62a8ab43u);
    EXPECT_EQ(crc(0, Range(0, 31, 1)), 0x46dd794eu);
    EXPECT_EQ(crc(0, Range(31, 0, -1)), 0x113fdb5cu);
  }
}

TEST(Crc32cTest, GoesOnWhereItStopped) {
  std::mt19937 random(1);
  std::string bytes(300, 0);
  for (char& byte : bytes) byte = static_cast<char>(random());
  const uint32_t whole = crc32c_internal::ByTable(0, bytes);
  for (const Function crc : Functions()) {
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
      const std::string_view view = bytes;
      EXPECT_EQ(crc(crc(0, view.substr(0, cut)), view.substr(cut)), whole) << cut;
    }
  }
}

TEST(Crc32cTest, BothWaysAgreeAtEveryLength) {
  std::mt19937 random(2);
  std::string bytes;
  for (size_t size = 0; size < 200; ++size, bytes += static_cast<char>(random())) {
    EXPECT_EQ(Crc32c(7, bytes), crc32c_internal::ByTable(7, bytes)) << size;
  }
}

}  // namespace
}  // namespace larder
