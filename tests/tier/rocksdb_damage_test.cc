// What becomes of a RocksDB tier whose process is killed, whose machine goes down, and whose files
// are flipped, cut, removed and put back: it opens, it never answers a value that was not written
// under that key, and after an end in order never one that had been replaced or erased.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tier/rocks_test.h"
#include "tests/tier/writer/acknowledged_change.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class RocksDamageTest : public RocksTest {
 protected:
  static constexpr int kKeys = 300;

  // Three generations of each key, the last of every seventh an erase, in files of several levels
  // and in the log.
  void Fill() {
    for (Version generation = 1; generation <= 3; ++generation) {
      for (int k = 0; k < kKeys; ++k) {
        const std::string key = absl::StrCat("k", k);
        if (generation == 3 && k % 7 == 0) {
          Erase(key, 30 + k);
        } else {
          Put(key, 10 * generation + k, ValueOf(k, generation));
        }
      }
      if (generation < 3) rig_.Reopen();
    }
  }
  static std::string ValueOf(int k, Version generation) {
    return absl::StrCat("k", k, "g", generation, "/",
                        std::string(500, static_cast<char>('a' + k % 26)));
  }
  static std::string Newest(int k) {
    return k % 7 == 0 ? absl::StrCat("(tombstone ", 30 + k, ")") : ValueOf(k, 3);
  }

  // Every key has its newest value or is absent; `older_too`: or a value that it once had.
  void ExpectNothingWrong(bool older_too, const std::string& what) {
    for (int k = 0; k < kKeys; ++k) {
      const std::string value = Value(absl::StrCat("k", k));
      if (value == "(absent)" || value == Newest(k)) continue;
      if (older_too && (value == ValueOf(k, 1) || value == ValueOf(k, 2))) continue;
      // While the store is being made anew it says so.
      if (value.starts_with("(UNAVAILABLE")) continue;
      ADD_FAILURE() << what << ": k" << k << " is " << value.substr(0, 80);
      return;
    }
    // It works on.
    rig_.rocks().Sweep();
    rig_.rocks().Sweep();
    EXPECT_EQ(Put("after", ++after_, "v"), TierChange::Outcome::kDone) << what;
    EXPECT_EQ(Value("after"), "v") << what;
  }

  std::vector<fs::path> Files(const fs::path& folder) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  // For each file of the store as it is in `origin`, and each of some ways to damage it: copies the
  // store, damages the file, opens it and looks at all keys.
  void DamageEverything(const fs::path& origin, bool older_too) {
    std::mt19937 random(7);
    const fs::path path = rig_.path();
    for (const fs::path& file : Files(origin / "db")) {
      const std::string name = file.filename().string();
      if (name == "LOCK" || name.starts_with("LOG") || name == "IDENTITY") continue;
      const std::string good = ReadFile(file);
      for (int way = 0; way < 8; ++way) {
        std::string bad = good;
        if (way == 0) bad.clear();
        if (way == 1) bad.resize(bad.size() / 2);
        if (way == 2) bad.resize(bad.size() - std::min<size_t>(1, bad.size()));
        if (way == 3) bad += "more";
        if (way >= 5 && !bad.empty()) {
          for (int flips = 0; flips < way - 4; ++flips) {
            char& byte = bad[random() % bad.size()];
            byte = static_cast<char>(byte ^ (1 << (random() % 8)));
          }
        }
        rig_.Close();
        fs::remove_all(path);
        fs::copy(origin, path, fs::copy_options::recursive);
        if (way == 4) {
          fs::remove(path / "db" / name);
        } else {
          WriteFile(path / "db" / name, bad);
        }
        rig_.Open();
        ExpectNothingWrong(older_too, absl::StrCat(name, " way ", way));
      }
    }
  }

  Version after_ = 1'000'000;
};

TEST_F(RocksDamageTest, DamagedFilesAfterAnEndInOrder) {
  Fill();
  rig_.Close();
  const TemporaryFolder copy;
  fs::copy(rig_.path(), copy.path(), fs::copy_options::recursive);
  DamageEverything(copy.path(), /*older_too=*/false);
}

// Copies the files of a running store: what a process that is killed leaves.
TEST_F(RocksDamageTest, DamagedFilesAfterAKill) {
  Fill();
  const TemporaryFolder copy;
  fs::copy(rig_.path(), copy.path(), fs::copy_options::recursive);
  DamageEverything(copy.path(), /*older_too=*/true);
}

TEST_F(RocksDamageTest, SaysThatItDroppedWhatWasDamaged) {
  Fill();
  rig_.Close();
  WriteFile(fs::path(rig_.path()) / "db" / "CURRENT", "MANIFEST-999999\n");
  rig_.Open();
  EXPECT_EQ(rig_.rocks().drops().damaged, 1u);
  EXPECT_EQ(rig_.rocks().drops().power_loss, 0u);
  EXPECT_EQ(rig_.tier().Stats().dropped_damaged, 1u);
  EXPECT_EQ(rig_.tier().Stats().dropped_power_loss, 0u);
  EXPECT_EQ(rig_.tier().Stats().state, "ok");
  EXPECT_EQ(Value("k1"), "(absent)");
}

