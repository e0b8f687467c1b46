// A journal under a seed: appends of all kinds at once, an origin and a disk that fail in every way
// they can, work that runs in the middle of a write to the disk, pauses, flushes and restarts. What
// must hold is judged after each step and at the end.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/journal/journal_rig.h"

namespace larder {
namespace {

using Kind = JournalDelivered::Kind;

class Storm : public JournalRig {
 public:
  explicit Storm(uint64_t seed) : JournalRig(seed), dice_(seed * 7919) {
    policy().coalesce = Roll(2) == 0;
    policy().sync = Roll(2) == 0 ? JournalSync::kFsync : JournalSync::kOs;
    policy().on_full = Roll(2) == 0 ? OnFull::kBlock : OnFull::kReject;
    policy().entries_max = Roll(2) == 0 ? 0 : 12;
    policy().batch = 1 + Roll(6);
    policy().attempts = 2 + static_cast<int>(Roll(4));
    policy().delay = absl::Milliseconds(Roll(100));
    policy().backoff = {absl::Milliseconds(20), absl::Milliseconds(500)};
    WritePolicy& other = AddType("u", Roll(2) == 0 ? "db" : "other");
    other.coalesce = !policy().coalesce;
    options_.deliveries_max = 1 + Roll(4);
    options_.heal_pause = absl::Milliseconds(200);
    disk_.meanwhile = [this] {
      for (uint64_t steps = Roll(4); steps > 0; --steps) executor_.RunOne();
    };
    sink_.of_call = [this](const JournalDelivery&) { return FateOfCall(); };
    sink_.of_write = [this](const JournalRecord& write) { return FateOf(write); };
  }

  void Run() {
    Open();
    for (int step = 0; step < 400 && !testing::Test::HasFailure(); ++step) {
      Step();
      for (uint64_t some = Roll(30); some > 0; --some) executor_.RunOne();
      Judge();
    }
    CalmDown();
    JudgeTheEnd();
  }

 private:
  struct Wish {
    JournalRecord record;
    Pending<absl::Status> answer;
    bool counted = false;
  };
  struct Barrier {
    std::map<std::string, Version> acknowledged;  // before it
    Pending<absl::StatusOr<JournalFlushed>> answer;
    bool judged = false;
  };

  uint64_t Roll(uint64_t sides) { return dice_() % sides; }

  FakeSink::Fate FateOfCall() {
    FakeSink::Fate fate;
    if (calm_) return fate;
    fate.takes = absl::Milliseconds(Roll(3) == 0 ? Roll(60) : 0);
    switch (Roll(12)) {
      case 0:
        fate.error = absl::UnavailableError("away");
        break;
      case 1:
        fate.error = absl::UnavailableError("cut off after the commit");
        fate.applied_all_the_same = true;
        break;
      case 2:
        fate.error = absl::DeadlineExceededError("late");
        fate.applied_all_the_same = Roll(2) == 0;
        break;
      case 3:
        fate.error = absl::InternalError("broken");
        break;
      default:
        break;
    }
    return fate;
  }
  JournalDelivered FateOf(const JournalRecord& write) {
    if (calm_) return {Kind::kDone, {}};
    if (FullKey::KeyOf(write.full_key) == "poison") return {Kind::kReject, {}};
    const uint64_t rolled = Roll(20);
    if (rolled == 0) return {Kind::kReject, {}};
    if (rolled < 4) return {Kind::kRetry, absl::AbortedError("later")};
    return {Kind::kDone, {}};
  }

  void Step() {
    const uint64_t what = Roll(100);
    if (what < 60) {
      AppendOne();
    } else if (what < 85) {
      Advance(absl::Milliseconds(Roll(80)));
    } else if (what < 88) {
      BeginFlush();
    } else if (what < 90) {
      disk_.Break(Roll(2) == 0 ? MemoryDisk::Fault::kLost : MemoryDisk::Fault::kKept);
    } else if (what < 94) {
      disk_.Repair();
    } else if (what < 96) {
      (void)(Roll(2) == 0 ? journal_->Pause("db") : journal_->Resume(""));
    } else if (what < 98) {
      SupersedeOne();
    } else if (what < 99) {
      Restart();
    } else {
      {
        // Some the sink was not told of, since the journal stopped before it was sure.
        MutexLock lock(&disk_.mu);
        for (const auto& [id, letter] : disk_.buried) died_.push_back(letter);
      }
      Await(journal_->RetryLetters({})).status().IgnoreError();
    }
  }

  void AppendOne() {
    static constexpr const char* kKeys[] = {"a", "b", "c", "d", "e", "f", "poison"};
    const char* const key = kKeys[Roll(std::size(kKeys))];
    // Versions of a key do not always come in their order.
    const Version version = ++version_ * 10 - Roll(3) * 15;
    if (version > (Version{1} << 40) || used_[version]++ > 0) return;
    const std::string type = key[0] < 'c' ? "t" : "u";
    JournalRecord record = WriteOf(key, version, ValueOf(version), type);
    record.remove = Roll(5) == 0;
    JournalRecord copy = record;
    wishes_.push_back({std::move(record), Begin(std::move(copy), In(absl::Milliseconds(300)))});
  }

  void SupersedeOne() {
    // As a write that goes through to the origin does.
    const std::string key = Full(Roll(2) == 0 ? "a" : "d");
    const Version version = ++version_ * 10;
    used_[version] = 1;
    {
      MutexLock lock(&sink_.mu_);
      FakeSink::Row& row = sink_.rows[key];
      row = {version, ValueOf(version), false};
    }
    journal_->Supersede(key, key[0] < 'c' ? "t" : "u", version);
  }

