// The journal's values as messages of the API. Thread safety: pure functions.

#ifndef LARDER_RPC_JOURNAL_CONVERT_H_
#define LARDER_RPC_JOURNAL_CONVERT_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "base/histogram.h"
#include "journal/journal.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "policy/write_policy.h"

namespace larder {

// The count and the quantiles.
void FillQuantiles(const Histogram::Snapshot& snapshot, v1::LatencyStats* to);
void FillJournal(JournalStats stats, v1::JournalStats* to);
void FillLetter(const LetterPage::Item& item, v1::DeadLetter* to);

// `cache_only` and so on.
std::string_view WriteModeName(WriteMode mode);

// REQUEST_INVALID, NAMESPACE_INVALID: what no dead letter can have. Fields begin with `filter.`.
absl::StatusOr<LetterFilter> FilterFrom(const v1::DeadLetterFilter& filter);
// Where a page ended; the empty token is the start.
absl::StatusOr<uint64_t> PageTokenFrom(const std::string& token);

}  // namespace larder

#endif  // LARDER_RPC_JOURNAL_CONVERT_H_
