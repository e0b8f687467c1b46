#include "bus/roster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr MonoNanos kSecond = 1'000'000'000;

class RosterTest : public testing::Test {
 protected:
  Roster::Verdict Hear(uint64_t incarnation, uint64_t number, uint32_t node = 1,
                       bool judge = true) {
    Frame frame;
    frame.head.node = node;
    frame.head.incarnation = incarnation;
    frame.head.number = number;
    frame.check = incarnation * 1000 + number;
    return roster_.Hear(frame, now_, judge);
  }

  std::vector<std::string> Told() const {
    std::vector<std::string> told;
    for (const BusPeer& peer : roster_.Peers(now_))
      told.push_back(StrCat(peer.node, " ", peer.state, " ", peer.frames));
    return told;
  }

  MonoNanos now_ = 100 * kSecond;
  Roster roster_{{.node = 0}};
};

TEST_F(RosterTest, ANewSenderBeginsAtOne) {
  const Roster::Verdict verdict = Hear(5, 1);
  EXPECT_TRUE(verdict.fresh);
  EXPECT_EQ(verdict.gap, "");
  EXPECT_EQ(verdict.joined, 5u);
  EXPECT_THAT(roster_.Alive(), ElementsAre(5));
}

TEST_F(RosterTest, ASenderThatIsNotNewWasMissed) {
  const Roster::Verdict verdict = Hear(5, 2);
  EXPECT_TRUE(verdict.fresh);
  EXPECT_THAT(verdict.gap, HasSubstr("was not known"));
}

TEST_F(RosterTest, BeforeTheLogIsFollowedNothingIsMissed) {
  EXPECT_EQ(Hear(5, 2, 1, false).gap, "");
  EXPECT_EQ(Hear(5, 7, 1, false).gap, "");
  EXPECT_EQ(Hear(5, 8).gap, "");
}

TEST_F(RosterTest, AHoleIsAGapOnce) {
  Hear(5, 1);
  EXPECT_EQ(Hear(5, 4).gap, "replica 1 sent 2 frames that did not arrive");
  EXPECT_EQ(Hear(5, 5).gap, "");
  EXPECT_EQ(roster_.RunOf(5), (FrameAck{5, 4, 5}));
}

TEST_F(RosterTest, TheSameFrameAgainIsRepeatedAndAnotherOfItsNumberIsAGap) {
  Hear(5, 1);
  Hear(5, 2);
  const Roster::Verdict again = Hear(5, 1);
  EXPECT_FALSE(again.fresh);
  EXPECT_EQ(again.gap, "");
  Frame other;
  other.head = {.node = 1, .incarnation = 5, .number = 2, .sent = {}, .acks = {}};
  other.check = 1;
  const Roster::Verdict twin = roster_.Hear(other, now_, true);
  EXPECT_FALSE(twin.fresh);
  EXPECT_THAT(twin.gap, HasSubstr("frame 2 of replica 1 came after its frame 2"));
}

TEST_F(RosterTest, SilenceIsAGapAndComingBackIsNone) {
  Hear(5, 1);
  now_ += 2 * kSecond;
  EXPECT_THAT(roster_.FindSilent(now_, 0).gone, IsEmpty());
  const Roster::Verdict silent = roster_.FindSilent(now_ + 1, 0);
  EXPECT_THAT(silent.gone, ElementsAre(5));
  EXPECT_THAT(silent.gap, HasSubstr("replica 1 was not heard for 2s"));
  EXPECT_EQ(roster_.alive(), 0u);
  EXPECT_EQ(roster_.FindSilent(now_ + 1, 0).gap, "");
  const Roster::Verdict back = Hear(5, 2);
  EXPECT_EQ(back.gap, "");
  EXPECT_EQ(back.joined, 5u);
  EXPECT_EQ(roster_.alive(), 1u);
}

TEST_F(RosterTest, TellsEachReplicaOnceAndHowItIs) {
  Hear(5, 1, /*node=*/3);
  Hear(6, 1, /*node=*/1);
  Hear(6, 2, /*node=*/1);
  Hear(7, 1, /*node=*/2);
  EXPECT_THAT(Told(), ElementsAre("1 alive 2", "2 alive 1", "3 alive 1"));
  Frame goodbye;
  goodbye.head = {
      .node = 2, .incarnation = 7, .number = 2, .sent = {}, .goodbye = true, .acks = {}};
  roster_.Hear(goodbye, now_, true);
  now_ += 2 * kSecond;
  Hear(6, 3, /*node=*/1);
  now_ += 1;
  roster_.FindSilent(now_, 0);
  EXPECT_THAT(Told(), ElementsAre("1 alive 3", "2 left 2", "3 silent 1"));
  EXPECT_EQ(roster_.Peers(now_)[2].heard_ago, absl::Seconds(2) + absl::Nanoseconds(1));
  // Each begins again; what ran before is no replica.
  Hear(15, 1, /*node=*/3);
  Hear(17, 1, /*node=*/2);
  EXPECT_THAT(Told(), ElementsAre("1 alive 3", "2 alive 1", "3 alive 1"));
}

