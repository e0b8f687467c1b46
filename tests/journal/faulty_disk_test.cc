// The tests' own disk, since what the others show is worth as much as it is.

#include "tests/journal/faulty_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/journal/store_rig.h"

namespace larder {
namespace {

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class FaultyDiskTest : public testing::Test {
 protected:
  FaultyDiskTest() : disk_(folder_.root()), fd_(Create("file")) {}
  ~FaultyDiskTest() override { close(fd_); }

  std::string Path(const std::string& name) const { return folder_.root() + "/" + name; }
  int Create(const std::string& name) { return open(Path(name).c_str(), O_RDWR | O_CREAT, 0600); }
  void Write(const std::string& bytes) {
    ASSERT_EQ(write(fd_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  void SyncFolder() {
    const int fd = open(folder_.root().c_str(), O_RDONLY);
    EXPECT_EQ(fsync(fd), 0);
    close(fd);
  }

  const JournalFolder folder_;
  FaultyDisk disk_;
  const int fd_;
};

TEST_F(FaultyDiskTest, LosesWhatWasNotSynced) {
  Write("synced");
  EXPECT_EQ(fdatasync(fd_), 0);
  Write("not");
  disk_.PowerLoss(/*names_too=*/false);
  EXPECT_EQ(Bytes(Path("file")), "synced");
}

TEST_F(FaultyDiskTest, LosesWhatASyncFailedFor) {
  Write("one");
  EXPECT_EQ(fsync(fd_), 0);
  Write("two");
  disk_.FailSyncs(EIO);
  EXPECT_EQ(fsync(fd_), -1);
  EXPECT_EQ(errno, EIO);
  disk_.FailSyncs(0);
  EXPECT_EQ(fsync(fd_), 0);
  Write("three");
  EXPECT_EQ(fsync(fd_), 0);
  EXPECT_EQ(Bytes(Path("file")), "onetwothree");
  disk_.PowerLoss(/*names_too=*/false);
  EXPECT_EQ(Bytes(Path("file")), std::string("one\0\0\0three", 11));
}

TEST_F(FaultyDiskTest, LosesNamesThatWereNotSynced) {
  SyncFolder();
  Write("old");
  EXPECT_EQ(fsync(fd_), 0);
  const int other = Create("other");
  EXPECT_EQ(write(other, "new", 3), 3);
  EXPECT_EQ(fsync(other), 0);
  close(other);
  EXPECT_EQ(rename(Path("other").c_str(), Path("file").c_str()), 0);
  EXPECT_EQ(mkdir(Path("folder").c_str(), 0700), 0);
  EXPECT_EQ(Bytes(Path("file")), "new");
  disk_.PowerLoss(/*names_too=*/true);
  EXPECT_EQ(Bytes(Path("file")), "old");
  EXPECT_FALSE(std::filesystem::exists(Path("other")));
  EXPECT_FALSE(std::filesystem::exists(Path("folder")));
}

TEST_F(FaultyDiskTest, LosesOverwrittenBytesThatWereNotSynced) {
  SyncFolder();
  Write("first");
  EXPECT_EQ(fsync(fd_), 0);
  EXPECT_EQ(pwrite(fd_, "other", 5, 0), 5);
  disk_.PowerLoss(/*names_too=*/true);
  EXPECT_EQ(Bytes(Path("file")), "first");
}

TEST_F(FaultyDiskTest, FillsUpAndStops) {
  disk_.Leave(5);
  Write("1234");
  EXPECT_EQ(write(fd_, "56", 2), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(Create("more"), -1);
  disk_.LeaveEnough();
  Write("5");
  disk_.Stop();
  EXPECT_EQ(write(fd_, "6", 1), -1);
  EXPECT_EQ(unlink(Path("file").c_str()), -1);
  EXPECT_EQ(rename(Path("file").c_str(), Path("x").c_str()), -1);
  EXPECT_EQ(Bytes(Path("file")), "12345");
}

}  // namespace
}  // namespace larder
