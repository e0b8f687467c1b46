// What those who watch are told by an engine: every change of a key, on whichever replica of a
// fleet it is made, with what is known of the entry; and what was missed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using Watcher = std::unique_ptr<ChangeFeed::Watcher>;

class WatchingTest : public ReplicasFixture {
 protected:
  WatchingTest() { types_ = {Type("user"), Local("local")}; }
  // They leave before their engines go.
  ~WatchingTest() override { watchers_.clear(); }

  static TypePolicy Local(const std::string& name) {
    TypePolicy type = Type(name);
    type.second_tier = false;
    return type;
  }
  void Some(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      Replica::Options options;
      options.engine.memory_bytes = memory_bytes_;
      Add(std::move(options)).engine->Start();
    }
    executor_.Advance(absl::Seconds(5));
  }

  // The number of a new watcher.
  size_t Watch(size_t replica, WatchSelector::Kind kind = WatchSelector::Kind::kAll,
               std::vector<std::string> names = {}, bool expirations = false) {
    absl::StatusOr<Watcher> watcher =
        engine(replica).Watch({kind, "", std::move(names), expirations}, "");
    EXPECT_TRUE(watcher.ok()) << watcher.status();
    watchers_.push_back({replica, *std::move(watcher)});
    return watchers_.size() - 1;
  }
  // What it is told by now: "put k 1" with the versions' order in place of the versions.
  std::vector<std::string> Told(size_t watcher) {
    executor_.Advance(absl::Milliseconds(50));
    std::vector<std::string> said;
    while (true) {
      std::optional<ChangeFeed::News> news;
      Cancellation never;
      Spawn(engine(watchers_[watcher].first)
                .changes()
                .Next(watchers_[watcher].second.get(), 0, &never),
            [&](ChangeFeed::News got) { news = std::move(got); });
      EXPECT_TRUE(news.has_value());
      if (news->events.empty()) return said;
      for (const ChangeFeed::Event& event : news->events) said.push_back(Said(*event.change));
    }
  }
  static std::string Said(const Change& change) {
    if (change.kind == Change::Kind::kGap) return change.goes_on ? "gap goes on" : "gap";
    if (change.kind == Change::Kind::kRule) return StrCat("rule ", change.rule->match);
    const char* const what = change.kind == Change::Kind::kPut       ? "put "
                             : change.kind == Change::Kind::kRemoved ? "gone "
                             : change.kind == Change::Kind::kExpired ? "expired "
                                                                     : "times ";
    return StrCat(what, FullKey::KeyOf(change.full_key), " ", change.version);
  }
  Version SetTagged(size_t replica, const std::string& key, std::vector<std::string> tags) {
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = "v";
    write.tags = std::move(tags);
    const absl::StatusOr<WriteResult> written = Now(engine(replica).Set(write));
    EXPECT_TRUE(written.ok()) << written.status();
    return written->version;
  }
  Version VersionOf(size_t replica, const std::string& key) {
    const ReadResult read = Read(replica, key);
    return read.entry.has_value() ? read.entry->version : kNoVersion;
  }

  size_t WatchExpirations(size_t replica, WatchSelector::Kind kind = WatchSelector::Kind::kAll,
                          std::vector<std::string> names = {}) {
    return Watch(replica, kind, std::move(names), /*expirations=*/true);
  }
  Version SetFor(size_t replica, const std::string& key, absl::Duration ttl,
                 std::vector<std::string> tags = {}) {
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = "v";
    write.ttl = ttl;
    write.tags = std::move(tags);
    const absl::StatusOr<WriteResult> written = Now(engine(replica).Set(write));
    EXPECT_TRUE(written.ok()) << written.status();
    return written->version;
  }

  uint64_t memory_bytes_ = L1::kBudgetBytesMin;
  std::vector<std::pair<size_t, Watcher>> watchers_;
};

