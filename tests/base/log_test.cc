#include "base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "base/log_format.h"
#include "base/strings.h"
#include "tests/base/threads.h"

namespace larder {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::SizeIs;
using testing::StartsWith;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    lines.push_back(text.substr(begin, end - begin));
  }
  EXPECT_EQ(begin, text.size()) << "no line feed at the end";
  return lines;
}

// Everything that can be read from `fd` without waiting.
std::string Drain(int fd) {
  std::string text;
  std::array<char, 65536> piece;
  for (pollfd ready{.fd = fd, .events = POLLIN, .revents = 0}; poll(&ready, 1, 0) > 0;) {
    const ssize_t bytes = read(fd, piece.data(), piece.size());
    if (bytes <= 0) break;
    text.append(piece.data(), static_cast<size_t>(bytes));
  }
  return text;
}

// Logs to a file in memory, with a clock that stands still. The log is as at the start of a process
// afterwards.
class LogTest : public testing::Test {
 protected:
  LogTest() : fd_(memfd_create("log", MFD_CLOEXEC)) { Configure(fd_); }
  ~LogTest() override {
    ConfigureLog(LogOptions());
    close(fd_);
  }

  void Configure(int fd, LogLevel level = LogLevel::kInfo,
                 LogOptions::Format format = LogOptions::Format::kAuto) {
    ConfigureLog({.level = level, .format = format, .fd = fd, .clock = &clock_});
  }

  // The lines written to the file since the last call.
  std::vector<std::string> Written() {
    std::string text;
    std::array<char, 65536> piece;
    for (ssize_t bytes; (bytes = pread(fd_, piece.data(), piece.size(), read_)) > 0;) {
      text.append(piece.data(), static_cast<size_t>(bytes));
      read_ += bytes;
    }
    return Lines(text);
  }

  const int fd_;
  off_t read_ = 0;
  ManualClock clock_;
};

TEST_F(LogTest, WritesOneJsonLineAnEventWhenTheSinkIsNoTerminal) {
  LogInfo("lane_listening", {{"address", "127.0.0.1:50051"}});
  LogWarning("bare");
  EXPECT_THAT(Written(),
              ElementsAre("{\"ts\":\"2023-11-14T22:13:20.000000Z\",\"level\":\"info\","
                          "\"event\":\"lane_listening\",\"address\":\"127.0.0.1:50051\"}",
                          "{\"ts\":\"2023-11-14T22:13:20.000000Z\",\"level\":\"warning\","
                          "\"event\":\"bare\"}"));
}

TEST_F(LogTest, WritesTextWhenTheSinkIsATerminal) {
  int terminal = -1, screen = -1;
  ASSERT_EQ(openpty(&screen, &terminal, nullptr, nullptr, nullptr), 0);
  Configure(terminal);
  LogInfo("lane_listening", {{"address", "127.0.0.1:50051"}});
  EXPECT_EQ(Drain(screen),
            "2023-11-14T22:13:20.000000Z INFO  lane_listening address=127.0.0.1:50051\r\n");
  Configure(fd_);
  close(terminal);
  close(screen);
}

TEST_F(LogTest, WritesTheFormatThatWasAskedFor) {
  Configure(fd_, LogLevel::kInfo, LogOptions::Format::kText);
  LogInfo("e");
  EXPECT_THAT(Written(), ElementsAre("2023-11-14T22:13:20.000000Z INFO  e"));
}

TEST_F(LogTest, LeavesOutWhatIsBelowTheLevel) {
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    Configure(fd_, level);
    LogDebug("d");
    LogInfo("i");
    LogWarning("w");
    LogError("e");
    EXPECT_THAT(Written(), SizeIs(4 - static_cast<int>(level)));
    EXPECT_TRUE(LogEnabled(level));
    EXPECT_EQ(LogEnabled(LogLevel::kDebug), level == LogLevel::kDebug);
  }
}

TEST_F(LogTest, SuppressesAnEventBeyondItsLinesOfASecondAndTellsHowMany) {
  for (int i = 0; i < 20; ++i) LogInfo("busy");
  EXPECT_THAT(Written(), SizeIs(20));
  for (int i = 0; i < 5; ++i) LogWarning("busy");
  EXPECT_THAT(Written(), IsEmpty());

  clock_.Advance(absl::Seconds(1) - absl::Nanoseconds(1));
  LogInfo("busy");
  EXPECT_THAT(Written(), IsEmpty());
  clock_.Advance(absl::Nanoseconds(1));
  LogInfo("busy", {{"k", 1}});
  LogInfo("busy", {{"k", 2}});
  EXPECT_THAT(Written(), ElementsAre(EndsWith("\"event\":\"busy\",\"suppressed\":6,\"k\":1}"),
                                     EndsWith("\"event\":\"busy\",\"k\":2}")));
}

