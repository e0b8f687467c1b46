// The page answers in this order: is it well, how busy is it, does the cache work, is there room;
// which data; which keys. Trouble comes before tables, so that a small screen cannot hide it.

#include "client/cli/top_frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/output.h"

namespace larder::cli {
namespace {

using Lines = std::vector<std::string>;

std::string Percent(std::optional<double> part) {
  return part.has_value() ? fmt::format("{:.1f}%", 100 * *part) : "-";
}

// Short, so that columns stay narrow: 12, 1240, 12.4k, 3.1M.
std::string Count(double number) {
  if (number >= 1e9) return fmt::format("{:.1f}G", number / 1e9);
  if (number >= 1e6) return fmt::format("{:.1f}M", number / 1e6);
  if (number >= 1e4) return fmt::format("{:.1f}k", number / 1e3);
  if (number >= 10 || number == std::floor(number)) return fmt::format("{:.0f}", number);
  return fmt::format("{:.1f}", number);
}

std::string Took(std::optional<absl::Duration> duration) {
  if (!duration.has_value()) return "-";
  const double us = absl::ToDoubleMicroseconds(*duration);
  if (us < 1e3) return fmt::format("{:.0f}us", us);
  if (us < 1e6) return fmt::format("{:.1f}ms", us / 1e3);
  return fmt::format("{:.2f}s", us / 1e6);
}

std::string Bar(double part, size_t width) {
  std::string bar(width, '.');
  const double full = std::clamp(part, 0.0, 1.0) * static_cast<double>(width);
  std::fill_n(bar.begin(), static_cast<size_t>(full + 0.5), '#');
  return "[" + bar + "]";
}

std::string Header(const TopState& state) {
  std::string line = fmt::format("larder top  {}  ", Shown(state.server));
  if (state.sample != nullptr) {
    const StatsResult& stats = state.sample->stats;
    absl::StrAppend(&line, Shown(stats.node), "  up ",
                    Shown(absl::Trunc(state.now - stats.since, absl::Seconds(1))), "  ");
  }
  return line + absl::FormatTime("%H:%M:%S", state.now, absl::LocalTimeZone());
}

Lines Totals(const Sample& sample, const Pulse& pulse) {
  const Rates& total = pulse.total;
  const MemoryStats& memory = sample.stats.memory;
  Lines lines;
  lines.push_back(fmt::format(
      "calls {}/s  errors {}/s  p99 {}{}  loads {}/s{}", Count(pulse.calls), Count(pulse.errors),
      Took(pulse.p99), pulse.windowed ? "" : " since start", Count(total.loads),
      total.loads_failed > 0 ? fmt::format(", {}/s failed", Count(total.loads_failed)) : ""));
  lines.push_back(fmt::format("hits  {} {}  of {} reads/s  stale {}/s  sets {}/s",
                              Bar(total.hit_ratio.value_or(0), 20), Percent(total.hit_ratio),
                              Count(total.reads), Count(total.stale_hits), Count(total.sets)));
  const double full = memory.budget_bytes == 0 ? 0
                                               : static_cast<double>(memory.used_bytes) /
                                                     static_cast<double>(memory.budget_bytes);
  lines.push_back(
      fmt::format("mem   {} {}  {} of {}  {} entries  evicted {}/s", Bar(full, 20), Percent(full),
                  ShownBytes(memory.used_bytes), ShownBytes(memory.budget_bytes),
                  Count(static_cast<double>(sample.stats.total.entries)), Count(total.evictions)));
  return lines;
}

void AddJournal(const JournalStats& journal, Lines* lines) {
  std::string line = fmt::format("journal: {} writes wait, oldest {}; {} dead letters",
                                 journal.depth, Shown(journal.oldest_age), journal.dead_letters);
  if (!journal.state.empty() && journal.state != "ok")
    absl::StrAppend(&line, "; ", Shown(journal.state));
  if (!journal.paused.empty()) absl::StrAppend(&line, "; paused: ", Shown(journal.paused));
  lines->push_back(std::move(line));
}

// What is wrong, and what is worth a line although it is not.
Lines Parts(const TopState& state) {
  Lines lines;
  if (!state.trouble.empty()) lines.push_back("! " + Shown(state.trouble));
  if (state.sample == nullptr) return lines;
  const StatsResult& stats = state.sample->stats;
  if (state.pulse != nullptr && state.pulse->restarted)
    lines.push_back("! the server has begun anew since the last look");
  const auto well = [](const std::string& word) { return word.empty() || word == "ok"; };
  for (const TierStats& tier : stats.tiers) {
    if (!well(tier.state))
      lines.push_back(fmt::format("! {}: {}", Name(tier.tier), Shown(tier.state)));
    if (tier.owed > 0)
      lines.push_back(fmt::format("! {}: behind on {} keys", Name(tier.tier), tier.owed));
  }
  for (const OriginStats& origin : stats.origins) {
    if (!well(origin.state))
      lines.push_back(fmt::format("! origin {}: {}", Shown(origin.name), Shown(origin.state)));
  }
  size_t closed = 0;
  for (const BreakerStats& breaker : stats.breakers) {
    if (breaker.state == BreakerState::kClosed) {
      ++closed;
      continue;
    }
    lines.push_back(fmt::format("! breaker {}: {}, {}", Shown(breaker.name), Name(breaker.state),
                                Shown(breaker.reason)));
  }
  if (closed > 0) {
    lines.push_back(closed == stats.breakers.size()
                        ? fmt::format("breakers: all {} closed", closed)
                        : fmt::format("breakers: {} of {} closed", closed, stats.breakers.size()));
  }
  if (stats.journal.has_value()) AddJournal(*stats.journal, &lines);
  if (stats.fleet.has_value()) {
    const FleetStats& fleet = *stats.fleet;
    lines.push_back(fmt::format("{}fleet: {}, {} other replicas, behind by {}{}",
                                fleet.state == "following" ? "" : "! ", Shown(fleet.state),
                                fleet.replicas, Took(fleet.lag),
                                fleet.suspect ? ", checks what it holds" : ""));
  }
  if (stats.flights.waiting > 0) {
    lines.push_back(fmt::format("loading: {} keys, {} callers wait for them",
                                stats.flights.under_way, stats.flights.waiting));
  }
  return lines;
}

// The first column as wide as is left by the others, which are aligned to the right.
Lines Table(const Row& header, const std::vector<Row>& rows, size_t columns) {
  std::vector<size_t> widths(header.size());
  const auto grow = [&widths](const Row& row) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  };
  grow(header);
  for (const Row& row : rows) grow(row);
  size_t others = 0;
  for (size_t i = 1; i < widths.size(); ++i) others += widths[i] + 2;
  constexpr size_t kNameMin = 8;
  widths[0] = std::min(widths[0], std::max(kNameMin, columns > others ? columns - others : 0));
  const auto line = [&widths](const Row& row) {
    std::string text = fmt::format("{:<{}}", Clipped(row[0], widths[0]), widths[0]);
    for (size_t i = 1; i < row.size(); ++i) text += fmt::format("  {:>{}}", row[i], widths[i]);
    return text;
  };
  Lines lines = {line(header)};
  for (const Row& row : rows) lines.push_back(line(row));
  return lines;
}

Lines CallTable(const Pulse& pulse, size_t columns) {
  if (pulse.rpcs.empty()) return {};
  std::vector<Row> rows;
  for (const CallPulse& call : pulse.rpcs)
    rows.push_back(
        {call.rpc, Count(call.calls), Count(call.errors), Took(call.p50), Took(call.p99)});
  return Table({"CALL", "/S", "ERRORS/S", pulse.windowed ? "P50" : "P50 ALL",
                pulse.windowed ? "P99" : "P99 ALL"},
               rows, columns);
}

Lines TypeTable(const Pulse& pulse, size_t columns) {
  if (pulse.types.empty()) return {};
  std::vector<Row> rows;
  for (const TypePulse& type : pulse.types) {
    rows.push_back({Shown(type.name), Count(type.rates.reads), Percent(type.rates.hit_ratio),
                    Count(type.rates.sets), Count(type.rates.loads), Count(type.rates.evictions),
                    Count(static_cast<double>(type.now.entries)), ShownBytes(type.now.bytes)});
  }
  return Table({"TYPE", "READS/S", "HITS", "SETS/S", "LOADS/S", "EVICTED/S", "ENTRIES", "BYTES"},
               rows, columns);
}

Lines KeyTable(const Sample& sample, size_t columns) {
  if (sample.stats.hot_keys.empty()) return {};
  std::vector<Row> rows;
  for (const HotKey& hot : sample.stats.hot_keys) {
    const bool read = hot.hits + hot.misses > 0;
    rows.push_back({Shown(hot.key), Shown(hot.type), Count(static_cast<double>(hot.hits)),
                    Count(static_cast<double>(hot.misses)), read ? Percent(hot.hit_ratio) : "-",
                    ShownBytes(hot.bytes)});
  }
  return Table({"HOT KEY", "TYPE", "HITS", "MISSES", "RATIO", "SENT"}, rows, columns);
}

// So many lines of each of the tables that they fill `room` together: each gets its share, and what
// a short one leaves goes to the others. A table without a row under its header is left out.
std::vector<size_t> Shares(const std::vector<Lines>& tables, size_t room) {
  std::vector<size_t> shares(tables.size(), 0);
  size_t wanting = 0;
  for (const Lines& table : tables) wanting += table.empty() ? 0 : 1;
  // A blank line before each, its header, and a row.
  while (wanting > 0 && room < 3 * wanting) --wanting;
  size_t given = 0;
  for (size_t i = 0; i < tables.size() && wanting > 0; ++i) {
    if (tables[i].empty()) continue;
    shares[i] = 2;
    given += 3;
    --wanting;
  }
  for (bool more = true; more && given < room;) {
    more = false;
    for (size_t i = 0; i < tables.size() && given < room; ++i) {
      if (shares[i] == 0 || shares[i] >= tables[i].size()) continue;
      ++shares[i];
      ++given;
      more = true;
    }
  }
  return shares;
}

}  // namespace

