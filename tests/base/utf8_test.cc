#include "base/utf8.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

TEST(Utf8Test, CleanTextIsWholeCharactersAlone) {
  EXPECT_EQ(CleanUtf8(""), "");
  EXPECT_EQ(CleanUtf8("caf\xc3\xa9 \xe2\x82\xac"), "caf\xc3\xa9 \xe2\x82\xac");
  EXPECT_EQ(CleanUtf8("a\xff\xc3-b\xe2\x82"), "a\?\?-b\?");
  // Across the limit, a character of two bytes and one of three.
  EXPECT_EQ(CleanUtf8("caf\xc3\xa9", 5), "caf\xc3\xa9");
  EXPECT_EQ(CleanUtf8("caf\xc3\xa9", 4), "caf");
  EXPECT_EQ(CleanUtf8("\xe2\x82\xac\xe2\x82\xac", 5), "\xe2\x82\xac");
  EXPECT_EQ(CleanUtf8("abc", 0), "");
}

}  // namespace
}  // namespace larder
