// Invalidations by tag, prefix, glob, type and namespace: what they cover, on whichever way it
// comes, here, in the tier below and on other replicas.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/rule_codec.h"
#include "engine/rule_store.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

Rule RuleFor(Rule::Kind kind, const std::string& match, bool stale = false) {
  Rule rule;
  rule.kind = kind;
  rule.match = match;
  rule.stale = stale;
  rule.name_space = "default";
  return rule;
}
Rule Tag(const std::string& tag, bool stale = false) {
  return RuleFor(Rule::Kind::kTag, tag, stale);
}

WriteRequest Tagged(std::string_view key, std::string_view value, std::vector<std::string> tags,
                    std::vector<std::string> depends_on = {}) {
  WriteRequest write;
  write.key = {"", key, ""};
  write.value = value;
  write.tags = std::move(tags);
  write.depends_on = std::move(depends_on);
  // Longer than any two clocks here are apart.
  write.ttl = absl::Hours(1);
  return write;
}

InvalidateRequest By(Rule rule, bool dry_run = false) {
  InvalidateRequest request;
  request.rules.push_back(std::move(rule));
  request.dry_run = dry_run;
  return request;
}

// ---- One replica, memory only

class RulesTest : public EngineFixture {
 protected:
  void SetTagged(const std::string& key, const std::string& value, std::vector<std::string> tags,
                 std::vector<std::string> depends_on = {}) {
    ASSERT_TRUE(Now(engine_->Set(Tagged(key, value, std::move(tags), std::move(depends_on)))).ok());
  }
  InvalidateResult Invalidate(Rule rule, bool dry_run = false) {
    const auto done = Now(engine_->Invalidate(By(std::move(rule), dry_run)));
    EXPECT_TRUE(done.ok()) << done.status();
    return done.ok() ? *done : InvalidateResult();
  }
};

TEST_F(RulesTest, ATagCoversWhatCarriesItAndNothingElse) {
  SetTagged("a", "1", {"red", "blue"});
  SetTagged("b", "2", {"green"});
  Set("c", "3");
  const InvalidateResult done = Invalidate(Tag("blue"));
  EXPECT_EQ(done.entries, 1u);
  EXPECT_NE(done.version, kNoVersion);
  MissReason why;
  EXPECT_EQ(Get("a", &why), "(miss)");
  EXPECT_EQ(why, MissReason::kInvalidated);
  EXPECT_FALSE(FindHit("a"));
  EXPECT_EQ(Get("b"), "2");
  EXPECT_EQ(Get("c"), "3");
  SetTagged("a", "4", {"blue"});
  EXPECT_EQ(Get("a"), "4");
}

TEST_F(RulesTest, PrefixGlobTypeAndNamespaceCoverWhatTheyMatch) {
  Make({}, {Type("user", "user:{id}", absl::Seconds(100))});
  const auto fill = [&] {
    for (const char* key : {"user:1", "user:2", "users", "order:1:x", "order:2:y"}) Set(key, "v");
  };
  const auto left = [&] {
    std::string keys;
    for (const char* key : {"user:1", "user:2", "users", "order:1:x", "order:2:y"})
      keys += Get(key) == "v" ? "+" : "-";
    return keys;
  };
  fill();
  Invalidate(RuleFor(Rule::Kind::kPrefix, "user:"));
  EXPECT_EQ(left(), "--+++");
  fill();
  Invalidate(RuleFor(Rule::Kind::kGlob, "order:*:x"));
  EXPECT_EQ(left(), "+++-+");
  fill();
  Invalidate(RuleFor(Rule::Kind::kType, "user"));
  EXPECT_EQ(left(), "--+++");
  fill();
  Invalidate(RuleFor(Rule::Kind::kAll, ""));
  EXPECT_EQ(left(), "-----");
  fill();
  Rule elsewhere = RuleFor(Rule::Kind::kAll, "");
  elsewhere.name_space = "tenant";
  Invalidate(elsewhere);
  EXPECT_EQ(left(), "+++++");
}

