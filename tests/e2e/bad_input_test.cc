// Whatever a caller sends wrong: a typed error with the right code, reason and field, and nothing
// changed.

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <functional>

#include "tests/e2e/lane_fixture.h"

namespace larder {
namespace {

class BadInputTest : public LaneFixture {
 protected:
  BadInputTest()
      : LaneFixture({"--set", "limits.value_bytes=64KiB", "--set", "limits.message_bytes=256KiB",
                     "--set", "limits.batch_keys=10", "--set", "types.user.match=[\"user:{id}\"]",
                     "--set", "types.member.match=[\"member:{team}:{id}\"]", "--set",
                     "types.member.tags=[\"team:{team}\"]"}) {}

  static v1::SetRequest NewSet(const std::string& key, const std::string& value) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    return request;
  }
  void ExpectRefused(const grpc::Status& status, grpc::StatusCode code, const std::string& reason,
                     const std::string& field) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(ReasonOf(status), reason) << status.error_message();
    EXPECT_EQ(FieldOf(status), field) << status.error_message();
    EXPECT_FALSE(status.error_message().empty());
  }
  void ExpectSetRefused(const std::function<void(v1::SetRequest*)>& spoil,
                        const std::string& reason, const std::string& field) {
    v1::SetRequest request = NewSet("user:1", "value");
    spoil(&request);
    v1::SetResponse response;
    SCOPED_TRACE(request.ShortDebugString().substr(0, 200));
    ExpectRefused(cache_->Set(Within(5).get(), request, &response),
                  grpc::StatusCode::INVALID_ARGUMENT, reason, field);
    EXPECT_TRUE(Get("user:1").has_miss()) << "a refused Set has stored something";
  }

  // Sends `bytes` as the request of `method`.
  grpc::Status SendRaw(const std::string& method, const std::string& bytes,
                       grpc::ClientContext* context) {
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    const grpc::internal::RpcMethod rpc(method.c_str(), grpc::internal::RpcMethod::NORMAL_RPC,
                                        channel_);
    return grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
        channel_.get(), rpc, context, request, &response);
  }
};

TEST_F(BadInputTest, KeysAndNamespaces) {
  const auto key = [](const std::string& bad) {
    return [bad](v1::SetRequest* r) { r->set_key(bad); };
  };
  ExpectSetRefused(key(""), "KEY_INVALID", "key");
  ExpectSetRefused(key(std::string(1025, 'k')), "KEY_INVALID", "key");
  ExpectSetRefused(key("a\nb"), "KEY_INVALID", "key");
  ExpectSetRefused(key(std::string("a\0b", 3)), "KEY_INVALID", "key");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_namespace_("a/b"); }, "NAMESPACE_INVALID",
                   "namespace");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_namespace_(std::string(65, 'n')); },
                   "NAMESPACE_INVALID", "namespace");
}

TEST_F(BadInputTest, NonUtf8KeyIsAMessageThatCannotBeParsed) {
  const auto context = Within(5);
  // Field 2 (key), three bytes that are no UTF-8. proto3 strings are checked while parsing.
  const grpc::Status status =
      SendRaw("/larder.v1.Cache/Get", std::string("\x12\x03\xff\xfe\xfd", 5), context.get());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "MESSAGE_MALFORMED");
}

TEST_F(BadInputTest, Ttls) {
  const auto ttl = [](int64_t seconds, int32_t nanos) {
    return [=](v1::SetRequest* r) {
      r->mutable_ttl()->set_seconds(seconds);
      r->mutable_ttl()->set_nanos(nanos);
    };
  };
  ExpectSetRefused(ttl(0, 0), "TTL_INVALID", "ttl");
  ExpectSetRefused(ttl(-1, 0), "TTL_INVALID", "ttl");
  ExpectSetRefused(ttl(0, 999'999), "TTL_INVALID", "ttl");
  ExpectSetRefused(ttl(1, -1), "TTL_INVALID", "ttl");
  ExpectSetRefused(ttl(0, 2'000'000'000), "TTL_INVALID", "ttl");
  ExpectSetRefused(ttl(int64_t{200} * 365 * 86400, 0), "TTL_INVALID", "ttl");
  ExpectSetRefused(ttl(INT64_MAX, 0), "TTL_INVALID", "ttl");
  v1::SetRequest longest = NewSet("user:2", "x");
  longest.mutable_ttl()->set_seconds(int64_t{99} * 365 * 86400);
  v1::SetResponse response;
  ASSERT_TRUE(cache_->Set(Within(5).get(), longest, &response).ok());
  EXPECT_LE(response.stored().ttl().seconds(), 30 * 86400) << "cut to the type's maximum";
}

TEST_F(BadInputTest, ValuesTagsConditionsAndTheRest) {
  ExpectSetRefused([](v1::SetRequest* r) { r->set_value(std::string((64 << 10) + 1, 'v')); },
                   "VALUE_TOO_LARGE", "value");
  EXPECT_TRUE(Set("largest", std::string(64 << 10, 'v')).ok());
  EXPECT_EQ(Get("largest").hit().value().size(), 64u << 10);
  ExpectSetRefused([](v1::SetRequest* r) { r->clear_content(); }, "REQUEST_INVALID", "content");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_absent(false); }, "REQUEST_INVALID", "absent");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_if_absent(false); }, "REQUEST_INVALID",
                   "if_absent");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_type("usr"); }, "TYPE_UNKNOWN", "type");
  ExpectSetRefused([](v1::SetRequest* r) { r->add_tags(""); }, "TAG_INVALID", "tags");
  ExpectSetRefused(
      [](v1::SetRequest* r) {
        for (int i = 0; i < 17; ++i) r->add_tags("t");
      },
      "TAG_INVALID", "tags");
  ExpectSetRefused([](v1::SetRequest* r) { r->add_depends_on("a\tb"); }, "DEPENDENCY_INVALID",
                   "depends_on[0]");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_lease_token(std::string(65, 't')); },
                   "LEASE_TOKEN_INVALID", "lease_token");
  ExpectSetRefused([](v1::SetRequest* r) { r->set_request_id(std::string(65, 'i')); },
                   "REQUEST_ID_INVALID", "request_id");
  ExpectSetRefused(
      [](v1::SetRequest* r) {
        r->set_lease_token("token");
        r->set_if_version(3);
      },
      "REQUEST_INVALID", "condition");
}

