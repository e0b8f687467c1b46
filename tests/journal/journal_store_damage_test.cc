// Bits that flip, files that are cut, zeroed, removed: no acknowledged record is lost unless it is
// reported as damage, and what comes back is what was written.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "tests/journal/faulty_disk.h"
#include "tests/journal/store_history.h"
#include "tests/journal/store_rig.h"

namespace larder {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

bool Long() { return std::getenv("LARDER_LONG") != nullptr; }

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::vector<uint64_t> Missing(const std::set<uint64_t>& wanted, const std::set<uint64_t>& found) {
  std::vector<uint64_t> missing;
  std::set_difference(wanted.begin(), wanted.end(), found.begin(), found.end(),
                      std::back_inserter(missing));
  return missing;
}

class JournalStoreDamageTest : public StoreTest {
 protected:
  // Nothing here has to survive the machine: the disk saves the time that syncs would take.
  JournalStoreDamageTest() : disk_(folder_.root()) {}

  std::string golden() const { return folder_.root() + "/golden"; }
  fs::path InDb(const std::string& name) const { return fs::path(path()) / "db" / name; }

  // Tables of several generations, erased and live records, letters, and a log; as a process that
  // was killed leaves it, in `golden`.
  void Fill() {
    Open();
    for (int generation = 0; generation < 3; ++generation) {
      if (generation > 0) {
        Close();
        Open();
      }
      for (int i = 0; i < 40; ++i) {
        Apply(history_.Next(), i % 2 == 0);
        history_.Acknowledged(i % 2 == 0);
      }
    }
    Crash();
    fs::copy(path(), golden(), fs::copy_options::recursive);
  }
  void Restore() {
    Crash();
    fs::remove_all(path());
    fs::copy(golden(), path(), fs::copy_options::recursive);
  }
  std::vector<fs::path> Files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(golden())) {
      const std::string name = entry.path().filename().string();
      if (!entry.is_regular_file() || name.starts_with("LOG") || name == "LOCK") continue;
      files.push_back(fs::relative(entry.path(), golden()));
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  fs::path TheLog() const {
    fs::path log;
    for (const fs::path& file : Files()) {
      if (file.extension() == ".log" && fs::file_size(golden() / file) > 0) log = file;
    }
    return log;
  }

  // The store at path() opens, has everything or says so, and works on. Whether it was damage.
  bool ExpectHonest(const std::string& what) {
    SCOPED_TRACE(what);
    Open();
    if (HasFatalFailure()) return false;
    const JournalDamage damage = store_->Damage();
    const StoreContent content = Content();
    const StoreHistory::Moment found = StoreHistory::MomentOf(content);
    EXPECT_LE(damage.events, 1u);
    if (damage.events == 0) {
      EXPECT_TRUE(found == history_.now())
          << "silent: " << found.records.size() << " records for " << history_.now().records.size();
    } else {
      EXPECT_FALSE(damage.last.empty());
      const std::vector<uint64_t> missing = Missing(history_.now().records, found.records);
      // What is back again makes it look as if less was lost, never more.
      EXPECT_LE(damage.records_lost,
                missing.size() + Missing(history_.now().letters, found.letters).size());
      lost_ += missing.size();
      told_ += damage.records_lost;
    }
    for (const auto& [seq, record] : content.records) {
      const JournalRecord original = RecordOf(seq, 0);
      EXPECT_EQ(record.full_key, original.full_key);
      EXPECT_EQ(record.version, original.version);
      EXPECT_TRUE(record.value.find_first_not_of(record.value.back(), original.value.size()) ==
                  std::string::npos);
    }
    EXPECT_GE(store_->last_seq(), *history_.now().records.rbegin());
    // It works on, and the damage is gone with the next start.
    const uint64_t next = store_->last_seq() + 1;
    Apply(Appending(next, next));
    Crash();
    Open();
    if (HasFatalFailure()) return false;
    EXPECT_EQ(store_->Damage().events, 0u) << store_->Damage().last;
    EXPECT_EQ(Seqs().size(), content.records.size() + 1);
    return damage.events > 0;
  }

  FaultyDisk disk_;
  StoreHistory history_{9, 300};
  uint64_t lost_ = 0;
  uint64_t told_ = 0;
};

TEST_F(JournalStoreDamageTest, FlippedBitsAreFoundOrHarmless) {
  Fill();
  std::mt19937 random(17);
  const std::vector<fs::path> files = Files();
  const int flips = Long() ? 10'000 : 300;
  int found = 0;
  for (int i = 0; i < flips && !HasFailure(); ++i) {
    Restore();
    // Half of them in the log, where the last records are.
    const fs::path file = i % 2 == 0 ? TheLog() : files[random() % files.size()];
    std::string bytes = ReadFile(golden() / file);
    if (bytes.empty()) continue;
    const size_t at = random() % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    WriteFile(path() / file, bytes);
    found += ExpectHonest(StrCat("flip ", i, " of ", file.string(), " at ", at));
  }
  EXPECT_GT(found, flips / 3);
  std::cout << flips << " flips: " << found << " reported as damage, " << lost_
            << " records lost with them; " << told_ << " records and letters were told as lost\n";
}

TEST_F(JournalStoreDamageTest, FilesThatAreCutEmptiedGrownZeroedOrGoneAreFound) {
  Fill();
  for (const fs::path& file : Files()) {
    const std::string good = ReadFile(golden() / file);
    for (const char* way : {"emptied", "halved", "cut", "grown", "zeroed", "gone"}) {
      const std::string_view name = way;
      Restore();
      std::string bad = good;
      if (name == "emptied") bad.clear();
      if (name == "halved") bad.resize(bad.size() / 2);
      if (name == "cut") bad.resize(bad.size() - std::min<size_t>(1, bad.size()));
      if (name == "grown") bad += "more";
      if (name == "zeroed")
        for (size_t i = bad.size() / 4; i < bad.size() / 2; ++i) bad[i] = '\0';
      if (name == "gone") {
        fs::remove(path() / file);
      } else {
        WriteFile(path() / file, bad);
      }
      ExpectHonest(StrCat(file.string(), " ", way));
      if (HasFailure()) return;
    }
  }
}

// Of a piece of the log that reads as zeros RocksDB says nothing.
TEST_F(JournalStoreDamageTest, HoleInTheLogIsFound) {
  Fill();
  const std::string good = ReadFile(golden() / TheLog());
  for (int i = 0; i < 20; ++i) {
    Restore();
    std::string bad = good;
    const size_t at = good.size() / 20 * static_cast<size_t>(i);
    for (size_t k = at; k < std::min(at + 512, bad.size()); ++k) bad[k] = '\0';
    WriteFile(path() / TheLog(), bad);
    EXPECT_TRUE(ExpectHonest(StrCat("hole at ", at)));
    if (HasFailure()) return;
  }
}

// One flipped bit makes the first record of the log look as if it were of a recycled log, which the
// reader that skips what is corrupt reads again and again.
TEST_F(JournalStoreDamageTest, RecordThatLooksRecycledIsNotReadForEver) {
  Fill();
  Restore();
  std::string bytes = ReadFile(path() / TheLog());
  // Checksum, length, type: a whole record.
  ASSERT_EQ(bytes[6], 1);
  bytes[6] ^= 4;
  WriteFile(path() / TheLog(), bytes);
  EXPECT_TRUE(ExpectHonest("recycled"));
}

TEST_F(JournalStoreDamageTest, WhatIsKnownToHaveBeenErasedComesBackAsPutBack) {
  Open();
  Apply(Appending(1, 4));
  const fs::path log = [this] {
    for (const auto& entry : fs::directory_iterator(path() + "/db"))
      if (entry.path().extension() == ".log" && entry.file_size() > 0) return entry.path();
    return fs::path();
  }();
  const uintmax_t size = fs::file_size(log);
  Apply(Erasing({1, 2}));
  Crash();
  fs::resize_file(log, size);
  Open();
  EXPECT_EQ(store_->Damage().events, 1u);
  const StoreContent content = Content();
  ASSERT_EQ(content.records.size(), 4u);
  for (const auto& [seq, record] : content.records) EXPECT_EQ(record.put_back, seq <= 2) << seq;
}

// The log cut at every byte of its last batches. With the MARK from before them nobody was told of
// them, and that is no damage; with that of the end it is.
TEST_F(JournalStoreDamageTest, TornEndIsCutAndALostEndIsReported) {
  Open();
  Apply(Appending(1, 20));
  const int batches = Long() ? 5 : 1;
  std::vector<uintmax_t> sizes;
  const auto log_bytes = [this] {
    uintmax_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(path() + "/db"))
      if (entry.path().extension() == ".log") bytes = std::max(bytes, entry.file_size());
    return bytes;
  };
  sizes.push_back(log_bytes());
  const std::string early_mark = ReadFile(path() + "/MARK");
  for (int i = 0; i < batches; ++i) {
    const auto seq = static_cast<uint64_t>(21 + i);
    JournalStore::Changes changes = Appending(seq, seq, 10);
    changes.erase = {seq - 20};
    Apply(changes);
    sizes.push_back(log_bytes());
  }
  Crash();
  fs::copy(path(), golden(), fs::copy_options::recursive);
  const fs::path log = TheLog();
  ASSERT_EQ(fs::file_size(golden() / log), sizes.back());
  for (uintmax_t size = sizes.front(); size <= sizes.back(); ++size) {
    SCOPED_TRACE(size);
    const auto whole = static_cast<uint64_t>(std::upper_bound(sizes.begin(), sizes.end(), size) -
                                             sizes.begin() - 1);
    for (const bool told : {false, true}) {
      // To salvage takes longer.
      if (told && !Long() && size % 4 != 0) continue;
      Restore();
      fs::resize_file(path() / log, size);
      if (!told) WriteFile(path() + "/MARK", early_mark);
      Open();
      const std::vector<uint64_t> seqs = Seqs();
      EXPECT_EQ(seqs.size(), 20u);
      EXPECT_EQ(seqs.back(), 20 + whole);
      EXPECT_EQ(store_->Damage().events, told && size < sizes.back() ? 1u : 0u)
          << store_->Damage().last;
      EXPECT_EQ(store_->last_seq(), told ? 20u + static_cast<uint64_t>(batches) : 20 + whole);
      if (HasFailure()) return;
    }
  }
}