TEST_F(RulesTest, ADryRunOnlyCounts) {
  SetTagged("a", "1", {"t"});
  SetTagged("b", "2", {"t"});
  EXPECT_EQ(Invalidate(Tag("t"), /*dry_run=*/true).entries, 2u);
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(RulesTest, WhatIsLoadedWhileItIsInvalidatedIsNotKept) {
  const auto loading = Load("a");
  ASSERT_TRUE(loading->HasLease());
  Invalidate(RuleFor(Rule::Kind::kPrefix, "a"));
  const WriteResult late = Set("a", "old", std::nullopt, {}, loading->Token());
  EXPECT_FALSE(late.stored);
  EXPECT_EQ(Get("a"), "(miss)");
}

TEST_F(RulesTest, WhatIsCoveredIsAbsentForConditions) {
  Set("a", "1");
  Invalidate(RuleFor(Rule::Kind::kPrefix, "a"));
  EXPECT_FALSE(Set("a", "2", std::nullopt, {Expect::Kind::kPresent}).stored);
  EXPECT_TRUE(Set("a", "2", std::nullopt, {Expect::Kind::kAbsent}).stored);
  EXPECT_EQ(Get("a"), "2");
}

TEST_F(RulesTest, WhatIsMarkedStaleIsServedStaleWhereItsTypeAllowsThat) {
  TypePolicy lenient = Type("page", "page:*", absl::Seconds(100));
  lenient.freshness.stale_while_revalidate = absl::Seconds(10);
  Make({}, {lenient});
  Set("page:1", "old");
  Set("strict:1", "old");
  Invalidate(RuleFor(Rule::Kind::kAll, "", /*stale=*/true));
  EXPECT_FALSE(FindHit("page:1"));
  const auto read = Now(engine_->Get({"", "page:1", ""}));
  ASSERT_TRUE(read->entry.has_value());
  EXPECT_TRUE(read->stale);
  EXPECT_EQ(Get("strict:1"), "(miss)");
  const auto loading = Load("page:1");
  executor_.RunReady();
  EXPECT_TRUE(loading->HasLease());
  EXPECT_TRUE(Set("page:1", "new", std::nullopt, {}, loading->Token()).stored);
  EXPECT_TRUE(FindHit("page:1"));
  executor_.Advance(absl::Seconds(11));
  EXPECT_EQ(Get("page:1"), "new");
}

TEST_F(RulesTest, KeysMayBeMarkedStaleToo) {
  TypePolicy lenient = Type("page", "page:*", absl::Seconds(100));
  lenient.freshness.stale_while_revalidate = absl::Seconds(10);
  Make({}, {lenient});
  Set("page:1", "old");
  Set("strict:1", "old");
  InvalidateRequest request;
  request.keys = {"page:1", "strict:1", "nobody"};
  request.mark_stale = true;
  const auto done = Now(engine_->Invalidate(request));
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->entries, 2u);
  EXPECT_NE(done->version, kNoVersion);
  const auto read = Now(engine_->Get({"", "page:1", ""}));
  ASSERT_TRUE(read->entry.has_value());
  EXPECT_TRUE(read->stale);
  EXPECT_EQ(Get("strict:1"), "(miss)");
}

TEST_F(RulesTest, AChangeOfAKeyCoversWhatDependsOnIt) {
  Set("user:1", "anna");
  SetTagged("page:1", "hello anna", {}, {"user:1", "user:2"});
  SetTagged("page:3", "hello carl", {}, {"user:3"});
  EXPECT_EQ(Get("page:1"), "hello anna");
  Set("user:2", "bert");
  EXPECT_EQ(Get("page:1"), "(miss)");
  EXPECT_EQ(Get("page:3"), "hello carl");
  SetTagged("page:1", "hello bert", {}, {"user:1", "user:2"});
  EXPECT_EQ(Get("page:1"), "hello bert");
  ASSERT_TRUE(Now(engine_->Delete({"", "user:1", ""})).ok());
  EXPECT_EQ(Get("page:1"), "(miss)");
  InvalidateRequest keys;
  keys.keys = {"user:3"};
  ASSERT_TRUE(Now(engine_->Invalidate(keys)).ok());
  EXPECT_EQ(Get("page:3"), "(miss)");
}

TEST_F(RulesTest, AChangeMakesOutOfDateWhatItsTypeSays) {
  TypePolicy user = Type("user", "user:{id}", absl::Seconds(100));
  for (const char* text : {"user:{id}:*", "orders:user:{id}:*", "users:all"})
    user.on_change.push_back(*NameTemplate::Parse(text));
  Make({}, {user});
  const auto fill = [&] {
    for (const char* key : {"user:1:posts", "user:11:posts", "orders:user:1:page:2", "users:all"})
      Set(key, "v");
  };
  fill();
  Set("user:1", "anna");
  EXPECT_EQ(Get("user:1"), "anna");
  EXPECT_EQ(Get("user:1:posts"), "(miss)");
  EXPECT_EQ(Get("orders:user:1:page:2"), "(miss)");
  EXPECT_EQ(Get("users:all"), "(miss)");
  EXPECT_EQ(Get("user:11:posts"), "v");
  fill();
  ASSERT_TRUE(Now(engine_->Delete({"", "user:1", ""})).ok());
  EXPECT_EQ(Get("user:1:posts"), "(miss)");
  fill();
  IncrementRequest count;
  count.key = {"", "user:1", ""};
  count.delta = 1;
  ASSERT_TRUE(Now(engine_->Increment(count)).ok());
  EXPECT_EQ(Get("users:all"), "(miss)");
}