std::vector<std::string> TopFrame(const TopState& state, ScreenSize size) {
  Lines page = {Header(state)};
  if (state.sample != nullptr && state.pulse != nullptr) {
    for (std::string& line : Totals(*state.sample, *state.pulse)) page.push_back(std::move(line));
  }
  for (std::string& line : Parts(state)) page.push_back(std::move(line));
  if (state.sample != nullptr && state.pulse == nullptr && state.trouble.empty())
    page.push_back("reading ...");
  if (state.sample != nullptr && state.pulse != nullptr && page.size() < size.lines) {
    const std::vector<Lines> tables = {TypeTable(*state.pulse, size.columns),
                                       KeyTable(*state.sample, size.columns),
                                       CallTable(*state.pulse, size.columns)};
    const std::vector<size_t> shares = Shares(tables, size.lines - page.size());
    for (size_t i = 0; i < tables.size(); ++i) {
      if (shares[i] == 0) continue;
      page.push_back("");
      page.insert(page.end(), tables[i].begin(),
                  tables[i].begin() + static_cast<ptrdiff_t>(shares[i]));
    }
  }
  if (page.size() > size.lines) page.resize(size.lines);
  for (std::string& line : page) {
    line = Clipped(line, size.columns);
    line.erase(line.find_last_not_of(' ') + 1);
  }
  return page;
}

}  // namespace larder::cli
