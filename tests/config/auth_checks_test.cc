#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/config/problems.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const char kRoles[] = "roles: { r: { namespaces: [\"*\"], allow: [read] } }";

std::string Auth(const std::string& more) {
  return absl::StrCat("auth: { ", kRoles, ", ", more, " }");
}

std::string Sum(char digit) { return std::string(64, digit); }

TEST(AuthChecksTest, CompleteOneIsFine) {
  EXPECT_THAT(ProblemsOf(Auth("callers: { me: { roles: [r], token_sha256: [" + Sum('a') +
                              "] } }, anonymous: [r]")),
              IsEmpty());
}

TEST(AuthChecksTest, NamesThatAreNone) {
  EXPECT_THAT(
      ProblemsOf(Auth("callers: { me: { roles: [rr], token_sha256: [" + Sum('a') + "] } }")),
      ElementsAre("f:1:86: auth.callers.me.roles[0]: \"rr\" is no role; did you mean \"r\"?"));
  EXPECT_THAT(
      ProblemsOf("auth: { roles: { r: { namespaces: [\"a b\"], types: [usr], allow: [reed] } "
                 "}, callers: { me: { roles: [r], token_sha256: [" +
                 Sum('b') + "] } } }\ntypes: { user: {} }"),
      ElementsAre("f:1:36: auth.roles.r.namespaces[0]: \"a b\" is no namespace",
                  "f:1:52: auth.roles.r.types[0]: \"usr\" is no type; did you mean "
                  "\"user\"?",
                  "f:1:66: auth.roles.r.allow[0]: \"reed\" is no permission; did you mean "
                  "\"read\"?"));
}

TEST(AuthChecksTest, WhatAllowsNothingOrCannotBeKnown) {
  EXPECT_THAT(
      ProblemsOf("auth: { roles: { r: { allow: [read] } }, callers: { me: { roles: [r], "
                 "token_sha256: [" +
                 Sum('c') + "] } } }"),
      ElementsAre("f:1:18: auth.roles.r allows nothing: it has no namespaces; \"*\" is all"));
  EXPECT_THAT(
      ProblemsOf(Auth("callers: { me: { roles: [r] } }")),
      ElementsAre("f:1:72: auth.callers.me cannot be known: it has neither token_sha256 nor "
                  "certificates"));
  EXPECT_THAT(
      ProblemsOf(absl::StrCat("auth: { ", kRoles, " }")),
      ElementsAre("f:1:16: auth.roles says what may be done, and auth.callers nobody who may "
                  "do it: without callers everybody may do everything"));
}

TEST(AuthChecksTest, NobodyIsKnownTwice) {
  EXPECT_THAT(ProblemsOf(Auth("callers: { a: { roles: [r], token_sha256: [" + Sum('a') +
                              "] }, b: { roles: [r], token_sha256: [" + Sum('A') + "] } }")),
              ElementsAre(testing::EndsWith(
                  "auth.callers.b.token_sha256[0] is the same as auth.callers.a.token_sha256[0]")));
  EXPECT_THAT(
      ProblemsOf("quotas: [{ namespace: x }, { namespace: x }]"),
      ElementsAre(testing::EndsWith("quotas[1].namespace is the same as quotas[0].namespace")));
}

TEST(AuthChecksTest, TokenInThePlaceOfItsSumIsNotRepeated) {
  EXPECT_THAT(ProblemsOf(Auth("callers: { me: { roles: [r], token_sha256: [hunter2] } }")),
              ElementsAre(testing::AllOf(testing::HasSubstr("is no SHA-256 sum"),
                                         testing::Not(testing::HasSubstr("hunter2")))));
}

TEST(AuthChecksTest, AdminMayBeOfAPart) {
  const auto role = [](const std::string& limits) {
    return ProblemsOf(absl::StrCat("auth: { roles: { r: { ", limits, ", allow: [read, admin] } }, ",
                                   "callers: { me: { roles: [r], token_sha256: [", Sum('c'),
                                   "] } } }\ntypes: { user: {} }"));
  };
  EXPECT_THAT(role("namespaces: [\"*\"]"), IsEmpty());
  for (const char* limits :
       {"namespaces: [shop]", "namespaces: [\"*\"], types: [user]",
        "namespaces: [\"*\"], types: [default]", "namespaces: [\"*\"], prefixes: [a]"}) {
    EXPECT_THAT(role(limits), IsEmpty()) << limits;
  }
}

}  // namespace
}  // namespace larder
