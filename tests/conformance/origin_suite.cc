#include "tests/conformance/origin_suite.h"

#include <algorithm>
#include <iterator>

#include "base/strings.h"

// Loads; origin_suite_rest.cc has writes, scans and calls in general.

namespace larder {

// A binary may have no origin of its own to test.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OriginSuite);

std::string_view KindName(OriginLoaded::Kind kind) {
  switch (kind) {
    case OriginLoaded::Kind::kFound:
      return "found";
    case OriginLoaded::Kind::kAbsent:
      return "absent";
    case OriginLoaded::Kind::kUnchanged:
      return "unchanged";
    case OriginLoaded::Kind::kFailed:
      break;
  }
  return "failed";
}

std::string_view KindName(OriginStored::Kind kind) {
  switch (kind) {
    case OriginStored::Kind::kDone:
      return "done";
    case OriginStored::Kind::kRetry:
      return "retry";
    case OriginStored::Kind::kUnknown:
      return "unknown";
    case OriginStored::Kind::kReject:
      break;
  }
  return "reject";
}

bool OriginSuite::Can(OriginFault fault) {
  const auto& impossible = GetParam().impossible;
  return std::find(impossible.begin(), impossible.end(), fault) == impossible.end();
}

OriginCall OriginSuite::Call(std::string_view type) { return {"shop", std::string(type)}; }

OriginLoad OriginSuite::LoadOf(const std::vector<std::string>& keys, std::string_view type) {
  OriginLoad load{Call(type), {}};
  for (const std::string& key : keys) load.items.push_back({key});
  return load;
}

OriginStore OriginSuite::StoreOf(std::vector<OriginStore::Write> writes, std::string_view type) {
  return {Call(type), std::move(writes)};
}

OriginStore::Write OriginSuite::Write(std::string key, std::string value, Version version) {
  OriginStore::Write write;
  write.idempotency_id = StrCat(key, "@", version);
  write.key = std::move(key);
  write.value = std::move(value);
  write.version = version;
  return write;
}

OriginStore::Write OriginSuite::Remove(std::string key, Version version) {
  OriginStore::Write write = Write(std::move(key), "", version);
  write.remove = true;
  return write;
}

std::vector<OriginLoaded> OriginSuite::Load(const std::vector<std::string>& keys) {
  auto loaded = AwaitTask(origin().Load(LoadOf(keys), Soon()));
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  if (!loaded.ok() || loaded->size() != keys.size()) {
    ADD_FAILURE() << "not one answer for each key";
    return std::vector<OriginLoaded>(keys.size());
  }
  return *std::move(loaded);
}

OriginLoaded OriginSuite::LoadOne(const std::string& key, std::string validator) {
  OriginLoad load = LoadOf({key});
  load.items[0].validator = std::move(validator);
  auto loaded = AwaitTask(origin().Load(std::move(load), Soon()));
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() && loaded->size() == 1 ? std::move(loaded->front()) : OriginLoaded{};
}

std::vector<OriginStored> OriginSuite::Store(std::vector<OriginStore::Write> writes) {
  const size_t count = writes.size();
  auto stored = AwaitTask(origin().Store(StoreOf(std::move(writes)), Soon()));
  EXPECT_TRUE(stored.ok()) << stored.status();
  if (!stored.ok() || stored->size() != count) {
    ADD_FAILURE() << "not one answer for each write";
    return std::vector<OriginStored>(count);
  }
  return *std::move(stored);
}

OriginStored OriginSuite::StoreOne(OriginStore::Write write) {
  std::vector<OriginStore::Write> writes;
  writes.push_back(std::move(write));
  return Store(std::move(writes)).front();
}

std::vector<OriginPage::Item> OriginSuite::ScanAll(uint32_t limit, bool keys_only) {
  std::vector<OriginPage::Item> items;
  OriginScan scan{Call(), limit, "", keys_only};
  for (int pages = 0; pages < 10'000; ++pages) {
    auto page = AwaitTask(origin().Scan(scan, Soon()));
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) return items;
    EXPECT_LE(page->items.size(), limit);
    std::move(page->items.begin(), page->items.end(), std::back_inserter(items));
    if (page->cursor.empty()) return items;
    scan.cursor = page->cursor;
  }
  ADD_FAILURE() << "the scan never ends";
  return items;
}

