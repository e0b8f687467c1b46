// Conformance: values, conditions, batches, counters, expiry.

#include <gmock/gmock.h>

#include "tests/client/conformance.h"

namespace larder::testing {
namespace {

using ::testing::ElementsAre;

class ConformanceData : public Conformance {};
INSTANTIATE_TEST_SUITE_P(Client, ConformanceData, ::testing::ValuesIn(Backends()), NameOf);

TEST_P(ConformanceData, ReturnsWhatWasStored) {
  SetOptions options;
  options.ttl = absl::Minutes(1);
  options.tags = {"a", "b"};
  const absl::StatusOr<SetResult> stored = client()->Set("k", std::string("v\0w", 3), options);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(stored->stored);
  EXPECT_GT(stored->version, 0u);

  const absl::StatusOr<GetResult> found = client()->Get("k");
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_TRUE(found->hit());
  EXPECT_EQ(found->entry->value, std::string("v\0w", 3));
  EXPECT_EQ(found->entry->value_bytes, 3u);
  EXPECT_EQ(found->entry->version, stored->version);
  EXPECT_THAT(found->entry->tags, ElementsAre("a", "b"));
  EXPECT_EQ(found->entry->tier, Tier::kL1);
  EXPECT_FALSE(found->entry->stale);
  // Jitter moves a TTL by a tenth either way.
  EXPECT_GT(found->entry->remaining_ttl, absl::Seconds(40));
  EXPECT_LE(found->entry->remaining_ttl, absl::Seconds(66));
}

TEST_P(ConformanceData, MissIsAnAnswerWithAReason) {
  const absl::StatusOr<GetResult> found = client()->Get("never stored");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_FALSE(found->hit());
  EXPECT_EQ(found->miss.reason, MissReason::kAbsent);
}

TEST_P(ConformanceData, MetadataOnlyLeavesTheValueOut) {
  Set("k", "value");
  GetOptions options;
  options.metadata_only = true;
  const absl::StatusOr<GetResult> found = client()->Get("k", options);
  ASSERT_TRUE(found.ok() && found->hit());
  EXPECT_EQ(found->entry->value, "");
  EXPECT_EQ(found->entry->value_bytes, 5u);
}

TEST_P(ConformanceData, ExpiresAfterItsTtl) {
  SetOptions options;
  options.ttl = absl::Milliseconds(20);
  Set("k", "v", options);
  Elapse(absl::Milliseconds(40));
  const absl::StatusOr<GetResult> found = client()->Get("k");
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->hit());
  EXPECT_EQ(found->miss.reason, MissReason::kExpired);
}

TEST_P(ConformanceData, RemembersThatAKeyDoesNotExist) {
  const absl::StatusOr<SetResult> stored = client()->SetAbsent("k");
  ASSERT_TRUE(stored.ok() && stored->stored);
  const absl::StatusOr<GetResult> found = client()->Get("k");
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->hit());
  EXPECT_EQ(found->miss.reason, MissReason::kNegative);
  EXPECT_GT(found->miss.remaining_ttl, absl::ZeroDuration());
}

TEST_P(ConformanceData, VersionsGrowWithEveryChange) {
  const absl::StatusOr<SetResult> first = client()->Set("k", "1");
  const absl::StatusOr<SetResult> second = client()->Set("k", "2");
  const absl::StatusOr<DeleteResult> deleted = client()->Delete("k");
  ASSERT_TRUE(first.ok() && second.ok() && deleted.ok());
  EXPECT_LT(first->version, second->version);
  EXPECT_LT(second->version, deleted->version);
}

TEST_P(ConformanceData, IfAbsentStoresOnlyOnce) {
  SetOptions options;
  options.condition = Condition::IfAbsent();
  const absl::StatusOr<SetResult> first = client()->Set("k", "1", options);
  const absl::StatusOr<SetResult> second = client()->Set("k", "2", options);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(first->stored);
  EXPECT_FALSE(second->stored);
  EXPECT_EQ(second->reason, NotStoredReason::kCondition);
  EXPECT_EQ(second->current_version, first->version);
  EXPECT_EQ(ValueOf(client()->Get("k")), "1");
}

TEST_P(ConformanceData, NegativeEntryCountsAsAbsentForConditions) {
  ASSERT_TRUE(client()->SetAbsent("k").ok());
  SetOptions options;
  options.condition = Condition::IfPresent();
  EXPECT_FALSE(client()->Set("k", "1", options)->stored);
  options.condition = Condition::IfAbsent();
  EXPECT_TRUE(client()->Set("k", "1", options)->stored);
}

