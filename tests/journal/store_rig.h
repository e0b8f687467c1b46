// What the tests of the journal's store do again and again: open one in a temporary folder, append,
// look at all that is there.

#ifndef LARDER_TESTS_JOURNAL_STORE_RIG_H_
#define LARDER_TESTS_JOURNAL_STORE_RIG_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "journal/journal_store.h"

namespace larder {

// Removed with all that is in it.
class JournalFolder {
 public:
  JournalFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-journal-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    root_ = std::filesystem::canonical(name).string();
  }
  ~JournalFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  JournalFolder(const JournalFolder&) = delete;
  JournalFolder& operator=(const JournalFolder&) = delete;

  const std::string& root() const { return root_; }
  std::string path() const { return root_ + "/journal"; }

 private:
  std::string root_;
};

inline JournalRecord RecordOf(uint64_t seq, size_t value_bytes = 100) {
  JournalRecord record;
  record.seq = seq;
  record.full_key = StrCat("shop/k", seq);
  record.type = "user";
  record.value = StrCat(seq, "/", std::string(value_bytes, static_cast<char>('a' + seq % 26)));
  record.version = 1000 + seq;
  record.request_id = StrCat("r", seq);
  record.enqueued = absl::FromUnixNanos(static_cast<int64_t>(seq) + 1'700'000'000'000'000'000);
  return record;
}

inline DeadLetter LetterOf(uint64_t id, uint64_t seq) {
  DeadLetter letter;
  letter.id = id;
  letter.record = RecordOf(seq);
  letter.error = StrCat("refused ", id);
  letter.attempts = 8;
  letter.first_attempt = absl::FromUnixNanos(5);
  letter.last_attempt = absl::FromUnixNanos(static_cast<int64_t>(id));
  return letter;
}

inline JournalStore::Changes Appending(uint64_t first, uint64_t last, size_t value_bytes = 100) {
  JournalStore::Changes changes;
  for (uint64_t seq = first; seq <= last; ++seq)
    changes.append.push_back(RecordOf(seq, value_bytes));
  return changes;
}

inline JournalStore::Changes Erasing(std::vector<uint64_t> seqs) {
  JournalStore::Changes changes;
  changes.erase = std::move(seqs);
  return changes;
}

inline bool SameRecord(const JournalRecord& a, const JournalRecord& b) {
  return a.seq == b.seq && a.full_key == b.full_key && a.type == b.type && a.remove == b.remove &&
         a.value == b.value && a.version == b.version && a.request_id == b.request_id &&
         a.enqueued == b.enqueued && a.trace_parent == b.trace_parent;
}

// What Scan and Read answer: the records by their seq, whole; and the ids of the letters.
struct StoreContent {
  std::map<uint64_t, JournalRecord> records;
  std::vector<uint64_t> letters;

  std::vector<uint64_t> seqs() const {
    std::vector<uint64_t> seqs;
    for (const auto& [seq, record] : records) seqs.push_back(seq);
    return seqs;
  }
};

inline absl::StatusOr<StoreContent> ContentOf(JournalStore& store) {
  StoreContent content;
  std::vector<uint64_t> seqs;
  std::map<uint64_t, uint64_t> value_bytes;
  const absl::Status scanned = store.Scan(
      [&](const JournalStore::Head& head) {
        seqs.push_back(head.record.seq);
        value_bytes[head.record.seq] = head.value_bytes;
      },
      [&](const DeadLetter& letter, uint64_t) { content.letters.push_back(letter.id); });
  if (!scanned.ok()) return scanned;
  auto read = store.Read(seqs);
  if (!read.ok()) return read.status();
  for (size_t i = 0; i < seqs.size(); ++i) {
    if (!(*read)[i].has_value()) return absl::InternalError(StrCat(seqs[i], " is not there"));
    if ((*read)[i]->value.size() != value_bytes[seqs[i]])
      return absl::InternalError(StrCat(seqs[i], " has another length"));
    content.records[seqs[i]] = *std::move((*read)[i]);
  }
  return content;
}

class StoreTest : public testing::Test {
 protected:
  ~StoreTest() override { store_.reset(); }

  std::string path() const { return folder_.path(); }
  JournalStore::Options options() const {
    JournalStore::Options options;
    options.path = path();
    return options;
  }
  void Open() { Open(options()); }
  void Open(const JournalStore::Options& options) {
    store_.reset();
    auto store = JournalStore::Open(options);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void Close() {
    const absl::Status closed = store_->Close();
    EXPECT_TRUE(closed.ok()) << closed;
    store_.reset();
  }
  // As a process that is killed.
  void Crash() { store_.reset(); }

  void Apply(const JournalStore::Changes& changes, bool sync = true) {
    const absl::Status applied = store_->Apply(changes, sync);
    ASSERT_TRUE(applied.ok()) << applied;
  }
  // Whole, or the test fails.
  StoreContent Content() {
    auto content = ContentOf(*store_);
    EXPECT_TRUE(content.ok()) << content.status();
    if (!content.ok()) return {};
    for (const auto& [seq, record] : content->records) {
      EXPECT_EQ(record.value.substr(0, record.value.find('/')), StrCat(seq));
    }
    return *std::move(content);
  }
  std::vector<uint64_t> Seqs() { return Content().seqs(); }

  JournalFolder folder_;
  std::unique_ptr<JournalStore> store_;
};

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_STORE_RIG_H_