  void BeginFlush() {
    Collect();
    Pending<absl::StatusOr<JournalFlushed>> answer(
        journal_->Flush("", In(absl::Milliseconds(500))));
    flushes_.push_back({acknowledged_, std::move(answer)});
  }

  void Restart() {
    (void)journal_->Pause("");
    Advance(absl::Seconds(1));
    Collect();
    Close();
    disk_.Repair();
    {
      MutexLock lock(&disk_.mu);
      disk_.ill = false;
      disk_.fault = MemoryDisk::Fault::kNone;
    }
    Open();
  }

  static std::string ValueOf(Version version) { return "value of " + std::to_string(version); }

  // Takes note of what has been acknowledged by now.
  void Collect() {
    for (Wish& wish : wishes_) {
      if (wish.counted || !wish.answer.done()) continue;
      wish.counted = true;
      if (!wish.answer->ok()) continue;
      Version& version = acknowledged_[wish.record.full_key];
      version = std::max(version, wish.record.version);
    }
    std::erase_if(wishes_, [](const Wish& wish) { return wish.counted; });
  }

  // Whether a write of at least that version is where it belongs: at the origin, or dead.
  bool IsSettled(const std::string& key, Version version) {
    if (sink_.row(key).version >= version) return true;
    MutexLock lock(&disk_.mu);
    return std::any_of(disk_.buried.begin(), disk_.buried.end(), [&](const auto& one) {
      return one.second.record.full_key == key && one.second.record.version >= version;
    });
  }

  // Whether one has died that may be on its way back. While the disk leaves it open whether it has
  // been put back, nobody sees it.
  bool HasDied(const std::string& key, Version version) const {
    const auto matches = [&](const DeadLetter& letter) {
      return letter.record.full_key == key && letter.record.version >= version;
    };
    return std::any_of(sink_.dead.begin(), sink_.dead.end(), matches) ||
           std::any_of(died_.begin(), died_.end(), matches);
  }

  void Judge() {
    Collect();
    for (const auto& [key, version] : acknowledged_) {
      EXPECT_TRUE(journal_->VersionOf(key) >= version || IsSettled(key, version) ||
                  HasDied(key, version))
          << key << " " << version << " is not to be seen";
    }
    for (Barrier& flush : flushes_) {
      if (flush.judged || !flush.answer.done()) continue;
      flush.judged = true;
      if (!flush.answer->ok()) continue;
      for (const auto& [key, version] : flush.acknowledged) {
        EXPECT_TRUE(IsSettled(key, version) || HasDied(key, version))
            << key << " " << version << " was to be flushed";
      }
    }
    std::erase_if(flushes_, [](const Barrier& flush) { return flush.judged; });
    EXPECT_EQ(sink_.overlaps, 0);
    if (policy().entries_max > 0) {
      // Beyond the bound come successors of writes in flight, and letters that are put back.
      const uint64_t beyond = options_.deliveries_max * policy().batch + sink_.dead.size();
      EXPECT_LE(journal_->Stats().types[0].depth, policy().entries_max + beyond);
    }
  }

  void CalmDown() {
    disk_.Repair();
    Advance(absl::Seconds(1));
    calm_ = true;
    ASSERT_TRUE(journal_->Resume("").ok());
    // A disk that is to break at its next write does so now.
    (void)Append(WriteOf("calm", ++version_ * 10));
    disk_.Repair();
    Advance(absl::Seconds(20));
    Judge();
  }

  void JudgeTheEnd() {
    EXPECT_TRUE(wishes_.empty()) << "an append never ended";
    EXPECT_TRUE(flushes_.empty()) << "a flush never ended";
    EXPECT_EQ(journal_->Stats().depth, 0u);
    EXPECT_EQ(journal_->Stats().bytes, 0u);
    EXPECT_EQ(disk_.records(), 0u) << "what was delivered is still on disk";
    EXPECT_EQ(journal_->Stats().dead_letters, disk_.dead());
    EXPECT_TRUE(journal_->Health().ok());
    for (const auto& [key, version] : acknowledged_) {
      EXPECT_TRUE(IsSettled(key, version)) << key << " " << version << " is lost";
    }
    for (const auto& [key, row] : sink_.rows) {
      EXPECT_TRUE(row.value == ValueOf(row.version) || key == Full("calm")) << key;
    }
    for (const auto& [key, versions] : sink_.effects) {
      EXPECT_TRUE(std::is_sorted(versions.begin(), versions.end())) << key;
      EXPECT_EQ(std::adjacent_find(versions.begin(), versions.end()), versions.end()) << key;
    }
  }

  std::mt19937_64 dice_;
  bool calm_ = false;
  Version version_ = 10;
  std::map<Version, int> used_;
  std::vector<DeadLetter> died_;
  std::vector<Wish> wishes_;
  std::vector<Barrier> flushes_;
  std::map<std::string, Version> acknowledged_;
};

TEST(JournalStormTest, LosesNothingThatWasAcknowledged) {
  const char* const one = std::getenv("LARDER_SIM_SEED");
  const char* const many = std::getenv("LARDER_SIM_SEEDS");
  const uint64_t first = one == nullptr ? 1 : std::strtoull(one, nullptr, 10);
  const uint64_t last = one != nullptr    ? first
                        : many == nullptr ? 150
                                          : std::strtoull(many, nullptr, 10);
  for (uint64_t seed = first; seed <= last && !HasFailure(); ++seed) {
    SCOPED_TRACE("LARDER_SIM_SEED=" + std::to_string(seed));
    Storm(seed).Run();
  }
}

}  // namespace
}  // namespace larder
