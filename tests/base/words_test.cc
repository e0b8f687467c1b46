#include "base/words.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/base/guarded_page.h"

namespace larder {
namespace {

// Every byte another one, the upper bit set in most.
std::string Bytes(size_t size) {
  std::string bytes(size, 0);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(0xf1 - 7 * i);
  return bytes;
}

uint64_t PartByHand(std::string_view bytes) {
  uint64_t word = 0;
  for (size_t i = bytes.size(); i-- > 0;) word = word << 8 | static_cast<uint8_t>(bytes[i]);
  return word;
}

TEST(WordsTest, LoadsAWordFromAnyAddress) {
  const std::string bytes = Bytes(24);
  for (size_t at = 0; at + 8 <= bytes.size(); ++at)
    EXPECT_EQ(LoadWord(bytes.data() + at), PartByHand(std::string_view(bytes).substr(at, 8)));
}

TEST(WordsTest, LoadsPartOfAWordAndNoByteAroundIt) {
  for (size_t size = 0; size < 8; ++size) {
    SCOPED_TRACE(size);
    const std::string bytes = "\xff\xff\xff\xff\xff\xff\xff\xff" + Bytes(size) + "\xff\xff\xff";
    EXPECT_EQ(LoadPart(bytes.data() + 8, size), PartByHand(Bytes(size)));
  }
}

TEST(WordsTest, LoadsPartOfAWordAtTheEdgesOfMemory) {
  GuardedPage page;
  for (size_t size = 0; size < 8; ++size) {
    SCOPED_TRACE(size);
    EXPECT_EQ(LoadPart(page.AtBegin(Bytes(size)).data(), size), PartByHand(Bytes(size)));
    EXPECT_EQ(LoadPart(page.AtEnd(Bytes(size)).data(), size), PartByHand(Bytes(size)));
  }
}

TEST(SameBytesTest, IsTrueForEqualStringsAtAnyAddress) {
  for (size_t size = 0; size <= 40; ++size) {
    for (size_t shift = 0; shift < 8; ++shift) {
      const std::string a = std::string(shift, 'a') + Bytes(size) + "after";
      const std::string b = "b" + Bytes(size) + "others";
      EXPECT_TRUE(
          SameBytes(std::string_view(a).substr(shift, size), std::string_view(b).substr(1, size)))
          << size << " bytes at " << shift;
    }
  }
  EXPECT_TRUE(SameBytes({}, {}));
  EXPECT_TRUE(SameBytes({}, std::string_view("x").substr(1)));
}

TEST(SameBytesTest, SeesEveryBitThatDiffers) {
  for (size_t size = 1; size <= 40; ++size) {
    const std::string a = Bytes(size);
    for (size_t bit = 0; bit < size * 8; ++bit) {
      std::string b = a;
      b[bit / 8] = static_cast<char>(b[bit / 8] ^ 1 << bit % 8);
      EXPECT_FALSE(SameBytes(a, b)) << "bit " << bit << " of " << size << " bytes";
    }
  }
}

TEST(SameBytesTest, TellsAStringFromItsBeginning) {
  const std::string zeroes(41, 0);
  for (size_t a = 0; a <= 40; ++a) {
    for (size_t b = 0; b <= 40; ++b) {
      EXPECT_EQ(
          SameBytes(std::string_view(zeroes).substr(0, a), std::string_view(zeroes).substr(0, b)),
          a == b)
          << a << " and " << b << " bytes";
    }
  }
}

TEST(SameBytesTest, ComparesAtTheEdgesOfMemory) {
  GuardedPage one;
  GuardedPage other;
  for (size_t size = 0; size <= 40; ++size) {
    SCOPED_TRACE(size);
    EXPECT_TRUE(SameBytes(one.AtBegin(Bytes(size)), other.AtEnd(Bytes(size))));
    EXPECT_TRUE(SameBytes(one.AtEnd(Bytes(size)), other.AtBegin(Bytes(size))));
  }
}

}  // namespace
}  // namespace larder
