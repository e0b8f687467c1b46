#include "rpc/wire_status.h"

#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "larder/rpc/v1/status.pb.h"

namespace larder {
namespace {

std::map<std::string, std::string> DetailsByType(const absl::Status& status) {
  rpc::v1::Status wire;
  EXPECT_TRUE(wire.ParseFromString(StatusDetails(status)));
  EXPECT_EQ(wire.code(), static_cast<int>(WireCode(status)));
  EXPECT_EQ(wire.message(), std::string(status.message()));
  std::map<std::string, std::string> details;
  for (const auto& any : wire.details()) details[any.type_url()] = any.value();
  return details;
}

TEST(WireStatusTest, FieldErrorCarriesReasonAndViolation) {
  const auto details = DetailsByType(FieldError(Reason::kTTL_INVALID, "items[3].ttl", "ttl is 0"));
  ASSERT_EQ(details.size(), 2u);
  rpc::v1::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(details.at("type.googleapis.com/google.rpc.ErrorInfo")));
  EXPECT_EQ(info.reason(), "TTL_INVALID");
  EXPECT_EQ(info.domain(), "larder");
  rpc::v1::BadRequest bad;
  ASSERT_TRUE(bad.ParseFromString(details.at("type.googleapis.com/google.rpc.BadRequest")));
  EXPECT_EQ(bad.field_violations(0).field(), "items[3].ttl");
  EXPECT_EQ(bad.field_violations(0).description(), "ttl is 0");
}

TEST(WireStatusTest, RetryableErrorSaysWhen) {
  const auto details =
      DetailsByType(RetryableError(Reason::kOVERLOADED, absl::Milliseconds(1500), "busy"));
  rpc::v1::RetryInfo retry;
  ASSERT_TRUE(retry.ParseFromString(details.at("type.googleapis.com/google.rpc.RetryInfo")));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

// gRPC's clients take 8 KiB of trailers, and make an error of their own of more.
TEST(WireStatusTest, CutsWhatIsTooLongForTrailers) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += "é";
  const absl::Status status = FieldError(Reason::kTTL_INVALID, "items[3].ttl", text);
  const std::string message = WireMessage(status);
  EXPECT_LE(message.size(), 1'536u);
  EXPECT_TRUE(message.ends_with("é ...")) << message.substr(message.size() - 10);
  EXPECT_LE(StatusDetails(status).size(), 3'000u);
  rpc::v1::Status wire;
  ASSERT_TRUE(wire.ParseFromString(StatusDetails(status)));
  EXPECT_EQ(wire.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
}

TEST(WireStatusTest, ErrorWithoutAReasonIsABug) {
  const absl::Status foreign = absl::UnknownError("?");
  EXPECT_EQ(WireCode(foreign), absl::StatusCode::kInternal);
  rpc::v1::ErrorInfo info;
  ASSERT_TRUE(
      info.ParseFromString(DetailsByType(foreign).at("type.googleapis.com/google.rpc.ErrorInfo")));
  EXPECT_EQ(info.reason(), "BUG");
}

}  // namespace
}  // namespace larder
