// CatchInterrupt lets a command that goes on for long end in order at Ctrl-C. One at a time; the
// first Ctrl-C is caught, the second one ends the process as ever. Thread safety: none but for
// Interrupted(), which any thread may ask.

#ifndef LARDER_CLIENT_CLI_INTERRUPT_H_
#define LARDER_CLIENT_CLI_INTERRUPT_H_

#include <signal.h>

namespace larder::cli {

inline volatile sig_atomic_t interrupted = 0;

inline bool Interrupted() { return interrupted != 0; }

class CatchInterrupt {
 public:
  CatchInterrupt() {
    interrupted = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &before_);
  }
  ~CatchInterrupt() { sigaction(SIGINT, &before_, nullptr); }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

 private:
  struct sigaction before_ = {};
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_INTERRUPT_H_
