// A folder that cannot be had when the tier begins: it goes on without, and comes by itself when
// the folder does, with what is in it.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/data_dir.h"
#include "tests/tier/rocks_test.h"

namespace larder {
namespace {

namespace fs = std::filesystem;
using Outcome = TierChange::Outcome;

// The folder is reached through a link, whose end a test mounts and unmounts, as it were.
class RocksAwayTest : public RocksTest {
 protected:
  RocksAwayTest() {
    rig_.Close();
    fs::create_directory_symlink(volume_, link_);
  }
  ~RocksAwayTest() override { rig_.Close(); }

  RocksTierOptions Options() {
    RocksTierOptions options = rig_.options();
    options.path = link_ + "/l2";
    return options;
  }
  void Mount() const { fs::create_directory(volume_); }
  std::string State() { return rig_.tier().Stats().state; }
  // After a pause of `pause` the tier has tried again.
  void Try(absl::Duration pause) {
    rig_.clock().Advance(pause);
    rig_.rocks().Sweep();
  }

  const TemporaryFolder folder_;
  const std::string volume_ = folder_.path() + "/volume";
  const std::string link_ = folder_.path() + "/mounted-later";
};

TEST_F(RocksAwayTest, GoesOnWithoutAndComesByItself) {
  rig_.Open(Options());
  EXPECT_NE(State().find(link_), std::string::npos) << State();
  EXPECT_EQ(PutIn(rig_.tier(), NewPut("k", 10, "v")).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(AwaitTask(rig_.tier().Get({Key("k")}, kNever)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(rig_.tier().Stats().entries, 0u);
  Mount();
  Try(Options().reopen_first);
  EXPECT_EQ(State(), "ok");
  EXPECT_EQ(Put("k", 11, "eleven"), Outcome::kDone);
  EXPECT_EQ(Value("k"), "eleven");
  // And the next process finds it.
  rig_.Reopen(Options());
  EXPECT_EQ(State(), "ok");
  EXPECT_EQ(Value("k"), "eleven");
}

TEST_F(RocksAwayTest, TriesByItsOwnThread) {
  RocksTierOptions options = Options();
  options.sweep_period = options.reopen_first = options.reopen_max = absl::Milliseconds(10);
  options.clock = Clock::System();
  rig_.Open(options);
  EXPECT_NE(State(), "ok");
  Mount();
  const MonoNanos give_up = MonoAfter(Clock::System()->Mono(), absl::Seconds(20));
  while (State() != "ok" && Clock::System()->Mono() < give_up) std::this_thread::yield();
  EXPECT_EQ(State(), "ok");
}

TEST_F(RocksAwayTest, PausesDoubleUpToTheLongest) {
  rig_.Open(Options());
  absl::Duration pause = Options().reopen_first;
  for (int i = 0; i < 20; ++i) {
    Try(pause);
    pause = std::min(2 * pause, Options().reopen_max);
  }
  EXPECT_EQ(pause, Options().reopen_max);
  Mount();
  Try(pause - absl::Milliseconds(1));
  EXPECT_NE(State(), "ok");
  Try(absl::Milliseconds(1));
  EXPECT_EQ(State(), "ok");
}

TEST_F(RocksAwayTest, WaitsForAnotherProcessThatWasThereFirst) {
  rig_.Open(Options());
  Mount();
  auto other = DataDir::Open(Options().path);
  ASSERT_TRUE(other.ok()) << other.status();
  Try(Options().reopen_max);
  EXPECT_NE(State().find("in use by process"), std::string::npos) << State();
  other->reset();
  Try(Options().reopen_max);
  EXPECT_EQ(State(), "ok");
}

TEST_F(RocksAwayTest, MistakesAreSaidAtTheStart) {
  Mount();
  const auto other = DataDir::Open(Options().path);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(NewRocksTier(Options()).status().code(), absl::StatusCode::kFailedPrecondition);
  RocksTierOptions options = Options();
  options.path = folder_.path() + "/file/l2";
  std::ofstream(folder_.path() + "/file") << "no folder";
  EXPECT_EQ(NewRocksTier(options).status().code(), absl::StatusCode::kFailedPrecondition);
  options = Options();
  options.reopen_first = absl::Milliseconds(9);
  EXPECT_EQ(NewRocksTier(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.reopen_first = absl::Seconds(2);
  options.reopen_max = absl::Seconds(1);
  EXPECT_EQ(NewRocksTier(options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace larder
