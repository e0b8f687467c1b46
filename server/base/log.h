// Log writes what happened, one event a line: JSON for machines, readable text on a terminal.
//   LogInfo("lane_listening", {{"address", address}});
//   {"ts":"2026-01-31T09:30:00.000000Z","level":"info","event":"lane_listening","address":"[::]:1"}
// Thread safety: any function, any thread. A line waits for at most 20 ms when the sink is full;
// once one has waited in vain, lines are dropped at once until one fits. Not for signal handlers.
// Errors: none. A line that cannot be written is dropped and counted; the next one that can be is
// preceded by `log_lines_lost` with their number. A closed sink kills nobody: SIGPIPE is held back.
//
// A line is at most 4,096 bytes and one write(2), so that lines of several processes on one pipe do
// not mix. For what operators must know, not for lines per request.

#ifndef LARDER_BASE_LOG_H_
#define LARDER_BASE_LOG_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace larder {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// One named value of a line. Keys are distinct snake_case constants, other than ts, level, event,
// suppressed and fields_cut. Values may be anything: invalid UTF-8 and control characters are made
// harmless, and a value longer than 1,024 bytes is cut. Never log secrets or cached values.
struct LogField {
  LogField(std::string_view k, const char* v) : key(k), value(std::string(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(std::string(v)) {}
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, bool v) : key(k), value(v) {}
  LogField(std::string_view k, std::floating_point auto v)
      : key(k), value(static_cast<double>(v)) {}
  LogField(std::string_view k, std::signed_integral auto v) : key(k), value(int64_t{v}) {}
  LogField(std::string_view k, std::unsigned_integral auto v) : key(k), value(uint64_t{v}) {}
  // In seconds.
  LogField(std::string_view k, absl::Duration v) : key(k), value(absl::ToDoubleSeconds(v)) {}
  LogField(std::string_view k, const absl::Status& v) : key(k), value(v.ToString()) {}

  std::string_view key;
  std::variant<std::string, int64_t, uint64_t, double, bool> value;
};

struct LogOptions {
  enum class Format { kAuto, kJson, kText };

  // Lines below this level are not written.
  LogLevel level = LogLevel::kInfo;
  // kAuto is text when `fd` is a terminal, else JSON.
  Format format = Format::kAuto;
  // Must stay open while it is logged to.
  int fd = 2;
  // Must outlive its use: until the next ConfigureLog has returned.
  Clock* clock = Clock::System();
  // Lines of one event in one second. Those beyond it are suppressed, and the next line of that
  // event tells how many in its field `suppressed`. At least 1. Of errors kUrgentLinesPerSecond are
  // written, whatever this says.
  int event_lines_per_second = 20;
};

// Takes effect for lines that begin after it returns. Forgets how many lines of each event were
// written. Before the first call, the defaults of LogOptions hold.
void ConfigureLog(const LogOptions& options);

// False when a line of this level would not be written, so that its fields need not be computed.
bool LogEnabled(LogLevel level);

// `event` is a stable snake_case constant: operators search and alert by it.
void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

inline void LogDebug(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kDebug, event, fields);
}
inline void LogInfo(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, event, fields);
}
inline void LogWarning(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarning, event, fields);
}
inline void LogError(std::string_view event, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, event, fields);
}

// The same for what may happen often and whose fields take work: they are made only for a line that
// is written. `make` is called at most once, on this thread.
void LogLazily(LogLevel level, std::string_view event,
               absl::FunctionRef<std::vector<LogField>()> make);

// Lines of one event that are written in a second where each of them counts: more than an operator
// reads, and few enough that nobody can fill the disk with them.
inline constexpr int kUrgentLinesPerSecond = 1'000;

// For who did what, and who was kept from it: written whatever the level is, and as many as of
// errors.
void LogAudit(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);

// Lines that could not be written since the process began. Suppressed ones are not among them.
uint64_t LogLinesLost();

}  // namespace larder

#endif  // LARDER_BASE_LOG_H_