TEST_F(LogTest, WritesAuditLinesWhateverTheLevelAndUpToABoundOfTheirOwn) {
  Configure(fd_, LogLevel::kError);
  for (int i = 0; i < kUrgentLinesPerSecond; ++i) LogAudit(LogLevel::kInfo, "act", {{"i", i}});
  EXPECT_THAT(Written(), SizeIs(kUrgentLinesPerSecond));
  LogAudit(LogLevel::kInfo, "act", {{"i", -1}});
  EXPECT_THAT(Written(), IsEmpty());
  clock_.Advance(absl::Seconds(1));
  LogAudit(LogLevel::kInfo, "act", {{"i", -2}});
  EXPECT_THAT(Written(), ElementsAre(HasSubstr("\"suppressed\":1,\"i\":-2}")));
}

TEST_F(LogTest, MakesTheFieldsOfALazyLineOnlyWhenItIsWritten) {
  int made = 0;
  const auto make = [&made]() -> std::vector<LogField> { return {{"k", ++made}}; };
  LogLazily(LogLevel::kDebug, "busy", make);
  for (int i = 0; i < 25; ++i) LogLazily(LogLevel::kWarning, "busy", make);
  EXPECT_EQ(made, 20);
  EXPECT_THAT(Written(), SizeIs(20));
  clock_.Advance(absl::Seconds(1));
  LogLazily(LogLevel::kWarning, "busy", make);
  EXPECT_THAT(Written(), ElementsAre(EndsWith("\"event\":\"busy\",\"suppressed\":5,\"k\":21}")));
}

TEST_F(LogTest, OneEventsFloodLeavesTheOthersAlone) {
  for (int i = 0; i < 100; ++i) LogInfo("flood");
  LogInfo("other");
  EXPECT_THAT(Written(), AllOf(SizeIs(21), testing::Contains(HasSubstr("\"other\""))));
}

TEST_F(LogTest, WritesFarMoreErrorsThanOtherLines) {
  for (int i = 0; i < 2 * kUrgentLinesPerSecond; ++i) LogError("bad");
  EXPECT_THAT(Written(), SizeIs(kUrgentLinesPerSecond));
  clock_.Advance(absl::Seconds(1));
  LogError("bad");
  EXPECT_THAT(Written(), ElementsAre(HasSubstr("\"suppressed\":1000")));
}

TEST_F(LogTest, TakesTheLimitOfASecondFromTheOptions) {
  ConfigureLog({.fd = fd_, .clock = &clock_, .event_lines_per_second = 1});
  LogInfo("e");
  LogInfo("e");
  EXPECT_THAT(Written(), SizeIs(1));
}

TEST_F(LogTest, AWallClockThatJumpsDoesNotSuppress) {
  for (int i = 0; i < 20; ++i) LogInfo("busy");
  clock_.Advance(absl::Seconds(2));
  clock_.JumpWall(-absl::Hours(1));
  LogInfo("busy");
  EXPECT_THAT(Written(), SizeIs(21));
}

TEST_F(LogTest, EventsBeyondTheTableShareOneBudget) {
  for (int i = 0; i < 512; ++i) LogInfo(StrCat("known_", i));
  EXPECT_THAT(Written(), SizeIs(512));
  for (int i = 0; i < 100; ++i) LogInfo(StrCat("unknown_", i));
  EXPECT_THAT(Written(), SizeIs(20));
  LogInfo("known_7");
  EXPECT_THAT(Written(), SizeIs(1));
}

TEST_F(LogTest, LosesAndMixesNoLineOfManyThreads) {
  constexpr int kThreads = 8;
  constexpr int kLines = kUrgentLinesPerSecond / kThreads;
  Threads threads(kThreads, [](int i) {
    for (int n = 0; n < kLines; ++n) {
      LogError("line", {{"thread", i}, {"n", n}, {"pad", std::string(n % 100, 'x')}});
    }
  });
  threads.Join();
  std::set<std::pair<int, int>> seen;
  for (const std::string& line : Written()) {
    ASSERT_THAT(line, MatchesRegex("\\{\"ts\":\"[^\"]+\",\"level\":\"error\",\"event\":\"line\","
                                   "\"thread\":[0-9]+,\"n\":[0-9]+,\"pad\":\"x*\"\\}"));
    int thread = -1, n = -1;
    const std::string fields = line.substr(line.find("\"thread\""));
    ASSERT_EQ(std::sscanf(fields.c_str(), "\"thread\":%d,\"n\":%d", &thread, &n), 2);
    EXPECT_EQ(line.size(), line.find("\"pad\"") + 9 + static_cast<size_t>(n % 100));
    EXPECT_TRUE(seen.emplace(thread, n).second);
  }
  EXPECT_EQ(seen.size(), size_t{kThreads} * kLines);
}

TEST_F(LogTest, CountsEverySuppressedLineOfManyThreads) {
  constexpr int kThreads = 8;
  constexpr int kLines = 500;
  Threads threads(kThreads, [](int) {
    for (int n = 0; n < kLines; ++n) LogInfo("busy");
  });
  threads.Join();
  EXPECT_THAT(Written(), SizeIs(20));
  clock_.Advance(absl::Seconds(1));
  LogInfo("busy");
  EXPECT_THAT(Written(),
              ElementsAre(HasSubstr(StrCat("\"suppressed\":", kThreads * kLines - 20, "}"))));
}

