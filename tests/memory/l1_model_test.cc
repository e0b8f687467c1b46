// Random operations on L1 next to a plain map with TTL. L1 may forget where the map does not (it
// evicts), but what it remembers must be what the map holds, and it may not forget before memory is
// full.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/key.h"
#include "memory/l1.h"

namespace larder {
namespace {

struct Held {
  std::string value;
  Version version = kNoVersion;
  bool negative = false;
  MonoNanos until = 0;
  MonoNanos sliding = 0;
  Encoding encoding = kPlain;
  uint16_t type_id = 0;
  std::vector<std::string> tags;
};

struct Model {
  uint64_t seed;
  uint64_t budget;
  int keys;
  int steps;
  // How large values get, as a power of two.
  int value_bits;
};

class L1ModelTest : public testing::TestWithParam<Model> {
 protected:
  L1ModelTest() : random_(GetParam().seed) {
    std::printf("seed %zu\n", static_cast<size_t>(GetParam().seed));
    L1::Options options;
    options.budget_bytes = GetParam().budget;
    options.entry_bytes_max = 64 << 10;
    options.types_max = 8;
    options.namespaces_max = 4;
    options.types.resize(3);
    options.types[1].share_min = 0.1;
    options.types[2].share_max = 0.2;
    options.hash_seed = GetParam().seed + 1;
    options.clock = &clock_;
    l1_ = L1::New(options);
  }

  uint64_t Draw(uint64_t below) { return random_() % below; }
  bool Chance(double part) { return std::uniform_real_distribution<>()(random_) < part; }

  std::string DrawKey() {
    // A few keys are busy, most are not.
    const auto number = static_cast<int>(static_cast<double>(GetParam().keys) *
                                         std::pow(std::uniform_real_distribution<>()(random_), 3));
    const std::string name = number % 7 == 0 ? "other" : "";
    return std::string(FullKey(name, "key:" + std::to_string(number)).view());
  }
  static uint16_t NamespaceOf(const std::string& key) {
    return FullKey::NamespaceOf(key) == "other" ? 1 : 0;
  }
  std::string DrawValue() {
    const size_t size = Draw(uint64_t{1} << Draw(GetParam().value_bits + 1)) + 1;
    const auto letter = static_cast<char>('a' + Draw(26));
    std::string value(size, letter);
    value[Draw(size)] = '!';
    return value;
  }

  const Held* Live(const std::string& key) {
    const auto it = model_.find(key);
    if (it == model_.end() || it->second.until <= clock_.Mono()) return nullptr;
    return &it->second;
  }

  // Whether L1 may have lost an entry: it was full once, or refused one.
  bool MayForget() {
    if (!may_forget_) {
      const L1Usage usage = l1_->Usage();
      may_forget_ = usage.total.evicted() > 0;
    }
    return may_forget_;
  }

  EntryFields DrawFields(const std::string& key, Held* held) {
    held->negative = Chance(0.05);
    held->value = held->negative ? "" : DrawValue();
    held->version = ++version_;
    // Whole milliseconds: what L1 counts in.
    const auto ttl = absl::Milliseconds(Chance(0.5) ? 1 + Draw(100) : 1 + Draw(1'000'000));
    held->until = MonoAfter(clock_.Mono(), Chance(0.02) ? absl::InfiniteDuration() : ttl);
    held->sliding = Chance(0.1) ? absl::ToInt64Nanoseconds(ttl) : 0;
    held->type_id = static_cast<uint16_t>(Draw(5));
    if (Chance(0.1)) held->tags = {"tag", std::string(Draw(100), 't')};
    if (Chance(0.1)) held->encoding = static_cast<Encoding>(1 + Draw(30));
    EntryFields fields;
    fields.full_key = key;
    fields.value = held->value;
    fields.negative = held->negative;
    fields.version = held->version;
    fields.fresh_until = fields.usable_until = held->until;
    fields.sliding = held->sliding;
    fields.type_id = held->type_id;
    fields.namespace_id = NamespaceOf(key);
    fields.tags = held->tags;
    fields.encoding = held->encoding;
    if (fields.encoding != kPlain)
      fields.plain_bytes = static_cast<uint32_t>(held->value.size()) * 2;
    return fields;
  }

  void Insert() {
    const std::string key = DrawKey();
    Held held;
    EntryFields fields = DrawFields(key, &held);
    const Held* const before = Live(key);
    Expect expect;
    if (Chance(0.2)) {
      expect.kind = static_cast<Expect::Kind>(Draw(4));
      if (expect.kind == Expect::Kind::kVersion && before != nullptr)
        expect.version = before->version;
    }
    if (Chance(0.05) && before != nullptr) {
      fields.version = before->version;
      const InsertOutcome late = l1_->Insert(fields, {}, clock_.Mono()).outcome;
      if (!MayForget()) {
        ASSERT_EQ(late, InsertOutcome::kNewerExists);
      }
      // A forgotten key is stored under the old version only above what has left.
      if (late == InsertOutcome::kStored) model_[key] = held, model_[key].version = fields.version;
      return;
    }
    const InsertOutcome outcome = l1_->Insert(fields, expect, clock_.Mono()).outcome;
    if (outcome == InsertOutcome::kStored) {
      model_[key] = held;
    } else if (outcome == InsertOutcome::kTooLarge) {
      // What it would have replaced is out of date and gone.
      model_.erase(key);
      may_forget_ = true;
    } else {
      ASSERT_EQ(outcome, InsertOutcome::kConditionFailed);
      const bool value_there = before != nullptr && !before->negative;
      if (!MayForget()) {
        const bool right = (expect.kind == Expect::Kind::kAbsent && value_there) ||
                           (expect.kind == Expect::Kind::kPresent && !value_there) ||
                           (expect.kind == Expect::Kind::kVersion && !value_there);
        ASSERT_TRUE(right) << "condition " << static_cast<int>(expect.kind);
      }
    }
  }

