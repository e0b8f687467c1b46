// Output writes what a command answers to stdout: as JSON, as a table for people, or the raw bytes
// of a value. Errors of writing (a full disk, a closed pipe) show in Flush.

#ifndef LARDER_CLIENT_CLI_OUTPUT_H_
#define LARDER_CLIENT_CLI_OUTPUT_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/json.h"

namespace larder::cli {

using Row = std::vector<std::string>;

class Output {
 public:
  Output();

  // Whether stdout is a terminal.
  bool terminal() const { return terminal_; }

  void Print(const Json& object);
  // Names on the left, values on the right.
  void Fields(const std::vector<std::pair<std::string, std::string>>& fields);
  // Columns as wide as they need to be. A column whose header begins with '>' is aligned to the
  // right.
  void Table(const Row& header, const std::vector<Row>& rows);
  void Line(std::string_view text);
  void Bytes(std::string_view bytes);

  // What had to be written has been written, or why not.
  absl::Status Flush();

 private:
  const bool terminal_;
};

// For tables. Bytes that a terminal would obey or cannot show are escaped.
std::string Shown(std::string_view text);
std::string Shown(absl::Duration duration);
std::string Shown(const std::vector<std::string>& texts);
std::string ShownBytes(uint64_t bytes);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_OUTPUT_H_
