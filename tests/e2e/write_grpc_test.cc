// Writes of a larderd as a process to a gRPC origin, as a user's service is one: what it answers to
// each item of a delivery, and what it is told with them.

#include <gmock/gmock.h>

#include <map>
#include <string>

#include "tests/e2e/origin_fixture.h"
#include "tests/e2e/write_fixture.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

using testing::HasSubstr;

class WriteGrpcTest : public testing::Test {
 protected:
  WriteGrpcTest() {
    const std::string types =
        "  cart:\n    match: [\"cart:{id}\"]\n    origin: carts\n"
        "    write: { mode: behind, delay: 200ms, attempts: 1000, backoff: { first: 20ms, max: "
        "50ms } }\n"
        "  slow: { match: [\"slow:{id}\"], origin: carts, write: { mode: behind, delay: 1h } }\n"
        "  now: { match: [\"now:{id}\"], origin: carts, write: { mode: through } }\n";
    replica_ = std::make_unique<Replica>("data: { path: \"" + directory_.path() +
                                         "\" }\nmemory: { l1: 64MiB }\n" +
                                         "origins: { carts: { grpc: { target: \"" +
                                         service_.target() + "\" } } }\ntypes:\n" + types);
    writer_ = std::make_unique<Writer>(replica_.get());
  }

  std::string Held(const std::string& key) const {
    const auto held = service_.Held(key);
    return held.has_value() ? held->value : "(none)";
  }
  v1::PendingWrite Pending(const std::string& key) {
    v1::ExplainRequest request;
    request.set_key(key);
    v1::ExplainResponse response;
    EXPECT_TRUE(replica_->admin().Explain(Replica::Within().get(), request, &response).ok());
    return response.pending();
  }
  grpc::Status Set(const std::string& key, const std::string& value, const std::string& id,
                   const std::string& trace) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    request.set_request_id(id);
    v1::SetResponse response;
    const auto context = Replica::Within();
    if (!trace.empty()) context->AddMetadata("traceparent", trace);
    return replica_->stub().Set(context.get(), request, &response);
  }

  const TempDir directory_;
  OriginService service_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<Writer> writer_;
};

TEST_F(WriteGrpcTest, EachItemOfADeliveryEndsAsTheServiceSays) {
  service_.SetFault("cart:bad", OriginFault::kStoreRejects);
  service_.SetFault("cart:busy", OriginFault::kStoreRetries);
  for (const char* key : {"cart:good", "cart:bad", "cart:busy", "cart:also"})
    ASSERT_EQ(writer_->Set(key, "v"), "ok");
  ASSERT_EQ(writer_->Set("cart:gone", "v"), "ok");
  ASSERT_EQ(writer_->Delete("cart:gone"), "ok");
  EXPECT_TRUE(Eventually([&] { return writer_->Journal().depth() == 1; }));
  EXPECT_EQ(Held("cart:good"), "v");
  EXPECT_EQ(Held("cart:also"), "v");
  EXPECT_EQ(Held("cart:gone"), "(none)");
  EXPECT_EQ(Held("cart:bad"), "(none)");
  EXPECT_EQ(writer_->Journal().dead_letters(), 1u);
  EXPECT_THAT(RunLarder(*replica_, "dlq list").out, HasSubstr("cart:bad"));
  // Its copy is not shown any more; the one that is tried again waits, and says how it goes.
  EXPECT_TRUE(Eventually([&] { return replica_->Value("cart:bad").empty(); }));
  EXPECT_EQ(replica_->Value("cart:busy"), "v");
  EXPECT_TRUE(Eventually([&] { return Pending("cart:busy").attempts() >= 3; }));
  // Or that its circuit breaker is open, which comes of so many in a row.
  EXPECT_TRUE(Eventually([&] {
    return Pending("cart:busy").last_error().find("as the test says") != std::string::npos;
  }));
  const CliEnded explained = RunLarder(*replica_, "explain cart:busy");
  EXPECT_EQ(explained.exit_code, 0);
  EXPECT_THAT(explained.out, HasSubstr("attempts so far"));
  EXPECT_THAT(explained.out, HasSubstr("UNAVAILABLE: "));
  service_.SetFault("cart:busy", OriginFault::kNone);
  EXPECT_EQ(writer_->Flush(), "ok");
  EXPECT_EQ(Held("cart:busy"), "v");
  EXPECT_FALSE(Pending("cart:busy").has_next_attempt());
  EXPECT_EQ(writer_->Journal().depth(), 0u);
  // Mended, it comes back from the dead.
  service_.SetFault("cart:bad", OriginFault::kNone);
  EXPECT_EQ(RunLarder(*replica_, "dlq retry --type cart").exit_code, 0);
  EXPECT_EQ(writer_->Flush(), "ok");
  EXPECT_EQ(Held("cart:bad"), "v");
}