  void Find() {
    const std::string key = DrawKey();
    const Held* const held = Live(key);
    MissReason why;
    const bool hit = l1_->Find(key, clock_.Mono(), &entry_, &why);
    if (held == nullptr) {
      ASSERT_FALSE(hit) << "served what is gone";
      return;
    }
    if (!hit) {
      ASSERT_TRUE(MayForget()) << "forgot without need";
      return;
    }
    ASSERT_EQ(entry_.version, held->version);
    ASSERT_EQ(entry_.stored(), held->value);
    ASSERT_EQ(entry_.negative, held->negative);
    ASSERT_EQ(entry_.encoding, held->encoding);
    ASSERT_EQ(entry_.tags, held->tags);
    ASSERT_EQ(entry_.type_id, held->type_id);
    ASSERT_EQ(entry_.namespace_id, NamespaceOf(key));
    if (held->sliding != 0) {
      // It slides in steps of a thousandth.
      const MonoNanos until = clock_.Mono() + held->sliding;
      ASSERT_LE(entry_.usable_until, std::max(until, held->until));
      ASSERT_GE(entry_.usable_until, until - held->sliding / 1000);
      model_[key].until = entry_.usable_until;
    } else {
      ASSERT_EQ(entry_.usable_until, held->until);
    }
  }

  void Erase() {
    const std::string key = DrawKey();
    const Held* const held = Live(key);
    const bool older = Chance(0.2) && held != nullptr;
    const Version version = older ? held->version - 1 : ++version_;
    const EraseResult erased = l1_->Erase(key, version, clock_.Mono());
    if (older) {
      ASSERT_FALSE(erased.existed);
      return;
    }
    if (!MayForget()) {
      ASSERT_EQ(erased.existed, held != nullptr && !held->negative);
    }
    model_.erase(key);
  }

  void Fill() {
    const std::string key = DrawKey();
    const FillTicket ticket = l1_->BeginFill(key);
    ASSERT_NE(ticket, 0u);
    if (Chance(0.3)) {
      ++version_;
      l1_->Erase(key, version_, clock_.Mono());
      model_.erase(key);
    }
    const bool lost = !l1_->HasFill(key, ticket);
    Held held;
    const EntryFields fields = DrawFields(key, &held);
    const InsertOutcome outcome = l1_->Fill(fields, ticket, clock_.Mono()).outcome;
    ASSERT_EQ(outcome == InsertOutcome::kTicketLost, lost);
    if (outcome == InsertOutcome::kStored) model_[key] = held;
    if (outcome == InsertOutcome::kTooLarge) may_forget_ = true;
  }

  void Step() {
    const uint64_t draw = Draw(1000);
    if (draw < 600) {
      Find();
    } else if (draw < 900) {
      Insert();
    } else if (draw < 940) {
      Erase();
    } else if (draw < 980) {
      Fill();
    } else if (draw < 995) {
      clock_.Advance(absl::Milliseconds(Chance(0.01) ? Draw(1'000'000) : Draw(50)));
    } else if (draw < 998) {
      l1_->Sweep(clock_.Mono());
    } else if (Chance(0.02)) {
      const uint64_t budget = GetParam().budget / (1 + Draw(4));
      for (int i = 0; i < 1000 && !l1_->SetBudget(budget); ++i) {
      }
      may_forget_ = true;
    }
  }

  std::mt19937_64 random_;
  ManualClock clock_;
  std::unique_ptr<L1> l1_;
  std::unordered_map<std::string, Held> model_;
  Version version_ = VersionAt(absl::FromUnixSeconds(1'700'000'000));
  Entry entry_;
  bool may_forget_ = false;
};

TEST_P(L1ModelTest, RemembersOnlyWhatIsTrue) {
  for (int step = 0; step < GetParam().steps; ++step) {
    Step();
    ASSERT_FALSE(HasFatalFailure()) << "at step " << step;
    if (step % (GetParam().steps / 20) == 0) {
      ASSERT_TRUE(l1_->CheckInvariants()) << "at step " << step;
      const L1Usage usage = l1_->Usage();
      ASSERT_LE(usage.bytes, std::max(usage.budget_bytes, GetParam().budget));
    }
  }
  ASSERT_TRUE(l1_->CheckInvariants());
}

INSTANTIATE_TEST_SUITE_P(Seeds, L1ModelTest,
                         testing::Values(Model{1, 64 << 20, 2'000, 1'000'000, 8},
                                         Model{2, 4 << 20, 50'000, 1'000'000, 8},
                                         Model{3, 1 << 20, 5'000, 1'000'000, 12},
                                         Model{4, 8 << 20, 20'000, 1'000'000, 16},
                                         Model{5, 80 << 20, 300'000, 1'000'000, 10}));

}  // namespace
}  // namespace larder