TEST_F(RocksDamageTest, DropsTheStoreWhenTheMachineWentDownUnderIt) {
  Fill();
  const TemporaryFolder copy;
  fs::copy(rig_.path(), copy.path(), fs::copy_options::recursive);
  rig_.Close();
  fs::remove_all(rig_.path());
  fs::copy(copy.path(), rig_.path(), fs::copy_options::recursive);
  RocksTierOptions options = rig_.options();
  options.boot_id = "another boot";
  rig_.Open(options);
  EXPECT_EQ(rig_.rocks().drops().power_loss, 1u);
  EXPECT_EQ(rig_.tier().Stats().dropped_damaged, 0u);
  EXPECT_EQ(rig_.tier().Stats().dropped_power_loss, 1u);
  EXPECT_EQ(Value("k1"), "(absent)");
}

TEST_F(RocksDamageTest, KeepsTheStoreOverAnotherBootWhenItWasClosedInOrder) {
  Fill();
  RocksTierOptions options = rig_.options();
  options.boot_id = "another boot";
  rig_.Reopen(options);
  EXPECT_EQ(rig_.rocks().drops().power_loss, 0u);
  EXPECT_EQ(Value("k1"), ValueOf(1, 3));
}

TEST_F(RocksDamageTest, DatabaseWithoutAStateIsNotBelieved) {
  Fill();
  rig_.Close();
  fs::remove(fs::path(rig_.path()) / "STATE");
  rig_.Open();
  EXPECT_EQ(rig_.rocks().drops().damaged, 1u);
  EXPECT_EQ(Value("k1"), "(absent)");
}

// A block that goes bad while the store is open: the read is a miss, and the store is made anew. It
// forgets its tombstones with all else, so what is older than the loss is refused from then on.
TEST_F(RocksDamageTest, BadBlockUnderARunningStoreIsAMissAndTheStoreIsMadeAnew) {
  Fill();
  rig_.Reopen();
  for (const fs::path& file : Files(fs::path(rig_.path()) / "db")) {
    if (file.extension() != ".sst") continue;
    // In place, since the store has the file open.
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(100);
    stream << std::string(static_cast<size_t>(fs::file_size(file)) / 2, 'x');
  }
  Put("x", 5000, "v");
  int lost = 0;
  for (int k = 0; k < kKeys; ++k) {
    const std::string value = Value(absl::StrCat("k", k));
    // The store may be on its way out already.
    const bool miss = value == "(absent)" || value.starts_with("(UNAVAILABLE");
    EXPECT_TRUE(miss || value == Newest(k)) << k << " " << value.substr(0, 80);
    lost += miss;
  }
  EXPECT_GT(lost, 0);
  rig_.rocks().Sweep();
  EXPECT_EQ(rig_.rocks().drops().damaged, 1u);
  EXPECT_EQ(rig_.tier().Stats().state, "ok");
  EXPECT_EQ(Value("k1"), "(absent)");
  EXPECT_EQ(Put("k0", 4999, "older than the loss"), TierChange::Outcome::kSkipped);
  EXPECT_EQ(Put("k0", 5001, "newer"), TierChange::Outcome::kDone);
}

// A process that writes until it is killed, and its ledger of acknowledged changes.
class Writer {
 public:
  Writer(const std::string& path, Version first) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    ledger_ = ends[0];
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(ends[1], STDOUT_FILENO);
      const std::string program = LARDER_BIN_DIR "/rocks_writer", number = absl::StrCat(first);
      execl(program.c_str(), program.c_str(), path.c_str(), number.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
  }
  ~Writer() {
    Kill();
    close(ledger_);
  }

  bool Next(AcknowledgedChange* change) const {
    return read(ledger_, change, sizeof(*change)) == sizeof(*change);
  }
  void Kill() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = 0;
  }

 private:
  int ledger_ = -1;
  pid_t child_ = 0;
};

TEST_F(RocksDamageTest, AcknowledgedChangesSurviveKillNine) {
  rig_.Close();
  std::map<int32_t, AcknowledgedChange> newest;
  std::mt19937 random(11);
  size_t acknowledged = 0;
  for (int round = 0; round < 12; ++round) {
    Writer writer(rig_.path(), 1 + 1'000'000 * static_cast<Version>(round));
    // Killed after a number of changes that differs from round to round, in the midst of the next.
    const size_t enough = 200 + random() % 2000;
    AcknowledgedChange done;
    size_t seen = 0;
    for (; seen < enough && writer.Next(&done); ++seen) newest[done.key] = done;
    ASSERT_EQ(seen, enough);
    writer.Kill();
    for (; writer.Next(&done); ++seen) newest[done.key] = done;
    acknowledged += seen;

    rig_.Open();
    EXPECT_EQ(rig_.rocks().drops().damaged, 0u);
    for (const auto& [key, last] : newest) {
      const auto reads = AwaitTask(rig_.tier().Get({Key(absl::StrCat("k", key))}, kNever));
      ASSERT_TRUE(reads.ok()) << reads.status();
      const TierRead& read = reads->front();
      // The change that was under way when the child died may be there as well.
      ASSERT_GE(read.entry.version, last.version) << "round " << round << " key " << key;
      if (read.entry.version > last.version) continue;
      EXPECT_EQ(read.kind, last.erased ? TierRead::Kind::kTombstone : TierRead::Kind::kEntry);
    }
    rig_.Close();
  }
  EXPECT_GT(acknowledged, 5000u);
}

}  // namespace
}  // namespace larder