TEST_F(WriteGrpcTest, FlushSaysHowManyDied) {
  service_.SetFault("slow:2", OriginFault::kStoreRejects);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(writer_->Set("slow:" + std::to_string(i), "v"), "ok");
  const CliEnded flushed = RunLarder(*replica_, "journal flush");
  EXPECT_EQ(flushed.exit_code, 0);
  EXPECT_THAT(flushed.out, HasSubstr("flushed: 5 writes, of which 1 are dead letters"));
  EXPECT_THAT(RunLarder(*replica_, "journal flush --json").out, HasSubstr("\"dead\":0"));
}

// The service is away when it is written, and larderd has been killed before it is back.
TEST_F(WriteGrpcTest, TheServiceIsToldWhoseWriteItIs) {
  const std::string one = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const std::string two = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  service_.Stop();
  ASSERT_TRUE(Set("slow:1", "a", "order-1", one).ok());
  replica_->Kill();
  ASSERT_TRUE(replica_->Start());
  service_.Start();
  EXPECT_EQ(writer_->Flush(), "ok");
  OriginService::Seen seen = service_.last();
  ASSERT_EQ(seen.store.items_size(), 1);
  EXPECT_EQ(seen.store.items(0).idempotency_id(), "order-1");
  EXPECT_EQ(seen.store.items(0).trace_parent(), one);
  ASSERT_EQ(seen.metadata.count("traceparent"), 1u);
  EXPECT_EQ(seen.metadata.find("traceparent")->second, one);
  // Of several callers' writes none is the parent of the call.
  ASSERT_EQ(writer_->Pause(), "ok");
  ASSERT_TRUE(Set("slow:2", "a", "order-2", one).ok());
  ASSERT_TRUE(Set("slow:3", "a", "order-3", two).ok());
  ASSERT_TRUE(Set("slow:4", "a", "order-4", "").ok());
  ASSERT_EQ(writer_->Resume(), "ok");
  EXPECT_EQ(writer_->Flush(), "ok");
  seen = service_.last();
  std::map<std::string, std::string> traces;
  for (const v1::StoreItem& item : seen.store.items())
    traces[item.idempotency_id()] = item.trace_parent();
  EXPECT_EQ(traces, (std::map<std::string, std::string>{
                        {"order-2", one}, {"order-3", two}, {"order-4", ""}}));
  EXPECT_EQ(seen.metadata.count("traceparent"), 0u);
}

TEST_F(WriteGrpcTest, KeysOfABatchThatAreDeletedEndEachForItself) {
  for (const char* const key : {"now:bad", "now:busy", "now:good"})
    ASSERT_EQ(writer_->Set(key, "v"), "ok");
  service_.SetFault("now:bad", OriginFault::kStoreRejects);
  service_.SetFault("now:busy", OriginFault::kStoreRetries);
  const CliEnded ended = RunLarder(*replica_, "delete now:bad now:busy now:good");
  EXPECT_EQ(ended.exit_code, 3) << ended.out;
  EXPECT_THAT(ended.out, HasSubstr("not deleted: WRITE_REFUSED"));
  EXPECT_THAT(ended.out, HasSubstr("not deleted: WRITE_FAILED"));
  EXPECT_EQ(Held("now:bad"), "v");
  EXPECT_EQ(Held("now:busy"), "v");
  EXPECT_EQ(Held("now:good"), "(none)");
  v1::BatchDeleteResponse response;
  ASSERT_TRUE(replica_->BatchDelete({"now:bad", "now:good"}, &response).ok());
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(0).not_deleted().reason(), v1::NOT_STORED_REASON_WRITE_REFUSED);
  EXPECT_FALSE(response.results(1).has_not_deleted());
  // One alone ends as the error does. The last is tried again, until the circuit breaker opens.
  EXPECT_EQ(RunLarder(*replica_, "delete now:bad").exit_code, 1);
  EXPECT_EQ(RunLarder(*replica_, "delete now:busy").exit_code, 5);
}

}  // namespace
}  // namespace larder
