// Where no type writes behind, as in the fake, there is no journal to operate.

#include "larder/error.h"
#include "tests/client/conformance.h"

namespace larder::testing {
namespace {

class ConformanceJournal : public Conformance {};
INSTANTIATE_TEST_SUITE_P(Client, ConformanceJournal, ::testing::ValuesIn(Backends()), NameOf);

TEST_P(ConformanceJournal, WithoutATypeThatWritesBehindThereIsNone) {
  const auto refused = [](const absl::Status& status) {
    return status.code() == absl::StatusCode::kFailedPrecondition &&
           ErrorReason(status) == "WRITE_MODE_UNSUPPORTED" &&
           status.message() == "no type writes behind, so there is no journal";
  };
  EXPECT_PRED1(refused, client()->FlushJournal().status());
  EXPECT_PRED1(refused, client()->PauseDelivery().status());
  EXPECT_PRED1(refused, client()->ResumeDelivery().status());
  EXPECT_PRED1(refused, client()->ListDeadLetters().status());
  EXPECT_PRED1(refused, client()->RetryDeadLetters({}).status());
  EXPECT_PRED1(refused, client()->DropDeadLetters({}).status());
  bool any = false;
  EXPECT_PRED1(refused, client()
                            ->ExportDeadLetters({},
                                                [&any](const ExportedLetter&) {
                                                  any = true;
                                                  return true;
                                                })
                            .status());
  EXPECT_FALSE(any);
  const absl::StatusOr<StatsResult> stats = client()->Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_FALSE(stats->journal.has_value());
  const absl::StatusOr<ServerInfoResult> info = client()->ServerInfo();
  ASSERT_TRUE(info.ok()) << info.status();
  for (const TypeInfo& type : info->types) EXPECT_EQ(type.write_mode, "cache_only") << type.name;
}

}  // namespace
}  // namespace larder::testing