TEST_F(WatchingTest, EveryKindOfChangeIsToldOnceHereAndElsewhere) {
  Some(2);
  const size_t here = Watch(0), there = Watch(1);
  const auto both = [&](const std::string& said) {
    EXPECT_THAT(Told(here), ElementsAre(said));
    EXPECT_THAT(Told(there), ElementsAre(said));
  };
  const Version set = Set(0, "k", "1").version;
  both(StrCat("put k ", set));
  const Version changed = Set(0, "k", "2", {}, {Expect::Kind::kVersion, set}).version;
  both(StrCat("put k ", changed));
  EXPECT_FALSE(Set(0, "k", "3", {}, {Expect::Kind::kVersion, set}).stored);
  EXPECT_THAT(Told(here), IsEmpty());

  Increment(0, "n");
  both(StrCat("put n ", VersionOf(0, "n")));

  const absl::StatusOr<RemoveResult> removed = Now(engine(0).Delete({"", "k", ""}));
  ASSERT_TRUE(removed.ok());
  both(StrCat("gone k ", removed->version));

  const absl::StatusOr<InvalidateResult> invalidated = Now(engine(0).InvalidateKeys({"", {"n"}}));
  ASSERT_TRUE(invalidated.ok());
  both(StrCat("gone n ", invalidated->version));

  const auto loading = Load(0, "l");
  ASSERT_TRUE(loading->HasLease());
  const Version filled = Set(0, "l", "loaded", {}, {}, loading->Token()).version;
  both(StrCat("put l ", filled));

  WriteRequest absent;
  absent.key = {"", "none", ""};
  absent.absent = true;
  const absl::StatusOr<WriteResult> none = Now(engine(0).Set(absent));
  ASSERT_TRUE(none.ok());
  both(StrCat("gone none ", none->version));

  TouchRequest touch;
  touch.key = {"", "l", ""};
  touch.ttl = absl::Seconds(1);
  touch.mode = TouchMode::kShortenOnly;
  ASSERT_TRUE(Now(engine(0).Touch(touch)).ok());
  both(StrCat("times l ", filled));
}

TEST_F(WatchingTest, AWaitForTheFleetIsToldOnce) {
  Some(2);
  Set(0, "k", "1");
  const size_t here = Watch(0), there = Watch(1);
  InvalidateRequest request;
  request.keys = {"k"};
  request.fleet_until = MonoAfter(clock_.Mono(), absl::Seconds(1));
  const absl::StatusOr<InvalidateResult> invalidated = Now(engine(0).InvalidateKeys(request));
  ASSERT_TRUE(invalidated.ok());
  EXPECT_TRUE(invalidated->fleet.all());
  EXPECT_THAT(Told(here), ElementsAre(StrCat("gone k ", invalidated->version)));
  EXPECT_THAT(Told(there), ElementsAre(StrCat("gone k ", invalidated->version)));
}

TEST_F(WatchingTest, WhoIsToldAndReadsFindsWhatIsNew) {
  Some(2);
  Set(0, "k", "1");
  EXPECT_EQ(Get(1, "k"), "1");
  const size_t there = Watch(1);
  const Version second = Set(0, "k", "2").version;
  while (Told(there).empty()) executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Get(1, "k"), "2");
  EXPECT_EQ(VersionOf(1, "k"), second);
  std::string value;
  const std::string full_key(FullKey("", "k").view());
  EXPECT_TRUE(engine(1).PeekValue(full_key, second, &value));
  EXPECT_EQ(value, "2");
  EXPECT_FALSE(engine(1).PeekValue(full_key, second - 1, &value));
}