TEST_P(ConformanceData, IfVersionRefusesAChangedEntry) {
  const absl::StatusOr<SetResult> first = client()->Set("k", "1");
  ASSERT_TRUE(first.ok());
  SetOptions options;
  options.condition = Condition::IfVersion(first->version);
  const absl::StatusOr<SetResult> second = client()->Set("k", "2", options);
  const absl::StatusOr<SetResult> third = client()->Set("k", "3", options);
  ASSERT_TRUE(second.ok() && third.ok());
  EXPECT_TRUE(second->stored);
  EXPECT_FALSE(third->stored);
  EXPECT_EQ(third->current_version, second->version);
}

TEST_P(ConformanceData, DeleteTellsWhetherTheKeyExisted) {
  Set("k", "v");
  EXPECT_TRUE(client()->Delete("k")->existed);
  EXPECT_FALSE(client()->Delete("k")->existed);
  EXPECT_EQ(ValueOf(client()->Get("k")), "miss: INVALIDATED");
}

TEST_P(ConformanceData, InvalidateRemovesCopiesAndDryRunDoesNot) {
  Set("a", "1");
  Set("b", "2");
  InvalidateOptions dry;
  dry.dry_run = true;
  const absl::StatusOr<InvalidateResult> estimate = client()->Invalidate({"a", "b", "c"}, dry);
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  EXPECT_EQ(estimate->estimated_entries, 2u);
  EXPECT_EQ(estimate->version, 0u);
  EXPECT_EQ(ValueOf(client()->Get("a")), "1");

  const absl::StatusOr<InvalidateResult> result = client()->Invalidate({"a", "b", "c"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->estimated_entries, 2u);
  EXPECT_EQ(result->replicas_acknowledged, result->replicas_total);
  EXPECT_GT(result->version, 0u);
  EXPECT_EQ(ValueOf(client()->Get("a")), "miss: INVALIDATED");
  EXPECT_EQ(ValueOf(client()->Get("b")), "miss: INVALIDATED");

  InvalidateOptions fleet;
  fleet.fleet = true;
  const absl::StatusOr<InvalidateResult> everywhere = client()->Invalidate({"a"}, fleet);
  ASSERT_TRUE(everywhere.ok()) << everywhere.status();
  EXPECT_EQ(everywhere->replicas_acknowledged, 1u);
  EXPECT_EQ(everywhere->replicas_total, 1u);
}

TEST_P(ConformanceData, BatchesAnswerInTheOrderOfTheirKeys) {
  std::vector<SetItem> items(2);
  items[0].key = "a";
  items[0].value = "1";
  items[1].key = "b";
  items[1].absent = true;
  const absl::StatusOr<std::vector<SetResult>> stored = client()->BatchSet(items);
  ASSERT_TRUE(stored.ok()) << stored.status();
  ASSERT_EQ(stored->size(), 2u);
  EXPECT_TRUE((*stored)[0].stored && (*stored)[1].stored);

  const absl::StatusOr<std::vector<GetResult>> found = client()->BatchGet({"b", "c", "a", "a"});
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->size(), 4u);
  EXPECT_EQ(ValueOf((*found)[0]), "miss: NEGATIVE");
  EXPECT_EQ(ValueOf((*found)[1]), "miss: ABSENT");
  EXPECT_EQ(ValueOf((*found)[2]), "1");
  EXPECT_EQ(ValueOf((*found)[3]), "1");

  const absl::StatusOr<std::vector<DeleteResult>> deleted = client()->BatchDelete({"a", "c"});
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  ASSERT_EQ(deleted->size(), 2u);
  EXPECT_TRUE((*deleted)[0].existed);
  EXPECT_FALSE((*deleted)[1].existed);
}

TEST_P(ConformanceData, BatchSetRefusesOneItemByItsCondition) {
  Set("a", "old");
  std::vector<SetItem> items(2);
  items[0] = {.key = "a", .value = "new", .condition = Condition::IfAbsent()};
  items[1] = {.key = "b", .value = "new"};
  const absl::StatusOr<std::vector<SetResult>> stored = client()->BatchSet(items);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_FALSE((*stored)[0].stored);
  EXPECT_TRUE((*stored)[1].stored);
  EXPECT_EQ(ValueOf(client()->Get("a")), "old");
}

