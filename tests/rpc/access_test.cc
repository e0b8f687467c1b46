#include "rpc/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "rpc/access_needs.h"
#include "rpc/dispatcher.h"
#include "tests/rpc/access_rig.h"

namespace larder {
namespace {

using P = Permission;
using testing::HasSubstr;

class AccessTest : public testing::Test {
 protected:
  void Use(const AccessTable::Spec& spec) { access_.Replace(AccessTable::Make(spec)); }
  void UseRoles(const std::map<std::string, AccessRole>& roles) { Use(OneCallerEach(roles)); }

  std::unique_ptr<AccessCall> NewCall(const std::string& path, const std::string& authorization) {
    auto call = std::make_unique<AccessCall>(&MethodOf(methods_, path));
    call->authorization = authorization;
    return call;
  }
  absl::Status Get(const std::string& authorization, const std::string& key = "k",
                   const std::string& name_space = "", const std::string& certificate = "") {
    const auto call = NewCall("/larder.v1.Cache/Get", authorization);
    call->certificate = certificate;
    auto* const request = static_cast<v1::GetRequest*>(call->request());
    request->set_key(key);
    request->set_namespace_(name_space);
    return access_.Check(call.get());
  }
  uint64_t Denied(const std::string& permission) const {
    for (const auto& [name, count] : access_.GetStats().denied) {
      if (name == permission) return count;
    }
    return ~uint64_t{0};
  }

  const std::shared_ptr<TypeTable> types_ = AccessTypes();
  MethodTable methods_;
  Access access_{types_.get()};
};

const AccessRole kReadAll{.namespaces = {"*"}, .allow = {P::kRead}};
const AccessRole kAdminAll{.namespaces = {"*"}, .allow = {P::kAdmin}};

TEST_F(AccessTest, EverybodyMayDoEverythingWithoutCallers) {
  EXPECT_TRUE(Get("").ok());
  EXPECT_TRUE(Get("Bearer anything").ok());
  UseRoles({{"a", kReadAll}});
  EXPECT_FALSE(Get("").ok());
  access_.Replace(nullptr);
  EXPECT_TRUE(Get("").ok());
  EXPECT_TRUE(access_.CheckOperator({}).ok());
}

TEST_F(AccessTest, EveryMethodHasAnEntry) {
  std::set<std::string> paths;
  for (const Method& method : methods_.methods()) {
    EXPECT_NE(method.access, nullptr) << method.path;
    paths.insert(method.path);
  }
  for (const RpcAccess& access : AllRpcAccess())
    EXPECT_EQ(paths.count(std::string(access.path)), 1u) << access.path;
}

TEST_F(AccessTest, AMethodWithoutAnEntryIsDenied) {
  UseRoles(
      {{"all", {.namespaces = {"*"}, .allow = {P::kRead, P::kWrite, P::kInvalidate, P::kAdmin}}}});
  Method unlisted;
  unlisted.path = "/larder.v1.Cache/Unlisted";
  unlisted.request = &v1::GetRequest::default_instance();
  unlisted.response = &v1::GetResponse::default_instance();
  AccessCall call(&unlisted);
  call.authorization = "Bearer token-all";
  const absl::Status status = access_.Check(&call);
  EXPECT_EQ(Verdict(status), "NOT_ALLOWED");
  EXPECT_THAT(std::string(status.message()), HasSubstr("Unlisted"));
}

TEST_F(AccessTest, KnowsItsCallersByTokenOrCertificate) {
  UseRoles({{"reader", kReadAll}, {"nobody", {}}});
  EXPECT_EQ(Verdict(Get("Bearer token-reader")), "ok");
  EXPECT_EQ(Verdict(Get("bearer   token-reader ")), "ok");
  EXPECT_EQ(Verdict(Get("", "k", "", "cert-reader")), "ok");
  EXPECT_EQ(Verdict(Get("Bearer token-nobody")), "NOT_ALLOWED");
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer token-Reader", "Bearer token-reade",
                            "Bearer token-readerx", "Bearertoken-reader", "token-reader",
                            "Basic dG9rZW4tcmVhZGVy", "Bearer token-reader,Bearer token-nobody"})
    EXPECT_EQ(Verdict(Get(wrong)), "NOT_AUTHENTICATED") << wrong;
  EXPECT_EQ(Verdict(Get("", "k", "", "cert-other")), "NOT_AUTHENTICATED");
  EXPECT_EQ(access_.GetStats().unknown, 11u);
}

