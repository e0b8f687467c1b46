#include "engine/change_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string Full(std::string_view key, std::string_view name_space = "") {
  return std::string(FullKey(name_space, key).view());
}

KeyChange Put(std::string type = "t", std::vector<std::string> tags = {}) {
  return {KeyChange::What::kPut, true, kNoVersion, std::move(type), std::move(tags)};
}
KeyChange Removed(bool tags_known, std::vector<std::string> tags = {}, std::string type = "t") {
  return {KeyChange::What::kRemoved, tags_known, kNoVersion, std::move(type), std::move(tags)};
}

WatchSelector Select(WatchSelector::Kind kind, std::vector<std::string> names = {},
                     bool expirations = false) {
  return {kind, "default", std::move(names), expirations};
}
WatchSelector All() { return Select(WatchSelector::Kind::kAll); }
WatchSelector Keys(std::vector<std::string> keys) {
  return Select(WatchSelector::Kind::kKeys, std::move(keys));
}

Rule RuleOf(Rule::Kind kind, std::string match, Version version) {
  Rule rule;
  rule.kind = kind;
  rule.match = std::move(match);
  rule.version = version;
  return rule;
}

// "put k 5", "gone k 5", "rule 1 match 5", "gap", "gap goes on".
std::string Said(const Change& change) {
  const auto key = [&] { return std::string(FullKey::KeyOf(change.full_key)); };
  switch (change.kind) {
    case Change::Kind::kPut:
      return StrCat("put ", key(), " ", change.version);
    case Change::Kind::kRemoved:
      return StrCat("gone ", key(), " ", change.version);
    case Change::Kind::kRevised:
      return StrCat("times ", key(), " ", change.version);
    case Change::Kind::kExpired:
      return StrCat("expired ", key(), " ", change.version);
    case Change::Kind::kRule:
      return StrCat("rule ", static_cast<int>(change.rule->kind), " ", change.rule->match, " ",
                    change.version);
    case Change::Kind::kGap:
      return change.goes_on ? "gap goes on" : "gap";
  }
  return "";
}

std::vector<std::string> Said(const ChangeFeed::News& news) {
  std::vector<std::string> said;
  for (const ChangeFeed::Event& event : news.events) said.push_back(Said(*event.change));
  if (!news.end.ok()) said.push_back(DetailsOf(news.end).reason);
  return said;
}

class ChangeFeedTest : public testing::Test {
 protected:
  using WatcherPtr = std::unique_ptr<ChangeFeed::Watcher>;

  ChangeFeedTest() { Make(Options()); }
  ~ChangeFeedTest() override { EXPECT_EQ(feed_->GetStats().watchers, 0u); }

  ChangeFeed::Options Options() {
    ChangeFeed::Options options;
    options.clock = &clock_;
    options.executor = &executor_;
    options.fleet = "fleet";
    options.node_id = 7;
    options.boot = 99;
    return options;
  }
  void Make(const ChangeFeed::Options& options) { feed_ = std::make_unique<ChangeFeed>(options); }

