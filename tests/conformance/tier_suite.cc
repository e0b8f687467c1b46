#include "tests/conformance/tier_suite.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

// Puts, erases and conditions; tier_suite_rest.cc has what else there is.

namespace larder {

// A binary may have no tier of its own to test.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TierSuite);

EntryFields TierSuite::Fields(std::string_view full_key, Version version, std::string_view value) {
  EntryFields fields;
  fields.full_key = full_key;
  fields.value = value;
  fields.version = version;
  fields.fresh_until = clock().Mono() + absl::ToInt64Nanoseconds(absl::Seconds(30));
  fields.usable_until = clock().Mono() + absl::ToInt64Nanoseconds(absl::Seconds(60));
  return fields;
}

TierPut TierSuite::PutOf(const EntryFields& fields, Expect expect, std::string_view type) {
  TierPut put;
  put.full_key = fields.full_key;
  put.version = fields.version;
  put.usable_until = fields.usable_until;
  put.envelope = EncodeEnvelope(fields, type, clock());
  put.expect = expect;
  return put;
}

TierChange TierSuite::Put(TierPut put) {
  std::vector<TierPut> puts;
  puts.push_back(std::move(put));
  auto changes = Await(tier().Put(std::move(puts), Soon()));
  EXPECT_TRUE(changes.ok()) << changes.status();
  return changes.ok() && changes->size() == 1 ? changes->front() : TierChange{};
}

TierChange TierSuite::Erase(std::string_view key, Version version) {
  std::vector<TierErase> erases;
  erases.push_back({std::string(key), version});
  auto changes = Await(tier().Erase(std::move(erases), Soon()));
  EXPECT_TRUE(changes.ok()) << changes.status();
  return changes.ok() && changes->size() == 1 ? changes->front() : TierChange{};
}

TierRead TierSuite::Get(std::string_view key) {
  auto reads = Await(tier().Get({std::string(key)}, Soon()));
  EXPECT_TRUE(reads.ok()) << reads.status();
  return reads.ok() && reads->size() == 1 ? std::move(reads->front()) : TierRead{};
}

std::string TierSuite::Value(std::string_view key) {
  const TierRead read = Get(key);
  switch (read.kind) {
    case Kind::kAbsent:
      return "(absent)";
    case Kind::kEnded:
      return absl::StrCat("(ended ", read.entry.version, ")");
    case Kind::kTombstone:
      return absl::StrCat("(tombstone ", read.entry.version, ")");
    case Kind::kEntry:
      break;
  }
  return read.entry.negative ? "(negative)" : std::string(read.entry.stored());
}

std::vector<TierPage::Item> TierSuite::ScanAll(std::string prefix, std::string glob, size_t limit) {
  std::vector<TierPage::Item> items;
  TierScan scan{std::move(prefix), std::move(glob), "", limit};
  for (int pages = 0; pages < 100'000; ++pages) {
    auto page = Await(tier().Scan(scan, Soon()));
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return items;
    std::move(page->items.begin(), page->items.end(), std::back_inserter(items));
    if (page->cursor.empty()) return items;
    scan.cursor = page->cursor;
  }
  ADD_FAILURE() << "the scan never ends";
  return items;
}

namespace {

using ExpectKind = Expect::Kind;

TEST_P(TierSuite, GivesBackAllThatWasPut) {
  const std::string key = Key("user:42");
  EntryFields fields = Fields(key, 77, "the value");
  fields.encoding = 1;
  fields.plain_bytes = 100;
  fields.sliding = 5'000'000'000;
  fields.tags = {"red", "green"};
  fields.validator = "etag";
  fields.depends_on = {"user:7"};
  EXPECT_EQ(Put(PutOf(fields, {}, "profile")).outcome, Outcome::kDone);
  const TierRead read = Get(key);
  ASSERT_EQ(read.kind, Kind::kEntry);
  EXPECT_EQ(read.type, "profile");
  EXPECT_EQ(read.entry.stored(), "the value");
  EXPECT_EQ(read.entry.encoding, fields.encoding);
  EXPECT_EQ(read.entry.plain_bytes, fields.plain_bytes);
  EXPECT_EQ(read.entry.version, fields.version);
  EXPECT_EQ(read.entry.sliding, fields.sliding);
  EXPECT_EQ(read.entry.tags, fields.tags);
  EXPECT_EQ(read.entry.validator, fields.validator);
  EXPECT_EQ(read.entry.depends_on, fields.depends_on);
  EXPECT_LE(read.entry.usable_until, fields.usable_until);
  EXPECT_GT(read.entry.usable_until, fields.usable_until - 1'000'000);
}

TEST_P(TierSuite, AnswersInTheOrderOfTheRequest) {
  Put(Key("a"), 1, "A");
  Put(Key("b"), 1, "B");
  Erase(Key("c"), 3);
  const auto reads =
      Await(tier().Get({Key("b"), Key("none"), Key("a"), Key("c"), Key("b")}, Soon()));
  ASSERT_TRUE(reads.ok()) << reads.status();
  ASSERT_EQ(reads->size(), 5u);
  EXPECT_EQ((*reads)[0].entry.stored(), "B");
  EXPECT_EQ((*reads)[1].kind, Kind::kAbsent);
  EXPECT_EQ((*reads)[2].entry.stored(), "A");
  EXPECT_EQ((*reads)[3].kind, Kind::kTombstone);
  EXPECT_EQ((*reads)[3].entry.version, 3u);
  EXPECT_EQ((*reads)[4].entry.stored(), "B");
}

TEST_P(TierSuite, NothingAskedForIsNothingAnswered) {
  EXPECT_TRUE(Await(tier().Get({}, Soon()))->empty());
  EXPECT_TRUE(Await(tier().Put({}, Soon()))->empty());
  EXPECT_TRUE(Await(tier().Erase({}, Soon()))->empty());
}

TEST_P(TierSuite, KeepsNewerVersionWhenOlderArrivesLate) {
  EXPECT_FALSE(Put(Key("k"), 10, "ten").existed);
  const TierChange late = Put(Key("k"), 9, "nine");
  EXPECT_EQ(late.outcome, Outcome::kNewerExists);
  EXPECT_EQ(late.current, 10u);
  EXPECT_TRUE(late.existed);
  EXPECT_EQ(Value(Key("k")), "ten");
  const TierChange newer = Put(Key("k"), 11, "eleven");
  EXPECT_EQ(newer.outcome, Outcome::kDone);
  EXPECT_EQ(newer.current, 11u);
  EXPECT_TRUE(newer.existed);
  EXPECT_EQ(Value(Key("k")), "eleven");
}

// The whole 64 bits decide, as unsigned numbers.
TEST_P(TierSuite, ComparesVersionsOverAllTheirBits) {
  const std::vector<Version> rising = {1,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x100000000,
                                       0x1fffffffffffff,
                                       0x20000000000000,
                                       0x20000000000001,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0xffffffffffffffff};
  for (size_t i = 0; i < rising.size(); ++i) {
    const std::string value = absl::StrCat(i);
    EXPECT_EQ(Put(Key("k"), rising[i], value).outcome, Outcome::kDone) << i;
    if (i > 0) {
      EXPECT_EQ(Put(Key("k"), rising[i - 1], "late").outcome, Outcome::kNewerExists);
      EXPECT_EQ(Erase(Key("k"), rising[i - 1]).outcome, Outcome::kNewerExists);
    }
    EXPECT_EQ(Value(Key("k")), value);
    EXPECT_EQ(Get(Key("k")).entry.version, rising[i]);
  }
}

TEST_P(TierSuite, SamePutOnceMoreIsDoneWhateverItExpects) {
  const TierPut put = NewPut(Key("k"), 10, "ten", {ExpectKind::kAbsent, 0});
  EXPECT_EQ(Put(put).outcome, Outcome::kDone);
  EXPECT_EQ(Put(put).outcome, Outcome::kDone);
  EXPECT_EQ(Value(Key("k")), "ten");
  const TierPut next = NewPut(Key("k"), 11, "eleven", {ExpectKind::kVersion, 10});
  EXPECT_EQ(Put(next).outcome, Outcome::kDone);
  EXPECT_EQ(Put(next).outcome, Outcome::kDone);
  EXPECT_EQ(Value(Key("k")), "eleven");
}

TEST_P(TierSuite, ErasedKeyLeavesATombstone) {
  Put(Key("k"), 10, "ten");
  const TierChange erased = Erase(Key("k"), 12);
  EXPECT_EQ(erased.outcome, Outcome::kDone);
  EXPECT_TRUE(erased.existed);
  EXPECT_EQ(erased.current, 12u);
  EXPECT_EQ(Value(Key("k")), "(tombstone 12)");
}

TEST_P(TierSuite, TombstoneIsLeftAlsoWhereNothingWas) {
  EXPECT_FALSE(Erase(Key("k"), 12).existed);
  EXPECT_EQ(Value(Key("k")), "(tombstone 12)");
}

TEST_P(TierSuite, OlderPutAfterAnEraseDoesNotBringTheKeyBack) {
  Put(Key("k"), 10, "ten");
  Erase(Key("k"), 12);
  const TierChange late = Put(Key("k"), 11, "eleven");
  EXPECT_EQ(late.outcome, Outcome::kNewerExists);
  EXPECT_EQ(late.current, 12u);
  EXPECT_FALSE(late.existed);
  EXPECT_EQ(Value(Key("k")), "(tombstone 12)");
  const TierChange newer = Put(Key("k"), 13, "thirteen");
  EXPECT_EQ(newer.outcome, Outcome::kDone);
  EXPECT_FALSE(newer.existed);
  EXPECT_EQ(Value(Key("k")), "thirteen");
}

TEST_P(TierSuite, EraseSparesWhatIsNewer) {
  Put(Key("k"), 10, "ten");
  const TierChange late = Erase(Key("k"), 9);
  EXPECT_EQ(late.outcome, Outcome::kNewerExists);
  EXPECT_EQ(late.current, 10u);
  EXPECT_TRUE(late.existed);
  EXPECT_EQ(Value(Key("k")), "ten");
  EXPECT_EQ(Erase(Key("k"), 10).outcome, Outcome::kDone);
  EXPECT_EQ(Value(Key("k")), "(tombstone 10)");
}

TEST_P(TierSuite, OlderEraseDoesNotShortenATombstone) {
  Erase(Key("k"), 12);
  EXPECT_EQ(Erase(Key("k"), 11).outcome, Outcome::kNewerExists);
  EXPECT_EQ(Value(Key("k")), "(tombstone 12)");
  EXPECT_EQ(Erase(Key("k"), 14).outcome, Outcome::kDone);
  EXPECT_EQ(Value(Key("k")), "(tombstone 14)");
}

TEST_P(TierSuite, TombstoneStaysForItsTimeAndNoLonger) {
  Erase(Key("k"), 12);
  clock().Advance(kTombstoneTtl - absl::Milliseconds(2));
  EXPECT_EQ(Value(Key("k")), "(tombstone 12)");
  EXPECT_EQ(Put(Key("k"), 11, "eleven").outcome, Outcome::kNewerExists);
  clock().Advance(kTombstoneTtl);
  EXPECT_EQ(Value(Key("k")), "(absent)");
}

TEST_P(TierSuite, EntryIsServedToItsEndAndItsVersionIsKnownForLonger) {
  const std::string key = Key("k");
  EntryFields fields = Fields(key, 10, "ten");
  fields.fresh_until = fields.usable_until = clock().Mono() + 30'000'000'000;
  Put(PutOf(fields));
  clock().Advance(absl::Milliseconds(29'990));
  EXPECT_EQ(Value(Key("k")), "ten");
  clock().Advance(absl::Milliseconds(10));
  EXPECT_EQ(Value(Key("k")), "(ended 10)");
  EXPECT_EQ(Put(Key("k"), 9, "nine").outcome, Outcome::kNewerExists);
  clock().Advance(kVersionKept - absl::Seconds(31));
  EXPECT_EQ(Value(Key("k")), "(ended 10)");
  EXPECT_FALSE(Put(Key("k"), 11, "eleven").existed);
  EXPECT_EQ(Value(Key("k")), "eleven");
}

// 1: a put is under way.  2: its caller gives it up and removes what it may have left.  3: it
// arrives.
TEST_P(TierSuite, RemovalOfAVersionIsFinalForThatVersion) {
  Erase(Key("k"), 10);
  const TierChange late = Put(Key("k"), 10, "ten");
  EXPECT_EQ(late.outcome, Outcome::kNewerExists);
  EXPECT_EQ(late.current, 10u);
  EXPECT_EQ(Value(Key("k")), "(tombstone 10)");
  EXPECT_EQ(Erase(Key("k"), 10).outcome, Outcome::kDone);
  EXPECT_EQ(Put(Key("k"), 11, "eleven").outcome, Outcome::kDone);
}

TEST_P(TierSuite, KeepsNegativeEntries) {
  const std::string key = Key("k");
  Put(key, 9, "nine");
  EntryFields fields = Fields(key, 10, "");
  fields.negative = true;
  EXPECT_TRUE(Put(PutOf(fields)).existed);
  EXPECT_EQ(Value(key), "(negative)");
  EXPECT_FALSE(Put(key, 11, "eleven").existed);
  EXPECT_EQ(Value(key), "eleven");
}

// What may be under a key before a conditional put of version 10.
enum class Before { kNothing, kLive, kNegative, kEnded, kTombstone, kOldTombstone };

TEST_P(TierSuite, ConditionsHoldExactlyWhenTheyShould) {
  struct Case {
    Before before;
    Expect expect;
    bool holds;
  };
  const std::vector<Case> cases = {
      {Before::kNothing, {ExpectKind::kAny, 0}, true},
      {Before::kNothing, {ExpectKind::kAbsent, 0}, true},
      {Before::kNothing, {ExpectKind::kPresent, 0}, false},
      {Before::kNothing, {ExpectKind::kVersion, 5}, false},
      {Before::kNothing, {ExpectKind::kUnchanged, 0}, true},
      {Before::kNothing, {ExpectKind::kUnchanged, 5}, true},
      {Before::kLive, {ExpectKind::kAny, 0}, true},
      {Before::kLive, {ExpectKind::kAbsent, 0}, false},
      {Before::kLive, {ExpectKind::kPresent, 0}, true},
      {Before::kLive, {ExpectKind::kVersion, 5}, true},
      {Before::kLive, {ExpectKind::kVersion, 4}, false},
      {Before::kLive, {ExpectKind::kVersion, 6}, false},
      {Before::kLive, {ExpectKind::kUnchanged, 5}, true},
      {Before::kLive, {ExpectKind::kUnchanged, 4}, false},
      {Before::kLive, {ExpectKind::kUnchanged, 0}, false},
      {Before::kNegative, {ExpectKind::kAbsent, 0}, true},
      {Before::kNegative, {ExpectKind::kPresent, 0}, false},
      {Before::kNegative, {ExpectKind::kVersion, 5}, false},
      {Before::kNegative, {ExpectKind::kUnchanged, 5}, true},
      {Before::kNegative, {ExpectKind::kUnchanged, 4}, false},
      {Before::kEnded, {ExpectKind::kAbsent, 0}, true},
      {Before::kEnded, {ExpectKind::kPresent, 0}, false},
      {Before::kEnded, {ExpectKind::kVersion, 5}, false},
      {Before::kEnded, {ExpectKind::kUnchanged, 0}, false},
      {Before::kEnded, {ExpectKind::kUnchanged, 5}, true},
      {Before::kTombstone, {ExpectKind::kAny, 0}, true},
      {Before::kTombstone, {ExpectKind::kAbsent, 0}, true},
      {Before::kTombstone, {ExpectKind::kPresent, 0}, false},
      {Before::kTombstone, {ExpectKind::kVersion, 5}, false},
      {Before::kTombstone, {ExpectKind::kUnchanged, 5}, true},
      {Before::kTombstone, {ExpectKind::kUnchanged, 4}, false},
      {Before::kOldTombstone, {ExpectKind::kAbsent, 0}, true},
      {Before::kOldTombstone, {ExpectKind::kUnchanged, 0}, true},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string key = Key(absl::StrCat("k", i));
    EntryFields fields = Fields(key, 5, "five");
    switch (cases[i].before) {
      case Before::kNothing:
        break;
      case Before::kNegative:
        fields.negative = true;
        fields.value = "";
        [[fallthrough]];
      case Before::kLive:
      case Before::kEnded:
        if (cases[i].before == Before::kEnded)
          fields.fresh_until = fields.usable_until = clock().Mono() + 20'000'000'000;
        ASSERT_EQ(Put(PutOf(fields)).outcome, Outcome::kDone);
        if (cases[i].before == Before::kEnded) clock().Advance(absl::Seconds(20));
        break;
      case Before::kTombstone:
      case Before::kOldTombstone:
        ASSERT_EQ(Erase(key, 5).outcome, Outcome::kDone);
        if (cases[i].before == Before::kOldTombstone) clock().Advance(kTombstoneTtl * 2);
        break;
    }
    const std::string before = Value(key);
    const TierChange change = Put(key, 10, "ten", cases[i].expect);
    EXPECT_EQ(change.outcome, cases[i].holds ? Outcome::kDone : Outcome::kConditionFailed)
        << "case " << i;
    EXPECT_EQ(change.existed, cases[i].before == Before::kLive) << "case " << i;
    EXPECT_EQ(Value(key), cases[i].holds ? "ten" : before) << "case " << i;
  }
}

TEST_P(TierSuite, ConditionThatFailsIsSaidAlsoWhereSomethingNewerIs) {
  Put(Key("k"), 10, "ten");
  const TierChange change = Put(Key("k"), 9, "nine", {ExpectKind::kAbsent, 0});
  EXPECT_EQ(change.outcome, Outcome::kConditionFailed);
  EXPECT_EQ(change.current, 10u);
}

TEST_P(TierSuite, ChangesOfOneKeyInOneCallAreMadeInOrder) {
  std::vector<TierPut> puts;
  puts.push_back(NewPut(Key("k"), 5, "five"));
  puts.push_back(NewPut(Key("k"), 4, "four"));
  puts.push_back(NewPut(Key("k"), 6, "six", {ExpectKind::kVersion, 5}));
  puts.push_back(NewPut(Key("other"), 7, "seven"));
  puts.push_back(NewPut(Key("k"), 8, "eight", {ExpectKind::kVersion, 5}));
  const auto changes = Await(tier().Put(std::move(puts), Soon()));
  ASSERT_TRUE(changes.ok()) << changes.status();
  ASSERT_EQ(changes->size(), 5u);
  EXPECT_EQ((*changes)[0].outcome, Outcome::kDone);
  EXPECT_EQ((*changes)[1].outcome, Outcome::kNewerExists);
  EXPECT_EQ((*changes)[2].outcome, Outcome::kDone);
  EXPECT_EQ((*changes)[3].outcome, Outcome::kDone);
  EXPECT_EQ((*changes)[4].outcome, Outcome::kConditionFailed);
  EXPECT_EQ(Value(Key("k")), "six");
  EXPECT_EQ(Value(Key("other")), "seven");
}

}  // namespace
}  // namespace larder
