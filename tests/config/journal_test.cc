#include "config/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "config/config.h"
#include "config/origins.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

Config Load(const std::string& text) {
  const auto config = LoadConfig({.file_name = "f", .text = text}, SomeMachine());
  EXPECT_TRUE(config.ok()) << text << "\n" << config.status().message();
  return config.ok() ? *config : *LoadConfig({}, SomeMachine());
}

std::string SourceOf(const Config& config, const std::string& path) {
  for (const Setting& setting : config.settings) {
    if (setting.path == path) return absl::StrCat(setting.value, " # ", setting.source);
  }
  return "";
}

constexpr char kOrigins[] =
    "origins: {p: {grpc: {target: x}}, q: {grpc: {target: y}}}\n"
    "data: {path: /d}\n";

TEST(JournalConfigTest, DefaultsAreThoseOfThePolicyAndOfTheJournal) {
  const WritePolicy got = Load("").types->Get(0).write;
  const WritePolicy want;
  EXPECT_EQ(got.mode, want.mode);
  EXPECT_EQ(got.timeout, want.timeout);
  EXPECT_EQ(got.sync, want.sync);
  EXPECT_EQ(got.delay, want.delay);
  EXPECT_EQ(got.batch, want.batch);
  EXPECT_EQ(got.coalesce, want.coalesce);
  EXPECT_EQ(got.attempts, want.attempts);
  EXPECT_EQ(got.backoff.first, want.backoff.first);
  EXPECT_EQ(got.backoff.max, want.backoff.max);
  EXPECT_EQ(got.on_full, want.on_full);
  EXPECT_EQ(got.bytes_max, want.bytes_max);
  EXPECT_EQ(got.entries_max, want.entries_max);
  EXPECT_EQ(got.age_max, want.age_max);
  const auto journal = JournalOptionsOf(
      Load(absl::StrCat(kOrigins, "types: {a: {origin: p, write: {mode: behind}}}")));
  ASSERT_TRUE(journal.has_value());
  const Journal::Options parts;
  EXPECT_EQ(journal->bytes_max, parts.bytes_max);
  EXPECT_EQ(journal->entries_max, parts.entries_max);
  EXPECT_EQ(journal->age_max, parts.age_max);
  EXPECT_EQ(journal->deliveries_max, parts.deliveries_max);
}

TEST(JournalConfigTest, EveryFieldArrives) {
  const Config config = Load(absl::StrCat(
      kOrigins,
      "journal: {path: /j, max_bytes: 2GiB, max_entries: 3, max_age: 4h, sync: none, deliveries: "
      "5}\n"
      "types:\n"
      "  a:\n"
      "    origin: p\n"
      "    write: {mode: behind, timeout: 6s, sync: os, delay: 7ms, batch: 8, coalesce: false, "
      "attempts: 9, backoff: {first: 10ms, max: 11s}, on_full: block, max_bytes: 12MiB, "
      "max_entries: 2, max_age: 14m}\n"
      "  b: {origin: q, write: {mode: behind, on_full: write_through}}\n"
      "  c: {origin: q, write: {mode: through}}\n"));
  const auto journal = JournalOptionsOf(config);
  ASSERT_TRUE(journal.has_value());
  EXPECT_EQ(journal->store.path, "/j");
  EXPECT_EQ(journal->bytes_max, uint64_t{2} << 30);
  EXPECT_EQ(journal->entries_max, 3u);
  EXPECT_EQ(journal->age_max, absl::Hours(4));
  EXPECT_EQ(journal->deliveries_max, 5u);
  ASSERT_EQ(journal->types.size(), 2u);
  const Journal::Type& a = journal->types[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.origin, "p");
  EXPECT_EQ(a.policy.mode, WriteMode::kBehind);
  EXPECT_EQ(a.policy.timeout, absl::Seconds(6));
  EXPECT_EQ(a.policy.sync, JournalSync::kOs);
  EXPECT_EQ(a.policy.delay, absl::Milliseconds(7));
  EXPECT_EQ(a.policy.batch, 8u);
  EXPECT_FALSE(a.policy.coalesce);
  EXPECT_EQ(a.policy.attempts, 9);
  EXPECT_EQ(a.policy.backoff.first, absl::Milliseconds(10));
  EXPECT_EQ(a.policy.backoff.max, absl::Seconds(11));
  EXPECT_EQ(a.policy.on_full, OnFull::kBlock);
  EXPECT_EQ(a.policy.bytes_max, 12u << 20);
  EXPECT_EQ(a.policy.entries_max, 2u);
  EXPECT_EQ(a.policy.age_max, absl::Minutes(14));
  const Journal::Type& b = journal->types[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.origin, "q");
  EXPECT_EQ(b.policy.sync, JournalSync::kNone);  // as journal.sync says
  EXPECT_EQ(b.policy.on_full, OnFull::kWriteThrough);
  EXPECT_EQ(config.types->Find("a")->write.batch, 8u);
  EXPECT_EQ(config.types->Find("c")->write.mode, WriteMode::kThrough);
}