TEST_F(AccessTest, TheTokenDecidesWhereThereIsACertificateToo) {
  UseRoles({{"reader", kReadAll}, {"nobody", {}}});
  EXPECT_EQ(Verdict(Get("Bearer token-nobody", "k", "", "cert-reader")), "NOT_ALLOWED");
  EXPECT_EQ(Verdict(Get("Bearer token-reader", "k", "", "cert-nobody")), "ok");
  EXPECT_EQ(Verdict(Get("Bearer wrong", "k", "", "cert-reader")), "NOT_AUTHENTICATED");
}

TEST_F(AccessTest, NobodyIsLetInByTheRolesOfTheAnonymousAlone) {
  AccessTable::Spec spec = OneCallerEach(
      {{"public", {.namespaces = {"public"}, .allow = {P::kRead}}}, {"reader", kReadAll}});
  spec.anonymous = {"public"};
  Use(spec);
  EXPECT_EQ(Verdict(Get("", "k", "public")), "ok");
  EXPECT_EQ(Verdict(Get("", "k", "shop")), "NOT_ALLOWED");
  EXPECT_EQ(Verdict(Get("Bearer wrong", "k", "public")), "NOT_AUTHENTICATED");
  EXPECT_EQ(Verdict(Get("", "k", "public", "cert-wrong")), "NOT_AUTHENTICATED");
}

TEST_F(AccessTest, ATokenMayBeLongAndMayBeReplacedByASecondOne) {
  const std::string long_token(5000, 'x');
  AccessTable::Spec spec;
  spec.roles.emplace("reader", kReadAll);
  spec.callers.push_back(
      {.name = "a", .roles = {"reader"}, .token_sums = {Sha256Of(long_token), Sha256Of("next")}});
  Use(spec);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Verdict(Get("Bearer " + long_token)), "ok");
    EXPECT_EQ(Verdict(Get("Bearer " + long_token + "x")), "NOT_AUTHENTICATED");
    EXPECT_EQ(Verdict(Get("Bearer next")), "ok");
  }
}

TEST_F(AccessTest, WhatAThreadRemembersEndsWithTheTable) {
  UseRoles({{"a", kReadAll}, {"b", kReadAll}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Verdict(Get("Bearer token-a")), "ok");
  UseRoles({{"b", kReadAll}});
  EXPECT_EQ(Verdict(Get("Bearer token-a")), "NOT_AUTHENTICATED");
  UseRoles({{"a", {.namespaces = {"other"}, .allow = {P::kRead}}}});
  EXPECT_EQ(Verdict(Get("Bearer token-a")), "NOT_ALLOWED");
  // Nor does it serve another server of the process.
  Access other(types_.get());
  other.Replace(AccessTable::Make(OneCallerEach({{"z", kReadAll}})));
  const auto call = NewCall("/larder.v1.Cache/Get", "Bearer token-a");
  EXPECT_EQ(Verdict(other.Check(call.get())), "NOT_AUTHENTICATED");
}

TEST_F(AccessTest, ManyTokensAreKeptApart) {
  std::map<std::string, AccessRole> roles;
  for (int i = 0; i < 500; ++i) {
    roles["c" + std::to_string(i)] = {.namespaces = {"n" + std::to_string(i)}, .allow = {P::kRead}};
  }
  UseRoles(roles);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 500; ++i) {
      const std::string token = "Bearer token-c" + std::to_string(i);
      EXPECT_EQ(Verdict(Get(token, "k", "n" + std::to_string(i))), "ok");
      EXPECT_EQ(Verdict(Get(token, "k", "n" + std::to_string(i + 1))), "NOT_ALLOWED");
    }
  }
}