namespace {

using Fault = OriginFault;

TEST_P(OriginSuite, LoadsWhatIsThereWithAllThatIsSaidOfIt) {
  rig_->Put("doc:1", {.value = "the value",
                      .ttl = absl::Milliseconds(1500),
                      .tags = {"red", "with space, comma and \"quotes\""},
                      .depends_on = {"doc:7", "user:{9}"},
                      .validator = "v1"});
  const OriginLoaded loaded = LoadOne("doc:1");
  ASSERT_EQ(KindName(loaded.kind), "found") << loaded.error;
  EXPECT_EQ(loaded.value, "the value");
  EXPECT_EQ(loaded.ttl, absl::Milliseconds(1500));
  EXPECT_EQ(loaded.tags, (std::vector<std::string>{"red", "with space, comma and \"quotes\""}));
  EXPECT_EQ(loaded.depends_on, (std::vector<std::string>{"doc:7", "user:{9}"}));
  EXPECT_EQ(loaded.validator, "v1");
}

TEST_P(OriginSuite, SaysNothingThatTheOriginDidNotSay) {
  rig_->Put("doc:1", {.value = "v"});
  const OriginLoaded loaded = LoadOne("doc:1");
  ASSERT_EQ(KindName(loaded.kind), "found") << loaded.error;
  EXPECT_EQ(loaded.ttl, std::nullopt);
  EXPECT_TRUE(loaded.tags.empty());
  EXPECT_TRUE(loaded.depends_on.empty());
  EXPECT_EQ(loaded.validator, "");
}

TEST_P(OriginSuite, AnswersAbsentForWhatIsNotThere) {
  EXPECT_EQ(KindName(LoadOne("doc:none").kind), "absent");
}

TEST_P(OriginSuite, AnswersUnchangedForTheValidatorThatIsHeld) {
  rig_->Put("doc:1", {.value = "one", .ttl = absl::Seconds(3), .validator = "v1"});
  const OriginLoaded same = LoadOne("doc:1", "v1");
  ASSERT_EQ(KindName(same.kind), "unchanged") << same.error;
  EXPECT_EQ(same.value, "");
  EXPECT_EQ(same.ttl, absl::Seconds(3));
  rig_->Put("doc:1", {.value = "two", .version = 2, .validator = "v2"});
  const OriginLoaded changed = LoadOne("doc:1", "v1");
  ASSERT_EQ(KindName(changed.kind), "found") << changed.error;
  EXPECT_EQ(changed.value, "two");
  EXPECT_EQ(changed.validator, "v2");
  // What names nothing is never what is held.
  rig_->Put("doc:2", {.value = "unnamed"});
  EXPECT_EQ(KindName(LoadOne("doc:2").kind), "found");
}

TEST_P(OriginSuite, KeepsEveryByteOfAValue) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  rig_->Put("doc:all", {.value = all});
  rig_->Put("doc:empty", {.value = ""});
  rig_->Put("doc:zeros", {.value = std::string(3, '\0')});
  rig_->Put("doc:large", {.value = std::string(kOriginLargeBytes, '\xff')});
  const auto loaded = Load({"doc:all", "doc:empty", "doc:zeros", "doc:large"});
  for (const OriginLoaded& each : loaded) EXPECT_EQ(KindName(each.kind), "found") << each.error;
  EXPECT_EQ(loaded[0].value, all);
  EXPECT_EQ(loaded[1].value, "");
  EXPECT_EQ(loaded[2].value, std::string(3, '\0'));
  EXPECT_EQ(loaded[3].value, std::string(kOriginLargeBytes, '\xff'));
}

TEST_P(OriginSuite, TakesKeysOfAnyText) {
  const std::vector<std::string> keys = {"doc:O'Brien",
                                         "doc:\"; DROP TABLE doc; --",
                                         "doc:$1 {a,b}",
                                         "doc:\\x41\\",
                                         "doc:\u00fc\u6f22",
                                         "doc:NULL",
                                         "doc:" + std::string(1020, 'k')};
  for (const std::string& key : keys) rig_->Put(key, {.value = "of " + key});
  const auto loaded = Load(keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(KindName(loaded[i].kind), "found") << keys[i] << ": " << loaded[i].error;
    EXPECT_EQ(loaded[i].value, "of " + keys[i]);
  }
}

TEST_P(OriginSuite, LoadsAThousandKeysInTheOrderOfTheRequest) {
  std::vector<std::string> keys;
  std::vector<std::pair<std::string, OriginHeld>> held;
  // Backwards, so that no order of the backend's is that of the request.
  for (size_t i = kOriginItemsMax; i > 0; --i) {
    keys.push_back(StrCat("doc:", i));
    if (i % 3 != 0) held.push_back({keys.back(), {.value = StrCat("value ", i)}});
  }
  rig_->PutAll(held);
  const auto loaded = Load(keys);
  for (size_t place = 0; place < keys.size(); ++place) {
    const size_t i = kOriginItemsMax - place;
    EXPECT_EQ(KindName(loaded[place].kind), i % 3 != 0 ? "found" : "absent") << keys[place];
    if (i % 3 != 0) {
      EXPECT_EQ(loaded[place].value, StrCat("value ", i));
    }
  }
}