// Whether there is something to mark, it is stale already, or it has to go.
TEST_F(RulesTest, AMarkedKeyTakesWithItWhatAChangeOfItWould) {
  TypePolicy user = Type("user", "user:{id}", absl::Seconds(100));
  user.freshness.stale_while_revalidate = absl::Seconds(1000);
  TypePolicy strict = Type("strict", "strict:{id}", absl::Seconds(100));
  for (TypePolicy* type : {&user, &strict}) {
    type->on_change.push_back(*NameTemplate::Parse("list:{id}:*"));
    type->on_change.push_back(*NameTemplate::Parse("all"));
  }
  Make({}, {user, strict, Type("default", "*", absl::Hours(1))});
  Set("user:1", "anna");
  Set("strict:1", "anna");
  for (const char* key : {"user:1", "user:1", "user:2", "strict:1"}) {
    SCOPED_TRACE(key);
    const std::string list = std::string("list:") + key[std::string(key).size() - 1] + ":x";
    Set(list, "v");
    Set("all", "v");
    SetTagged("page", "v", {}, {key});
    EXPECT_EQ(Get("page"), "v");
    InvalidateRequest request;
    request.keys = {key};
    request.mark_stale = true;
    ASSERT_TRUE(Now(engine_->Invalidate(request)).ok());
    for (const std::string& gone : {list, std::string("all"), std::string("page")})
      EXPECT_EQ(Get(gone), "(miss)") << gone;
  }
  EXPECT_EQ(Get("user:1"), "anna");
}

TEST_F(RulesTest, ALoadThatBeganBeforeAMarkIsNotKept) {
  TypePolicy lenient = Type("page", "page:*", absl::Seconds(100));
  lenient.freshness.stale_while_revalidate = absl::Seconds(1000);
  Make({}, {lenient});
  Set("page:1", "old");
  executor_.Advance(absl::Seconds(101));
  for (const char* key : {"page:1", "page:2"}) {
    SCOPED_TRACE(key);
    const auto loading = Load(key, absl::Minutes(1));
    executor_.RunReady();
    ASSERT_TRUE(loading->HasLease());
    InvalidateRequest request;
    request.keys = {key};
    request.mark_stale = true;
    ASSERT_TRUE(Now(engine_->Invalidate(request)).ok());
    EXPECT_FALSE(Set(key, "late", std::nullopt, {}, loading->Token()).stored);
    EXPECT_FALSE(FindHit(key));
  }
  EXPECT_EQ(Get("page:1"), "old") << "as stale as it was";
}

TEST_F(RulesTest, ATypeTagsWhatItKeeps) {
  TypePolicy member = Type("member", "member:{team}:{id}", absl::Seconds(100));
  member.tags.push_back(*NameTemplate::Parse("team:{team}"));
  Make({}, {member});
  Set("member:a:1", "v");
  Set("member:b:1", "v");
  Invalidate(Tag("team:a"));
  EXPECT_EQ(Get("member:a:1"), "(miss)");
  EXPECT_EQ(Get("member:b:1"), "v");
  std::vector<std::string> tags;
  for (int i = 0; i < 16; ++i) tags.push_back("t" + std::to_string(i));
  const auto refused = Now(engine_->Set(Tagged("member:a:2", "v", tags)));
  EXPECT_EQ(DetailsOf(refused.status()).reason, "TAG_INVALID");
  EXPECT_EQ(engine_->CheckWrite(Tagged("member:a:2", "v", tags)), refused.status());
  // A tag that is the type's own counts once.
  tags[0] = "team:a";
  EXPECT_TRUE(engine_->CheckWrite(Tagged("member:a:2", "v", tags)).ok());
}

