// The rate is that of the last seconds and not the mean since the beginning: an origin that has
// become slow shows at once, and so does the time left that follows from it.

#include "client/cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace larder::cli {
namespace {

constexpr absl::Duration kRateWindow = absl::Seconds(5);
constexpr absl::Duration kLineEvery = absl::Seconds(1);
constexpr size_t kBarMin = 8;
constexpr size_t kBarMax = 40;

uint64_t Settled(const WarmProgress& so_far) { return so_far.loaded + so_far.failed; }

size_t Columns() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// `part` of it is done; below 0: nobody knows, and a mark runs to and fro instead.
std::string Bar(double part, size_t width, absl::Duration at) {
  std::string bar(width, ' ');
  if (part >= 0) {
    const auto full = static_cast<size_t>(std::min(part, 1.0) * static_cast<double>(width));
    std::fill_n(bar.begin(), full, '=');
    if (full < width) bar[full] = '>';
    return "[" + bar + "]";
  }
  const size_t way = width - 3;
  const auto step = static_cast<size_t>(at / absl::Milliseconds(100)) % (2 * way);
  bar.replace(step < way ? step : 2 * way - step, 3, "<=>");
  return "[" + bar + "]";
}

}  // namespace

void Rate::Add(absl::Duration at, uint64_t count) {
  // Between two pieces of news the rate stays; after a second without any it begins to fall.
  if (!samples_.empty() && samples_.back().second == count &&
      at < samples_.back().first + absl::Seconds(1)) {
    return;
  }
  samples_.emplace_back(at, count);
  // The first one is as old as the window, or all there is.
  while (samples_.size() > 2 && samples_[1].first + kRateWindow <= at) samples_.pop_front();
}

double Rate::PerSecond() const {
  if (samples_.size() < 2) return 0;
  const auto& [from, before] = samples_.front();
  const auto& [to, now] = samples_.back();
  const double seconds = absl::ToDoubleSeconds(to - from);
  return seconds <= 0 || now <= before ? 0 : static_cast<double>(now - before) / seconds;
}

std::string Progress::Count(const WarmProgress& so_far) const {
  if (so_far.total > 0) return fmt::format("{} of {}", Settled(so_far), so_far.total);
  if (most_ > 0) return fmt::format("{} of at most {}", Settled(so_far), most_);
  return fmt::format("{}", Settled(so_far));
}

std::string Progress::Speed(const WarmProgress& so_far) const {
  const double rate = rate_.PerSecond();
  std::string speed = fmt::format("{:.0f}/s", rate);
  const uint64_t total = so_far.total > 0 ? so_far.total : most_;
  if (rate > 0 && total > Settled(so_far)) {
    const absl::Duration left = absl::Seconds(static_cast<double>(total - Settled(so_far)) / rate);
    speed += fmt::format(", {} left", Shown(absl::Ceil(left, absl::Seconds(1))));
  }
  if (so_far.failed > 0) speed += fmt::format(", {} failed", so_far.failed);
  return speed;
}

void Progress::PrintBar(const WarmProgress& so_far, absl::Duration at) {
  const uint64_t total = so_far.total > 0 ? so_far.total : most_;
  double part = -1;
  std::string percent;
  if (total > 0) {
    part = static_cast<double>(Settled(so_far)) / static_cast<double>(total);
    percent = fmt::format(" {:3.0f}%", 100 * std::min(part, 1.0));
  }
  const std::string text = fmt::format("{}  {}, {}", percent, Count(so_far), Speed(so_far));
  std::string line = what_ + " ";
  const size_t taken = line.size() + text.size() + 3;  // the brackets, and the last column
  const size_t columns = Columns();
  if (columns >= taken + kBarMin) line += Bar(part, std::min(columns - taken, kBarMax), at);
  line += text;
  // A line that is too long would wrap, and could not be drawn over.
  if (line.size() >= columns) line.resize(columns - 1);
  out_->Bytes("\r" + line + "\x1b[K");
  bar_ = true;
}

void Progress::PrintLine(const WarmProgress& so_far) {
  out_->Line(fmt::format("{}: {}, {}", what_, Count(so_far), Speed(so_far)));
}

void Progress::PrintJson(const WarmProgress& so_far, absl::Duration at, const End* end) {
  Json line;
  line.Field("loaded", so_far.loaded);
  line.Field("failed", so_far.failed);
  line.Field("total", so_far.total);
  line.Field("elapsed_seconds", at);
  line.Field("rate", rate_.PerSecond());
  line.Field("done", end != nullptr && *end == End::kDone);
  line.Field("full", so_far.full);
  if (end != nullptr && *end == End::kInterrupted) line.Field("interrupted", true);
  out_->Print(line);
}

void Progress::Show(const WarmProgress& so_far, absl::Duration at) {
  rate_.Add(at, Settled(so_far));
  if (out_->terminal() && !json_) {
    PrintBar(so_far, at);
  } else {
    if (at < next_line_) return;
    next_line_ = absl::Floor(at, kLineEvery) + kLineEvery;
    if (json_) {
      PrintJson(so_far, at, nullptr);
    } else {
      PrintLine(so_far);
    }
  }
  out_->Flush().IgnoreError();  // shows again at the end
}

void Progress::Clear() {
  if (bar_) out_->Bytes("\r\x1b[K");
  bar_ = false;
}

void Progress::Finish(const WarmProgress& outcome, End end, absl::Duration at) {
  rate_.Add(at, Settled(outcome));
  Clear();
  if (end == End::kFailed && Settled(outcome) == 0) return;  // the error says it all
  if (json_) {
    PrintJson(outcome, at, &end);
    return;
  }
  const double mean =
      static_cast<double>(Settled(outcome)) / std::max(absl::ToDoubleSeconds(at), 1e-3);
  const std::string_view how = end == End::kInterrupted ? ", interrupted"
                               : end == End::kFailed    ? ", then it failed"
                               : outcome.full           ? "; memory is full"
                                                        : "";
  out_->Line(fmt::format("{}: {} loaded, {} failed in {} ({:.0f}/s){}", what_, outcome.loaded,
                         outcome.failed, Shown(absl::Trunc(at, absl::Milliseconds(1))), mean, how));
}

}  // namespace larder::cli
