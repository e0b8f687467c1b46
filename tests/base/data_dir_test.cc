#include "base/data_dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/strings.h"
#include "tests/base/threads.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::string Message(const absl::Status& status) { return std::string(ToStd(status.message())); }

class DataDirTest : public testing::Test {
 protected:
  DataDirTest() {
    std::string name = testing::TempDir() + "/data_dir_test.XXXXXX";
    root_ = mkdtemp(name.data());
    path_ = root_ + "/data";
  }
  ~DataDirTest() override { fs::remove_all(root_); }

  std::unique_ptr<DataDir> Open() {
    auto dir = DataDir::Open(path_);
    EXPECT_TRUE(dir.ok()) << dir.status();
    return dir.ok() ? *std::move(dir) : nullptr;
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(path_))
      names.push_back(entry.path().filename());
    return names;
  }

  std::string root_;
  std::string path_;
};

// A fork of the test that runs `body` and then waits for its end, which comes with the Child's.
class Child {
 public:
  // In the fork, sends a line to the test.
  using Say = std::function<void(const std::string& line)>;

  explicit Child(const std::function<void(const Say& say)>& body) {
    std::array<int, 2> fds;
    EXPECT_EQ(pipe(fds.data()), 0);
    pid_ = fork();
    if (pid_ == 0) {
      body([&fds](const std::string& line) {
        const std::string text = line + "\n";
        if (write(fds[1], text.data(), text.size()) < 0) _exit(1);
      });
      for (;;) pause();
    }
    close(fds[1]);
    in_ = fds[0];
  }
  ~Child() { Kill(); }

  pid_t pid() const { return pid_; }

  // The next line that the fork says; empty when it is gone.
  std::string Hear() const {
    std::string line;
    for (char c; read(in_, &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }

  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    close(in_);
  }

 private:
  pid_t pid_ = -1;
  int in_ = -1;
};

TEST_F(DataDirTest, CreatesWhatIsMissingForTheOwnerAlone) {
  path_ = root_ + "/a/b//c/";
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  EXPECT_EQ(dir->path(), path_);
  for (const char* created : {"/a", "/a/b", "/a/b/c"}) {
    EXPECT_EQ(fs::status(root_ + created).permissions(), fs::perms::owner_all) << created;
  }
}

TEST_F(DataDirTest, OpensAFolderThatIsThereAndLeavesItsModeAlone) {
  fs::create_directory(path_);
  fs::permissions(path_, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec);
  ASSERT_NE(Open(), nullptr);
  EXPECT_EQ(fs::status(path_).permissions(),
            fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec);
}

TEST_F(DataDirTest, TakesARelativePath) {
  const fs::path before = fs::current_path();
  fs::current_path(root_);
  const auto dir = DataDir::Open("relative/data");
  fs::current_path(before);
  ASSERT_TRUE(dir.ok()) << dir.status();
  EXPECT_TRUE((*dir)->WriteFile("f", "x").ok());
  EXPECT_TRUE(fs::exists(root_ + "/relative/data/f"));
}

TEST_F(DataDirTest, KeepsItsProcessIdInTheLock) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  std::ifstream lock(path_ + "/LOCK");
  pid_t pid = 0;
  lock >> pid;
  EXPECT_EQ(pid, getpid());
}

TEST_F(DataDirTest, RefusesASecondProcessAndNamesTheHolder) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  Child child([this](const Child::Say& say) {
    const auto second = DataDir::Open(path_);
    say(second.status().ToString());
  });
  EXPECT_EQ(child.Hear(), StrCat("FAILED_PRECONDITION: data directory ", path_,
                                 " is in use by process ", getpid()));
}

TEST_F(DataDirTest, RefusesASecondClaimOfTheSameProcess) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  const auto second = DataDir::Open(path_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DataDirTest, NamesNobodyWhenTheHolderHasNotWrittenItsIdYet) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  ASSERT_EQ(truncate((path_ + "/LOCK").c_str(), 0), 0);
  EXPECT_EQ(Message(DataDir::Open(path_).status()),
            StrCat("data directory ", path_, " is in use by another process"));
}

TEST_F(DataDirTest, IsFreeAgainWhenItsHolderIsKilled) {
  Child child([this](const Child::Say& say) {
    static const auto held = DataDir::Open(path_);  // Until the fork ends.
    say(held.status().ToString());
  });
  ASSERT_EQ(child.Hear(), "OK");
  EXPECT_THAT(Message(DataDir::Open(path_).status()),
              HasSubstr(StrCat("in use by process ", child.pid())));
  child.Kill();
  EXPECT_NE(Open(), nullptr);
}

TEST_F(DataDirTest, IsFreeAgainWhenItIsDestroyed) {
  ASSERT_NE(Open(), nullptr);
  EXPECT_NE(Open(), nullptr);
}

TEST_F(DataDirTest, SaysThatTheFolderCannotBeWritten) {
  fs::create_directory(path_);
  std::ofstream(path_ + "/LOCK").close();
  fs::permissions(root_, fs::perms::all);
  fs::permissions(path_ + "/LOCK", fs::perms::all);
  fs::permissions(path_, fs::perms::all & ~fs::perms::owner_write & ~fs::perms::group_write &
                             ~fs::perms::others_write);
  // As somebody whom the permissions bind.
  Child child([this](const Child::Say& say) {
    if (geteuid() == 0 && seteuid(65534) != 0) _exit(1);
    say(DataDir::Open(path_).status().ToString());
    say(DataDir::Open(path_ + "/below").status().ToString());
  });
  EXPECT_EQ(child.Hear(), StrCat("PERMISSION_DENIED: data directory ", path_,
                                 " cannot be written: Permission denied"));
  EXPECT_EQ(child.Hear(), StrCat("PERMISSION_DENIED: data directory ", path_,
                                 "/below cannot be created: Permission denied"));
  child.Kill();
  fs::permissions(path_, fs::perms::owner_all);
}