TEST_F(RulesTest, TheSweepGivesTheMemoryBack) {
  engine_->Start();
  for (int i = 0; i < 2'000; ++i) SetTagged("k" + std::to_string(i), "value", {"all"});
  const uint64_t before = engine_->Stats().memory.total.entries;
  EXPECT_EQ(before, 2'000u);
  Invalidate(Tag("all"));
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(engine_->Stats().memory.total.entries, 0u);
  EXPECT_GE(engine_->Stats().rules.swept, 1u);
}

TEST_F(RulesTest, OneGlobMoreThanThereMayBeIsRefused) {
  Engine::Options options;
  options.rules.globs_max = 2;
  Make(options);
  Invalidate(RuleFor(Rule::Kind::kGlob, "a*b"));
  Invalidate(RuleFor(Rule::Kind::kGlob, "c*d"));
  const auto refused = Now(engine_->Invalidate(By(RuleFor(Rule::Kind::kGlob, "e*f"))));
  EXPECT_EQ(DetailsOf(refused.status()).reason, "RULES_FULL");
  // The same again is none more.
  Invalidate(RuleFor(Rule::Kind::kGlob, "a*b"));
}

TEST_F(RulesTest, ANamespaceThatWouldBeOneTooManyIsNotInvalidated) {
  Engine::Options options;
  options.namespaces_max = 2;
  Make(options);
  const auto by_glob = [&](const std::string& name_space) {
    Rule rule = RuleFor(Rule::Kind::kGlob, "a*b");
    rule.name_space = name_space;
    return Now(engine_->Invalidate(By(rule))).status();
  };
  EXPECT_TRUE(by_glob("default").ok());
  EXPECT_TRUE(by_glob("one").ok());
  EXPECT_EQ(DetailsOf(by_glob("two")).reason, "NAMESPACE_LIMIT");
  EXPECT_EQ(engine_->Stats().rules.table.globs, 2u);
  // A change there makes nothing out of date that could be here.
  TypePolicy user = Type("user", "user:{id}", absl::Seconds(100));
  user.on_change.push_back(*NameTemplate::Parse("list:{id}:*"));
  Make(options, {user});
  ASSERT_TRUE(Now(engine_->Delete({"one", "user:1", ""})).ok());
  EXPECT_EQ(engine_->Stats().rules.table.rules, 1u);
  ASSERT_TRUE(Now(engine_->Delete({"two", "user:1", ""})).ok());
  EXPECT_EQ(engine_->Stats().rules.table.rules, 1u);
}

// More than it has to be, but once, and not at every change from then on.
TEST_F(RulesTest, WhatIsMadeOutOfDateWithoutRoomForARuleTakesAllWithItOnce) {
  TypePolicy user = Type("user", "user:{id}", absl::Seconds(100));
  user.on_change.push_back(*NameTemplate::Parse("list:{id}:*"));
  Engine::Options options;
  options.rules.prefix_lengths_max = 1;
  Make(options, {user, Type("default", "*", absl::Hours(1))});
  Set("other", "v");
  Set("list:1:x", "v");
  Set("user:1", "anna");
  EXPECT_EQ(Get("other"), "v");
  EXPECT_EQ(Get("list:1:x"), "(miss)");
  Set("list:22:x", "v");
  Set("user:22", "bert");
  EXPECT_EQ(Get("other"), "(miss)");
  EXPECT_EQ(Get("list:22:x"), "(miss)");
  Set("other", "v");
  for (const char* id : {"22", "33"}) {
    Set(std::string("list:") + id + ":x", "v");
    Set(std::string("user:") + id, "carl");
    EXPECT_EQ(Get(std::string("list:") + id + ":x"), "(miss)");
    EXPECT_EQ(Get("other"), "v") << id;
  }
}

// Without a tier nothing that a rule covers is anywhere once memory was swept and the loads of
// before are over.
TEST_F(RulesTest, RulesGoWhenNothingIsLeftThatTheyCover) {
  Engine::Options options;
  options.rules.globs_max = 2;
  options.rules.prefix_lengths_max = 1;
  TypePolicy lenient = Type("page", "page:*", absl::Hours(10));
  lenient.freshness.stale_while_revalidate = absl::Hours(1);
  Make(options, {lenient, Type("key", "*", absl::Hours(10))});
  engine_->Start();
  Set("a1b", "old");
  Set("c1d", "old");
  const auto loading = Load("a2b", absl::Minutes(5));
  ASSERT_TRUE(loading->HasLease());
  Invalidate(RuleFor(Rule::Kind::kGlob, "a*b"));
  Invalidate(RuleFor(Rule::Kind::kGlob, "c*d"));
  Invalidate(RuleFor(Rule::Kind::kPrefix, "e"));
  executor_.Advance(absl::Minutes(4.9));
  EXPECT_FALSE(Set("a2b", "late", std::nullopt, {}, loading->Token()).stored);
  executor_.Advance(absl::Minutes(15));
  EXPECT_EQ(engine_->Stats().rules.table.rules, 0u);
  EXPECT_EQ(Get("a1b"), "(miss)");
  EXPECT_EQ(Get("c1d"), "(miss)");
  Invalidate(RuleFor(Rule::Kind::kGlob, "e*f"));
  Invalidate(RuleFor(Rule::Kind::kPrefix, "gg"));
}

// What a rule has marked is in memory yet, and nothing else says that it is stale.
TEST_F(RulesTest, AMarkStaysAsLongAsWhatItCovers) {
  TypePolicy lenient = Type("page", "page:*", absl::Hours(10));
  lenient.freshness.stale_while_revalidate = absl::Hours(1);
  Make({}, {lenient});
  engine_->Start();
  Set("page:1", "old");
  Invalidate(RuleFor(Rule::Kind::kAll, "", /*stale=*/true));
  for (int minutes = 0; minutes < 59; minutes += 2) {
    EXPECT_FALSE(FindHit("page:1")) << minutes;
    executor_.Advance(absl::Minutes(2));
  }
  executor_.Advance(absl::Hours(3));
  EXPECT_EQ(Get("page:1"), "(miss)");
  EXPECT_EQ(engine_->Stats().rules.table.rules, 0u);
}

// ---- Replicas and a tier

class RulesFleetTest : public ReplicasFixture {
 protected:
  void Start(size_t replica) {
    engine(replica).Start();
    executor_.Advance(absl::Seconds(1));
  }
  void Three(absl::Duration off_1 = absl::ZeroDuration(),
             absl::Duration off_2 = absl::ZeroDuration()) {
    for (const absl::Duration off : {absl::ZeroDuration(), off_1, off_2}) {
      Add({.clock_off = off});
      Start(replicas_.size() - 1);
    }
    executor_.Advance(absl::Seconds(3));
  }
  void SetTagged(size_t replica, const std::string& key, const std::string& value,
                 std::vector<std::string> tags, std::vector<std::string> depends_on = {}) {
    const auto set =
        Now(engine(replica).Set(Tagged(key, value, std::move(tags), std::move(depends_on))));
    ASSERT_TRUE(set.ok()) << set.status();
  }
  InvalidateResult Invalidate(size_t replica, Rule rule, bool fleet = false) {
    InvalidateRequest request = By(std::move(rule));
    if (fleet) request.fleet_until = MonoAfter(clock_.Mono(), absl::Seconds(5));
    const auto done = Now(engine(replica).Invalidate(std::move(request)));
    EXPECT_TRUE(done.ok()) << done.status();
    return done.ok() ? *done : InvalidateResult();
  }
};

TEST_F(RulesFleetTest, ARuleReachesEveryCopy) {
  Three();
  SetTagged(0, "a", "1", {"t"});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "a"), "1");
  const InvalidateResult done = Invalidate(1, Tag("t"), /*fleet=*/true);
  EXPECT_TRUE(done.fleet.all());
  EXPECT_EQ(done.fleet.replicas, 2u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "a"), "(invalidated)") << i;
  SetTagged(2, "a", "2", {"t"});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "a"), "2") << i;
}