TEST_F(WatchingTest, WhoWatchesATagHearsOfEntriesThatLoseIt) {
  Some(2);
  const std::vector<std::string> red = {"red"};
  const size_t here = Watch(0, WatchSelector::Kind::kTags, red);
  const size_t there = Watch(1, WatchSelector::Kind::kTags, red);
  const Version tagged = SetTagged(0, "a", {"red", "big"});
  SetTagged(0, "b", {"blue"});
  EXPECT_THAT(Told(here), ElementsAre(StrCat("put a ", tagged)));
  EXPECT_THAT(Told(there), ElementsAre(StrCat("put a ", tagged)));
  EXPECT_EQ(Get(1, "a"), "v");
  const Version plain = SetTagged(0, "a", {});
  EXPECT_THAT(Told(here), ElementsAre(StrCat("put a ", plain)));
  EXPECT_THAT(Told(there), ElementsAre(StrCat("put a ", plain)));
  SetTagged(0, "a", {"red"});
  Told(here), Told(there);
  Delete(0, "b");
  EXPECT_THAT(Told(here), IsEmpty());
  Delete(0, "a");
  EXPECT_EQ(Told(here).size(), 1u);
  EXPECT_EQ(Told(there).size(), 1u);
  // Nobody has it any more: it may have had the tag.
  Delete(0, "gone before");
  EXPECT_EQ(Told(here).size(), 1u);
  EXPECT_EQ(Told(there).size(), 1u);
}

TEST_F(WatchingTest, TypesAreToldByWhatTheEntryIs) {
  Some(2);
  const size_t here = Watch(0, WatchSelector::Kind::kType, {"user"});
  const size_t there = Watch(1, WatchSelector::Kind::kType, {"user"});
  const Version set = Set(0, "user:1", "v").version;
  Set(0, "other", "v");
  EXPECT_THAT(Told(here), ElementsAre(StrCat("put user:1 ", set)));
  EXPECT_THAT(Told(there), ElementsAre(StrCat("put user:1 ", set)));
  WriteRequest named;
  named.key = {"", "x", "user"};
  named.value = "v";
  ASSERT_TRUE(Now(engine(0).Set(named)).ok());
  Told(here), Told(there);
  // The request that deletes it does not say what it is.
  Delete(0, "x");
  EXPECT_EQ(Told(here).size(), 1u);
  EXPECT_EQ(Told(there).size(), 1u);
}

TEST_F(WatchingTest, LoadsOfTypesThatStayHereAreToldHereOnly) {
  Some(2);
  const size_t here = Watch(0), there = Watch(1);
  const auto loading = Load(0, "local:1");
  ASSERT_TRUE(loading->HasLease());
  const Version filled = Set(0, "local:1", "v", {}, {}, loading->Token()).version;
  EXPECT_THAT(Told(here), ElementsAre(StrCat("put local:1 ", filled)));
  EXPECT_THAT(Told(there), IsEmpty());
  const Version set = Set(0, "local:1", "w").version;
  EXPECT_THAT(Told(here), ElementsAre(StrCat("put local:1 ", set)));
  EXPECT_THAT(Told(there), ElementsAre(StrCat("put local:1 ", set)));
}

TEST_F(WatchingTest, AReplicaThatIsCutOffSaysSoAndWhenItIsNotAnyMore) {
  Some(2);
  const size_t there = Watch(1);
  fleet_.log.Disconnect(1);
  executor_.Advance(absl::Seconds(3));
  EXPECT_THAT(Told(there), ElementsAre("gap goes on"));
  EXPECT_FALSE(engine(1).coherence().HeardSince(clock_.Mono()));
  const size_t late = Watch(1);
  EXPECT_THAT(Told(late), ElementsAre("gap goes on"));
  Set(0, "missed", "v");
  fleet_.log.Connect(1);
  executor_.Advance(absl::Seconds(5));
  const std::vector<std::string> said = Told(there);
  EXPECT_THAT(said, Contains("gap"));
  EXPECT_EQ(said.back(), "gap");
  EXPECT_THAT(Told(late), Contains("gap"));
  const Version after = Set(0, "after", "v").version;
  EXPECT_THAT(Told(there), ElementsAre(StrCat("put after ", after)));
}

