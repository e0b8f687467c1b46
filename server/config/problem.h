// What is wrong with a configuration, and where. Sources say where a value stands; Problems
// collects everything that is wrong, so that an operator sees all of it at once. Thread safety:
// values; one thread at a time.

#ifndef LARDER_CONFIG_PROBLEM_H_
#define LARDER_CONFIG_PROBLEM_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace larder {

// Where a value was given. `label` points into the ConfigSource, which outlives the load.
struct Source {
  // In the order in which one overrides the other.
  enum class Kind { kDefault, kFile, kEnvironment, kSet };

  Kind kind = Kind::kDefault;
  std::string_view label;  // the file, the variable or the path after --set
  int line = 0;            // from 1; 0 = the whole
  int column = 0;          // in bytes, from 1

  // For the user to find it: `larder.yaml:14:7`, `LARDER_LOG_LEVEL`, `--set log.level`.
  std::string Place() const;
  // As a Setting says it: `larder.yaml:14:7`, `env LARDER_LOG_LEVEL`, `--set`, `default`.
  std::string Origin() const;
};

// `text` for a message: in quotes, at most 64 bytes of it, no control characters.
std::string Quoted(std::string_view text);

class Problems {
 public:
  // Problems that ToStatus prints; it counts the others.
  static constexpr size_t kShownMax = 100;

  void Add(const Source& source, std::string message);
  void Add(const Problems& others);
  bool empty() const { return list_.empty(); }

  // OK when there are none. Else InvalidArgument with one line for each, `place: message`: those of
  // the file first, by position, then those of the environment and of the command line.
  absl::Status ToStatus() const;

 private:
  struct Problem {
    Source source;
    size_t number;  // in the order of finding
    std::string message;
  };
  // A hostile file of 4 MiB could have a million.
  static constexpr size_t kKeptMax = 10'000;

  std::vector<Problem> list_;
  size_t dropped_ = 0;
};

}  // namespace larder

#endif  // LARDER_CONFIG_PROBLEM_H_
