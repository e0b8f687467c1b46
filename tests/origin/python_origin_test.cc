// The gRPC origin against the example of a user's service in Python, in a process of its own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "origin/grpc_origin.h"
#include "tests/base/await_task.h"

namespace larder {
namespace {

using Kind = OriginLoaded::Kind;
using Stored = OriginStored::Kind;

// examples/origin_python/origin.py. Its first start on a machine installs grpcio for Python.
class PythonOrigin {
 public:
  PythonOrigin() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-origin-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    directory_ = name;
    Start();
  }
  ~PythonOrigin() {
    Stop();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  const std::string& target() const { return target_; }
  // Its exit code, or -1.
  int Stop() {
    if (pid_ <= 0) return -1;
    kill(pid_, SIGTERM);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    close(out_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void Start() {
    int out[2];
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    const std::string database = directory_ + "/items.db";
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      dup2(out[1], STDOUT_FILENO);
      const char* const program = LARDER_SOURCE_DIR "/tests/polyglot/start_origin";
      execl(program, program, "--listen", "127.0.0.1:0", "--database", database.c_str(), nullptr);
      _exit(127);
    }
    close(out[1]);
    out_ = out[0];
    const std::string said = ReadLine();
    const std::string word = "listening on ";
    ASSERT_EQ(said.rfind(word, 0), 0u) << said;
    target_ = said.substr(word.size());
  }

 private:
  std::string ReadLine() {
    constexpr int kInstalls = 240'000;  // milliseconds
    std::string line;
    for (;;) {
      pollfd ready{out_, POLLIN, 0};
      char c = 0;
      if (poll(&ready, 1, kInstalls) <= 0 || read(out_, &c, 1) <= 0 || c == '\n') return line;
      line.push_back(c);
    }
  }

  std::string directory_;
  pid_t pid_ = -1;
  int out_ = -1;
  std::string target_;
};

class PythonOriginTest : public testing::Test {
 protected:
  PythonOriginTest() { Connect(); }

  void Connect() {
    GrpcOriginOptions options;
    options.name = "items";
    options.target = service_.target();
    options.executor = executor_.get();
    auto origin = NewGrpcOrigin(options);
    ASSERT_TRUE(origin.ok()) << origin.status();
    origin_ = *std::move(origin);
  }

  static MonoNanos Soon() { return MonoAfter(Clock::System()->Mono(), absl::Seconds(20)); }
  static OriginCall Call() { return {.name_space = "default", .type = "item"}; }
  static OriginStore::Write Write(std::string key, std::string value, Version version) {
    OriginStore::Write write;
    write.key = std::move(key);
    write.value = std::move(value);
    write.version = version;
    return write;
  }
  static OriginStore::Write Remove(std::string key, Version version) {
    OriginStore::Write write = Write(std::move(key), "", version);
    write.remove = true;
    return write;
  }

  std::vector<OriginLoaded> Load(std::vector<OriginLoad::Item> items) {
    const size_t count = items.size();
    OriginLoad load{Call(), std::move(items)};
    auto loaded = AwaitTask(origin_->Load(std::move(load), Soon()));
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded.ok() ? *std::move(loaded) : std::vector<OriginLoaded>(count);
  }
  std::vector<OriginStored> Store(std::vector<OriginStore::Write> writes) {
    const size_t count = writes.size();
    OriginStore store{Call(), std::move(writes)};
    auto stored = AwaitTask(origin_->Store(std::move(store), Soon()));
    EXPECT_TRUE(stored.ok()) << stored.status();
    return stored.ok() ? *std::move(stored) : std::vector<OriginStored>(count);
  }

  PythonOrigin service_;
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
  std::unique_ptr<Origin> origin_;
};

TEST_F(PythonOriginTest, StoresLoadsAndRemovesByVersion) {
  const Version now = VersionAt(absl::Now());
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  for (const OriginStored& stored :
       Store({Write("a", bytes, now), Write("b", "", now), Write("c", "c", now)})) {
    EXPECT_EQ(stored.kind, Stored::kDone) << stored.error;
  }
  auto loaded = Load({{"c"}, {"none"}, {"a"}, {"b"}});
  EXPECT_EQ(loaded[0].value, "c");
  EXPECT_EQ(loaded[1].kind, Kind::kAbsent);
  EXPECT_EQ(loaded[2].value, bytes);
  EXPECT_EQ(loaded[3].kind, Kind::kFound) << "a value may be empty";

  // Late, twice, and late after a removal: done, and without effect.
  for (const OriginStored& stored : Store({Write("a", "late", now - 1), Remove("c", now + 1)})) {
    EXPECT_EQ(stored.kind, Stored::kDone) << stored.error;
  }
  Store({Write("c", "late", now)});
  Store({Remove("c", now + 1)});
  loaded = Load({{"a"}, {"c"}});
  EXPECT_EQ(loaded[0].value, bytes);
  EXPECT_EQ(loaded[1].kind, Kind::kAbsent);
  EXPECT_EQ(origin_->Stats().bad_answers, 0u);
}

TEST_F(PythonOriginTest, AnswersUnchangedForTheValidatorThatIsHeld) {
  Store({Write("a", "one", 1)});
  const std::string validator = Load({{"a"}})[0].validator;
  EXPECT_FALSE(validator.empty());
  EXPECT_EQ(Load({{"a", validator}})[0].kind, Kind::kUnchanged);
  Store({Write("a", "two", 2)});
  EXPECT_EQ(Load({{"a", validator}})[0].value, "two");
}

TEST_F(PythonOriginTest, CountsWhatItListsWhenAskedTo) {
  std::vector<OriginStore::Write> writes;
  for (int i = 0; i < 25; ++i) writes.push_back(Write("item:" + std::to_string(i), "v", 1));
  Store(std::move(writes));
  const OriginScan scan{.call = Call(), .limit = 10, .count_to = 1'000};
  const auto page = AwaitTask(origin_->Scan(scan, Soon()));
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 10u);
  EXPECT_EQ(page->total, 25u);
}

TEST_F(PythonOriginTest, ScansPageByPage) {
  std::vector<OriginStore::Write> writes;
  for (int i = 0; i < 250; ++i) writes.push_back(Write("item:" + std::to_string(i), "v", 1));
  Store(std::move(writes));
  Store({Remove("item:7", 2)});
  for (const bool keys_only : {false, true}) {
    std::set<std::string> seen;
    OriginScan scan{Call(), 100, "", keys_only};
    for (int pages = 0; pages < 5; ++pages) {
      const auto page = AwaitTask(origin_->Scan(scan, Soon()));
      ASSERT_TRUE(page.ok()) << page.status();
      for (const OriginPage::Item& item : page->items) {
        EXPECT_TRUE(seen.insert(item.key).second) << item.key;
        EXPECT_EQ(item.loaded.value, keys_only ? "" : "v");
      }
      scan.cursor = page->cursor;
      if (page->cursor.empty()) break;
    }
    EXPECT_EQ(seen.size(), 249u);
    EXPECT_EQ(seen.count("item:7"), 0u);
  }
}

TEST_F(PythonOriginTest, EndsAtSigtermAndKeepsItsData) {
  Store({Write("a", "kept", 1)});
  EXPECT_EQ(service_.Stop(), 0);
  service_.Start();
  Connect();
  EXPECT_EQ(Load({{"a"}})[0].value, "kept");
}

}  // namespace
}  // namespace larder