TEST_P(OriginSuite, NothingAskedForIsNothingAnswered) {
  EXPECT_TRUE(Load({}).empty());
  EXPECT_TRUE(Store({}).empty());
}

TEST_P(OriginSuite, RefusesMoreItemsThanACallMayHave) {
  std::vector<std::string> keys;
  std::vector<OriginStore::Write> writes;
  for (size_t i = 0; i <= kOriginItemsMax; ++i) {
    keys.push_back(StrCat("doc:", i));
    writes.push_back(Write(keys.back(), "v", 1));
  }
  const auto loaded = AwaitTask(origin().Load(LoadOf(keys), Soon()));
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument) << loaded.status();
  const auto stored = AwaitTask(origin().Store(StoreOf(std::move(writes)), Soon()));
  EXPECT_EQ(stored.status().code(), absl::StatusCode::kInvalidArgument) << stored.status();
  for (const uint32_t limit : {0u, kOriginPageMax + 1}) {
    const auto page = AwaitTask(origin().Scan({Call(), limit, "", false}, Soon()));
    EXPECT_EQ(page.status().code(), absl::StatusCode::kInvalidArgument) << page.status();
  }
  EXPECT_FALSE(rig_->Held("doc:0").has_value());
}

TEST_P(OriginSuite, OneKeyThatFailsLeavesTheOthersTheirAnswers) {
  if (!Can(Fault::kLoadFails)) return;
  for (const char* key : {"doc:a", "doc:b", "doc:c", "doc:d"}) rig_->Put(key, {.value = key});
  rig_->SetFault("doc:b", Fault::kLoadFails);
  rig_->SetFault("doc:d", Fault::kLoadFails);
  const auto loaded = Load({"doc:a", "doc:b", "doc:none", "doc:c", "doc:d"});
  EXPECT_EQ(loaded[0].value, "doc:a");
  EXPECT_EQ(KindName(loaded[1].kind), "failed");
  EXPECT_FALSE(loaded[1].error.ok());
  EXPECT_EQ(KindName(loaded[2].kind), "absent");
  EXPECT_EQ(loaded[3].value, "doc:c");
  EXPECT_EQ(KindName(loaded[4].kind), "failed");
  EXPECT_FALSE(loaded[4].error.ok());
  EXPECT_EQ(origin().Stats().item_errors, 2u);
  rig_->SetFault("doc:b", Fault::kNone);
  EXPECT_EQ(LoadOne("doc:b").value, "doc:b");
}

TEST_P(OriginSuite, FailsTheItemsWhoseAnswersMakeNoSense) {
  if (!Can(Fault::kGarbage)) return;
  rig_->Put("doc:a", {.value = "a"});
  rig_->Put("doc:b", {.value = "b"});
  rig_->SetFault("doc:b", Fault::kGarbage);
  const auto loaded = Load({"doc:a", "doc:b"});
  EXPECT_EQ(loaded[0].value, "a");
  EXPECT_EQ(KindName(loaded[1].kind), "failed");
  EXPECT_EQ(loaded[1].error.code(), absl::StatusCode::kDataLoss) << loaded[1].error;
  EXPECT_EQ(origin().Stats().bad_answers, 1u);
}

TEST_P(OriginSuite, FailsTheItemsWhoseAnswersAreOutOfLimits) {
  const std::vector<std::string> many(17, "tag");
  rig_->Put("doc:good", {.value = "v",
                         .tags = std::vector<std::string>(16, "tag"),
                         .validator = std::string(kValidatorBytesMax, 'v')});
  rig_->Put("doc:tags", {.value = "v", .tags = many});
  rig_->Put("doc:tag", {.value = "v", .tags = {std::string(129, 't')}});
  rig_->Put("doc:depends", {.value = "v", .depends_on = {"a\nb"}});
  rig_->Put("doc:validator", {.value = "v", .validator = std::string(kValidatorBytesMax + 1, 'v')});
  rig_->Put("doc:ttl", {.value = "v", .ttl = absl::Milliseconds(-5)});
  rig_->Put("doc:zero", {.value = "v", .ttl = absl::ZeroDuration()});
  const auto loaded = Load(
      {"doc:good", "doc:tags", "doc:tag", "doc:depends", "doc:validator", "doc:ttl", "doc:zero"});
  EXPECT_EQ(KindName(loaded[0].kind), "found") << loaded[0].error;
  for (size_t i = 1; i < loaded.size(); ++i) {
    EXPECT_EQ(KindName(loaded[i].kind), "failed") << i;
    EXPECT_EQ(loaded[i].error.code(), absl::StatusCode::kDataLoss) << i << loaded[i].error;
  }
  EXPECT_EQ(origin().Stats().bad_answers, 6u);
}

}  // namespace
}  // namespace larder