// The replica that makes the rule knows nothing yet of what another one, whose clock is ahead, has
// written just before.
TEST_F(RulesFleetTest, ARuleCoversWhatAClockThatIsAheadWroteBeforeIt) {
  Three(absl::Minutes(5), -absl::Minutes(5));
  for (const size_t writer : {0, 1, 2}) {
    for (const size_t invalidator : {0, 1, 2}) {
      const std::string key = "k" + std::to_string(writer) + std::to_string(invalidator);
      SetTagged(writer, key, "1", {"t"});
      Invalidate(invalidator, Tag("t"), /*fleet=*/true);
      executor_.Advance(absl::Milliseconds(100));
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, key), "(invalidated)") << key << " on " << i;
      SetTagged(writer, key, "2", {"t"});
      executor_.Advance(absl::Milliseconds(100));
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, key), "2") << key << " on " << i;
    }
  }
}

TEST_F(RulesFleetTest, AReplicaThatWasDownFindsTheRuleInTheTier) {
  Three();
  SetTagged(0, "a", "1", {"t"});
  Set(0, "b", "1");
  replicas_[2]->Kill();
  Invalidate(0, Tag("t"));
  Add({});
  Start(3);
  EXPECT_EQ(Get(3, "a"), "(invalidated)");
  EXPECT_EQ(Get(3, "b"), "1");
  // Not only while one lives that remembers.
  replicas_[0]->Kill();
  replicas_[1]->Kill();
  replicas_[3]->Kill();
  executor_.Advance(absl::Seconds(30));
  Add({});
  Start(4);
  EXPECT_EQ(Get(4, "a"), "(invalidated)");
  EXPECT_EQ(Get(4, "b"), "1");
}

TEST_F(RulesFleetTest, ARuleThatTheTierDidNotTakeIsKeptLater) {
  Three();
  SetTagged(0, "a", "1", {"t"});
  tier(0).SetFaults({.fail_ratio = 1});
  const InvalidateResult done = Invalidate(0, Tag("t"), /*fleet=*/true);
  EXPECT_FALSE(done.fleet.all());
  EXPECT_EQ(Get(1, "a"), "(invalidated)");
  tier(0).SetFaults({});
  executor_.Advance(absl::Seconds(3));
  EXPECT_FALSE(engine(0).Stats().rules.behind);
  for (size_t i = 0; i < 3; ++i) replicas_[i]->Kill();
  executor_.Advance(absl::Seconds(30));
  Add({});
  Start(3);
  EXPECT_EQ(Get(3, "a"), "(invalidated)");
}

TEST_F(RulesFleetTest, NothingIsReadFromTheTierBeforeItsRulesAreKnown) {
  Three();
  SetTagged(0, "a", "1", {"t"});
  replicas_[2]->Kill();
  Invalidate(0, Tag("t"));
  // It has not been started, so it knows nothing but what it reads for this.
  Add({});
  EXPECT_EQ(Get(3, "a"), "(invalidated)");
}

