#include "base/strings.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

TEST(StringsTest, ConvertsWithoutCopying) {
  const std::string text("with\0zero", 9);
  const std::string_view view(text);
  EXPECT_EQ(ToAbsl(view).data(), text.data());
  EXPECT_EQ(ToAbsl(view).size(), 9u);
  EXPECT_EQ(ToStd(ToAbsl(view)).data(), text.data());
  EXPECT_EQ(ToStd(ToAbsl(view)).size(), 9u);
}

TEST(StringsTest, StrCatTakesWhateverAbslTakesAndStdViews) {
  const std::string owned = "owned";
  EXPECT_EQ(StrCat(), "");
  EXPECT_EQ(StrCat(std::string_view("view")), "view");
  EXPECT_EQ(StrCat(std::string_view("a"), "-", owned, absl::string_view("b"), 7, int64_t{-8}, 0.5,
                   absl::Hex(255)),
            "a-ownedb7-80.5ff");
}

TEST(StringsTest, StrAppendAppends) {
  std::string out = "begin";
  StrAppend(&out, std::string_view(":"), 1);
  EXPECT_EQ(out, "begin:1");
}

}  // namespace
}  // namespace larder
