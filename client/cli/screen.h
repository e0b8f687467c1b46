// Screen is the terminal while `top` draws on it: an empty page of its own that goes when the
// command ends, and what was there before comes back. Each Draw replaces the last one in place,
// without a flicker. One at a time. Thread safety: none. Signals that end the process give the
// terminal back first.

#ifndef LARDER_CLIENT_CLI_SCREEN_H_
#define LARDER_CLIENT_CLI_SCREEN_H_

#include <termios.h>

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/output.h"

namespace larder::cli {

struct ScreenSize {
  size_t columns = 80;
  size_t lines = 24;
};
// Of stdout; 80 x 24 when it does not say.
ScreenSize SizeOfScreen();

// The first `columns` characters of a line of UTF-8.
std::string Clipped(const std::string& line, size_t columns);

class Screen {
 public:
  explicit Screen(Output* out);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Lines beyond the screen's are left out, and what is beyond its width.
  void Draw(const std::vector<std::string>& lines);

  enum class Key { kNone, kQuit, kOther };
  // Waits so long at most for a key; kQuit: q, or a signal that wants the end.
  Key WaitForKey(absl::Duration most);

 private:
  Output* const out_;
  bool keys_ = false;  // stdin is a terminal, too
  termios before_ = {};
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_SCREEN_H_