TEST_F(DataDirTest, SaysThatAPathIsNoFolder) {
  std::ofstream(path_) << "a file";
  EXPECT_EQ(DataDir::Open(path_).status(), absl::FailedPreconditionError(absl::StrCat(
                                               "data directory ", path_, " is not a directory")));
  const absl::Status below = DataDir::Open(path_ + "/below").status();
  EXPECT_EQ(below.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(below), AllOf(HasSubstr(path_), HasSubstr("Not a directory")));
}

TEST_F(DataDirTest, RefusesPathsThatAreNone) {
  EXPECT_EQ(DataDir::Open("").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DataDir::Open(std::string("/tmp\0x", 6)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DataDirTest, ReadsWhatWasWritten) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  const std::string binary("\0\n\xFF", 3);
  for (const std::string& bytes : {std::string(), binary, std::string(100'000, 'x')}) {
    ASSERT_TRUE(dir->WriteFile("file", bytes).ok());
    const auto read = dir->ReadFile("file");
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, bytes);
  }
  EXPECT_THAT(Files(), UnorderedElementsAre("LOCK", "file"));
}

TEST_F(DataDirTest, KeepsFilesForTheNextProcess) {
  ASSERT_TRUE(Open()->WriteFile("node_id", "7").ok());
  EXPECT_EQ(*Open()->ReadFile("node_id"), "7");
}

TEST_F(DataDirTest, AnAbsentFileIsNotFound) {
  const auto read = Open()->ReadFile("absent");
  EXPECT_EQ(read.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(read.status()), HasSubstr(path_ + "/absent"));
}

TEST_F(DataDirTest, RefusesNamesThatCouldLeaveTheFolderOrTakeTheLock) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("../x"), std::string("a/b"),
        std::string("/etc/x"), std::string(".hidden"), std::string("LOCK"), std::string("a\0b", 3),
        std::string(DataDir::kNameBytesMax + 1, 'n')}) {
    EXPECT_EQ(dir->WriteFile(name, "x").code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(dir->ReadFile(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(dir->WriteFile(std::string(DataDir::kNameBytesMax, 'n'), "x").ok());
}

TEST_F(DataDirTest, RefusesAFileOnePastTheLimit) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  std::string bytes(DataDir::kFileBytesMax, 'x');
  ASSERT_TRUE(dir->WriteFile("file", bytes).ok());
  EXPECT_EQ(dir->ReadFile("file")->size(), DataDir::kFileBytesMax);
  bytes += 'x';
  EXPECT_EQ(dir->WriteFile("file", bytes).code(), absl::StatusCode::kInvalidArgument);
  std::ofstream(path_ + "/file", std::ios::binary) << bytes;
  EXPECT_EQ(dir->ReadFile("file").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DataDirTest, AFailedWriteLeavesTheOldFileAndNoTemporary) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  // A folder with something in it cannot be replaced by a file.
  fs::create_directories(path_ + "/taken/inside");
  const absl::Status status = dir->WriteFile("taken", "x");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(Message(status), HasSubstr(path_ + "/taken cannot be replaced"));
  EXPECT_THAT(Files(), UnorderedElementsAre("LOCK", "taken"));
}

TEST_F(DataDirTest, RemovesWhatAnInterruptedWriteLeft) {
  ASSERT_TRUE(Open()->WriteFile("file", "old").ok());
  std::ofstream(path_ + "/.tmp-0") << "half";
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  EXPECT_THAT(Files(), UnorderedElementsAre("LOCK", "file"));
  EXPECT_TRUE(dir->WriteFile("file", "new").ok());
  EXPECT_EQ(*dir->ReadFile("file"), "new");
}

TEST_F(DataDirTest, FollowsItsFolderWhenThatIsRenamed) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  fs::rename(path_, root_ + "/elsewhere");
  EXPECT_TRUE(dir->WriteFile("file", "x").ok());
  EXPECT_TRUE(fs::exists(root_ + "/elsewhere/file"));
}

TEST_F(DataDirTest, ReadersOfAFileUnderWriteSeeItWhole) {
  const auto dir = Open();
  ASSERT_NE(dir, nullptr);
  ASSERT_TRUE(dir->WriteFile("file", std::string(50'000, 'a')).ok());
  std::atomic<int> running = 3;
  Threads writers(3, [&dir, &running](int i) {
    for (int n = 0; n < 20; ++n) {
      EXPECT_TRUE(dir->WriteFile("file", std::string(50'000, static_cast<char>('a' + i))).ok());
    }
    --running;
  });
  while (running > 0) {
    const auto read = dir->ReadFile("file");
    if (!read.ok() || read->size() != 50'000 ||
        read->find_first_not_of(read->front()) != read->npos) {
      ADD_FAILURE() << "torn or absent: " << read.status();
      break;
    }
  }
  writers.Join();
  EXPECT_THAT(Files(), UnorderedElementsAre("LOCK", "file"));
}

}  // namespace
}  // namespace larder