TEST_F(JournalStoreDamageTest, SaysWhatIsWrongAndKeepsACopyOfIt) {
  Fill();
  Restore();
  const fs::path log = path() / TheLog();
  std::string bytes = ReadFile(log);
  bytes.resize(bytes.size() - 10);
  WriteFile(log, bytes);
  Open();
  const JournalDamage damage = store_->Damage();
  EXPECT_EQ(damage.events, 1u);
  EXPECT_EQ(damage.last, "the last 1 acknowledged changes are missing");
  EXPECT_THAT(damage.set_aside, HasSubstr(path() + "/damaged-"));
  EXPECT_EQ(ReadFile(fs::path(damage.set_aside) / log.filename()), bytes);
  EXPECT_FALSE(fs::exists(path() + "/before"));
}

TEST_F(JournalStoreDamageTest, KeepsTheNewestFourCopies) {
  Open();
  std::string last;
  for (int i = 0; i < 6; ++i) {
    const uint64_t seq = store_->last_seq() + 1;
    Apply(Appending(seq, seq));
    Crash();
    fs::remove(path() + "/MARK");
    Open();
    EXPECT_EQ(store_->Damage().last, "MARK is gone, so nothing says where the end was");
    EXPECT_EQ(Seqs().size(), static_cast<size_t>(i + 1));
    EXPECT_NE(store_->Damage().set_aside, last);
    last = store_->Damage().set_aside;
    EXPECT_TRUE(fs::exists(last));
  }
  int copies = 0;
  for (const auto& entry : fs::directory_iterator(path()))
    copies += entry.path().filename().string().starts_with("damaged-");
  EXPECT_EQ(copies, 4);
}

