// What becomes of a rule that is found in the tier and told by the others, in either order: all
// that was made here before it was in force is covered, and nothing that was made after.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/rule_codec.h"
#include "engine/rules.h"
#include "tests/tier/fake_tier.h"

namespace larder {
namespace {

// Nobody hears what it is told.
class SilentBus : public Bus {
 public:
  void Start(BusListener*) override {}
  Task<absl::Status> Stop(MonoNanos) override { co_return absl::OkStatus(); }
  void Publish(BusMessage message) override { published.push_back(std::move(message)); }
  Task<FleetAck> PublishAndWait(BusMessage message, MonoNanos) override {
    Publish(std::move(message));
    co_return FleetAck();
  }
  BusStats Stats() const override { return {}; }

  std::vector<BusMessage> published;
};

// A replica, as far as rules go.
struct Node {
  Node(uint32_t id, ManualClock* clock, ManualExecutor* executor, Random* random, FakeTier* fleet)
      : tier(fleet->NewHandle(clock, executor, random)), versions(clock, id) {
    Rules::Options options;
    options.table = &table;
    options.memory = memory.get();
    options.sweep_rate = 0;
    options.tier = tier.get();
    options.bus = &bus;
    options.versions = &versions;
    options.clock = clock;
    options.executor = executor;
    options.background = &background;
    options.node_id = id;
    options.life = [] { return absl::Hours(1); };
    rules = std::make_unique<Rules>(options);
  }
  // Whether what this node made under that version, with the tag `red`, is gone.
  bool Gone(Version version) const {
    const std::vector<std::string> tags = {"red"};
    return table.Judge({"default", "k", "default", tags, {}, version}).gone;
  }

  static std::unique_ptr<L1> NewMemory(const RuleTable* table) {
    L1::Options options;
    options.budget_bytes = L1::kBudgetBytesMin;
    options.types.resize(1);
    options.rules = table;
    return L1::New(options);
  }

  std::unique_ptr<FakeTier::Handle> tier;
  VersionClock versions;
  RuleTable table{RuleTable::Options()};
  std::unique_ptr<L1> memory = NewMemory(&table);
  SilentBus bus;
  InFlight background;
  std::unique_ptr<Rules> rules;
};

class RulesFoundTest : public testing::Test {
 protected:
  RulesFoundTest() { clock_.Advance(absl::Hours(1)); }
  ~RulesFoundTest() override {
    here_.tier->Close();
    there_.tier->Close();
    executor_.RunReady();
  }

  // Another replica invalidates. The message in which it tells of it.
  BusMessage InvalidateThere() {
    Rule rule;
    rule.kind = Rule::Kind::kTag;
    rule.match = "red";
    rule.name_space = "default";
    std::vector<Rule> rules(1, rule);
    Spawn(there_.rules->Apply(std::move(rules), std::nullopt, nullptr),
          [](const absl::StatusOr<Rules::Applied>& applied) { EXPECT_TRUE(applied.ok()); });
    executor_.RunReady();
    EXPECT_EQ(there_.bus.published.size(), 1u);
    return there_.bus.published.at(0);
  }
  // Reads the rules that the tier has, as at the start and after a gap.
  void Find() {
    here_.rules->OnGap();
    here_.rules->OnFollowing();
    executor_.RunReady();
    EXPECT_TRUE(here_.rules->Known());
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  SeededRandom random_{1};
  FakeTier fleet_;
  Node here_{1, &clock_, &executor_, &random_, &fleet_};
  Node there_{2, &clock_, &executor_, &random_, &fleet_};
};

// The message of a rule that was found at the start comes when a caller has written already.
TEST_F(RulesFoundTest, WhatIsMadeAfterARuleWasFoundIsNotCoveredWhenOthersTellOfIt) {
  const BusMessage told = InvalidateThere();
  clock_.Advance(absl::Seconds(1));
  Find();
  const Version after = here_.versions.Next();
  EXPECT_FALSE(here_.Gone(after));
  here_.rules->OnMessage(told);
  executor_.RunReady();
  EXPECT_FALSE(here_.Gone(after));
  here_.rules->OnMessage(told);
  EXPECT_FALSE(here_.Gone(after));
}

// This replica's clock is ahead: what it made before has a newer version than the rule.
TEST_F(RulesFoundTest, WhatWasMadeBeforeItIsCoveredWhicheverWayTheRuleComes) {
  here_.versions.Observe(VersionAt(clock_.Now() + absl::Minutes(1)));
  const Version before = here_.versions.Next();
  const BusMessage told = InvalidateThere();
  Find();
  here_.rules->OnMessage(told);
  executor_.RunReady();
  EXPECT_TRUE(here_.Gone(before));
  EXPECT_FALSE(here_.Gone(here_.versions.Next()));
  EXPECT_EQ(here_.bus.published.size(), 1u) << "the others are told of what it covers here";
}

TEST_F(RulesFoundTest, ARuleThatIsToldFirstCoversWhatWasMadeUntilThen) {
  Find();
  here_.versions.Observe(VersionAt(clock_.Now() + absl::Minutes(1)));
  const BusMessage told = InvalidateThere();
  const Version before = here_.versions.Next();
  here_.rules->OnMessage(told);
  const Version after = here_.versions.Next();
  executor_.RunReady();
  EXPECT_TRUE(here_.Gone(before));
  EXPECT_FALSE(here_.Gone(after));
  Find();
  here_.rules->OnMessage(told);
  EXPECT_FALSE(here_.Gone(after));
}

// The rules are read now and then while all is well, too.
TEST_F(RulesFoundTest, ARuleThatWasNeverToldCoversWhatWasMadeUntilItIsFound) {
  Find();
  here_.versions.Observe(VersionAt(clock_.Now() + absl::Minutes(1)));
  InvalidateThere();
  const Version before = here_.versions.Next();
  here_.rules->Start();
  executor_.Advance(absl::Minutes(2));
  EXPECT_TRUE(here_.Gone(before));
  EXPECT_FALSE(here_.Gone(here_.versions.Next()));
}

}  // namespace
}  // namespace larder
