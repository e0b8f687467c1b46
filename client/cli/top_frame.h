// What `top` shows: one page of lines, the most important first, made for a screen of a given size.
// Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_TOP_FRAME_H_
#define LARDER_CLIENT_CLI_TOP_FRAME_H_

#include <string>
#include <vector>

#include "client/cli/pulse.h"
#include "client/cli/screen.h"

namespace larder::cli {

struct TopState {
  std::string server;
  // Why the last reading failed; empty: it did not.
  std::string trouble;
  // The last reading, and what came between it and the one before.
  const Sample* sample = nullptr;  // null: there is none yet
  const Pulse* pulse = nullptr;
  absl::Time now;
};

// At most size.lines lines, none wider than size.columns. What does not fit is left out from the
// end of each table, and the tables share what room there is.
std::vector<std::string> TopFrame(const TopState& state, ScreenSize size);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_TOP_FRAME_H_