TEST_F(AccessTest, ReplacingUnderCallsGivesTheOldAnswerOrTheNew) {
  const auto first = AccessTable::Make(OneCallerEach({{"a", kReadAll}}));
  const auto second =
      AccessTable::Make(OneCallerEach({{"a", {.namespaces = {"other"}, .allow = {P::kRead}}}}));
  access_.Replace(first);
  std::atomic<bool> stop = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const std::string verdict = Verdict(Get("Bearer token-a"));
        if (verdict != "ok" && verdict != "NOT_ALLOWED") ++wrong;
      }
    });
  }
  for (int i = 0; i < 300; ++i) access_.Replace(i % 2 == 0 ? second : first);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(Verdict(Get("Bearer token-a")), "ok");
}

TEST_F(AccessTest, ErrorsNameTheCallerAndTheFirstKeyThatIsNotAllowed) {
  UseRoles({{"orders", {.namespaces = {"shop"}, .prefixes = {"order:"}, .allow = {P::kWrite}}}});
  const auto call = NewCall("/larder.v1.Cache/BatchDelete", "Bearer token-orders");
  auto* const request = static_cast<v1::BatchDeleteRequest*>(call->request());
  request->set_namespace_("shop");
  for (const char* key : {"order:1", "user:2", "user:3"}) request->add_keys(key);
  EXPECT_EQ(std::string(access_.Check(call.get()).message()),
            "caller \"orders\" may not write user:2 in namespace \"shop\"");
  EXPECT_EQ(Denied("write"), 1u);
  EXPECT_EQ(Denied("read"), 0u);
  request->set_keys(1, std::string(1000, 'u') + "\n");
  EXPECT_EQ(
      std::string(access_.Check(call.get()).message()),
      "caller \"orders\" may not write " + std::string(128, 'u') + "... in namespace \"shop\"");
}

TEST_F(AccessTest, TheKeysOfABatchMayBeAllowedByDifferentRoles) {
  AccessTable::Spec spec;
  spec.roles.emplace("a", AccessRole{.namespaces = {"*"}, .prefixes = {"a:"}, .allow = {P::kRead}});
  spec.roles.emplace("b", AccessRole{.namespaces = {"*"}, .prefixes = {"b:"}, .allow = {P::kRead}});
  spec.callers.push_back({.name = "ab", .roles = {"a", "b"}, .token_sums = {Sha256Of("t")}});
  Use(spec);
  const auto call = NewCall("/larder.v1.Cache/BatchGet", "Bearer t");
  auto* const request = static_cast<v1::BatchGetRequest*>(call->request());
  request->add_keys("a:1");
  request->add_keys("b:1");
  EXPECT_EQ(Verdict(access_.Check(call.get())), "ok");
  request->add_keys("c:1");
  EXPECT_EQ(Verdict(access_.Check(call.get())), "NOT_ALLOWED");
}

TEST_F(AccessTest, WhoeverDependsOnAKeyMayReadIt) {
  UseRoles({{"w", {.namespaces = {"*"}, .prefixes = {"a:"}, .allow = {P::kWrite}}},
            {"rw", {.namespaces = {"*"}, .prefixes = {"a:"}, .allow = {P::kWrite, P::kRead}}}});
  for (const auto& [token, key, verdict] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"w", "a:2", "NOT_ALLOWED"}, {"rw", "a:2", "ok"}, {"rw", "b:2", "NOT_ALLOWED"}}) {
    const auto set = NewCall("/larder.v1.Cache/Set", "Bearer token-" + token);
    auto* const request = static_cast<v1::SetRequest*>(set->request());
    request->set_key("a:1");
    request->add_depends_on(key);
    request->add_tags("any");
    EXPECT_EQ(Verdict(access_.Check(set.get())), verdict);
    const auto batch = NewCall("/larder.v1.Cache/BatchSet", "Bearer token-" + token);
    v1::BatchSetItem* const item = static_cast<v1::BatchSetRequest*>(batch->request())->add_items();
    item->set_key("a:1");
    item->add_depends_on(key);
    EXPECT_EQ(Verdict(access_.Check(batch.get())), verdict);
  }
}