TEST_F(BadInputTest, Batches) {
  v1::BatchGetRequest gets;
  for (int i = 0; i < 11; ++i) gets.add_keys("k");
  v1::BatchGetResponse got;
  ExpectRefused(cache_->BatchGet(Within(5).get(), gets, &got), grpc::StatusCode::INVALID_ARGUMENT,
                "BATCH_INVALID", "keys");
  gets.mutable_keys()->RemoveLast();
  EXPECT_TRUE(cache_->BatchGet(Within(5).get(), gets, &got).ok());
  EXPECT_EQ(got.results_size(), 10);
  gets.set_keys(7, "");
  ExpectRefused(cache_->BatchGet(Within(5).get(), gets, &got), grpc::StatusCode::INVALID_ARGUMENT,
                "KEY_INVALID", "keys[7]");

  v1::BatchSetRequest sets;
  for (const char* key : {"a", "b", "a"}) {
    v1::BatchSetItem* const item = sets.add_items();
    item->set_key(key);
    item->set_value("x");
  }
  v1::BatchSetResponse set;
  ExpectRefused(cache_->BatchSet(Within(5).get(), sets, &set), grpc::StatusCode::INVALID_ARGUMENT,
                "BATCH_INVALID", "items[2].key");
  sets.mutable_items(2)->set_key("c");
  sets.mutable_items(2)->mutable_ttl()->set_seconds(-1);
  ExpectRefused(cache_->BatchSet(Within(5).get(), sets, &set), grpc::StatusCode::INVALID_ARGUMENT,
                "TTL_INVALID", "items[2].ttl");
  EXPECT_TRUE(Get("a").has_miss()) << "a refused batch has stored something";
}

// Together with the tag of its type the second item has one too many.
TEST_F(BadInputTest, ABatchOneOfWhoseItemsHasTooManyTagsStoresNothing) {
  v1::BatchSetRequest sets;
  sets.add_items()->set_key("member:a:1");
  sets.add_items()->set_key("member:a:2");
  for (v1::BatchSetItem& item : *sets.mutable_items()) item.set_value("v");
  for (int i = 0; i < 16; ++i) sets.mutable_items(1)->add_tags("t" + std::to_string(i));
  v1::BatchSetResponse set;
  ExpectRefused(cache_->BatchSet(Within(5).get(), sets, &set), grpc::StatusCode::INVALID_ARGUMENT,
                "TAG_INVALID", "items[1].tags");
  EXPECT_TRUE(Get("member:a:1").has_miss());
  sets.mutable_items(1)->mutable_tags()->RemoveLast();
  EXPECT_TRUE(cache_->BatchSet(Within(5).get(), sets, &set).ok());
  EXPECT_EQ(Get("member:a:2").hit().value(), "v");
}

TEST_F(BadInputTest, SelectorsModesAndLeases) {
  v1::InvalidateResponse invalidated;
  v1::InvalidateRequest nothing;
  ExpectRefused(cache_->Invalidate(Within(5).get(), nothing, &invalidated),
                grpc::StatusCode::INVALID_ARGUMENT, "SELECTOR_INVALID", "selector");
  v1::InvalidateRequest by_tag;
  by_tag.mutable_tags()->add_tags("");
  ExpectRefused(cache_->Invalidate(Within(5).get(), by_tag, &invalidated),
                grpc::StatusCode::INVALID_ARGUMENT, "TAG_INVALID", "tags.tags[0]");
  v1::TouchRequest touch;
  touch.set_key("a");
  touch.set_mode(static_cast<v1::TouchMode>(77));
  v1::TouchResponse touched;
  ExpectRefused(cache_->Touch(Within(5).get(), touch, &touched), grpc::StatusCode::INVALID_ARGUMENT,
                "REQUEST_INVALID", "mode");
  v1::GetOrLoadRequest load;
  load.set_key("a");
  load.mutable_lease_ttl()->set_seconds(3600);
  v1::GetOrLoadResponse loaded;
  ExpectRefused(cache_->GetOrLoad(Within(5).get(), load, &loaded),
                grpc::StatusCode::INVALID_ARGUMENT, "TTL_INVALID", "lease_ttl");
  v1::ReleaseLeaseRequest release;
  release.set_key("a");
  v1::ReleaseLeaseResponse released;
  ExpectRefused(cache_->ReleaseLease(Within(5).get(), release, &released),
                grpc::StatusCode::INVALID_ARGUMENT, "LEASE_TOKEN_INVALID", "lease_token");
}

