// Streams over the two lanes: what is watched, warmed and exported, and how a stream ends. As in
// native_lanes_test.cc, the same is asked of both.

#include <grpcpp/support/sync_stream.h>

#include <fstream>
#include <set>

#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "tests/e2e/native_lanes_fixture.h"
#include "tests/e2e/write_fixture.h"

namespace larder {
namespace {

using google::protobuf::MethodDescriptor;

constexpr uint64_t kSeed = 20'260'724;
constexpr int kStreams = 600;
constexpr int kChanges = 800;
constexpr int kPuts = 60;
constexpr char kLast[] = "k-last";

class NativeLanesStreamTest : public NativeLanesTest {
 protected:
  using NativeLanesTest::NativeLanesTest;

  // One stream of changes, read as the test goes on.
  class Watch {
   public:
    Watch(const Lane& lane, const v1::WatchRequest& request)
        : context_(NewContext(CallOf("Cache.Watch", request))),
          method_("/larder.v1.Cache/Watch", grpc::internal::RpcMethod::SERVER_STREAMING),
          reader_(grpc::internal::ClientReaderFactory<v1::WatchResponse>::Create(
              lane.channel.get(), method_, context_.get(), request)) {
      v1::WatchResponse begun;
      EXPECT_TRUE(reader_->Read(&begun) && begun.has_heartbeat()) << begun.ShortDebugString();
    }
    ~Watch() {
      context_->TryCancel();
      v1::WatchResponse rest;
      while (reader_->Read(&rest)) {
      }
      reader_->Finish();
    }

    // What is told up to a put of `last`, without the heartbeats.
    std::vector<std::string> Until(const std::string& last) {
      std::vector<std::string> told;
      v1::WatchResponse message;
      while (reader_->Read(&message)) {
        if (message.has_heartbeat()) continue;
        if (message.put().key() == last) return told;
        told.push_back(ShapeOf(message.SerializeAsString(), v1::WatchResponse::descriptor()));
      }
      ADD_FAILURE() << "the stream ended before " << last;
      return told;
    }

   private:
    const std::unique_ptr<grpc::ClientContext> context_;
    const grpc::internal::RpcMethod method_;
    const std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
  };

  static void ExpectSame(const std::vector<std::string>& reference,
                         const std::vector<std::string>& native) {
    Outcome one;
    Outcome other;
    one.messages = reference;
    other.messages = native;
    EXPECT_EQ(DifferenceOf(one, other), "");
  }