TEST_F(AccessTest, GlobsGoByWhatStandsBeforeTheirFirstWildcard) {
  UseRoles({{"i", {.namespaces = {"*"}, .prefixes = {"order:"}, .allow = {P::kInvalidate}}}});
  for (const auto& [glob, verdict] :
       std::vector<std::pair<std::string, std::string>>{{"order:*", "ok"},
                                                        {"order:7?", "ok"},
                                                        {"order\\:7", "ok"},
                                                        {"order:[ab]*", "ok"},
                                                        {"order*", "NOT_ALLOWED"},
                                                        {"*", "NOT_ALLOWED"},
                                                        {"?rder:7", "NOT_ALLOWED"},
                                                        {"[o]rder:7", "NOT_ALLOWED"},
                                                        {"o*order:7", "NOT_ALLOWED"},
                                                        {"user:*", "NOT_ALLOWED"},
                                                        {"order:[", "NOT_ALLOWED"},
                                                        {"", "NOT_ALLOWED"}}) {
    const auto call = NewCall("/larder.v1.Cache/Invalidate", "Bearer token-i");
    static_cast<v1::InvalidateRequest*>(call->request())->set_glob(glob);
    EXPECT_EQ(Verdict(access_.Check(call.get())), verdict) << glob;
  }
}

TEST_F(AccessTest, PrefixesThatOverlapCountAsTheShortest) {
  UseRoles({{"r",
             {.namespaces = {"*"},
              .prefixes = {"a:b:c", "a:b", "a", "b:", "a-"},
              .allow = {P::kRead}}}});
  for (const char* key : {"a", "a:", "a:b", "a:b:c:d", "ab", "a-", "b:", "b:x"})
    EXPECT_EQ(Verdict(Get("Bearer token-r", key)), "ok") << key;
  for (const char* key : {"b", "b;", "c", "A", "", "`"})
    EXPECT_EQ(Verdict(Get("Bearer token-r", key)), "NOT_ALLOWED") << key;
}

TEST_F(AccessTest, StreamsAreJudgedAgainWhenTheCallersChange) {
  UseRoles({{"r", kReadAll}, {"x", kReadAll}});
  const auto call = NewCall("/larder.v1.Cache/Watch", "Bearer token-r");
  static_cast<v1::WatchRequest*>(call->request())->set_all(true);
  ASSERT_TRUE(access_.Check(call.get()).ok());
  EXPECT_TRUE(call->StillAllowed().ok());
  UseRoles({{"r", kReadAll}});
  EXPECT_TRUE(call->StillAllowed().ok());
  UseRoles({{"r", {.namespaces = {"*"}, .prefixes = {"a"}, .allow = {P::kRead}}}});
  EXPECT_EQ(Verdict(call->StillAllowed()), "NOT_ALLOWED");
  UseRoles({{"x", kReadAll}});
  EXPECT_EQ(Verdict(call->StillAllowed()), "NOT_AUTHENTICATED");
  access_.Replace(nullptr);
  EXPECT_TRUE(call->StillAllowed().ok());
  UseRoles({{"x", kReadAll}});
  EXPECT_EQ(Verdict(call->StillAllowed()), "NOT_AUTHENTICATED");
}

// Of what tenants ask for none may crowd the others out, and more is refused than of an operator.
TEST_F(AccessTest, ActsOfWhoHasAdminOfAPartCountAsBatches) {
  UseRoles({{"op", kAdminAll}, {"half", {.namespaces = {"shop"}, .allow = {P::kAdmin}}}});
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  Admission admission({}, &clock);
  Dispatcher dispatcher(&clock, &executor, &access_, &admission);
  admission.SetMemoryTight(true);
  for (const char* name : {"ListDeadLetters", "DropDeadLetters", "RetryDeadLetters"}) {
    for (const auto& [token, verdict] :
         {std::pair("op", "NOT_IN_THIS_VERSION"), std::pair("half", "OVERLOADED")}) {
      const auto call = NewCall(StrCat("/larder.v1.Admin/", name), StrCat("Bearer token-", token));
      auto* const request = call->request();
      const auto* const filter = request->GetDescriptor()->FindFieldByName("filter");
      static_cast<v1::DeadLetterFilter*>(request->GetReflection()->MutableMessage(request, filter))
          ->set_namespace_("shop");
      dispatcher.Run(call.get());
      executor.RunReady();
      EXPECT_EQ(Verdict(*call->answer), verdict) << name << " by " << token;
    }
  }
  EXPECT_EQ(admission.under_way(), 0u);
  // What everybody may ask for stays as it is.
  const auto info = NewCall("/larder.v1.Admin/ServerInfo", "Bearer token-half");
  dispatcher.Run(info.get());
  executor.RunReady();
  EXPECT_EQ(Verdict(*info->answer), "NOT_IN_THIS_VERSION");
}

