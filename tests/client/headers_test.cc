// The public headers bring neither gRPC nor protobuf into a program that includes them.

#include <larder/client.h>
#include <larder/error.h>
#include <larder/fake.h>
#include <larder/journal.h>
#include <larder/keys.h>
#include <larder/load.h>
#include <larder/metrics.h>
#include <larder/near_cache.h>
#include <larder/options.h>
#include <larder/result.h>
#include <larder/stats.h>
#include <larder/typed_cache.h>
#include <larder/watch.h>

#if defined(GRPCPP_GRPCPP_H) || defined(GRPC_GRPC_H) || defined(GRPCPP_CLIENT_CONTEXT_H) || \
    defined(GRPC_IMPL_CODEGEN_GRPC_TYPES_H)
#error "a public header of larder includes gRPC"
#endif
#if defined(GOOGLE_PROTOBUF_VERSION) || defined(GOOGLE_PROTOBUF_MESSAGE_H__) || \
    defined(GOOGLE_PROTOBUF_PORT_H__) || defined(GOOGLE_PROTOBUF_COMMON_H__)
#error "a public header of larder includes protobuf"
#endif

// Included once more here, so that this test does not rest on what came before.
#include <gtest/gtest.h>

namespace larder {
namespace {

TEST(Headers, AreEnoughToUseTheClient) {
  const std::unique_ptr<Client> client = NewFakeClient();
  ASSERT_TRUE(client->Set("k", "v", {.ttl = absl::Seconds(1), .tags = {"t"}}).ok());
  EXPECT_EQ(client->Get("k", {.call = {.deadline = absl::Seconds(1)}})->entry->value, "v");
}

}  // namespace
}  // namespace larder