  void SetEverywhere(const std::string& name_space, const std::string& key) {
    v1::SetRequest request;
    request.set_namespace_(name_space);
    request.set_key(key);
    request.set_value("v");
    request.add_tags("tag");
    EXPECT_EQ(Compare(CallOf("Cache.Set", request)).code, 0);
  }
};

TEST_F(NativeLanesStreamTest, BeginAndRefuseStreamsAlike) {
  RandomRequests random(kSeed);
  const std::vector<const MethodDescriptor*> methods = MethodsOf(/*streams=*/true);
  std::map<int, int> codes;
  for (int i = 0; i < kStreams && !HasFailure(); ++i) {
    SCOPED_TRACE("stream " + std::to_string(i) + ", seed " + std::to_string(kSeed));
    const MethodDescriptor* const method = methods[random.Below(methods.size())];
    LaneCall call = CallOf(method, random.Bytes(method->input_type()));
    if (random.Below(50) == 0) call.path += "x";
    // Of a watch, the heartbeat with which it begins.
    ++codes[CompareStreams(call, method->name() == "Watch" ? 1 : SIZE_MAX).code];
  }
  EXPECT_GT(codes[-1], kStreams / 50);
  EXPECT_GT(codes[grpc::StatusCode::OK], kStreams / 50);
  EXPECT_GT(codes[grpc::StatusCode::INVALID_ARGUMENT], kStreams / 10);
  EXPECT_GT(codes[grpc::StatusCode::UNIMPLEMENTED], 0);
}

TEST_F(NativeLanesStreamTest, TellWatchersTheSameChanges) {
  std::vector<v1::WatchRequest> requests(6);
  for (v1::WatchRequest& request : requests) request.set_namespace_("space");
  requests[0].set_all(true);
  requests[1].set_prefix("k");
  requests[2].set_type("default");
  requests[3].mutable_tags()->add_tags("tag");
  for (const char* const key : {"k1", "k2", "t:1", kLast}) {
    requests[4].mutable_keys()->add_keys(key);
  }
  requests[5].clear_namespace_();
  requests[5].set_all(true);
  std::vector<std::unique_ptr<Watch>> reference;
  std::vector<std::unique_ptr<Watch>> native;
  for (const v1::WatchRequest& request : requests) {
    reference.push_back(std::make_unique<Watch>(reference_, request));
    native.push_back(std::make_unique<Watch>(native_, request));
  }
  RandomRequests random(kSeed + 1);
  std::vector<const MethodDescriptor*> methods;
  static const std::set<std::string> kChanging = {"Set",         "BatchSet",   "Delete",
                                                  "BatchDelete", "Invalidate", "Increment"};
  for (const MethodDescriptor* const method : MethodsOf(/*streams=*/false)) {
    if (kChanging.count(method->name()) > 0) methods.push_back(method);
  }
  for (int i = 0; i < kChanges && !HasFailure(); ++i) {
    SCOPED_TRACE("change " + std::to_string(i) + ", seed " + std::to_string(kSeed));
    const MethodDescriptor* const method = methods[random.Below(methods.size())];
    Compare(CallOf(method, random.Bytes(method->input_type())));
    if (i % 10 == 0) SetEverywhere("space", "k" + std::to_string(i % 20));
  }
  SetEverywhere("space", kLast);
  SetEverywhere("", kLast);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(requests[i].ShortDebugString());
    const std::vector<std::string> told = reference[i]->Until(kLast);
    EXPECT_GT(told.size(), 4u);
    ExpectSame(told, native[i]->Until(kLast));
  }
}

// With their values, which are read when the event is sent: no key is set twice.
TEST_F(NativeLanesStreamTest, SendWatchersTheSameValues) {
  v1::WatchRequest request;
  request.set_prefix("k");
  request.set_values(true);
  Watch reference(reference_, request);
  Watch native(native_, request);
  for (int i = 0; i < kPuts; ++i) {
    v1::SetRequest put;
    put.set_key("k" + std::to_string(i));
    put.set_value(std::string(i * 1'000, static_cast<char>('a' + i % 26)));
    Compare(CallOf("Cache.Set", put));
  }
  SetEverywhere("", kLast);
  const std::vector<std::string> told = reference.Until(kLast);
  ASSERT_EQ(told.size(), size_t{kPuts});
  EXPECT_GT(told.back().size(), 50'000u);
  ExpectSame(told, native.Until(kLast));
}

// A server with a journal each, and a database that refuses some of the writes.
struct Journaled {
  Journaled() { std::ofstream(file()) << WritesConfig(*documents, directory.path() + "/data"); }
  std::string file() const { return directory.path() + "/larder.yaml"; }

  TempDir directory;
  std::unique_ptr<Documents> documents = NewSqliteDocuments();
};
// Made before the servers are.
struct TwoJournaled {
  Journaled for_reference;
  Journaled for_native;
};

class NativeLanesJournalTest : private TwoJournaled, public NativeLanesStreamTest {
 protected:
  NativeLanesJournalTest()
      : NativeLanesStreamTest({"--config", for_reference.file()}, {"--config", for_native.file()}) {
  }

  // Waits until every write is in the database, or refused by it.
  void Flush() {
    for (const Lane* const lane : {&reference_, &native_}) {
      // How many wait is not the same at every moment.
      Call(*lane, CallOf("Admin.ResumeDelivery", v1::ResumeDeliveryRequest()));
      EXPECT_EQ(Call(*lane, CallOf("Admin.FlushJournal", v1::FlushJournalRequest())).code, 0);
    }
    Compare(CallOf("Admin.ResumeDelivery", v1::ResumeDeliveryRequest()));
  }
};

// One write is under way at a time: of several it is chance which is refused first, and so is the
// order in which they are told.
TEST_F(NativeLanesJournalTest, TellOfWritesThatWereRefusedAlike) {
  static const std::set<std::string> kHarmless = {
      "ListDeadLetters", "ExportDeadLetters", "PauseDelivery", "ResumeDelivery", "FlushJournal"};
  RandomRequests random(kSeed + 2);
  std::vector<const MethodDescriptor*> methods;
  for (const bool streams : {false, true}) {
    for (const MethodDescriptor* const method : MethodsOf(streams)) {
      if (kHarmless.count(method->name()) > 0) methods.push_back(method);
    }
  }
  const auto compare_random = [&](const MethodDescriptor* method) {
    const LaneCall call = CallOf(method, random.Bytes(method->input_type()));
    method->server_streaming() ? CompareStreams(call, SIZE_MAX) : Compare(call);
    Flush();
  };
  size_t exported = 0;
  for (int round = 0; round < 6 && !HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round) + ", seed " + std::to_string(kSeed));
    for (int i = 0; i < 20; ++i) {
      v1::SetRequest request;
      request.set_key("behind:" + std::to_string(i) + ".");
      request.set_value(random.Below(2) == 0 ? "poison" : std::string(random.Below(30'000), 'v'));
      Compare(CallOf("Cache.Set", request));
      Flush();
    }
    Compare(CallOf("Admin.ListDeadLetters", v1::ListDeadLettersRequest()));
    const LaneCall all = CallOf("Admin.ExportDeadLetters", v1::ExportDeadLettersRequest());
    exported += CompareStreams(all, SIZE_MAX).messages.size();
    for (int i = 0; i < 40; ++i) compare_random(methods[random.Below(methods.size())]);
    v1::DropDeadLettersRequest drop;
    drop.mutable_filter()->set_key_prefix("behind:1");
    Compare(CallOf("Admin.DropDeadLetters", drop));
    v1::RetryDeadLettersRequest retry;
    retry.mutable_filter()->add_ids(std::to_string(random.Below(20)));
    Compare(CallOf("Admin.RetryDeadLetters", retry));
    Flush();
    CompareStreams(all, SIZE_MAX);
  }
  EXPECT_GT(exported, 20u);
  Compare(CallOf("Admin.DropDeadLetters", v1::DropDeadLettersRequest()));
  for (int i = 0; i < 40; ++i) {
    compare_random(v1::RetryDeadLettersRequest::descriptor()->file()->service(0)->FindMethodByName(
        i % 2 == 0 ? "RetryDeadLetters" : "DropDeadLetters"));
  }
}

}  // namespace
}  // namespace larder
