#include "core/error.h"

#include <gtest/gtest.h>

#include <set>

namespace larder {
namespace {

TEST(ErrorTest, CarriesReasonFieldAndRetryThroughCopies) {
  const absl::Status field = FieldError(Reason::kTTL_INVALID, "ttl", "ttl is 0");
  const absl::Status copy = field;
  EXPECT_EQ(copy.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DetailsOf(copy).reason, "TTL_INVALID");
  ASSERT_EQ(DetailsOf(copy).fields.size(), 1u);
  EXPECT_EQ(DetailsOf(copy).fields[0], (std::pair<std::string, std::string>("ttl", "ttl is 0")));
  EXPECT_FALSE(DetailsOf(copy).retry_after.has_value());

  const absl::Status retry = RetryableError(Reason::kOVERLOADED, absl::Milliseconds(250), "busy");
  EXPECT_EQ(retry.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(DetailsOf(retry).retry_after, absl::Milliseconds(250));
}

TEST(ErrorTest, PrefixGoesBeforeTheFieldPath) {
  const absl::Status status =
      WithFieldPrefix(FieldError(Reason::kKEY_INVALID, "key", "key is empty"), "items[3].");
  EXPECT_EQ(DetailsOf(status).fields[0].first, "items[3].key");
  EXPECT_EQ(DetailsOf(status).reason, "KEY_INVALID");
}

TEST(ErrorTest, ForeignErrorsHaveNoReason) {
  EXPECT_EQ(DetailsOf(absl::UnknownError("other")).reason, "");
  EXPECT_TRUE(DetailsOf(absl::OkStatus()).fields.empty());
}

TEST(ErrorTest, ReasonNamesAreDistinctAndUpperSnakeCase) {
  std::set<std::string_view> seen;
  for (const std::string_view name : AllReasonNames()) {
    EXPECT_TRUE(seen.insert(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), std::string_view::npos)
        << name;
  }
}

}  // namespace
}  // namespace larder