TEST_F(LogTest, MayBeConfiguredWhileOthersLog) {
  Threads threads(3, [](int) {
    for (int n = 0; n < 2'000; ++n) LogInfo("e", {{"n", n}});
  });
  for (int i = 0; i < 100; ++i) {
    Configure(fd_, i % 2 == 0 ? LogLevel::kInfo : LogLevel::kError);
    ManualClock passing;  // Not used any more once the next line has returned.
    ConfigureLog({.fd = fd_, .clock = &passing});
    Configure(fd_);
  }
  threads.Join();
  for (const std::string& line : Written()) {
    ASSERT_THAT(line, AllOf(StartsWith("{\"ts\":"), EndsWith("}")));
  }
}

// A pipe that nobody reads holds 64 KiB. Without the test's reader, a blocking write would wait for
// ever.
TEST_F(LogTest, DropsAndCountsLinesWhenNobodyReadsThePipe) {
  std::array<int, 2> pipe_fds;
  ASSERT_EQ(pipe(pipe_fds.data()), 0);
  Configure(pipe_fds[1]);
  const uint64_t lost_before = LogLinesLost();
  constexpr int kLines = 200;
  for (int i = 0; i < kLines; ++i) LogError("line", {{"n", i}, {"pad", std::string(1'000, 'x')}});
  const uint64_t lost = LogLinesLost() - lost_before;
  EXPECT_GT(lost, 0u);
  EXPECT_THAT(Lines(Drain(pipe_fds[0])), SizeIs(kLines - lost));

  LogError("again");
  LogError("again");
  EXPECT_THAT(Lines(Drain(pipe_fds[0])),
              ElementsAre(HasSubstr(StrCat("\"level\":\"warning\",\"event\":\"log_lines_lost\","
                                           "\"lines\":",
                                           lost, "}")),
                          HasSubstr("\"again\""), HasSubstr("\"again\"")));
  EXPECT_EQ(LogLinesLost() - lost_before, lost);
  Configure(fd_);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

TEST_F(LogTest, SurvivesAPipeWhoseReaderIsGone) {
  std::array<int, 2> pipe_fds;
  ASSERT_EQ(pipe(pipe_fds.data()), 0);
  close(pipe_fds[0]);
  Configure(pipe_fds[1]);
  const uint64_t lost_before = LogLinesLost();
  LogError("unheard");
  LogError("unheard");
  EXPECT_EQ(LogLinesLost() - lost_before, 2u);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0) << "the signal was left behind";
  close(pipe_fds[1]);
  Configure(fd_);
  LogInfo("heard");
  EXPECT_THAT(Written(),
              ElementsAre(HasSubstr("\"log_lines_lost\",\"lines\":2"), HasSubstr("\"heard\"")));
}

TEST_F(LogTest, SurvivesAClosedFile) {
  Configure(-1);
  const uint64_t lost_before = LogLinesLost();
  LogError("unheard");
  const int closed = dup(fd_);
  close(closed);
  Configure(closed);
  LogError("unheard");
  EXPECT_EQ(LogLinesLost() - lost_before, 2u);
  Configure(fd_);
  LogInfo("heard");
  EXPECT_THAT(Written(), ElementsAre(HasSubstr("\"lines\":2"), HasSubstr("\"heard\"")));
}

TEST_F(LogTest, SurvivesAFullDisk) {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  Configure(full);
  const uint64_t lost_before = LogLinesLost();
  LogError("unheard");
  EXPECT_EQ(LogLinesLost() - lost_before, 1u);
  Configure(fd_);
  close(full);
  LogInfo("heard");
  EXPECT_THAT(Written(), ElementsAre(HasSubstr("\"lines\":1"), HasSubstr("\"heard\"")));
}

// A disk that fills up, here by a limit on the file's size, takes the beginning of a line. The next
// one must not continue it.
TEST_F(LogTest, BeginsANewLineAfterATornOne) {
  rlimit unlimited;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  const auto set_limit = [&unlimited](rlim_t bytes) {
    const rlimit limit{.rlim_cur = bytes, .rlim_max = unlimited.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const uint64_t lost_before = LogLinesLost();
  set_limit(30);
  LogError("torn");
  LogError("unheard");
  EXPECT_EQ(LogLinesLost() - lost_before, 2u);
  set_limit(31);  // Room for the line feed alone.
  LogError("unheard");
  EXPECT_EQ(LogLinesLost() - lost_before, 3u);
  set_limit(unlimited.rlim_cur);
  signal(SIGXFSZ, old_handler);
  LogError("whole");
  LogError("next");
  EXPECT_THAT(Written(), ElementsAre("{\"ts\":\"2023-11-14T22:13:20.000",
                                     HasSubstr("\"log_lines_lost\",\"lines\":3"),
                                     HasSubstr("\"whole\""), HasSubstr("\"next\"")));
}

}  // namespace
}  // namespace larder
