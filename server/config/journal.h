// Turns the section journal, and what types say about writes, into policies and into the options of
// the journal. Executors and clocks are left to whoever builds it. Thread safety: any thread.

#ifndef LARDER_CONFIG_JOURNAL_H_
#define LARDER_CONFIG_JOURNAL_H_

#include <optional>
#include <string>

#include "config/config.h"
#include "journal/journal.h"
#include "larder/config/v1/config.pb.h"
#include "policy/write_policy.h"

namespace larder {

// What a type says about writes. REQUIRES: every field is filled in.
WritePolicy WritePolicyOf(const config::v1::Write& write);

// Where the journal is, or would be; empty when there is no place for it.
std::string JournalPathOf(const config::v1::Config& config);

// Nothing when no type writes behind.
std::optional<Journal::Options> JournalOptionsOf(const Config& config);

}  // namespace larder

#endif  // LARDER_CONFIG_JOURNAL_H_
