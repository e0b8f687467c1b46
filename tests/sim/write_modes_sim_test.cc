// Writers of types whose writes reach an origin, on one replica: random interleavings of sets,
// deletes, loads, reads, invalidations, expiries, deliveries, with an origin that is slow, refuses,
// fails, applies without saying so and applies late, against what the write modes promise: read
// your writes, nothing refused is ever seen, and in the end the copies agree with the origin. With
// a tier below and without. A seed repeats its run.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/race.h"
#include "core/error.h"
#include "engine/engine.h"
#include "tests/engine/fake_journal.h"
#include "tests/tier/fake_tier.h"

namespace larder {
namespace {

constexpr size_t kKeys = 4;
constexpr std::array<WriteMode, 4> kModes = {WriteMode::kThrough, WriteMode::kInvalidate,
                                             WriteMode::kAround, WriteMode::kBehind};

// Values are numbers that were counted up by key.
class MoodyOrigin : public Origin {
 public:
  MoodyOrigin(Executor* executor, std::mt19937_64* random) : executor_(executor), random_(random) {}

  struct Row {
    Version version = kNoVersion;
    std::string value;  // empty: it is not there
  };
  std::map<std::string, Row> rows;
  // Writes that it said it would never take.
  std::set<std::string> refused;
  bool well = false;
  // It cannot refuse what was acknowledged before.
  bool refuses = true;
  // Writes that came with another version as well.
  int again = 0;

  Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load, MonoNanos) override {
    // Read at some moment of the call.
    if (!well && Roll(2)) co_await Pause(executor_, absl::Milliseconds((*random_)() % 4));
    std::vector<OriginLoaded> answers(load.items.size());
    for (size_t i = 0; i < answers.size(); ++i) {
      const Row& row = rows[load.items[i].key];
      answers[i].kind =
          row.value.empty() ? OriginLoaded::Kind::kAbsent : OriginLoaded::Kind::kFound;
      answers[i].value = row.value;
    }
    if (!well && Roll(2)) co_await Pause(executor_, absl::Milliseconds((*random_)() % 4));
    if (!well && Roll(20)) co_return absl::UnavailableError("unwell");
    co_return answers;
  }

  Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore store, MonoNanos) override {
    const bool fails = !well && Roll(10);
    const bool late = fails && Roll(2);
    const bool never = fails && !late && Roll(2);
    if (!well && Roll(2)) co_await Pause(executor_, absl::Milliseconds((*random_)() % 4));
    std::vector<OriginStored> answers;
    for (const OriginStore::Write& write : store.writes) {
      OriginStored answer{OriginStored::Kind::kDone, absl::OkStatus()};
      if (!well && !fails && refuses && Roll(8)) {
        refused.insert(write.value);
        answer = {OriginStored::Kind::kReject, absl::InvalidArgumentError("no")};
      } else if (!well && !fails && Roll(10)) {
        answer = {OriginStored::Kind::kRetry, absl::AbortedError("later")};
      } else if (late) {
        executor_->After(absl::Milliseconds((*random_)() % 9), [this, write] { Apply(write); });
      } else if (!never) {
        Apply(write);
      }
      answers.push_back(std::move(answer));
    }
    if (!well && Roll(2)) co_await Pause(executor_, absl::Milliseconds((*random_)() % 4));
    if (fails) co_return absl::DeadlineExceededError("no answer");
    co_return answers;
  }
  Task<absl::StatusOr<OriginPage>> Scan(OriginScan, MonoNanos) override {
    co_return absl::UnimplementedError("not in this test");
  }
  OriginStats Stats() const override { return {}; }

 private:
  bool Roll(uint64_t one_in) { return (*random_)() % one_in == 0; }
  void Apply(const OriginStore::Write& write) {
    // Each value is written once: whatever versions it comes with, it is one write.
    if (!write.remove) {
      const auto [at, fresh] = ids_.emplace(write.value, write.idempotency_id);
      EXPECT_EQ(at->second, write.idempotency_id) << write.value << " is two writes";
      again += fresh || versions_[write.value] == write.version ? 0 : 1;
      versions_[write.value] = write.version;
    }
    Row& row = rows[write.key];
    if (write.version > row.version) row = {write.version, write.remove ? "" : write.value};
  }

  Executor* const executor_;
  std::mt19937_64* const random_;
  std::map<std::string, std::string> ids_;
  std::map<std::string, Version> versions_;
};