TEST(JournalConfigTest, EveryModeHasItsName) {
  for (const auto& [name, mode] :
       {std::pair("cache_only", WriteMode::kCacheOnly), std::pair("through", WriteMode::kThrough),
        std::pair("invalidate", WriteMode::kInvalidate), std::pair("around", WriteMode::kAround),
        std::pair("behind", WriteMode::kBehind)}) {
    const Config config =
        Load(absl::StrCat(kOrigins, "types: {a: {origin: p, write: {mode: ", name, "}}}"));
    EXPECT_EQ(config.types->Find("a")->write.mode, mode) << name;
  }
}

TEST(JournalConfigTest, ThereIsNoJournalUnlessATypeWritesBehind) {
  EXPECT_FALSE(JournalOptionsOf(Load("")).has_value());
  EXPECT_FALSE(
      JournalOptionsOf(Load(absl::StrCat(kOrigins,
                                         "journal: {path: /j}\n"
                                         "types: {a: {origin: p, write: {mode: through}}}")))
          .has_value());
}

TEST(JournalConfigTest, IsBesideTheOtherDataUnlessItIsToldWhere) {
  EXPECT_EQ(JournalPathOf(*Load("").proto), "");
  EXPECT_EQ(JournalPathOf(*Load("data: {path: /d}").proto), "/d/journal");
  EXPECT_EQ(JournalPathOf(*Load("data: {path: /d}\njournal: {path: /j}").proto), "/j");
}

TEST(JournalConfigTest, SaysWhereSyncComesFrom) {
  const std::string path = "types.default.write.sync";
  EXPECT_EQ(SourceOf(Load(""), path), "fsync # auto: journal.sync is fsync");
  EXPECT_EQ(SourceOf(Load("journal: {sync: none}"), path), "none # auto: journal.sync is none");
  // What is printed means the same when it is loaded again.
  const Config config = Load("journal: {sync: os}");
  EXPECT_EQ(Load(PrintConfig(config)).types->Get(0).write.sync, JournalSync::kOs);
}

// A write may take as long as its type says, whatever loads may.
TEST(JournalConfigTest, GuardOfTheOriginLetsWritesTakeTheirTime) {
  const auto call_max = [](const std::string& type) {
    const auto origins = OriginsOf(Load(absl::StrCat(kOrigins, "types: {a: {origin: p, ", type)));
    EXPECT_TRUE(origins.ok());
    return origins->front().guard.call_max;
  };
  EXPECT_EQ(call_max("write: {mode: behind, timeout: 4m}}}"), absl::Minutes(4));
  EXPECT_EQ(call_max("write: {mode: cache_only}}}"), OriginGuardOptions().call_max);
}

}  // namespace
}  // namespace larder