TEST_F(RulesFleetTest, TheTierDecidesNoConditionByWhatIsCovered) {
  Three();
  SetTagged(0, "a", "1", {"t"});
  Invalidate(1, Tag("t"), /*fleet=*/true);
  EXPECT_FALSE(Set(2, "a", "2", std::nullopt, {Expect::Kind::kPresent}).stored);
  EXPECT_TRUE(Set(2, "a", "2", std::nullopt, {Expect::Kind::kAbsent}).stored);
  EXPECT_EQ(Get(0, "a"), "2");
  SetTagged(0, "n", "5", {"t"});
  Invalidate(1, Tag("t"), /*fleet=*/true);
  EXPECT_EQ(Increment(2, "n"), 1);
}

TEST_F(RulesFleetTest, AChangeElsewhereCoversWhatDependsOnIt) {
  Three();
  SetTagged(0, "page", "1", {}, {"user"});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "page"), "1");
  Set(1, "user", "anna");
  executor_.Advance(absl::Milliseconds(100));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "page"), "(invalidated)") << i;
  // What was stored before a start depends on what nobody tells about.
  SetTagged(0, "page", "2", {}, {"user"});
  Add({});
  Start(3);
  EXPECT_EQ(Get(3, "page"), "(invalidated)");
}

TEST_F(RulesFleetTest, WhatDependsOnAChangeThatAReplicaMissedIsNotServed) {
  Three();
  SetTagged(0, "page", "1", {}, {"user"});
  EXPECT_EQ(Get(2, "page"), "1");
  // It runs, but hears nothing.
  fleet_.log.Disconnect(2);
  executor_.Advance(absl::Seconds(3));
  Set(1, "user", "anna");
  fleet_.log.Connect(2);
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(Get(2, "page"), "(invalidated)");
  SetTagged(0, "page", "2", {}, {"user"});
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(Get(2, "page"), "2");
  // Its memory does not have it, and it must not believe the tier.
  SetTagged(0, "other", "1", {}, {"user"});
  fleet_.log.Disconnect(2);
  executor_.Advance(absl::Seconds(3));
  Set(1, "user", "bert");
  EXPECT_EQ(Get(2, "other"), "(invalidated)");
  fleet_.log.Connect(2);
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(Get(2, "other"), "(invalidated)");
}

// What was made by a clock that is ahead is newer than all that the replica that starts has made
// or heard of. It looks at once, and again when it has heard of the others.
TEST_F(RulesFleetTest, AStartDoesNotBelieveWhatAClockThatIsAheadMadeBeforeIt) {
  for (const bool alive : {true, false}) {
    SCOPED_TRACE(alive ? "it lives" : "it is gone");
    const size_t ahead = replicas_.size();
    Add({.clock_off = absl::Minutes(5)});
    Start(ahead);
    executor_.Advance(absl::Seconds(3));
    for (const char* page : {"page 1", "page 2", "page 3"})
      SetTagged(ahead, page, "old", {}, {"user"});
    Set(ahead, "user", "anna");
    if (!alive) {
      for (const auto& replica : replicas_) replica->Kill();
      executor_.Advance(absl::Seconds(30));
    }
    Add({});
    const size_t late = replicas_.size() - 1;
    engine(late).Start();
    // As it becomes one that follows, and later.
    for (int i = 0; i < 50; ++i) {
      EXPECT_EQ(Get(late, "page 1"), "(invalidated)") << i;
      executor_.Advance(absl::Milliseconds(20));
    }
    executor_.Advance(absl::Seconds(2));
    // Newer than all of them.
    EXPECT_EQ(Get(late, "user"), "anna");
    for (const char* page : {"page 1", "page 2", "page 3"})
      EXPECT_EQ(Get(late, page), "(invalidated)") << page;
    // What is made from now on is as good as ever.
    SetTagged(late, "page 4", "new", {}, {"user"});
    EXPECT_EQ(Get(late, "page 4"), "new");
    Set(late, "user", "bert");
    EXPECT_EQ(Get(late, "page 4"), "(invalidated)");
  }
}

