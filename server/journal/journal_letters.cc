// Letters are put back and dropped some at a time, each time in one step on disk: put back means
// that the letter goes and its record comes. A crash between two steps leaves every letter either
// here or there. What has been put back stands behind what waits, with the version that it has, so
// that a newer write of its key, waiting or delivered, stays what it is. Whether a newer one was
// delivered meanwhile nobody knows any more; so the record says for itself that it was put back,
// and readers see what the origin has instead.

#include "journal/journal_letters.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"

namespace larder {
namespace {

// Of one step, with their values in memory.
constexpr size_t kLettersTogether = 100;
constexpr size_t kPageMax = 1'000;

absl::Status Closed() { return Error(Reason::kDRAINING, "the journal is closed"); }

// Letters that come meanwhile have larger ids, and are left alone.
uint64_t LastOf(const JournalLetters& journal) {
  MutexLock lock(&journal.state->mu);
  return journal.state->last_seq;
}

}  // namespace

Task<absl::StatusOr<LetterPage>> ListLetters(JournalLetters journal, LetterFilter filter,
                                             uint64_t after, size_t limit, bool with_values) {
  co_await Hop(journal.reader);
  if (journal.state->IsClosed()) co_return Closed();
  const LetterTable::Page found =
      journal.state->letters.Find(filter, after, std::clamp<size_t>(limit, 1, kPageMax));
  LetterPage page;
  page.total = found.total;
  if (found.more) page.next = found.ids.back();
  absl::Status failed;
  for (size_t begin = 0; begin < found.ids.size() && failed.ok(); begin += kLettersTogether) {
    const size_t end = std::min(found.ids.size(), begin + kLettersTogether);
    const std::vector<uint64_t> ids(found.ids.begin() + static_cast<ptrdiff_t>(begin),
                                    found.ids.begin() + static_cast<ptrdiff_t>(end));
    auto letters = journal.state->store->ReadLetters(ids);
    failed = letters.status();
    if (!failed.ok()) break;
    for (auto& letter : *letters) {
      // Dropped meanwhile.
      if (!letter.has_value()) continue;
      LetterPage::Item item{*std::move(letter)};
      item.value_bytes = item.letter.record.value.size();
      if (!with_values) item.letter.record.value = std::string();
      page.letters.push_back(std::move(item));
    }
  }
  co_await Hop(journal.state->options.executor);
  if (!failed.ok()) co_return failed;
  co_return page;
}

Task<absl::StatusOr<uint64_t>> RetryLetters(JournalLetters journal, LetterFilter filter) {
  uint64_t retried = 0;
  uint64_t after = 0;
  const uint64_t last = LastOf(journal);
  for (bool more = true; more && after < last;) {
    co_await Hop(journal.reader);
    if (journal.state->IsClosed()) co_return Closed();
    const LetterTable::Page found = journal.state->letters.Find(filter, after, kLettersTogether);
    more = found.more;
    if (found.ids.empty()) break;
    after = found.ids.back();
    auto letters = journal.state->store->ReadLetters(found.ids);
    if (!letters.ok()) {
      co_await Hop(journal.state->options.executor);
      co_return letters.status();
    }
    const auto change = std::make_shared<JournalChange>();
    change->sync = true;
    change->since = journal.state->options.clock->Mono();
    {
      MutexLock lock(&journal.state->mu);
      for (size_t i = 0; i < found.ids.size(); ++i) {
        if (found.ids[i] > last) continue;
        change->drop_letters.push_back(found.ids[i]);
        if (!(*letters)[i].has_value()) continue;
        JournalRecord record = std::move((*letters)[i]->record);
        record.enqueued = journal.state->options.clock->Now();
        record.put_back = true;
        change->types.push_back(journal.state->index.TypeOfStored(record.type));
        change->of_letters.push_back(found.ids[i]);
        change->writes.push_back(std::move(record));
      }
    }
    const absl::Status status = co_await journal.writer->Change(change);
    if (!status.ok()) co_return status;
    // But for those that others were faster with.
    retried += change->writes.size();
  }
  co_return retried;
}

Task<absl::StatusOr<uint64_t>> DropLetters(JournalLetters journal, LetterFilter filter) {
  uint64_t dropped = 0;
  uint64_t after = 0;
  const uint64_t last = LastOf(journal);
  for (bool more = true; more && after < last;) {
    co_await Hop(journal.reader);
    const LetterTable::Page found = journal.state->letters.Find(filter, after, kPageMax);
    more = found.more;
    if (found.ids.empty()) break;
    after = found.ids.back();
    const auto change = std::make_shared<JournalChange>();
    change->sync = true;
    for (const uint64_t id : found.ids) {
      if (id <= last) change->drop_letters.push_back(id);
    }
    const absl::Status status = co_await journal.writer->Change(change);
    if (!status.ok()) co_return status;
    dropped += change->drop_letters.size();
  }
  co_await Hop(journal.state->options.executor);
  co_return dropped;
}

}  // namespace larder
