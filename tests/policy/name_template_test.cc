#include "policy/name_template.h"

#include <gtest/gtest.h>

#include <string>

#include "core/key.h"

namespace larder {
namespace {

std::string Made(const std::string& text, const NameTemplate::Captures& captures) {
  const auto parsed = NameTemplate::Parse(text);
  if (!parsed.ok()) return std::string(parsed.status().message());
  std::string made;
  if (!parsed->Make(captures, &made)) return "(none)";
  return made + (parsed->is_prefix() ? "..." : "");
}

TEST(NameTemplateTest, PutsCapturesInTheirPlaces) {
  EXPECT_EQ(Made("users:all", {}), "users:all");
  EXPECT_EQ(Made("user:{id}:*", {{"id", "42"}}), "user:42:...");
  EXPECT_EQ(Made("{a}-{b}-{a}", {{"b", "2"}, {"a", "1"}}), "1-2-1");
  EXPECT_EQ(Made("a\\*b\\{c\\}\\\\", {}), "a*b{c}\\");
  // What a key holds is never a wildcard.
  EXPECT_EQ(Made("user:{id}:*", {{"id", "*"}}), "user:*:...");
}

TEST(NameTemplateTest, SaysWhatItNeedsAndMakesNothingWithoutIt) {
  const auto parsed = NameTemplate::Parse("x:{b}:{a}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->Needs(), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(Made("x:{b}:{a}", {{"a", "1"}}), "(none)");
  const std::string long_capture(kKeyBytesMax, 'x');
  EXPECT_EQ(Made("{id}", {{"id", long_capture}}), long_capture);
  EXPECT_EQ(Made("{id}y", {{"id", long_capture}}), "(none)");
}

TEST(NameTemplateTest, RefusesWhatIsNoTemplate) {
  EXPECT_EQ(Made("", {}), "the template is empty");
  EXPECT_EQ(Made("*", {}), "a lone * would match every key; say what keys begin with");
  EXPECT_EQ(Made("a*b", {}), "byte 1: a * stands at the end of a template only");
  EXPECT_EQ(Made("a{b", {}), "byte 1: the brace is not closed");
  EXPECT_EQ(Made("a{}", {}), "byte 1: nothing is between the braces");
  EXPECT_EQ(Made("a}b", {}), "byte 1: no brace is open");
  EXPECT_EQ(Made("a\\", {}), "a backslash ends the template");
  EXPECT_EQ(Made(std::string(257, 'a'), {}), "the template is 257 bytes; at most 256");
}

}  // namespace
}  // namespace larder