class World {
 public:
  World(uint64_t seed, WriteMode mode)
      : random_(seed),
        executor_(&clock_, seed),
        lots_(seed),
        tier_(fake_.NewHandle(&clock_, &executor_, &lots_)) {
    Engine::Options options;
    options.clock = &clock_;
    options.random = &lots_;
    options.executor = &executor_;
    options.memory_bytes = L1::kBudgetBytesMin;
    TypePolicy type;
    type.name = "user";
    type.match.push_back(*Pattern::Parse("user:{id}"));
    type.origin = "moody";
    type.ttl.base = absl::Milliseconds(15);
    type.ttl.jitter = 0;
    type.ttl.absent = absl::Milliseconds(10);
    type.freshness.refresh_ahead = 0.7;
    type.freshness.stale_while_revalidate = absl::Milliseconds(5);
    type.freshness.stale_if_error = absl::Milliseconds(30);
    type.write.mode = mode;
    type.write.timeout = absl::Milliseconds(10);
    if (seed % 3 == 0) type.l1_ttl_max = absl::Milliseconds(4);
    options.types = *TypeTable::Make({type});
    OriginLink link;
    link.name = "moody";
    link.origin = &origin_;
    options.origins = {link};
    journal_.origin = "moody";
    journal_.takes = absl::Milliseconds(seed % 3);
    options.journal = &journal_;
    origin_.refuses = mode != WriteMode::kBehind;
    if (seed % 2 == 0) {
      options.tier = tier_.get();
      tier_->SetFaults({.delay_max = absl::Milliseconds(seed % 4)});
    }
    engine_ = std::make_unique<Engine>(options);
    engine_->Start();
    for (size_t key = 0; key < kKeys; ++key) names_.push_back("user:" + std::to_string(key));
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) Step();
    origin_.well = true;
    executor_.Advance(absl::Seconds(1));
    for (int i = 0; i < 3; ++i) {
      Spawn(journal_.Deliver(), [](bool) {});
      executor_.Advance(absl::Seconds(1));
    }
    EXPECT_EQ(running_, 0);
    EXPECT_TRUE(journal_.waiting.empty());
    for (size_t key = 0; key < kKeys; ++key) Load(key, /*last=*/true);
    executor_.Advance(absl::Seconds(1));
    EXPECT_EQ(running_, 0);
    EXPECT_EQ(engine_->Stats().flights, 0u);
    EXPECT_EQ(engine_->Stats().memory.fills, 0u);
    EXPECT_TRUE(engine_->memory().CheckInvariants());
    engine_->Drain();
    engine_->Stop(absl::ZeroDuration());
    tier_->Close();
    executor_.RunReady();
  }

  int stored = 0, failed = 0, reads = 0;
  int again() const { return origin_.again; }

 private:
  size_t Pick(size_t n) { return random_() % n; }

  void Step() {
    const size_t key = Pick(kKeys);
    switch (Pick(14)) {
      case 0:
      case 1:
        return Change(key, /*remove=*/false);
      case 2:
        if (Pick(3) == 0) return Change(key, /*remove=*/true);
        return Load(key, /*last=*/false);
      case 3:
      case 4:
        return Load(key, /*last=*/false);
      case 5:
        return Read(key);
      case 6:
        return Hit(key);
      case 7:
        if (Pick(4) == 0) return Invalidate(key);
        return Read(key);
      case 8:
        ++running_;
        return Spawn(journal_.Deliver(), [this](bool) { --running_; });
      case 9:
        return executor_.Advance(absl::Microseconds(Pick(Pick(4) == 0 ? 40'000 : 3000)));
      default:
        executor_.RunOne();
    }
  }

  void Change(size_t key, bool remove) {
    const int64_t number = ++begun_[key];
    ++running_;
    if (remove) {
      removals_[key] = number;
      Spawn(engine_->Delete({"", names_[key], ""}),
            [this, key, number](const absl::StatusOr<RemoveResult>& removed) {
              Ended(key, number, removed.ok(), removed.status());
            });
      return;
    }
    // As text that sorts by key, too, so that a refused value is one write's alone.
    values_.push_back(std::make_unique<std::string>(ValueOf(key, number)));
    WriteRequest write;
    write.key = {"", names_[key], ""};
    write.value = *values_.back();
    Spawn(engine_->Set(std::move(write)),
          [this, key, number](const absl::StatusOr<WriteResult>& set) {
            Ended(key, number, set.ok() && set->stored, set.status());
          });
  }
  static std::string ValueOf(size_t key, int64_t number) {
    return std::to_string(key) + ":" + std::to_string(number);
  }
  void Ended(size_t key, int64_t number, bool ok, const absl::Status& status) {
    --running_;
    if (ok) {
      ++stored;
      acknowledged_[key] = std::max(acknowledged_[key], number);
      return;
    }
    ++failed;
    const std::string reason = DetailsOf(status).reason;
    EXPECT_TRUE(reason == "WRITE_REFUSED" || reason == "WRITE_FAILED" || reason == "WRITE_UNKNOWN")
        << status;
  }

  struct Caller {
    int64_t floor;
    std::string key;
  };
  void Saw(size_t key, const Caller& caller, const ReadResult& read, const char* how) {
    ++reads;
    if (!read.entry.has_value()) {
      if (read.miss != MissReason::kNegative) return;
      EXPECT_TRUE(removals_[key] >= caller.floor) << how << " " << key << ": not there";
      return;
    }
    const std::string value(read.entry->stored());
    EXPECT_FALSE(origin_.refused.contains(value)) << how << " " << value << " was refused";
    const int64_t number = std::stoll(value.substr(value.find(':') + 1));
    EXPECT_GE(number, caller.floor) << how << " " << value << " after a later write";
  }

  void Load(size_t key, bool last) {
    ++running_;
    LoadRequest request;
    request.key = {"", names_[key], ""};
    const Caller caller{acknowledged_[key], ""};
    Spawn(engine_->GetOrLoad(request),
          [this, key, caller, last](const absl::StatusOr<LoadResult>& result) {
            --running_;
            if (result.ok()) Saw(key, caller, result->read, "loads");
            if (!last) return;
            ASSERT_TRUE(result.ok()) << result.status();
            const std::string truth = origin_.rows[names_[key]].value;
            const std::optional<Entry>& entry = result->read.entry;
            EXPECT_EQ(entry.has_value() ? std::string(entry->stored()) : "", truth) << key;
          });
  }
  void Read(size_t key) {
    ++running_;
    const Caller caller{acknowledged_[key], ""};
    Spawn(engine_->Get({"", names_[key], ""}),
          [this, key, caller](const absl::StatusOr<ReadResult>& read) {
            --running_;
            Saw(key, caller, *read, "reads");
          });
  }
  void Hit(size_t key) {
    ReadResult read;
    Entry entry;
    if (!engine_->FindHit(FullKey("", names_[key]), clock_.Mono(), true, &entry)) return;
    read.entry = std::move(entry);
    Saw(key, {acknowledged_[key], ""}, read, "hits");
  }
  void Invalidate(size_t key) {
    ++running_;
    InvalidateRequest request;
    request.keys = {names_[key]};
    Spawn(engine_->InvalidateKeys(request),
          [this](const absl::StatusOr<InvalidateResult>&) { --running_; });
  }

  std::mt19937_64 random_;
  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom lots_;
  FakeTier fake_;
  std::unique_ptr<FakeTier::Handle> tier_;
  MoodyOrigin origin_{&executor_, &random_};
  FakeJournal journal_{&clock_, &executor_};
  std::unique_ptr<Engine> engine_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<std::string>> values_;
  std::array<int64_t, kKeys> begun_ = {};
  std::array<int64_t, kKeys> acknowledged_ = {};
  std::array<int64_t, kKeys> removals_ = {};
  int running_ = 0;
};

TEST(WriteModesSimTest, KeepTheirPromisesInRandomInterleavings) {
  constexpr uint64_t kSeeds = 200;
  for (const WriteMode mode : kModes) {
    int stored = 0, failed = 0, reads = 0, again = 0;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SCOPED_TRACE(testing::Message() << "mode " << static_cast<int>(mode) << ", seed " << seed);
      World world(seed, mode);
      world.Run(800);
      if (testing::Test::HasFailure()) return;
      stored += world.stored;
      failed += world.failed;
      reads += world.reads;
      again += world.again();
    }
    // It is worth something only while all of it happens.
    EXPECT_GT(stored, 40 * static_cast<int>(kSeeds));
    const int failed_least = mode == WriteMode::kBehind ? 0 : 5 * static_cast<int>(kSeeds);
    EXPECT_GE(failed, failed_least);
    EXPECT_GT(reads, 100 * static_cast<int>(kSeeds));
    if (mode == WriteMode::kBehind) {
      EXPECT_GT(again, 0);
    }
  }
}

}  // namespace
}  // namespace larder