TEST_F(BadInputTest, StatsOfNoTypeOrAnUnknownOne) {
  for (const auto& [type, reason] :
       {std::pair("", "REQUEST_INVALID"), std::pair("usr", "TYPE_UNKNOWN")}) {
    v1::StatsRequest request;
    request.add_types(type);
    v1::StatsResponse response;
    const grpc::Status status = cache_->Stats(Within(5).get(), request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonOf(status), reason);
  }
  v1::StatsRequest request;
  request.add_namespaces("");  // stands for `default`
  v1::StatsResponse response;
  EXPECT_TRUE(cache_->Stats(Within(5).get(), request, &response).ok());
}

TEST_F(BadInputTest, MalformedMessagesAndUnknownMethods) {
  for (const std::string& bytes : {std::string("\xff\xff\xff\xff"),
                                   std::string("\x12\x7f"
                                               "abc"),
                                   std::string(1, '\x07')}) {
    const auto context = Within(5);
    const grpc::Status status = SendRaw("/larder.v1.Cache/Set", bytes, context.get());
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonOf(status), "MESSAGE_MALFORMED");
  }
  for (const char* method : {"/larder.v1.Cache/NoSuch", "/no.such.Service/Get"}) {
    const auto context = Within(5);
    const grpc::Status status = SendRaw(method, "", context.get());
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(ReasonOf(status), "METHOD_UNKNOWN") << method;
  }
  EXPECT_TRUE(Set("still", "here").ok());
}

TEST_F(BadInputTest, MethodsOfTheJournalSayThatThereIsNone) {
  for (const char* method : {"/larder.v1.Admin/ListDeadLetters", "/larder.v1.Admin/FlushJournal",
                             "/larder.v1.Admin/PauseDelivery"}) {
    const auto context = Within(5);
    const grpc::Status status = SendRaw(method, "", context.get());
    EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << method;
    EXPECT_EQ(ReasonOf(status), "WRITE_MODE_UNSUPPORTED") << method;
  }
}

TEST_F(BadInputTest, MessagesOverTheLimitAreRefusedWithTheLimit) {
  const auto context = Within(5);
  const grpc::Status status =
      SendRaw("/larder.v1.Cache/Set", std::string((256 << 10) + 1, 'x'), context.get());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "MESSAGE_TOO_LARGE");
  // Far over it, gRPC itself cuts the call off before the message is in memory.
  const auto another = Within(5);
  EXPECT_EQ(SendRaw("/larder.v1.Cache/Set", std::string(8 << 20, 'x'), another.get()).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Set("still", "here").ok());
}

TEST_F(BadInputTest, ReplyThatWouldBeTooLargeIsRefusedBeforeItIsBuilt) {
  ASSERT_TRUE(Set("large", std::string(60 << 10, 'v')).ok());
  v1::BatchGetRequest gets;
  for (int i = 0; i < 10; ++i) gets.add_keys("large");
  v1::BatchGetResponse got;
  ExpectRefused(cache_->BatchGet(Within(5).get(), gets, &got), grpc::StatusCode::RESOURCE_EXHAUSTED,
                "MESSAGE_TOO_LARGE", "");
  gets.set_metadata_only(true);
  EXPECT_TRUE(cache_->BatchGet(Within(5).get(), gets, &got).ok());
}

TEST_F(BadInputTest, CompressedMessagesAreRefusedNotInflated) {
  const auto context = Within(5);
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::SetRequest request = NewSet("bomb", std::string(60'000, 'x'));
  v1::SetResponse response;
  EXPECT_EQ(cache_->Set(context.get(), request, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Get("bomb").has_miss());
}

TEST_F(BadInputTest, HugeMetadataIsRefused) {
  // gRPC may close the whole connection over it, so the offender has one of its own.
  grpc::ChannelArguments own;
  own.SetInt("test.connection", 1);
  const auto offender = v1::Cache::NewStub(
      grpc::CreateCustomChannel(server_.address(), grpc::InsecureChannelCredentials(), own));
  const auto context = Within(5);
  context->AddMetadata("x-huge", std::string(40 << 10, 'x'));
  v1::SetRequest request = NewSet("meta", "x");
  v1::SetResponse response;
  const grpc::Status status = offender->Set(context.get(), request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_TRUE(Get("meta").has_miss());
}

}  // namespace
}  // namespace larder