TEST_F(AccessTest, OperatorsShowTheirTokenOverHttp) {
  UseRoles({{"op", kAdminAll},
            {"reader", kReadAll},
            {"half", {.namespaces = {"shop"}, .allow = {P::kAdmin}}}});
  const auto basic = [](const std::string& pair) { return "Basic " + absl::Base64Escape(pair); };
  EXPECT_EQ(Verdict(access_.CheckOperator({.authorization = "Bearer token-op"})), "ok");
  EXPECT_EQ(Verdict(access_.CheckOperator({.authorization = basic("anybody:token-op")})), "ok");
  EXPECT_EQ(Verdict(access_.CheckOperator({.authorization = basic(":token-op")})), "ok");
  EXPECT_EQ(Verdict(access_.CheckOperator({.authorization = "Bearer token-reader"})),
            "NOT_ALLOWED");
  EXPECT_EQ(Verdict(access_.CheckOperator({.authorization = basic("op:token-half")})),
            "NOT_ALLOWED");
  for (const std::string& wrong :
       {std::string(), std::string("Bearer"), std::string("Bearer x"), std::string("Basic %%%"),
        basic("op:"), basic("token-op:x"), std::string("Digest token-op")})
    EXPECT_EQ(Verdict(access_.CheckOperator({.authorization = wrong})), "NOT_AUTHENTICATED")
        << wrong;
}

// Browsers send a password that they remember with whatever a page of elsewhere has them ask.
TEST_F(AccessTest, ChangesOverHttpNeedATokenThatNoBrowserSendsByItself) {
  const auto change = [this](const std::string& authorization) {
    return Verdict(access_.CheckOperator(
        {.what = "POST /reload", .authorization = authorization, .changes = true}));
  };
  EXPECT_EQ(change(""), "NOT_ALLOWED");
  EXPECT_EQ(change("Bearer token-op"), "NOT_ALLOWED");
  UseRoles({{"op", kAdminAll}, {"reader", kReadAll}});
  EXPECT_EQ(change(""), "NOT_AUTHENTICATED");
  EXPECT_EQ(change("Basic " + absl::Base64Escape("op:token-op")), "NOT_AUTHENTICATED");
  EXPECT_EQ(change("Bearer token-reader"), "NOT_ALLOWED");
  EXPECT_EQ(change("Bearer token-op"), "ok");
  access_.Replace(nullptr);
  EXPECT_EQ(change("Bearer token-op"), "NOT_ALLOWED");
}

// docs/security.md says of each RPC what the code asks for.
TEST(AccessDocsTest, TheTableIsWhatTheCodeChecks) {
  std::ifstream in(std::string(LARDER_SOURCE_DIR) + "/docs/security.md");
  std::set<std::string> documented;
  std::string line;
  const std::regex row(R"(\| `(Cache|Admin)/(\w+)` \| (\w+) \| (.*) \|)");
  for (std::smatch match; std::getline(in, line);) {
    if (std::regex_match(line, match, row))
      documented.insert(StrCat(match[1].str(), "/", match[2].str(), ": ", match[3].str(), " of ",
                               match[4].str()));
  }
  std::set<std::string> checked;
  for (const RpcAccess& access : AllRpcAccess()) {
    checked.insert(StrCat(access.path.substr(sizeof("/larder.v1.") - 1), ": ", access.permission,
                          " of ", access.scope));
  }
  EXPECT_EQ(documented, checked);
}

}  // namespace
}  // namespace larder
