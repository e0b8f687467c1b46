#include "client/cli/screen.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace larder::cli {
namespace {

// The other page, without a cursor; and back.
constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l\x1b[2J";
constexpr char kLeave[] = "\x1b[?25h\x1b[?1049l";
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

volatile sig_atomic_t wanted = 0;
struct sigaction before_signals[std::size(kSignals)];
termios* before_keys = nullptr;

// The first signal is a wish. Who signals again does not want to wait for a call that hangs.
void OnSignal(int) {
  if (wanted == 0) {
    wanted = 1;
    return;
  }
  if (before_keys != nullptr) tcsetattr(STDIN_FILENO, TCSANOW, before_keys);
  [[maybe_unused]] const ssize_t written = write(STDOUT_FILENO, kLeave, sizeof kLeave - 1);
  _exit(130);
}

}  // namespace

ScreenSize SizeOfScreen() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return {};
  return {size.ws_col, size.ws_row};
}

std::string Clipped(const std::string& line, size_t columns) {
  size_t characters = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if ((static_cast<unsigned char>(line[i]) & 0xC0) == 0x80) continue;
    if (characters == columns) return line.substr(0, i);
    ++characters;
  }
  return line;
}

Screen::Screen(Output* out) : out_(out) {
  wanted = 0;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  for (size_t i = 0; i < std::size(kSignals); ++i)
    sigaction(kSignals[i], &action, &before_signals[i]);
  if (isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before_) == 0) {
    // Keys at once, and not shown. Ctrl-C stays a signal.
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    keys_ = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
    if (keys_) before_keys = &before_;
  }
  out_->Bytes(kEnter);
  out_->Flush().IgnoreError();  // shows again at the end
}

Screen::~Screen() {
  out_->Bytes(kLeave);
  out_->Flush().IgnoreError();  // shows again at the end
  if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  before_keys = nullptr;
  for (size_t i = 0; i < std::size(kSignals); ++i)
    sigaction(kSignals[i], &before_signals[i], nullptr);
}

void Screen::Draw(const std::vector<std::string>& lines) {
  const ScreenSize size = SizeOfScreen();
  const size_t count = std::min(lines.size(), size.lines);
  // Each line is written over, its rest and the lines below are cleared: no blank page in between.
  std::string page = "\x1b[H";
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) page += "\r\n";
    page += Clipped(lines[i], size.columns);
    // In the last column the cursor waits on what was written last, and would clear it.
    if (lines[i].size() < size.columns) page += "\x1b[K";
  }
  page += "\x1b[J";
  out_->Bytes(page);
  out_->Flush().IgnoreError();  // shows again at the end
}

Screen::Key Screen::WaitForKey(absl::Duration most) {
  if (wanted != 0) return Key::kQuit;
  // A stdin that is no terminal may be at its end, and would always be ready.
  pollfd stdin_ready = {keys_ ? STDIN_FILENO : -1, POLLIN, 0};
  const auto ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(most), 0, 60'000);
  const int ready = poll(&stdin_ready, 1, static_cast<int>(ms));
  if (wanted != 0) return Key::kQuit;
  if (ready <= 0) return Key::kNone;
  char key = 0;
  const ssize_t got = read(STDIN_FILENO, &key, 1);
  if (got <= 0) {
    keys_ = got < 0 && keys_;
    return (stdin_ready.revents & POLLHUP) != 0 ? Key::kQuit : Key::kNone;
  }
  return key == 'q' || key == 'Q' || key == 3 ? Key::kQuit : Key::kOther;
}

}  // namespace larder::cli
