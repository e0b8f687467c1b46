// A process that appends and delivers, killed at each named point between a write's acknowledgement
// and the origin's: whatever it acknowledged takes effect at the origin, once, and each key's
// writes in their order.

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/strings.h"
#include "tests/journal/journal_process/effects.h"
#include "tests/journal/store_rig.h"
#include "tests/journal/writer_process.h"

namespace larder {
namespace {

constexpr int kKills = 6;

class JournalKillTest : public testing::TestWithParam<const char*> {
 protected:
  std::vector<std::string> Program(const std::string& point, int count) const {
    return {LARDER_BIN_DIR "/journal_process", journal_.path(), origin(), point, StrCat(count)};
  }
  // Beside the journal.
  std::string origin() const { return journal_.path() + ".effects"; }

  const JournalFolder journal_;
};

TEST_P(JournalKillTest, KilledThereWhatWasAcknowledgedTakesEffectOnceAndInOrder) {
  std::set<Version> acknowledged;
  for (int kills = 0; kills < kKills; ++kills) {
    SCOPED_TRACE(kills);
    WriterProcess process(Program(GetParam(), 1 + 7 * kills));
    for (Version version = 0; process.Next(&version);) acknowledged.insert(version);
    ASSERT_TRUE(process.Reap()) << "it ended before it came there";
  }
  EXPECT_TRUE(WriterProcess(Program("drain", 1)).Succeeds());

  std::map<std::string, Version> newest;
  std::set<Version> effects;
  for (const Effect& effect : EffectsIn(origin())) {
    EXPECT_EQ(effect.key, KeyOfVersion(effect.version));
    EXPECT_GT(effect.version, newest[effect.key]) << "after a newer one, or again";
    newest[effect.key] = effect.version;
    effects.insert(effect.version);
  }
  EXPECT_FALSE(acknowledged.empty());
  for (const Version version : acknowledged) EXPECT_EQ(effects.count(version), 1u) << version;
}

INSTANTIATE_TEST_SUITE_P(Points, JournalKillTest,
                         testing::Values("before_reply", "after_reply", "before_deliver",
                                         "half_delivered", "delivered", "acknowledged"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace larder