TEST_F(RosterTest, TellsOfItsOwnNodeOnlyWhereAnotherHasItToo) {
  Hear(5, 1, /*node=*/0);
  EXPECT_THAT(Told(), ElementsAre("0 alive 1"));
  now_ += 3 * kSecond;
  roster_.FindSilent(now_, 0);
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(RosterTest, TellsOfSoManyAndOfThoseAliveFirst) {
  Hear(1, 1, /*node=*/1);
  now_ += 3 * kSecond;
  roster_.FindSilent(now_, 0);
  for (uint64_t i = 2; i <= kBusPeersMax; ++i) Hear(i, 1, static_cast<uint32_t>(i));
  EXPECT_EQ(roster_.Peers(now_).size(), kBusPeersMax);
  EXPECT_EQ(roster_.Peers(now_).front().state, "silent");
  Hear(kBusPeersMax + 1, 1, kBusPeersMax + 1);
  EXPECT_EQ(roster_.Peers(now_).size(), kBusPeersMax);
  EXPECT_EQ(roster_.Peers(now_).front().state, "alive");
}

TEST_F(RosterTest, NobodyFallsSilentWhileTheLogIsSlow) {
  Hear(5, 1);
  now_ += 10 * kSecond;
  EXPECT_THAT(roster_.FindSilent(now_, now_ - kSecond).gone, IsEmpty());
}

TEST_F(RosterTest, GoodbyeIsNoGapAndARepeatedFrameDoesNotUndoIt) {
  Hear(5, 1);
  Frame goodbye;
  goodbye.head = {
      .node = 1, .incarnation = 5, .number = 2, .sent = {}, .goodbye = true, .acks = {}};
  goodbye.check = 5002;
  EXPECT_EQ(roster_.Hear(goodbye, now_, true).left, 5u);
  EXPECT_EQ(roster_.alive(), 0u);
  EXPECT_FALSE(Hear(5, 2).fresh);
  EXPECT_EQ(roster_.alive(), 0u);
  EXPECT_EQ(roster_.FindSilent(now_ + 10 * kSecond, 0).gap, "");
  // The next one of its node found it gone in good order.
  EXPECT_EQ(Hear(6, 1).gap, "");
}

TEST_F(RosterTest, ANewIncarnationEndsTheOneBefore) {
  Hear(5, 1);
  const Roster::Verdict verdict = Hear(6, 1);
  EXPECT_EQ(verdict.gap, "replica 1 began again without goodbye");
  EXPECT_THAT(verdict.gone, ElementsAre(5));
  EXPECT_THAT(roster_.Alive(), ElementsAre(6));
}

TEST_F(RosterTest, AFewFramesOfTheDeadAreNoSharedNodeId) {
  Hear(5, 1);
  Hear(6, 1);
  EXPECT_FALSE(Hear(5, 2).node_id_shared);
  EXPECT_FALSE(Hear(5, 3).node_id_shared);
  EXPECT_TRUE(Hear(5, 4).node_id_shared);
  EXPECT_FALSE(Hear(5, 5).node_id_shared);
}

TEST_F(RosterTest, OurOwnPastIsNotAnotherReplica) {
  EXPECT_EQ(Hear(5, 9, 0, false).joined, 0u);
  EXPECT_EQ(roster_.alive(), 0u);
  EXPECT_EQ(Hear(5, 10, 0).joined, 5u);
}

TEST_F(RosterTest, AcknowledgesForAWhileWhatTookEffect) {
  Hear(5, 1);
  Hear(5, 2);
  EXPECT_THAT(roster_.AcksDue(now_), IsEmpty());
  roster_.TookEffect(roster_.RunOf(5), true, now_);
  EXPECT_THAT(roster_.AcksDue(now_ + kSecond), ElementsAre(FrameAck{5, 1, 2}));
  Hear(5, 3);
  EXPECT_THAT(roster_.AcksDue(now_ + kSecond), ElementsAre(FrameAck{5, 1, 2}));
  roster_.TookEffect(roster_.RunOf(5), false, now_);
  EXPECT_THAT(roster_.AcksDue(now_ + kSecond), ElementsAre(FrameAck{5, 1, 3}));
  EXPECT_THAT(roster_.AcksDue(now_ + 2 * kSecond), IsEmpty());
}

TEST_F(RosterTest, ForgetsWhoIsGoneForLongAndTheOldestBeyondItsLimit) {
  Roster roster({.node = 0, .senders_max = 3});
  Frame frame;
  frame.head = {.node = 1, .number = 1, .sent = {}, .acks = {}};
  for (uint64_t i = 1; i <= 4; ++i) {
    frame.head.incarnation = i;
    frame.head.node = static_cast<uint32_t>(i);
    roster.Hear(frame, now_ + static_cast<MonoNanos>(i), true);
  }
  EXPECT_THAT(roster.Alive(), ElementsAre(2, 3, 4));
  roster.FindSilent(now_ + 3 * kSecond, 0);
  roster.FindSilent(now_ + 700 * kSecond, 0);
  frame.head.incarnation = 4;
  frame.head.number = 2;
  EXPECT_THAT(roster.Hear(frame, now_, true).gap, HasSubstr("was not known"));
}

}  // namespace
}  // namespace larder
