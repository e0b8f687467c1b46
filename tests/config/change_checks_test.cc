// What LoadConfig says about templates: what a change makes out of date, and the tags of types.

#include "config/change_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/config/problems.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string User(const std::string& templates, const std::string& match = "\"user:{id}\"") {
  return absl::StrCat("types: {user: {match: [", match, "], on_change: {invalidate: [", templates,
                      "]}}}");
}

TEST(ChangeChecksTest, TemplatesOfTheDesignArePassed) {
  EXPECT_THAT(ProblemsOf(User("\"user:{id}:*\", \"orders:user:{id}:*\", \"users:all\"")),
              IsEmpty());
  EXPECT_THAT(ProblemsOf("types: {m: {match: [\"m:{team}:{id}\"], tags: [\"team:{team}\", all]}}"),
              IsEmpty());
}

TEST(ChangeChecksTest, WhatIsNoTemplateIsReported) {
  EXPECT_THAT(ProblemsOf(User("\"a*b\"")),
              ElementsAre("f:1:63: types.user.on_change.invalidate[0]: byte 1: a * stands at the "
                          "end of a template only"));
  EXPECT_THAT(ProblemsOf(User("\"*\"")),
              ElementsAre("f:1:63: types.user.on_change.invalidate[0]: a lone * would match every "
                          "key; say what keys begin with"));
}

TEST(ChangeChecksTest, EveryPatternCapturesWhatATemplateNeeds) {
  EXPECT_THAT(ProblemsOf(User("\"list:{name}\"")),
              ElementsAre("f:1:63: types.user.on_change.invalidate[0]: pattern \"user:{id}\" of "
                          "the type captures no \"name\""));
  EXPECT_THAT(ProblemsOf("types: {a: {tags: [\"t:{x}\"]}}"),
              ElementsAre("f:1:20: types.a.tags[0]: {x} has no meaning, because types.a.match is "
                          "empty"));
}

TEST(ChangeChecksTest, ATemplateCoversNoKeyOfItsOwnType) {
  for (const char* text : {"\"user:{id}\"", "\"user:*\"", "\"us*\""}) {
    EXPECT_THAT(ProblemsOf(User(text)),
                ElementsAre(absl::StrCat("f:1:63: types.user.on_change.invalidate[0]: ", text,
                                         " covers keys of the type itself: what was just written "
                                         "would be removed")));
  }
}

TEST(ChangeChecksTest, TypesDoNotGoRoundInACircle) {
  EXPECT_THAT(ProblemsOf("types:\n"
                         "  a: {match: [\"a:{id}\"], on_change: {invalidate: [\"b:{id}\"]}}\n"
                         "  b: {match: [\"b:{id}\"], on_change: {invalidate: [\"a:*\"]}}\n"),
              ElementsAre("f:2:51: types.a.on_change.invalidate[0] and "
                          "types.b.on_change.invalidate[0] go round in a circle: each makes the "
                          "other's type out of date"));
  EXPECT_THAT(ProblemsOf("types:\n"
                         "  a: {match: [\"a:{id}\"], on_change: {invalidate: [\"b:{id}\"]}}\n"
                         "  b: {match: [\"b:{id}\"], on_change: {invalidate: [\"c:*\"]}}\n"),
              IsEmpty());
}

}  // namespace
}  // namespace larder