// What was written while the tier was away is told again to the others when the tier has it: what
// they read there meanwhile was older.
TEST_F(WatchingTest, WhatTheTierGetsLaterIsToldToTheOthersUnderItsOwnVersion) {
  Some(2);
  Set(0, "a", "old");
  Set(0, "b", "old");
  const size_t here = Watch(0), there = Watch(1);
  tier(0).SetFaults({.fail_ratio = 1});
  const Version a = Set(0, "a", "new").version;
  const Version b = Set(0, "b", "new").version;
  Told(here), Told(there);
  tier(0).SetFaults({});
  executor_.Advance(absl::Seconds(2));
  EXPECT_THAT(Told(here), IsEmpty());
  const std::vector<std::string> said = Told(there);
  EXPECT_THAT(said, testing::UnorderedElementsAre(StrCat("put a ", a), StrCat("put b ", b)));
  EXPECT_EQ(Get(1, "a"), "new");
}

TEST_F(WatchingTest, WhatExpiresIsToldToThoseWhoAskForItSoonAndOnce) {
  Some(1);
  const size_t all = WatchExpirations(0), changes = Watch(0);
  const size_t red = WatchExpirations(0, WatchSelector::Kind::kTags, {"red"});
  const size_t user = WatchExpirations(0, WatchSelector::Kind::kType, {"user"});
  const size_t other = WatchExpirations(0, WatchSelector::Kind::kKeys, {"x"});
  const Version a = SetFor(0, "a", absl::Seconds(2), {"red"});
  const Version b = SetFor(0, "user:1", absl::Seconds(3));
  const Version c = SetFor(0, "c", absl::Hours(1));
  for (const size_t watcher : {all, changes})
    EXPECT_THAT(Told(watcher),
                ElementsAre(StrCat("put a ", a), StrCat("put user:1 ", b), StrCat("put c ", c)));
  for (const size_t watcher : {red, user}) EXPECT_EQ(Told(watcher).size(), 1u);
  // Jitter is a tenth.
  executor_.Advance(absl::Seconds(5));
  EXPECT_THAT(Told(all), ElementsAre(StrCat("expired a ", a), StrCat("expired user:1 ", b)));
  EXPECT_THAT(Told(red), ElementsAre(StrCat("expired a ", a)));
  EXPECT_THAT(Told(user), ElementsAre(StrCat("expired user:1 ", b)));
  EXPECT_THAT(Told(other), IsEmpty());
  EXPECT_THAT(Told(changes), IsEmpty());
  executor_.Advance(absl::Seconds(5));
  EXPECT_THAT(Told(all), IsEmpty());
}

// What else ends an entry's life is another event, or none.
TEST_F(WatchingTest, WhatIsReplacedRemovedOrRuledOutDoesNotExpire) {
  Some(1);
  const size_t all = WatchExpirations(0);
  SetFor(0, "replaced", absl::Seconds(2));
  const Version kept = SetFor(0, "replaced", absl::Hours(1));
  SetFor(0, "removed", absl::Seconds(2));
  Delete(0, "removed");
  SetFor(0, "ruled out", absl::Seconds(2), {"red"});
  InvalidateRequest request;
  Rule rule;
  rule.kind = Rule::Kind::kTag;
  rule.name_space = "default";
  rule.match = "red";
  request.rules = {rule};
  ASSERT_TRUE(Now(engine(0).Invalidate(request)).ok());
  WriteRequest absent;
  absent.key = {"", "none", ""};
  absent.absent = true;
  ASSERT_TRUE(Now(engine(0).Set(absent)).ok());
  Told(all);
  executor_.Advance(absl::Minutes(20));
  EXPECT_THAT(Told(all), IsEmpty());
  executor_.Advance(absl::Hours(1));
  EXPECT_THAT(Told(all), ElementsAre(StrCat("expired replaced ", kept)));
}