TEST_F(JournalStoreDamageTest, DatabaseThatIsGoneIsReportedAndNumbersGoOn) {
  Open();
  Apply(Appending(1, 7));
  Crash();
  fs::remove_all(path() + "/db");
  Open();
  EXPECT_EQ(store_->Damage().last, "the database is gone");
  EXPECT_EQ(store_->Damage().records_lost, 7u);
  EXPECT_THAT(Seqs(), IsEmpty());
  EXPECT_EQ(store_->last_seq(), 7u);
  Apply(Appending(8, 8));
  Crash();
  Open();
  EXPECT_EQ(store_->Damage().events, 0u);
  EXPECT_THAT(Seqs(), ElementsAre(8));
}

TEST_F(JournalStoreDamageTest, NewerFormatIsRefusedAndLeftAlone) {
  Open();
  Apply(Appending(1, 1));
  Close();
  std::string mark = ReadFile(path() + "/MARK");
  for (const size_t slot : {size_t{0}, size_t{4096}}) {
    mark[slot + 11] = 3;
    const uint32_t crc = Crc32c(0, std::string_view(mark).substr(slot, 112));
    for (size_t i = 0; i < 4; ++i) mark[slot + 112 + i] = static_cast<char>(crc >> (24 - 8 * i));
  }
  WriteFile(path() + "/MARK", mark);
  const auto store = JournalStore::Open(options());
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(
      store.status().message(),
      absl::string_view(StrCat("the journal at ", path(),
                               " was written by a newer larder, in format 3; this one reads up to "
                               "format 2")));
  EXPECT_EQ(ReadFile(path() + "/MARK"), mark);
  EXPECT_FALSE(fs::exists(path() + "/before"));
}

