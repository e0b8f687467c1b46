// The two lanes behave alike: the same thousands of calls, valid and not, go to two servers, to one
// by its reference lane and to the other by its native lane, and what comes back is the same but
// for what time and chance put into it: status, details byte by byte, metadata before and after
// the answer, and the answer field by field. Streams are in native_lanes_stream_test.cc, what a
// gRPC client hides in native_lanes_wire_test.cc.

#include <future>
#include <set>

#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "tests/e2e/native_lanes_fixture.h"

namespace larder {
namespace {

using google::protobuf::MethodDescriptor;

constexpr uint64_t kSeed = 20'260'722;
constexpr int kCalls = 6'000;
constexpr int kLeaseCalls = 1'500;
// 64 KiB of lines and more.
constexpr int kNoUtf8 = 1'000;

std::string Printed(int call) {
  return "call " + std::to_string(call) + ", seed " + std::to_string(kSeed);
}

TEST_F(NativeLanesTest, AnswerTheSameCallsAlike) {
  RandomRequests random(kSeed);
  std::vector<const MethodDescriptor*> methods;
  for (const MethodDescriptor* const method : MethodsOf(/*streams=*/false)) {
    // It would end them.
    if (method->name() != "Drain") methods.push_back(method);
  }
  std::map<int, int> codes;
  std::set<std::string> answered;
  for (int i = 0; i < kCalls && !HasFailure(); ++i) {
    SCOPED_TRACE(Printed(i));
    const MethodDescriptor* const method = methods[random.Below(methods.size())];
    LaneCall call = CallOf(method, random.Bytes(method->input_type()));
    if (random.Below(50) == 0) call.path += "x";
    const Outcome outcome = Compare(call);
    ++codes[outcome.code];
    if (outcome.code == grpc::StatusCode::OK) answered.insert(method->name());
  }
  EXPECT_GT(codes[grpc::StatusCode::OK], kCalls / 10);
  EXPECT_GT(codes[grpc::StatusCode::INVALID_ARGUMENT], kCalls / 10);
  EXPECT_GT(codes[grpc::StatusCode::UNIMPLEMENTED], kCalls / 200);
  // Without a journal or a file of configuration the rest has nothing to say.
  for (const char* const name : {"Get", "BatchGet", "Set", "BatchSet", "Delete", "BatchDelete",
                                 "Invalidate", "GetOrLoad", "BatchGetOrLoad", "ReleaseLease",
                                 "Touch", "Increment", "Stats", "ServerInfo", "Explain", "HotKeys"})
    EXPECT_EQ(answered.count(name), 1u) << name;
}

// A lease has another token in each server.
TEST_F(NativeLanesTest, GiveLeasesAndTakeThemBackAlike) {
  struct Tokens {
    std::string reference;
    std::string native;
  };
  RandomRequests random(kSeed + 1);
  std::map<std::string, Tokens> leases;
  std::map<std::string, int> answers;
  for (int i = 0; i < kLeaseCalls && !HasFailure(); ++i) {
    SCOPED_TRACE(Printed(i));
    const std::string key = "k" + std::to_string(random.Below(6));
    switch (random.Below(4)) {
      case 0: {
        v1::GetOrLoadRequest request;
        request.set_key(key);
        request.mutable_wait();
        const LaneCall call = CallOf("Cache.GetOrLoad", request);
        std::string reference;
        std::string native;
        Compare(call, call, &reference, &native);
        v1::GetOrLoadResponse one;
        v1::GetOrLoadResponse other;
        ASSERT_TRUE(one.ParseFromString(reference) && other.ParseFromString(native));
        if (one.has_lease()) {
          EXPECT_EQ(one.lease().token().size(), other.lease().token().size());
          leases[key] = {one.lease().token(), other.lease().token()};
        }
        answers["lease"] += one.has_lease();
        break;
      }
      case 1: {
        v1::SetRequest request;
        request.set_key(key);
        request.set_value("v" + std::to_string(i));
        request.set_lease_token(leases[key].reference);
        const LaneCall to_reference = CallOf("Cache.Set", request);
        request.set_lease_token(leases[key].native);
        std::string raw;
        Compare(to_reference, CallOf("Cache.Set", request), &raw, nullptr);
        v1::SetResponse response;
        ASSERT_TRUE(response.ParseFromString(raw));
        answers[response.has_stored() ? "stored" : "lost"] += !leases[key].native.empty();
        break;
      }
      case 2: {
        v1::ReleaseLeaseRequest request;
        request.set_key(key);
        request.set_lease_token(leases[key].reference);
        const LaneCall to_reference = CallOf("Cache.ReleaseLease", request);
        request.set_lease_token(leases[key].native);
        std::string raw;
        Compare(to_reference, CallOf("Cache.ReleaseLease", request), &raw, nullptr);
        v1::ReleaseLeaseResponse response;
        ASSERT_TRUE(response.ParseFromString(raw));
        answers["released"] += response.released();
        break;
      }
      default: {
        v1::DeleteRequest request;
        request.set_key(key);
        Compare(CallOf("Cache.Delete", request));
      }
    }
  }
  for (const char* const answer : {"lease", "stored", "lost", "released"})
    EXPECT_GT(answers[answer], kLeaseCalls / 100) << answer;
}

// Of few keys, so that hardly ever two share a place.
TEST_F(NativeLanesTest, AnswerAlikeAboutWhatDependsOnOthers) {
  v1::SetRequest set;
  set.set_key("page");
  set.set_value("v");
  set.add_depends_on("part");
  set.add_depends_on("other");
  v1::GetRequest get;
  get.set_key("page");
  v1::ExplainRequest explain;
  explain.set_key("page");
  v1::DeleteRequest gone;
  gone.set_key("part");
  for (const bool batch : {false, true}) {
    v1::BatchSetRequest items;
    v1::BatchSetItem* const item = items.add_items();
    item->set_key("page");
    item->set_value("v");
    *item->mutable_depends_on() = set.depends_on();
    Compare(batch ? CallOf("Cache.BatchSet", items) : CallOf("Cache.Set", set));
    std::string raw;
    v1::GetResponse response;
    Compare(CallOf("Cache.Get", get), CallOf("Cache.Get", get), &raw, nullptr);
    ASSERT_TRUE(response.ParseFromString(raw));
    EXPECT_TRUE(response.hit().dependent());
    Compare(CallOf("Admin.Explain", explain));
    Compare(CallOf("Cache.Delete", gone));
    Compare(CallOf("Cache.Get", get), CallOf("Cache.Get", get), &raw, nullptr);
    ASSERT_TRUE(response.ParseFromString(raw));
    EXPECT_TRUE(response.has_miss());
  }
}

// One has the lease, the other waits for what it loads.
TEST_F(NativeLanesTest, AnswerAlikeWhoeverHasWaited) {
  v1::GetOrLoadRequest load;
  load.set_key("k");
  load.mutable_wait()->set_seconds(25);
  v1::BatchGetOrLoadRequest batch;
  batch.add_keys("k");
  batch.add_keys("k");
  *batch.mutable_wait() = load.wait();
  for (const LaneCall& waiting :
       {CallOf("Cache.GetOrLoad", load), CallOf("Cache.BatchGetOrLoad", batch)}) {
    std::vector<Outcome> outcomes;
    for (const Lane* const lane : {&reference_, &native_}) {
      v1::DeleteRequest gone;
      gone.set_key("k");
      Call(*lane, CallOf("Cache.Delete", gone));
      std::string raw;
      Call(*lane, CallOf("Cache.GetOrLoad", load), &raw);
      v1::GetOrLoadResponse lease;
      ASSERT_TRUE(lease.ParseFromString(raw) && lease.has_lease());
      std::future<Outcome> waiter =
          std::async(std::launch::async, [&] { return Call(*lane, waiting); });
      v1::ExplainRequest explain;
      explain.set_key("k");
      v1::ExplainResponse explained;
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (explained.lease_waiters() == 0 && std::chrono::steady_clock::now() < end) {
        Call(*lane, CallOf("Admin.Explain", explain), &raw);
        ASSERT_TRUE(explained.ParseFromString(raw));
      }
      EXPECT_EQ(explained.lease_waiters(), 1u);
      v1::SetRequest set;
      set.set_key("k");
      set.set_value(std::string(20'000, 'v'));
      set.set_lease_token(lease.lease().token());
      outcomes.push_back(Call(*lane, CallOf("Cache.Set", set)));
      outcomes.push_back(waiter.get());
    }
    EXPECT_EQ(DifferenceOf(outcomes[0], outcomes[2]), "");
    EXPECT_EQ(DifferenceOf(outcomes[1], outcomes[3]), "");
    ASSERT_EQ(outcomes[1].messages.size(), 1u);
    EXPECT_GT(outcomes[1].messages[0].size(), 20'000u);
  }
}

TEST_F(NativeLanesTest, RefuseAlikeWhatIsNoCallOfOurs) {
  v1::GetRequest request;
  request.set_key("k");
  const std::string bytes = request.SerializeAsString();
  const std::string get = "/larder.v1.Cache/Get";
  const std::vector<LaneCall> cases = {
      {"/", bytes},
      {"/larder.v1.Cache", bytes},
      {"/larder.v1.Cache/get", bytes},
      {"/grpc.health.v1.Health/Check", ""},
      {"/grpc.health.v1.Health/Check", "\x0A\x04gone"},
      {get, std::string((16 << 20) + 1, 'x')},
      {get, ""},
      {get, bytes, nullptr, {{"some-bin", std::string("\0\xFF", 2)}}},
  };
  for (const LaneCall& one : cases) Compare(one);
  // Of these the two say the same in words of their own. The last may cost the connection.
  const LaneCall far_too_large{get, std::string((32 << 20), 'x')};
  EXPECT_EQ(Call(reference_, far_too_large).code, Call(native_, far_too_large).code);
  const LaneCall much{get, bytes, nullptr, {{"much", std::string(20'000, 'm')}}};
  EXPECT_EQ(Call(reference_, much).code, Call(native_, much).code);
}

// Of each of them protobuf once wrote a line to standard error, which nobody reads here: when the
// pipe was full, the lane's thread waited in it for ever.
TEST_F(NativeLanesTest, GoOnAfterManyStringsThatAreNotUtf8) {
  const LaneCall call{"/larder.v1.Cache/Get", "\x12\x02\xFF\xFF", v1::GetResponse::descriptor()};
  for (int i = 0; i < kNoUtf8 && !HasFailure(); ++i) {
    EXPECT_EQ(Compare(call).code, grpc::StatusCode::INVALID_ARGUMENT);
  }
}

// Last, a server that is told to drain answers, and then is no more.
TEST_F(NativeLanesTest, DrainAlike) {
  RandomRequests random(kSeed + 2);
  for (int i = 0; i < 20; ++i) {
    v1::DrainRequest request;
    random.Fill(request.mutable_timeout());
    request.mutable_timeout()->set_seconds(i % 2 == 0 ? 601 : -1);
    EXPECT_EQ(Compare(CallOf("Admin.Drain", request)).code, grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_EQ(Compare(CallOf("Admin.Drain", v1::DrainRequest())).code, grpc::StatusCode::OK);
  // A client that does not look notices only later that it is to go.
  reference_.channel.reset();
  native_.channel.reset();
  EXPECT_EQ(reference_.server.Wait().exit_code, 0);
  EXPECT_EQ(native_.server.Wait().exit_code, 0);
}

}  // namespace
}  // namespace larder