// The event of the old version must not come behind that of the new one.
TEST_F(WatchingTest, WhatIsFoundExpiredWhenItIsSetAgainIsOnlyAPut) {
  Some(1);
  const size_t all = WatchExpirations(0);
  const Version first = SetFor(0, "local:1", absl::Milliseconds(20));
  EXPECT_THAT(Told(all), ElementsAre(StrCat("put local:1 ", first)));
  clock_.Advance(absl::Milliseconds(30));
  const Version second = SetFor(0, "local:1", absl::Hours(1));
  executor_.Advance(absl::Seconds(1));
  EXPECT_THAT(Told(all), ElementsAre(StrCat("put local:1 ", second)));
}

TEST_F(WatchingTest, CopiesThatAreCutShortInMemoryDoNotExpireThere) {
  types_[0].l1_ttl_max = absl::Seconds(1);
  Some(1);
  const size_t all = WatchExpirations(0);
  const Version user = SetFor(0, "user:1", absl::Hours(1));
  const Version local = SetFor(0, "local:1", absl::Seconds(1));
  Told(all);
  executor_.Advance(absl::Seconds(5));
  EXPECT_THAT(Told(all), ElementsAre(StrCat("expired local:1 ", local)));
  EXPECT_EQ(VersionOf(0, "user:1"), user);
}

// Thousands that end at once are told one after the other, and none is lost to that.
TEST_F(WatchingTest, ManyThatExpireTogetherAreAllToldToWhoKeepsUp) {
  memory_bytes_ = 8 << 20;
  Some(1);
  const size_t all = WatchExpirations(0);
  constexpr size_t kCount = 5'000;
  for (size_t i = 0; i < kCount; ++i) SetFor(0, StrCat("local:", i), absl::Seconds(2));
  while (!Told(all).empty()) {
  }
  size_t told = 0;
  for (int i = 0; i < 1'000 && told < kCount; ++i) told += Told(all).size();
  EXPECT_EQ(told, kCount);
  EXPECT_EQ(engine(0).Stats().watch.expirations_untold, 0u);
}

// Whatever happens on whichever replica: who keeps the largest version, and drops what is gone,
// ends with what there is.
TEST_F(WatchingTest, WhoKeepsTheLargestVersionIsRight) {
  Some(3);
  for (size_t i = 0; i < 3; ++i) Watch(i);
  std::map<std::string, std::pair<Version, bool>> known[3];
  const auto listen = [&](size_t i) {
    for (const std::string& said : Told(i)) {
      const size_t first = said.find(' '), second = said.find(' ', first + 1);
      const std::string key = said.substr(first + 1, second - first - 1);
      const Version version = std::stoull(said.substr(second + 1));
      auto& [newest, there] = known[i][key];
      if (version < newest) continue;
      newest = version;
      there = said[0] == 'p';
    }
  };
  for (int n = 0; n < 600; ++n) {
    const size_t by = random_.Next() % 3;
    const std::string key = StrCat("k", random_.Next() % 8);
    const uint64_t what = random_.Next() % 10;
    if (what < 5) {
      Set(by, key, StrCat(n));
    } else if (what < 7) {
      Delete(by, key);
    } else if (what < 8) {
      Set(by, key, StrCat(n), {}, {Expect::Kind::kAbsent, kNoVersion});
    } else {
      Get(by, key);
    }
    if (n % 20 == 0) listen(random_.Next() % 3);
  }
  executor_.Advance(absl::Seconds(1));
  for (size_t i = 0; i < 3; ++i) {
    listen(i);
    for (int k = 0; k < 8; ++k) {
      const std::string key = StrCat("k", k);
      const Version version = VersionOf(i, key);
      ASSERT_EQ(known[i][key].second, version != kNoVersion) << key << " on " << i;
      if (version != kNoVersion) {
        EXPECT_EQ(known[i][key].first, version) << key << " on " << i;
      }
    }
  }
}

}  // namespace
}  // namespace larder
