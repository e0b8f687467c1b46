// What `warm` shows while it goes on: on a terminal a bar with rate and time left, redrawn in
// place; elsewhere a line a second; with --json a JSON object a second. Thread safety: none; one
// owner. Takes the time since the beginning with each call. Errors of writing show in Output::Flush
// at the end of the command.

#ifndef LARDER_CLIENT_CLI_PROGRESS_H_
#define LARDER_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "client/cli/output.h"
#include "larder/result.h"

namespace larder::cli {

// How fast a count grows, over the last few seconds.
class Rate {
 public:
  void Add(absl::Duration at, uint64_t count);
  // 0 when there is no telling.
  double PerSecond() const;

 private:
  std::deque<std::pair<absl::Duration, uint64_t>> samples_;
};

class Progress {
 public:
  // How it ended.
  enum class End { kDone, kFailed, kInterrupted };

  // `what` goes before the bar. `most` is how many there are at most where the server does not know
  // how many there are; 0 = not known.
  Progress(Output* out, bool json, std::string what, uint64_t most)
      : out_(out), json_(json), what_(std::move(what)), most_(most) {}

  // Shows how far it is, if it is time to.
  void Show(const WarmProgress& so_far, absl::Duration at);
  // Shows the outcome. Nothing is shown after it.
  void Finish(const WarmProgress& outcome, End end, absl::Duration at);
  // Takes the bar away, where the caller shows the outcome.
  void Clear();

 private:
  void PrintBar(const WarmProgress& so_far, absl::Duration at);
  void PrintLine(const WarmProgress& so_far);
  void PrintJson(const WarmProgress& so_far, absl::Duration at, const End* end);
  // `1200 of 10000` and the like.
  std::string Count(const WarmProgress& so_far) const;
  std::string Speed(const WarmProgress& so_far) const;

  Output* const out_;
  const bool json_;
  const std::string what_;
  const uint64_t most_;
  Rate rate_;
  absl::Duration next_line_ = absl::Seconds(1);
  bool bar_ = false;  // is on the screen
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_PROGRESS_H_