// The sweep is for those who cannot wait until the tier goes through its entries anyway.
TEST_F(RulesFleetTest, TheTierIsToldWhatItNeedNotKeep) {
  Three();
  SetTagged(0, "a", "1", {"red"});
  SetTagged(0, "b", "2", {}, {"parent"});
  const TierCover* const cover = tier(0).cover();
  ASSERT_NE(cover, nullptr);
  const auto covered = [&](const std::string& key) {
    std::vector<std::string> keys(1, std::string(FullKey("", key).view()));
    const auto reads = Now(tier(0).Get(keys, INT64_MAX));
    EXPECT_TRUE(reads.ok());
    const TierRead& read = (*reads)[0];
    EXPECT_EQ(read.kind, TierRead::Kind::kEntry);
    return read.entry.version <= cover->newest(/*listed=*/true) && cover->Covers(keys[0], read);
  };
  EXPECT_FALSE(covered("a"));
  EXPECT_FALSE(covered("b"));
  Invalidate(0, Tag("red"));
  EXPECT_TRUE(covered("a"));
  EXPECT_FALSE(covered("b"));
  Set(0, "parent", "3");
  EXPECT_TRUE(covered("b"));
  EXPECT_EQ(engine(0).Stats().rules.removed_below, 2u);
  SetTagged(0, "a", "4", {"red"});
  EXPECT_FALSE(covered("a"));
}

TEST_F(RulesFleetTest, TheSweepRemovesWhatIsCoveredBelow) {
  Three();
  for (int i = 0; i < 50; ++i) SetTagged(0, "k" + std::to_string(i), "v", {"t"});
  Set(0, "other", "v");
  Invalidate(0, Tag("t"));
  executor_.Advance(absl::Seconds(60));
  EXPECT_EQ(engine(0).Stats().rules.removed_below, 50u);
  EXPECT_EQ(engine(1).Stats().rules.removed_below, 0u);
  EXPECT_EQ(Get(1, "other"), "v");
}

// What a change makes out of date is gone with it, wherever the caller waits for that.
TEST_F(RulesFleetTest, AnInvalidationThatWaitsCoversWhatItMakesOutOfDate) {
  TypePolicy user = Type("user");
  user.match = {*Pattern::Parse("user:{id}")};
  user.freshness.stale_while_revalidate = absl::Hours(1);
  for (const char* text : {"list:{id}:*", "all"})
    user.on_change.push_back(*NameTemplate::Parse(text));
  types_ = {user};
  Three();
  for (const bool mark : {false, true}) {
    SCOPED_TRACE(mark ? "mark" : "remove");
    Set(1, "user:1", "anna");
    for (const char* key : {"list:1:x", "all"}) Set(1, key, "v", absl::Hours(1));
    SetTagged(1, "page", "v", {}, {"user:1"});
    for (const char* key : {"list:1:x", "all", "page"}) {
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, key), "v") << key << " on " << i;
    }
    InvalidateRequest request;
    request.keys = {"user:1"};
    request.mark_stale = mark;
    request.fleet_until = MonoAfter(clock_.Mono(), absl::Seconds(5));
    const auto done = Now(engine(0).Invalidate(request));
    ASSERT_TRUE(done.ok()) << done.status();
    EXPECT_TRUE(done->fleet.all());
    EXPECT_EQ(done->fleet.replicas, 2u);
    for (const char* key : {"list:1:x", "all", "page"}) {
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, key), "(invalidated)") << key << " on " << i;
    }
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "user:1"), mark ? "anna" : "(invalidated)");
  }
}

// ---- Where a tier keeps them

class RuleStoreTest : public ReplicasFixture {
 protected:
  std::unique_ptr<RuleStore> NewStore(std::vector<Rule>* found,
                                      absl::Duration life = absl::Hours(24)) {
    RuleStore::Options options;
    options.tier = tier_.get();
    options.versions = &versions_;
    options.clock = &clock_;
    options.executor = &executor_;
    options.life = [life] { return life; };
    options.bucket_rules_max = 2;
    options.on_found = [found](const std::vector<Rule>& rules) {
      found->insert(found->end(), rules.begin(), rules.end());
    };
    return std::make_unique<RuleStore>(options);
  }
  bool Keep(RuleStore* store, Rule rule) {
    rule.version = versions_.Next();
    const std::vector<Rule> rules(1, rule);
    if (!store->CheckRoom(rules).ok()) return false;
    EXPECT_TRUE(Now(store->Add(rules)).ok());
    return true;
  }
  static Rule Prefix(int number) {
    return RuleFor(Rule::Kind::kPrefix, "list:" + std::to_string(number) + ":");
  }

  VersionClock versions_{&clock_, 1};
  std::unique_ptr<FakeTier::Handle> tier_ = fleet_.tier.NewHandle(&clock_, &executor_, &random_);
};

