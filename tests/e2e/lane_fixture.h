// A running larderd and a stock gRPC client for it.

#ifndef LARDER_TESTS_E2E_LANE_FIXTURE_H_
#define LARDER_TESTS_E2E_LANE_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "larder/rpc/v1/status.pb.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"
#include "tests/e2e/server_process.h"

namespace larder {

class LaneFixture : public testing::Test {
 protected:
  explicit LaneFixture(const std::vector<std::string>& args = {})
      : server_(args),
        channel_(grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials())),
        cache_(v1::Cache::NewStub(channel_)),
        admin_(v1::Admin::NewStub(channel_)) {
    EXPECT_TRUE(server_.running());
  }

  static std::unique_ptr<grpc::ClientContext> Within(double seconds) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6)));
    return context;
  }

  static rpc::v1::Status DetailsOf(const grpc::Status& status) {
    rpc::v1::Status details;
    details.ParseFromString(status.error_details());
    return details;
  }
  // The reason that the ErrorInfo of `status` gives; empty without one.
  static std::string ReasonOf(const grpc::Status& status) {
    const rpc::v1::Status wire = DetailsOf(status);
    for (const auto& any : wire.details()) {
      rpc::v1::ErrorInfo info;
      if (any.type_url() == "type.googleapis.com/google.rpc.ErrorInfo" &&
          info.ParseFromString(any.value()) && info.domain() == "larder") {
        return info.reason();
      }
    }
    return "";
  }
  // The path of the first wrong field; empty without one.
  static std::string FieldOf(const grpc::Status& status) {
    const rpc::v1::Status wire = DetailsOf(status);
    for (const auto& any : wire.details()) {
      rpc::v1::BadRequest bad;
      if (any.type_url() == "type.googleapis.com/google.rpc.BadRequest" &&
          bad.ParseFromString(any.value())) {
        return bad.field_violations(0).field();
      }
    }
    return "";
  }

  grpc::Status Set(const std::string& key, const std::string& value,
                   v1::SetResponse* response = nullptr) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    v1::SetResponse ignored;
    return cache_->Set(Within(5).get(), request, response != nullptr ? response : &ignored);
  }
  v1::GetResponse Get(const std::string& key) {
    v1::GetRequest request;
    request.set_key(key);
    v1::GetResponse response;
    const grpc::Status status = cache_->Get(Within(5).get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::StatsResponse Stats() {
    v1::StatsResponse response;
    EXPECT_TRUE(cache_->Stats(Within(5).get(), v1::StatsRequest(), &response).ok());
    return response;
  }

  ServerProcess server_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Cache::Stub> cache_;
  const std::unique_ptr<v1::Admin::Stub> admin_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_LANE_FIXTURE_H_