  WatcherPtr Watch(WatchSelector selector, const std::string& token = "") {
    absl::StatusOr<WatcherPtr> watcher = feed_->Watch(std::move(selector), token);
    EXPECT_TRUE(watcher.ok()) << watcher.status();
    return watcher.ok() ? *std::move(watcher) : nullptr;
  }
  std::string Refusal(WatchSelector selector, const std::string& token = "") {
    return DetailsOf(feed_->Watch(std::move(selector), token).status()).reason;
  }
  // What there is, without a wait.
  ChangeFeed::News Now(const WatcherPtr& watcher) {
    std::optional<ChangeFeed::News> got;
    Cancellation never;
    Spawn(feed_->Next(watcher.get(), 0, &never),
          [&](ChangeFeed::News news) { got = std::move(news); });
    EXPECT_TRUE(got.has_value()) << "it waits";
    return got.has_value() ? *std::move(got) : ChangeFeed::News();
  }
  std::vector<std::string> Told(const WatcherPtr& watcher) { return Said(Now(watcher)); }
  void Change(const std::string& key, Version version, const KeyChange& change = Put()) {
    feed_->Changed(Full(key), version, change);
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  std::unique_ptr<ChangeFeed> feed_;
};

TEST_F(ChangeFeedTest, TellsEachWhatItWatchesAndNothingElse) {
  const WatcherPtr all = Watch(All());
  const WatcherPtr keys = Watch(Keys({"a", "b"}));
  const WatcherPtr prefix = Watch(Select(WatchSelector::Kind::kPrefix, {"user:"}));
  const WatcherPtr tags = Watch(Select(WatchSelector::Kind::kTags, {"red", "blue"}));
  const WatcherPtr type = Watch(Select(WatchSelector::Kind::kType, {"user"}));
  const WatcherPtr elsewhere = Watch({WatchSelector::Kind::kAll, "other", {}, false});
  Change("a", 1);
  Change("user:1", 2, Put("user"));
  Change("x", 3, Put("t", {"blue", "red"}));
  Change("user:1", 4, Removed(true, {"red"}, "user"));
  feed_->Changed(Full("a", "other"), 5, Put());
  EXPECT_THAT(Told(all), ElementsAre("put a 1", "put user:1 2", "put x 3", "gone user:1 4"));
  EXPECT_THAT(Told(keys), ElementsAre("put a 1"));
  EXPECT_THAT(Told(prefix), ElementsAre("put user:1 2", "gone user:1 4"));
  EXPECT_THAT(Told(tags), ElementsAre("put x 3", "gone user:1 4"));
  EXPECT_THAT(Told(type), ElementsAre("put user:1 2", "gone user:1 4"));
  EXPECT_THAT(Told(elsewhere), ElementsAre("put a 5"));
}

TEST_F(ChangeFeedTest, WhatIsNotKnownOfAChangeIsToldToThoseWhomItMayConcern) {
  const WatcherPtr tags = Watch(Select(WatchSelector::Kind::kTags, {"red"}));
  const WatcherPtr type = Watch(Select(WatchSelector::Kind::kType, {"user"}));
  Change("a", 1, Removed(false));
  Change("b", 2, Removed(true));
  Change("c", 4, KeyChange());  // an older release's word: put or removed
  EXPECT_THAT(Told(tags), ElementsAre("gone a 1", "gone c 3"));
  EXPECT_THAT(Told(type), ElementsAre("gone c 3"));
  Change("d", 9, {KeyChange::What::kPut, true, 5, "user", {}});
  EXPECT_THAT(Told(type), ElementsAre("put d 5"));
}

TEST_F(ChangeFeedTest, ExpiriesAreForThoseWhoAskForThem) {
  const WatcherPtr with = Watch(Select(WatchSelector::Kind::kKeys, {"a"}, /*expirations=*/true));
  const WatcherPtr without = Watch(Keys({"a"}));
  feed_->Expired(Full("a"), 3, "t", {});
  EXPECT_THAT(Told(with), ElementsAre("expired a 3"));
  EXPECT_THAT(Told(without), IsEmpty());
}

TEST_F(ChangeFeedTest, ExpiriesThatNobodyAskedForTakeNoRoom) {
  EXPECT_FALSE(feed_->WantsExpirations());
  const WatcherPtr without = Watch(All());
  EXPECT_FALSE(feed_->WantsExpirations());
  feed_->Expired(Full("a"), 3, "t", {});
  WatcherPtr with = Watch(Select(WatchSelector::Kind::kKeys, {"a"}, /*expirations=*/true));
  EXPECT_TRUE(feed_->WantsExpirations());
  feed_->Expired(Full("b"), 3, "t", {});
  EXPECT_EQ(feed_->GetStats().kept, 0u);
  feed_->Expired(Full("a"), 4, "t", {});
  EXPECT_EQ(feed_->GetStats().kept, 1u);
  const std::string token = feed_->TokenAt(Now(with).position);
  with = nullptr;
  EXPECT_FALSE(feed_->WantsExpirations());
  feed_->Expired(Full("a"), 5, "t", {});
  with = Watch(Select(WatchSelector::Kind::kKeys, {"a"}, /*expirations=*/true), token);
  EXPECT_THAT(Told(with), IsEmpty());
  feed_->ExpiredUntold(7);
  EXPECT_EQ(feed_->GetStats().expirations_untold, 7u);
}

TEST_F(ChangeFeedTest, WhoIsTooSlowForExpiriesIsCut) {
  const WatcherPtr slow = Watch(Select(WatchSelector::Kind::kAll, {}, /*expirations=*/true));
  for (Version v = 1; v <= Options().pending_max + 1; ++v) feed_->Expired(Full("a"), v, "t", {});
  EXPECT_FALSE(feed_->WantsExpirations());
  ChangeFeed::News news = Now(slow);
  while (news.end.ok()) news = Now(slow);
  EXPECT_EQ(DetailsOf(news.end).reason, "WATCH_TOO_SLOW");
}

TEST_F(ChangeFeedTest, RulesAreToldToAllButThoseWhomTheyCannotConcern) {
  const WatcherPtr all = Watch(All());
  const WatcherPtr keys = Watch(Keys({"user:1", "user:2"}));
  const WatcherPtr prefix = Watch(Select(WatchSelector::Kind::kPrefix, {"user:"}));
  const WatcherPtr tags = Watch(Select(WatchSelector::Kind::kTags, {"red"}));
  const WatcherPtr type = Watch(Select(WatchSelector::Kind::kType, {"user"}));
  feed_->Ruled(RuleOf(Rule::Kind::kPrefix, "user:1", 1));
  feed_->Ruled(RuleOf(Rule::Kind::kPrefix, "order:", 2));
  feed_->Ruled(RuleOf(Rule::Kind::kGlob, "*:2", 3));
  feed_->Ruled(RuleOf(Rule::Kind::kGlob, "order:*", 4));
  feed_->Ruled(RuleOf(Rule::Kind::kType, "order", 5));
  feed_->Ruled(RuleOf(Rule::Kind::kTag, "blue", 6));
  feed_->Ruled(RuleOf(Rule::Kind::kAll, "", 7));
  Rule elsewhere = RuleOf(Rule::Kind::kAll, "", 8);
  elsewhere.name_space = "other";
  feed_->Ruled(elsewhere);
  const std::string p1 = "rule 2 user:1 1", p2 = "rule 2 order: 2", g3 = "rule 3 *:2 3",
                    g4 = "rule 3 order:* 4", y5 = "rule 4 order 5", t6 = "rule 1 blue 6",
                    a7 = "rule 5  7";
  EXPECT_THAT(Told(all), ElementsAre(p1, p2, g3, g4, y5, t6, a7));
  EXPECT_THAT(Told(keys), ElementsAre(p1, g3, y5, t6, a7));
  EXPECT_THAT(Told(prefix), ElementsAre(p1, g3, y5, t6, a7));
  EXPECT_THAT(Told(tags), ElementsAre(p1, p2, g3, g4, y5, t6, a7));
  EXPECT_THAT(Told(type), ElementsAre(p1, p2, g3, g4, t6, a7));
}

// The index against the selectors, asked one by one.
TEST_F(ChangeFeedTest, TheIndexFindsExactlyThoseWhoWantAChange) {
  std::mt19937_64 random(1);
  const auto pick = [&](std::initializer_list<const char*> from) {
    return std::string(*(from.begin() + random() % from.size()));
  };
  const auto key = [&] { return pick({"a", "ab", "abc", "b", "user:1", "user:12", "user:2"}); };
  const auto tag = [&] { return pick({"red", "blue", "green"}); };
  const auto type = [&] { return pick({"t", "user", ""}); };
  const auto space = [&] { return pick({"default", "other"}); };
  WatchIndex index;
  std::vector<std::unique_ptr<WatchPlace>> places;
  for (int round = 0; round < 20'000; ++round) {
    if (places.empty() || random() % 4 == 0) {
      WatchSelector selector{
          static_cast<WatchSelector::Kind>(random() % 5), space(), {}, random() % 2 == 0};
      using Kind = WatchSelector::Kind;
      for (uint64_t n = random() % 3 + 1; n > 0; --n) {
        if (selector.kind == Kind::kKeys) selector.names.push_back(key());
        if (selector.kind == Kind::kTags) selector.names.push_back(tag());
      }
      if (selector.kind == Kind::kPrefix) selector.names = {key()};
      if (selector.kind == Kind::kType) selector.names = {pick({"t", "user"})};
      places.push_back(std::make_unique<WatchPlace>(std::move(selector), nullptr));
      index.Add(places.back().get());
    } else if (places.size() > 60) {
      std::swap(places[random() % places.size()], places.back());
      index.Remove(places.back().get());
      places.pop_back();
    }
    larder::Change change;
    change.kind = static_cast<larder::Change::Kind>(random() % 6);
    if (change.kind == larder::Change::Kind::kRule) {
      change.rule = RuleOf(static_cast<Rule::Kind>(random() % 5 + 1), "", 1);
      change.rule->name_space = space();
      change.rule->match = pick({"a", "user:", "red", "t"});
      if (change.rule->kind == Rule::Kind::kGlob) {
        change.rule->match = pick({"a*", "*1", "user:?"});
        change.glob = *Glob::Parse(change.rule->match);
      }
    } else if (change.kind != larder::Change::Kind::kGap) {
      change.full_key = Full(key(), space());
      change.type = type();
      change.tags_known = random() % 4 != 0;
      for (uint64_t n = random() % 3; n > 0; --n) change.tags.push_back(tag());
    }
    std::set<WatchPlace*> wanted;
    for (const auto& place : places) {
      if (place->Wants(change)) wanted.insert(place.get());
    }
    std::vector<WatchPlace*> found;
    index.Find(change, &found);
    ASSERT_EQ(std::set<WatchPlace*>(found.begin(), found.end()), wanted) << round;
    ASSERT_EQ(found.size(), wanted.size()) << "told twice, in round " << round;
  }
  for (const auto& place : places) index.Remove(place.get());
  EXPECT_EQ(index.size(), 0u);
}

TEST_F(ChangeFeedTest, GoesOnByATokenWithoutLossOrRepetition) {
  WatcherPtr watcher = Watch(Keys({"a", "b"}));
  Change("a", 1);
  Change("c", 2);
  Change("b", 3);
  const ChangeFeed::News news = Now(watcher);
  ASSERT_THAT(Said(news), ElementsAre("put a 1", "put b 3"));
  const std::string after_a = feed_->TokenAt(news.events[0].position);
  const std::string after_all = feed_->TokenAt(news.position);
  EXPECT_LE(after_a.size(), ResumeToken::kBytesMax);
  watcher = nullptr;
  Change("b", 4);
  Change("d", 5);
  watcher = Watch(Keys({"a", "b"}), after_a);
  Change("a", 6);
  EXPECT_THAT(Told(watcher), ElementsAre("put b 3", "put b 4"));
  EXPECT_THAT(Told(watcher), ElementsAre("put a 6"));
  EXPECT_THAT(Told(watcher), IsEmpty());
  watcher = Watch(Keys({"a", "b"}), after_all);
  EXPECT_THAT(Told(watcher), ElementsAre("put b 4", "put a 6"));
  EXPECT_EQ(feed_->GetStats().resumed, 2u);
}

TEST_F(ChangeFeedTest, ThePositionOfAnIdleWatcherMovesOn) {
  ChangeFeed::Options options = Options();
  options.changes_max = 10;
  Make(options);
  WatcherPtr watcher = Watch(Keys({"a"}));
  const std::string begin = feed_->TokenAt(Now(watcher).position);
  for (Version v = 1; v <= 100; ++v) Change("b", v);
  const std::string later = feed_->TokenAt(Now(watcher).position);
  Change("a", 101);
  EXPECT_THAT(Told(watcher), ElementsAre("put a 101"));
  EXPECT_EQ(Refusal(Keys({"a"}), begin), "RESUME_TOKEN_OLD");
  watcher = Watch(Keys({"a"}), later);
  EXPECT_THAT(Told(watcher), ElementsAre("put a 101"));
}

TEST_F(ChangeFeedTest, RefusesTokensThatAreNotItsOwnOrTooOld) {
  WatcherPtr watcher = Watch(All());
  Change("a", 1);
  const std::string token = feed_->TokenAt(Now(watcher).position);
  EXPECT_EQ(Refusal(All(), "x"), "RESUME_TOKEN_INVALID");
  EXPECT_EQ(Refusal(All(), token + "x"), "RESUME_TOKEN_INVALID");
  for (size_t i = 0; i < token.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = token;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      ASSERT_EQ(Refusal(All(), changed), "RESUME_TOKEN_INVALID") << i;
    }
  }
  EXPECT_EQ(Refusal(All(), feed_->TokenAt(1'000)), "RESUME_TOKEN_OLD");
  watcher = nullptr;
  ChangeFeed::Options options = Options();
  for (const auto& [change, reason] :
       std::initializer_list<std::pair<std::function<void()>, std::string>>{
           {[&] { options.fleet = "another"; }, "RESUME_TOKEN_INVALID"},
           {[&] { options.node_id = 8; }, "RESUME_TOKEN_OLD"},
           {[&] { options.boot = 100; }, "RESUME_TOKEN_OLD"}}) {
    options = Options();
    change();
    ChangeFeed other(options);
    EXPECT_EQ(DetailsOf(other.Watch(All(), token).status()).reason, reason);
  }
  EXPECT_EQ(feed_->GetStats().watchers, 0u);
}

TEST_F(ChangeFeedTest, KeepsNothingUnlessSomebodyWatchesOrDidOfLate) {
  EXPECT_FALSE(feed_->active());
  Change("a", 1);
  EXPECT_EQ(feed_->GetStats().kept, 0u);
  WatcherPtr watcher = Watch(All());
  Change("a", 2);
  const std::string token = feed_->TokenAt(Now(watcher).position);
  watcher = nullptr;
  clock_.Advance(Options().linger);
  Change("a", 3);
  watcher = Watch(All(), token);
  EXPECT_THAT(Told(watcher), ElementsAre("put a 3"));
  watcher = nullptr;
  clock_.Advance(Options().linger + absl::Nanoseconds(1));
  Change("a", 4);
  EXPECT_FALSE(feed_->active());
  EXPECT_EQ(feed_->GetStats().kept, 0u);
  EXPECT_EQ(feed_->GetStats().kept_bytes, 0u);
  // Even if nothing had been missed: nobody can tell.
  EXPECT_EQ(Refusal(All(), token), "RESUME_TOKEN_OLD");
  watcher = Watch(All());
  EXPECT_EQ(Refusal(All(), token), "RESUME_TOKEN_OLD");
  Change("a", 5);
  EXPECT_THAT(Told(watcher), ElementsAre("put a 5"));
}

TEST_F(ChangeFeedTest, WhoFallsBehindIsCutAndKeepsNoMemory) {
  ChangeFeed::Options options = Options();
  options.pending_max = 4;
  Make(options);
  WatcherPtr slow = Watch(Keys({"a"}));
  const WatcherPtr other = Watch(Keys({"b"}));
  const std::string begin = feed_->TokenAt(Now(slow).position);
  for (Version v = 1; v <= 4; ++v) Change("a", v);
  EXPECT_EQ(Now(slow).events.size(), 4u);  // as many as may wait
  for (Version v = 5; v <= 9; ++v) Change("a", v);
  Change("b", 10);
  const ChangeFeed::News end = Now(slow);
  EXPECT_THAT(Said(end), ElementsAre("WATCH_TOO_SLOW"));
  EXPECT_TRUE(DetailsOf(end.end).retry_after.has_value());
  EXPECT_EQ(feed_->GetStats().watchers, 1u);
  EXPECT_EQ(feed_->GetStats().too_slow, 1u);
  EXPECT_THAT(Told(other), ElementsAre("put b 10"));
  // What it missed is kept yet.
  slow = Watch(Keys({"a"}), feed_->TokenAt(end.position));
  EXPECT_THAT(Told(slow), ElementsAre("put a 5", "put a 6", "put a 7", "put a 8", "put a 9"));
}

TEST_F(ChangeFeedTest, WhoFallsOutOfWhatIsKeptIsCut) {
  ChangeFeed::Options options = Options();
  options.changes_max = 8;
  options.catch_up_step = 2;
  Make(options);
  WatcherPtr watcher = Watch(All());
  const std::string begin = feed_->TokenAt(Now(watcher).position);
  for (Version v = 1; v <= 8; ++v) Change("a", v);
  WatcherPtr resumed = Watch(All(), begin);
  EXPECT_THAT(Told(resumed), ElementsAre("put a 1", "put a 2"));
  for (Version v = 9; v <= 12; ++v) Change("a", v);
  EXPECT_EQ(feed_->GetStats().kept, 8u);
  EXPECT_THAT(Told(resumed), ElementsAre("WATCH_TOO_SLOW"));
  EXPECT_THAT(Told(watcher), ElementsAre("WATCH_TOO_SLOW"));
  EXPECT_EQ(Refusal(All(), begin), "RESUME_TOKEN_OLD");
}

TEST_F(ChangeFeedTest, TheBytesOfWhatIsKeptAreBounded) {
  ChangeFeed::Options options = Options();
  options.bytes_max = 100'000;
  Make(options);
  WatcherPtr watcher = Watch(All());
  for (Version v = 1; v <= 1'000; ++v) Change(std::string(1'000, 'k'), v);
  const ChangeFeed::Stats stats = feed_->GetStats();
  EXPECT_LE(stats.kept_bytes, options.bytes_max);
  EXPECT_GT(stats.kept, 50u);
  EXPECT_LT(stats.kept, 100u);
  watcher = nullptr;
  // A change that alone is too large is kept alone.
  options.bytes_max = 1;
  Make(options);
  watcher = Watch(All());
  Change("a", 1);
  Change("b", 2);
  EXPECT_EQ(feed_->GetStats().kept, 1u);
  EXPECT_THAT(Told(watcher), ElementsAre("WATCH_TOO_SLOW"));
}

TEST_F(ChangeFeedTest, RefusesWatchersBeyondItsLimits) {
  ChangeFeed::Options options = Options();
  options.watchers_max = 2;
  Make(options);
  {
    const WatcherPtr one = Watch(All()), two = Watch(All());
    EXPECT_EQ(Refusal(All()), "WATCHERS_FULL");
  }
  EXPECT_NE(Watch(All()), nullptr);
  EXPECT_EQ(feed_->GetStats().refused, 1u);

  options = Options();
  options.selector_bytes_max = WatchPlace(Keys({"a", "b"}), nullptr).bytes();
  Make(options);
  {
    const WatcherPtr fits = Watch(Keys({"a", "b"}));
    EXPECT_EQ(Refusal(Keys({"a"})), "WATCHERS_FULL");
  }
  EXPECT_EQ(Refusal(Keys({"a", "bb"})), "WATCHERS_FULL");
  EXPECT_NE(Watch(Keys({"a", "b"})), nullptr);
}

TEST_F(ChangeFeedTest, AGapIsToldToAllAndToThoseWhoComeWhileItGoesOn) {
  WatcherPtr watcher = Watch(Keys({"a"}));
  const std::string begin = feed_->TokenAt(Now(watcher).position);
  feed_->Gap(/*goes_on=*/true);
  EXPECT_THAT(Told(watcher), ElementsAre("gap goes on"));
  const WatcherPtr late = Watch(Keys({"b"}));
  EXPECT_THAT(Told(late), ElementsAre("gap goes on"));
  EXPECT_THAT(Told(late), IsEmpty());
  Change("a", 1);
  feed_->Gap(/*goes_on=*/false);
  EXPECT_THAT(Told(watcher), ElementsAre("put a 1", "gap"));
  EXPECT_THAT(Told(late), ElementsAre("gap"));
  const WatcherPtr later = Watch(Keys({"b"}));
  EXPECT_THAT(Told(later), IsEmpty());
  watcher = Watch(Keys({"a"}), begin);
  EXPECT_THAT(Told(watcher), ElementsAre("gap goes on", "put a 1", "gap"));
}

TEST_F(ChangeFeedTest, DrainingTellsWhatHappenedAndThenEnds) {
  const WatcherPtr watcher = Watch(All());
  Change("a", 1);
  feed_->Drain();
  Change("a", 2);
  EXPECT_THAT(Told(watcher), ElementsAre("put a 1"));
  const ChangeFeed::News end = Now(watcher);
  EXPECT_THAT(Said(end), ElementsAre("DRAINING"));
  EXPECT_EQ(end.position, 1u);
  EXPECT_EQ(Refusal(All()), "DRAINING");
}

TEST_F(ChangeFeedTest, WaitsForAChangeForItsTimeOrForTheEnd) {
  const WatcherPtr watcher = Watch(Keys({"a"}));
  const auto wait = [&](Cancellation* cancellation) {
    auto got = std::make_shared<std::optional<ChangeFeed::News>>();
    Spawn(feed_->Next(watcher.get(), MonoAfter(clock_.Mono(), absl::Seconds(5)), cancellation),
          [got](ChangeFeed::News news) { *got = std::move(news); });
    executor_.RunReady();
    return got;
  };
  Cancellation cancellation;
  auto got = wait(&cancellation);
  EXPECT_FALSE(got->has_value());
  Change("b", 1);
  executor_.RunReady();
  EXPECT_FALSE(got->has_value());
  Change("a", 2);
  executor_.RunReady();
  ASSERT_TRUE(got->has_value());
  EXPECT_THAT(Said(**got), ElementsAre("put a 2"));

  got = wait(&cancellation);
  executor_.Advance(absl::Milliseconds(4'999));
  EXPECT_FALSE(got->has_value());
  executor_.Advance(absl::Milliseconds(1));
  ASSERT_TRUE(got->has_value());
  EXPECT_THAT(Said(**got), IsEmpty());

  got = wait(&cancellation);
  cancellation.Cancel();
  executor_.RunReady();
  ASSERT_TRUE(got->has_value());
  EXPECT_THAT(Said(**got), IsEmpty());

  Cancellation other;
  got = wait(&other);
  feed_->Drain();
  executor_.RunReady();
  ASSERT_TRUE(got->has_value());
  EXPECT_THAT(Said(**got), ElementsAre("DRAINING"));
  EXPECT_EQ(executor_.timers(), 0u);
}

// Several writers, and watchers that are cut off, fall behind and come back: each ends with what
// the writers did last, which versions tell, and no change is told twice on one stream or lost
// between two.
class WhoFollows {
 public:
  WhoFollows(ChangeFeed* feed, WatchSelector selector, uint64_t seed)
      : feed_(feed), selector_(std::move(selector)), random_(seed) {}

  // Until `last` has been told. `read` is what he reads when he begins anew.
  void Run(const std::string& last, const std::function<std::map<std::string, Version>()>& read) {
    while (!seen_.contains(last) || seen_[last] == kNoVersion) {
      absl::StatusOr<std::unique_ptr<ChangeFeed::Watcher>> watcher =
          feed_->Watch(selector_, token_);
      if (!watcher.ok()) {
        EXPECT_EQ(DetailsOf(watcher.status()).reason, "RESUME_TOKEN_OLD") << watcher.status();
        token_.clear();
        position_ = 0;
        ++anew_;
        continue;
      }
      if (token_.empty()) Merge(read());
      Follow(watcher->get(), last);
    }
  }
  const std::map<std::string, Version>& seen() const { return seen_; }
  int resumed() const { return resumed_; }
  int anew() const { return anew_; }

 private:
  void Merge(const std::map<std::string, Version>& all) {
    for (const auto& [key, version] : all) seen_[key] = std::max(seen_[key], version);
  }
  ChangeFeed::News Await(ChangeFeed::Watcher* watcher, Cancellation* never) {
    Mutex mu;
    CondVar told;
    std::optional<ChangeFeed::News> news;
    Spawn(feed_->Next(watcher, MonoAfter(Clock::System()->Mono(), absl::Milliseconds(5)), never),
          [&](ChangeFeed::News got) {
            MutexLock lock(&mu);
            news = std::move(got);
            told.SignalAll();
          });
    MutexLock lock(&mu);
    while (!news.has_value()) told.Wait(&mu);
    return *std::move(news);
  }
  void Follow(ChangeFeed::Watcher* watcher, const std::string& last) {
    resumed_ += token_.empty() ? 0 : 1;
    Cancellation never;
    for (uint64_t left = random_() % 50 + 1; left > 0; --left) {
      const ChangeFeed::News news = Await(watcher, &never);
      // A connection may be cut in the middle of what was to be told.
      const size_t heard = left == 1 ? random_() % (news.events.size() + 1) : news.events.size();
      for (size_t i = 0; i < heard; ++i) {
        const ChangeFeed::Event& event = news.events[i];
        EXPECT_GT(event.position, position_) << "told twice";
        position_ = event.position;
        token_ = feed_->TokenAt(position_);
        Version& version = seen_[std::string(FullKey::KeyOf(event.change->full_key))];
        version = std::max(version, event.change->version);
      }
      if (heard == news.events.size()) {
        position_ = std::max(position_, news.position);
        token_ = feed_->TokenAt(news.position);
      }
      if (!news.end.ok()) {
        EXPECT_EQ(DetailsOf(news.end).reason, "WATCH_TOO_SLOW");
        return;
      }
      if (seen_.contains(last)) return;
    }
  }

  ChangeFeed* const feed_;
  const WatchSelector selector_;
  std::mt19937_64 random_;
  std::map<std::string, Version> seen_;
  std::string token_;
  uint64_t position_ = 0;
  int resumed_ = 0;
  int anew_ = 0;
};

TEST(ChangeFeedThreadsTest, EveryWatcherEndsWithTheTruth) {
  constexpr int kWriters = 3, kWatchers = 6, kChanges = 50'000, kKeys = 40;
  const std::unique_ptr<ThreadPool> pool = ThreadPool::New({2, 10'000});
  ChangeFeed::Options options;
  options.executor = pool.get();
  options.changes_max = 20'000;
  options.pending_max = 2'000;
  ChangeFeed feed(options);

  // What is in memory: who begins anew reads it.
  Mutex mu;
  std::map<std::string, Version> truth;
  std::atomic<Version> next{1};
  const auto change = [&](const std::string& key) {
    const Version version = next.fetch_add(1);
    {
      MutexLock lock(&mu);
      truth[key] = std::max(truth[key], version);
    }
    feed.Changed(Full(key), version, Put());
  };
  const auto read = [&] {
    MutexLock lock(&mu);
    return truth;
  };

  std::vector<std::unique_ptr<WhoFollows>> watchers;
  for (int i = 0; i < kWatchers; ++i) {
    WatchSelector selector = All();
    if (i % 3 == 1) selector = Select(WatchSelector::Kind::kPrefix, {"k"});
    if (i % 3 == 2) {
      selector = Keys({"k:last"});
      for (int k = 0; k < kKeys; ++k) selector.names.push_back(StrCat("k", k));
    }
    watchers.push_back(std::make_unique<WhoFollows>(&feed, selector, 100 + i));
  }
  std::vector<std::thread> threads;
  for (auto& watcher : watchers)
    threads.emplace_back([&watcher, &read] { watcher->Run("k:last", read); });
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937_64 random(w);
      for (int i = 0; i < kChanges; ++i) change(StrCat("k", random() % kKeys));
    });
  }
  for (std::thread& writer : writers) writer.join();
  change("k:last");
  for (std::thread& thread : threads) thread.join();
  int resumed = 0, anew = 0;
  for (const auto& watcher : watchers) {
    EXPECT_EQ(watcher->seen(), truth);
    resumed += watcher->resumed();
    anew += watcher->anew();
  }
  EXPECT_GT(resumed, 0);
  RecordProperty("resumed", resumed);
  RecordProperty("anew", anew);
  EXPECT_EQ(feed.GetStats().watchers, 0u);
  pool->Shutdown();
}

// A change costs by those whom it concerns. With 10,000 others beside them the same work is done:
// what is counted is who was told, not the time, which others on this machine have a part in.
TEST_F(ChangeFeedTest, TenThousandWatchersOfDistinctKeysAreToldOfTheirOwn) {
  constexpr int kWatchers = 10'000;
  std::vector<WatcherPtr> watchers;
  for (int i = 0; i < kWatchers; ++i) watchers.push_back(Watch(Keys({StrCat("k", i)})));
  for (Version v = 1; v <= 3; ++v) {
    for (int i = 0; i < kWatchers; ++i) Change(StrCat("k", i), v * kWatchers + i);
  }
  EXPECT_EQ(feed_->GetStats().told, 3u * kWatchers);
  for (int i = 0; i < kWatchers; ++i) {
    const ChangeFeed::News news = Now(watchers[i]);
    ASSERT_EQ(news.events.size(), 3u);
    for (Version v = 1; v <= 3; ++v) {
      ASSERT_EQ(FullKey::KeyOf(news.events[v - 1].change->full_key), StrCat("k", i));
      ASSERT_EQ(news.events[v - 1].change->version, v * kWatchers + i);
    }
  }
}

}  // namespace
}  // namespace larder
