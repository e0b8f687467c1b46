// The journal of a larderd as a process on a disk that fails: fsync, or every write, of the
// journal's directory ends with EIO (failing_disk/failing_disk.c) for as long as a file is there.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "tests/e2e/origin_fixture.h"
#include "tests/e2e/write_fixture.h"

namespace larder {
namespace {

// What fails: the letter for the flag.
class FailingDiskTest : public testing::TestWithParam<const char*> {
 protected:
  FailingDiskTest() {
    std::filesystem::create_directory(journal());
    setenv("LARDER_FAILING_DISK", std::filesystem::canonical(journal()).c_str(), 1);
    setenv("LARDER_FAILING_FLAG", flag().c_str(), 1);
    setenv("LD_PRELOAD", LARDER_BIN_DIR "/e2e_failing_disk.so", 1);
    // Where there is an address sanitizer it would rather be the first to be loaded.
    const char* const options = std::getenv("ASAN_OPTIONS");
    if (options != nullptr) asan_options_ = options;
    setenv("ASAN_OPTIONS", (asan_options_ + ":verify_asan_link_order=0").c_str(), 1);
  }
  ~FailingDiskTest() override {
    for (const char* name : {"LARDER_FAILING_DISK", "LARDER_FAILING_FLAG", "LD_PRELOAD"})
      unsetenv(name);
    if (asan_options_.empty()) {
      unsetenv("ASAN_OPTIONS");
    } else {
      setenv("ASAN_OPTIONS", asan_options_.c_str(), 1);
    }
  }

  std::string journal() const { return directory_.path() + "/journal"; }
  std::string flag() const { return directory_.path() + "/flag"; }
  void Break() const { std::ofstream(flag()) << GetParam(); }
  void Mend() const { std::filesystem::remove(flag()); }
  std::string Config() const {
    return WritesConfig(*documents_, directory_.path() + "/data", "delay: 10ms",
                        "journal: { path: \"" + journal() + "\" }\n");
  }
  static bool IsReady(const Replica& replica) {
    return RunLarderd({"healthcheck", "--address", replica.address()}).exit_code == 0;
  }

  const TempDir directory_;
  const std::unique_ptr<Documents> documents_ = NewSqliteDocuments();
  std::string asan_options_;
};

TEST_P(FailingDiskTest, NothingIsAcknowledgedReadsGoOnAndItRecoversByItself) {
  Replica replica(Config());
  Writer writer(&replica);
  // So that the write below is the first thing that the disk fails with.
  ASSERT_EQ(writer.Pause(), "ok");
  ASSERT_EQ(writer.Set("behind:early", "1"), "ok");
  EXPECT_TRUE(IsReady(replica));
  Break();
  // Of the one that the disk failed under nobody knows; of those after it, that they are not there.
  EXPECT_EQ(writer.Set("behind:doubt", "2"), "WRITE_UNKNOWN");
  EXPECT_EQ(writer.status().error_code(), grpc::StatusCode::UNAVAILABLE);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(writer.Set("behind:late", "2"), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(writer.Delete("behind:early"), "JOURNAL_UNAVAILABLE");
  EXPECT_NE(writer.Journal().state().find("Input/output error"), std::string::npos)
      << writer.Journal().DebugString();
  EXPECT_GE(writer.Journal().failures(), 1u);
  EXPECT_TRUE(Eventually([&] { return !IsReady(replica); }));
  EXPECT_EQ(replica.Value("behind:early"), "1");
  EXPECT_EQ(writer.Set("through:1", "other types go on"), "ok");
  ASSERT_EQ(writer.Resume(), "ok");
  EXPECT_TRUE(Eventually([&] { return documents_->Body("behind:early") == "1"; }))
      << "deliveries go on";
  Mend();
  EXPECT_TRUE(Eventually([&] { return writer.Set("behind:late", "3") == "ok"; }))
      << writer.Journal().state();
  EXPECT_TRUE(Eventually([&] { return IsReady(replica); }));
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body("behind:early"), "1");
  EXPECT_EQ(documents_->Body("behind:late"), "3");
  EXPECT_EQ(writer.Journal().damage().records_lost(), 0u);
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

// Nothing is delivered meanwhile, so that all of it is where the disk has it. What is written with
// an unknown end is another key's: whether it came to be must not matter to the others.
TEST_P(FailingDiskTest, NothingAcknowledgedIsLostWhenItIsKilledWhileTheDiskFails) {
  Replica replica(Config());
  Writer writer(&replica);
  std::map<std::string, std::string> acknowledged;
  int number = 0, refused = 0, unknown = 0;
  const auto write = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const std::string key = "behind:" + std::to_string(++number % 17);
      const std::string value = std::to_string(number);
      const std::string said = writer.Set(key, value);
      if (said == "ok") acknowledged[key] = value;
      refused += said == "JOURNAL_UNAVAILABLE" ? 1 : 0;
      unknown += said == "WRITE_UNKNOWN" ? 1 : 0;
    }
  };
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    // With the next write all is on disk that deliveries have left to erase.
    ASSERT_EQ(writer.Flush(), "ok");
    ASSERT_EQ(writer.Pause(), "ok");
    write(40);
    Break();
    EXPECT_EQ(writer.Set("behind:doubt", "x"), "WRITE_UNKNOWN");
    write(20);
    if (round % 2 == 0) {
      Mend();
      EXPECT_TRUE(Eventually([&] { return writer.Set("behind:mended", "x") == "ok"; }));
      write(20);
      Break();
      EXPECT_EQ(writer.Set("behind:doubt", "x"), "WRITE_UNKNOWN");
    }
    replica.Kill();
    Mend();
    ASSERT_TRUE(replica.Start());
    for (const auto& [key, value] : acknowledged) EXPECT_EQ(Loaded(&replica, key), value);
  }
  EXPECT_EQ(unknown, 0);
  EXPECT_EQ(refused, kRounds * 20);
  EXPECT_EQ(writer.Flush(), "ok");
  for (const auto& [key, value] : acknowledged) EXPECT_EQ(documents_->Body(key), value) << key;
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

INSTANTIATE_TEST_SUITE_P(, FailingDiskTest, testing::Values("sync", "writes"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace larder