// The format in each slot of MARK; one that knows only format 1 refuses both if either says more.
TEST_F(JournalStoreDamageTest, FormatStaysTheOldOneUntilSomethingIsTraced) {
  const auto formats = [this] {
    const std::string mark = ReadFile(path() + "/MARK");
    return std::vector<int>{mark[11], mark[4096 + 11]};
  };
  Open();
  Apply(Appending(1, 3));
  EXPECT_THAT(formats(), ElementsAre(1, 1));
  Close();
  Open();
  Apply(Erasing({1}));
  EXPECT_THAT(formats(), ElementsAre(1, 1));
  JournalStore::Changes traced = Appending(4, 4);
  traced.append[0].trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  // Before it is anywhere in the database.
  std::vector<int> before;
  store_.reset();
  JournalStore::Options watched = options();
  watched.at = [&](std::string_view point) {
    if (point == "before_append") before = formats();
  };
  Open(watched);
  Apply(traced);
  EXPECT_THAT(before, ElementsAre(2, 2));
  Apply(Erasing({4}));
  Crash();
  Open();
  EXPECT_EQ(store_->Damage().events, 0u);
  EXPECT_THAT(Seqs(), ElementsAre(2, 3));
  Close();
  EXPECT_THAT(formats(), ElementsAre(2, 2));
  // Nothing says that there is none any more.
  fs::remove(path() + "/MARK");
  Open();
  EXPECT_EQ(store_->Damage().events, 1u);
  EXPECT_THAT(formats(), ElementsAre(2, 2));
}

// A block that goes bad while the store is open: the read says so, nothing more is taken, and Heal
// salvages the rest.
TEST_F(JournalStoreDamageTest, BadBlockUnderARunningStoreIsFoundByAReadAndHealed) {
  Open();
  Apply(Appending(1, 2000, 500));
  Close();
  Open();
  fs::path table;
  for (const auto& entry : fs::directory_iterator(path() + "/db")) {
    if (entry.path().extension() == ".sst" && entry.file_size() > 100'000) table = entry.path();
  }
  ASSERT_FALSE(table.empty());
  {
    // In place, since the store has the file open.
    std::fstream stream(table, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(static_cast<std::streamoff>(fs::file_size(table) / 2));
    stream << "damage";
  }
  absl::Status read;
  for (uint64_t seq = 1; seq <= 2000 && read.ok(); ++seq) read = store_->Read({seq}).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss) << read;
  EXPECT_EQ(store_->Health().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->Apply(Appending(2001, 2001), true).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(store_->Heal().ok()) << store_->Health();
  EXPECT_EQ(store_->Damage().events, 1u);
  const size_t left = Seqs().size();
  // One block of some thirty records.
  EXPECT_LT(left, 2000u);
  EXPECT_GT(left, 1900u);
  EXPECT_EQ(store_->Damage().records_lost, 2000 - left);
  Apply(Appending(2001, 2001));
  Crash();
  Open();
  EXPECT_EQ(Seqs().size(), left + 1);
  EXPECT_EQ(store_->Damage().events, 0u);
}

}  // namespace
}  // namespace larder