TEST_P(ConformanceData, SameRequestIdAnswersTheSameAndActsOnce) {
  IncrementOptions options;
  options.request_id = "one";
  const absl::StatusOr<IncrementResult> first = client()->Increment("n", 5, options);
  const absl::StatusOr<IncrementResult> again = client()->Increment("n", 5, options);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(first->value, 5);
  EXPECT_EQ(again->value, 5);
  EXPECT_EQ(again->version, first->version);
  EXPECT_TRUE(again->created);
  EXPECT_EQ(client()->Increment("n", 1)->value, 6);
}

TEST_P(ConformanceData, RequestIdOfAnotherRequestIsRefused) {
  SetOptions options;
  options.request_id = "one";
  Set("k", "1", options);
  const absl::StatusOr<SetResult> other = client()->Set("k", "2", options);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReason(other.status()), "REQUEST_ID_REUSED");
}

TEST_P(ConformanceData, TouchChangesTheTtlByItsMode) {
  SetOptions set;
  set.ttl = absl::Minutes(10);
  Set("k", "v", set);
  TouchOptions touch;
  touch.ttl = absl::Minutes(1);
  touch.mode = TouchMode::kExtendOnly;
  const absl::StatusOr<TouchResult> kept = client()->Touch("k", touch);
  ASSERT_TRUE(kept.ok() && kept->found());
  EXPECT_FALSE(kept->changed);
  EXPECT_GT(kept->remaining_ttl, absl::Minutes(5));

  touch.mode = TouchMode::kShortenOnly;
  const absl::StatusOr<TouchResult> shortened = client()->Touch("k", touch);
  ASSERT_TRUE(shortened.ok() && shortened->found());
  EXPECT_TRUE(shortened->changed);
  EXPECT_EQ(shortened->version, kept->version);
  EXPECT_LT(shortened->remaining_ttl, absl::Minutes(2));
  EXPECT_EQ(ValueOf(client()->Get("k")), "v");

  const absl::StatusOr<TouchResult> missing = client()->Touch("other", touch);
  ASSERT_TRUE(missing.ok());
  EXPECT_FALSE(missing->found());
  EXPECT_EQ(missing->miss.reason, MissReason::kAbsent);
}

TEST_P(ConformanceData, CountersCountAndCanBeRead) {
  IncrementOptions options;
  options.initial = 10;
  const absl::StatusOr<IncrementResult> first = client()->Increment("n", -3, options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->value, 7);
  EXPECT_TRUE(first->created);
  const absl::StatusOr<IncrementResult> read = client()->Increment("n", 0);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->value, 7);
  EXPECT_FALSE(read->created);
  EXPECT_EQ(read->version, first->version);
  EXPECT_EQ(ValueOf(client()->Get("n")), "7");
}

TEST_P(ConformanceData, CounterKeepsItsWindowUnlessExtended) {
  IncrementOptions options;
  options.ttl = absl::Minutes(10);
  ASSERT_TRUE(client()->Increment("n", 1, options).ok());
  options.ttl = absl::Hours(10);
  EXPECT_LT(client()->Increment("n", 1, options)->remaining_ttl, absl::Minutes(12));
  options.extend = true;
  EXPECT_GT(client()->Increment("n", 1, options)->remaining_ttl, absl::Hours(8));
}

TEST_P(ConformanceData, CounterErrorsLeaveTheValueAlone) {
  Set("text", "many");
  const absl::StatusOr<IncrementResult> text = client()->Increment("text", 1);
  EXPECT_EQ(text.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReason(text.status()), "NOT_A_COUNTER");

  ASSERT_TRUE(client()->Increment("n", INT64_MAX).ok());
  const absl::StatusOr<IncrementResult> over = client()->Increment("n", 1);
  EXPECT_EQ(ErrorReason(over.status()), "COUNTER_OVERFLOW");
  EXPECT_EQ(client()->Increment("n", 0)->value, INT64_MAX);
  ASSERT_TRUE(client()->Increment("m", INT64_MIN).ok());
  EXPECT_EQ(ErrorReason(client()->Increment("m", -1).status()), "COUNTER_OVERFLOW");
}

TEST_P(ConformanceData, NamespacesDoNotSeeEachOther) {
  Set("k", "mine");
  GetOptions other;
  other.call.ns = ns() + "-other";
  EXPECT_EQ(ValueOf(client()->Get("k", other)), "miss: ABSENT");
  SetOptions set;
  set.call.ns = other.call.ns;
  Set("k", "theirs", set);
  EXPECT_EQ(ValueOf(client()->Get("k", other)), "theirs");
  EXPECT_EQ(ValueOf(client()->Get("k")), "mine");
}

}  // namespace
}  // namespace larder::testing
