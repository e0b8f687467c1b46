// FormatLogLine turns one event into its line, for base/log. Pure: no clock, no I/O, no state.
// Whatever the event and its fields hold, the result is valid UTF-8, has one line feed, at its end,
// and no other control character, and is at most kLogLineBytesMax long; as JSON it is one object.
// REQUIRES: no two fields have one key, and none has a key that log.h reserves.

#ifndef LARDER_BASE_LOG_FORMAT_H_
#define LARDER_BASE_LOG_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/log.h"

namespace larder {

// PIPE_BUF of Linux: what a pipe takes in one piece.
inline constexpr size_t kLogLineBytesMax = 4096;
// Of one string as it is written, escapes included. What is cut ends with an ellipsis.
inline constexpr size_t kLogValueBytesMax = 1024;
// Of the event and of each key.
inline constexpr size_t kLogNameBytesMax = 128;

struct LogLine {
  absl::Time time;
  LogLevel level;
  std::string_view event;
  absl::Span<const LogField> fields;
  uint64_t suppressed = 0;  // Not shown when 0.
};

// A field that does not fit any more is left out; `fields_cut` at the end of the line tells how
// many were. REQUIRES: `format` is not kAuto.
std::string FormatLogLine(LogOptions::Format format, const LogLine& line);

}  // namespace larder

#endif  // LARDER_BASE_LOG_FORMAT_H_
