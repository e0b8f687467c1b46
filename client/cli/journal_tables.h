// How the commands show the write-behind journal.

#ifndef LARDER_CLIENT_CLI_JOURNAL_TABLES_H_
#define LARDER_CLIENT_CLI_JOURNAL_TABLES_H_

#include "client/cli/output.h"
#include "larder/journal.h"

namespace larder::cli {

Json JournalJson(const JournalStats& stats);
// A line or two for `stats`, and all of it for `journal status`.
void PrintJournalLine(const JournalStats& stats, Output* out);
void PrintJournal(const JournalStats& stats, Output* out);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_JOURNAL_TABLES_H_
