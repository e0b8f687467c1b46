// What operators do with a journal's dead letters: see Journal. Thread safety: any function, any
// thread; the tasks hold no thread while they wait, and read on the journal's reader.
// Errors: JOURNAL_UNAVAILABLE, WRITE_UNKNOWN, DRAINING, and what the store's reads say.

#ifndef LARDER_JOURNAL_JOURNAL_LETTERS_H_
#define LARDER_JOURNAL_JOURNAL_LETTERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "base/executor.h"
#include "base/task.h"
#include "journal/journal.h"
#include "journal/journal_state.h"
#include "journal/journal_writer.h"

namespace larder {

// The parts of a journal that this needs, and what keeps them.
struct JournalLetters {
  std::shared_ptr<void> alive;
  JournalState* state = nullptr;
  JournalWriter* writer = nullptr;
  Executor* reader = nullptr;
};

Task<absl::StatusOr<LetterPage>> ListLetters(JournalLetters journal, LetterFilter filter,
                                             uint64_t after, size_t limit, bool with_values);
Task<absl::StatusOr<uint64_t>> RetryLetters(JournalLetters journal, LetterFilter filter);
Task<absl::StatusOr<uint64_t>> DropLetters(JournalLetters journal, LetterFilter filter);

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_LETTERS_H_