// There are as many as there may be, so that somebody goes on with all of the namespace: there is
// room for that, and it makes room.
TEST_F(RuleStoreTest, ARuleForANamespaceTakesThePlaceOfThoseInIt) {
  std::vector<Rule> found;
  const std::unique_ptr<RuleStore> store = NewStore(&found);
  int kept = 0, refused = 0;
  for (int i = 0; i < 2'000; ++i) ++(Keep(store.get(), Prefix(i)) ? kept : refused);
  EXPECT_LE(kept, 2 * static_cast<int>(RuleStore::kBuckets));
  EXPECT_GT(refused, 1'000);
  Rule elsewhere = RuleFor(Rule::Kind::kType, "user");
  elsewhere.name_space = "tenant";
  EXPECT_TRUE(Keep(store.get(), elsewhere));
  EXPECT_TRUE(Keep(store.get(), RuleFor(Rule::Kind::kAll, "")));
  // Whoever reads the tier knows what is in force, and does not bring back what is not.
  ASSERT_TRUE(Now(NewStore(&found)->ReadAll()).ok());
  EXPECT_EQ(found.size(), 2u);
  found.clear();
  int kept_again = 0;
  for (int i = 0; i < 2'000; ++i) kept_again += Keep(store.get(), Prefix(i)) ? 1 : 0;
  EXPECT_GE(kept_again, kept - 4) << "two buckets have another rule";
  const std::unique_ptr<RuleStore> other = NewStore(&found);
  ASSERT_TRUE(Now(other->ReadAll()).ok());
  EXPECT_EQ(found.size(), static_cast<size_t>(kept_again + 2));
  EXPECT_EQ(other->rules(), found.size());
  EXPECT_FALSE(other->IsBehind());
  ASSERT_TRUE(Now(store->ReadAll()).ok());
  EXPECT_EQ(store->rules(), found.size());
}

// The entries that it covers were given longer lives than any is given now.
TEST_F(RuleStoreTest, ShorterLivesThanBeforeDropNoRuleBeforeItsTime) {
  std::vector<Rule> found;
  const std::unique_ptr<RuleStore> before = NewStore(&found);
  EXPECT_EQ(before->life(), absl::InfiniteDuration()) << "nobody knows";
  ASSERT_TRUE(Now(before->ReadAll()).ok());
  EXPECT_EQ(before->life(), absl::Hours(24));
  ASSERT_TRUE(Keep(before.get(), Prefix(1)));
  executor_.Advance(absl::Hours(20));
  const std::unique_ptr<RuleStore> after = NewStore(&found, absl::Hours(1));
  ASSERT_TRUE(Now(after->ReadAll()).ok());
  EXPECT_EQ(after->life(), absl::Hours(24));
  EXPECT_EQ(after->rules(), 1u);
  // What those lives began with is over, whatever was said last.
  executor_.Advance(absl::Hours(30));
  EXPECT_EQ(after->life(), absl::Hours(1));
  ASSERT_TRUE(Now(after->ReadAll()).ok());
  EXPECT_EQ(after->rules(), 0u);
  EXPECT_EQ(Now(NewStore(&found, absl::Hours(1))->ReadAll()), absl::OkStatus());
  const std::unique_ptr<RuleStore> forever = NewStore(&found, absl::InfiniteDuration());
  ASSERT_TRUE(Now(forever->ReadAll()).ok());
  EXPECT_EQ(forever->life(), absl::InfiniteDuration());
  ASSERT_TRUE(Now(after->ReadAll()).ok());
  EXPECT_EQ(after->life(), absl::InfiniteDuration());
}

// It takes no other's place before the tier has it: this process may end now.
TEST_F(RuleStoreTest, WhatTheTierHasNotTakenMakesNoRoom) {
  std::vector<Rule> found;
  const std::unique_ptr<RuleStore> store = NewStore(&found);
  for (int i = 0; i < 100; ++i) Keep(store.get(), Prefix(i));
  const size_t before = store->rules();
  tier_->SetFaults({.fail_ratio = 1});
  Rule all = RuleFor(Rule::Kind::kAll, "");
  all.version = versions_.Next();
  EXPECT_FALSE(Now(store->Add({all})).ok());
  tier_->SetFaults({});
  const std::unique_ptr<RuleStore> other = NewStore(&found);
  other->Note({all});
  ASSERT_TRUE(Now(other->ReadAll()).ok());
  EXPECT_EQ(found.size(), before) << "all but the one that it knows";
  EXPECT_TRUE(other->IsBehind());
  ASSERT_TRUE(Now(other->Mend()).ok());
  ASSERT_TRUE(Now(store->ReadAll()).ok());
  EXPECT_EQ(store->rules(), 1u);
}

TEST(RuleCodecTest, WhatIsWrittenIsRead) {
  Rule rule = Tag("t");
  rule.version = 77;
  Rule other = RuleFor(Rule::Kind::kAll, "", /*stale=*/true);
  other.version = 1ull << 63;
  other.node = 12;
  const std::string bytes = EncodeRules({rule, other});
  const auto read = DecodeRules(bytes);
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ(EncodeRules(*read), bytes);
  EXPECT_NE(RuleIdentity(rule), RuleIdentity(other));
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto part = DecodeRules(bytes.substr(0, size));
    if (!part.ok()) continue;
    EXPECT_LT(part->size(), 2u);
  }
  std::string newer = bytes;
  newer[0] = 2;
  EXPECT_FALSE(DecodeRules(newer).ok());
}

}  // namespace
}  // namespace larder
