// What memory holds is read, answered and written on the loop, without a step on another thread.
// Once the loop is warm a call allocates nothing: what the ones before it had is used again. And
// what came together is answered together.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "base/executor.h"
#include "engine/engine.h"
#include "engine/request_ids.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "policy/type_table.h"
#include "rpc/cache_handlers.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/native_lane.h"
#include "tests/allocations/counted_malloc.h"
#include "tests/allocations/counted_writes.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

constexpr char kGet[] = "/larder.v1.Cache/Get";
constexpr char kGetOrLoad[] = "/larder.v1.Cache/GetOrLoad";
constexpr char kBatchGet[] = "/larder.v1.Cache/BatchGet";
constexpr char kSet[] = "/larder.v1.Cache/Set";
// Counts the loop's allocations and writes while it is answered with a number above zero.
constexpr char kCount[] = "/larder.v1.Admin/HotKeys";
constexpr uint32_t kStreamsAtOnce = 20;
constexpr uint32_t kCalls = 1'000;
// As large as they may be.
constexpr size_t kFrameBytes = 16 << 10;

// Counts what goes to other threads.
class CountingExecutor : public Executor {
 public:
  explicit CountingExecutor(Executor* to) : to_(to) {}

  bool TryPost(Work work) override {
    ++posts;
    return to_->TryPost(std::move(work));
  }
  void Post(Work work) override {
    ++posts;
    to_->Post(std::move(work));
  }
  TimerId After(absl::Duration delay, Work work) override {
    return to_->After(delay, std::move(work));
  }
  bool Cancel(TimerId timer) override { return to_->Cancel(timer); }

  std::atomic<int> posts = 0;

 private:
  Executor* const to_;
};

// Turns the counting on and off, on the loop's thread.
class Switch {
 public:
  bool TryTurn(CallContext*, const v1::HotKeysRequest& request, v1::HotKeysResponse*,
               absl::Status*) {
    CountAllocationsHere(request.limit() > 0);
    CountWritesHere(request.limit() > 0);
    return true;
  }
  Task<absl::Status> Turn(CallContext*, const v1::HotKeysRequest*, v1::HotKeysResponse*) {
    co_return absl::OkStatus();
  }
};

// Not to be compressed: what is has to be made plain again, into memory of its own.
std::string RandomBytes(size_t size) {
  std::mt19937_64 random(1);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

class HitTest : public testing::Test {
 protected:
  HitTest() {
    methods_.On(kCount, &switch_, &Switch::Turn, &Switch::TryTurn);
    NativeLane::Options options;
    options.address = "127.0.0.1:0";
    options.loops = 1;
    lane_ = *NativeLane::Start(options, &methods_, &dispatcher_);
    const std::string address = lane_->address();
    client_ = std::make_unique<RawClient>(std::stoi(address.substr(address.rfind(':') + 1)));
    client_->Greet();
    // All that it will ever be sent.
    client_->Send(RawClient::Frame(kWindowUpdate, 0, 0, RawClient::Number(0x7fff0000, 4)));
  }
  ~HitTest() override {
    client_.reset();
    lane_.reset();
    pool_->Shutdown();
  }

  static Engine::Options EngineOptions(Executor* executor) {
    TypePolicy type;
    type.name = "default";
    type.ttl.base = absl::Hours(1);
    Engine::Options options;
    options.executor = executor;
    options.types = *TypeTable::Make({type});
    return options;
  }

  // One call with the headers of a gRPC client.
  std::string CallOf(const std::string& path, const std::string& message) {
    RawClient::Fields fields = RawClient::CallFields(path);
    fields.insert(fields.end(), {{"user-agent", "grpc-c++/1.51.1 grpc-c/29.0.0 (linux; chttp2)"},
                                 {"grpc-accept-encoding", "identity, deflate, gzip"},
                                 {"grpc-timeout", "1S"}});
    stream_ += 2;
    std::string frames = RawClient::Frame(kHeaders, kEndHeaders, stream_, RawClient::Block(fields));
    const std::string framed = RawClient::Message(message);
    for (size_t at = 0; at < framed.size(); at += kFrameBytes) {
      frames += RawClient::Frame(kData, at + kFrameBytes < framed.size() ? 0 : kEndStream, stream_,
                                 framed.substr(at, kFrameBytes));
    }
    return frames;
  }

  // Reads the answers to so many calls: how many had a message with `value` in it.
  uint32_t ReadAnswers(uint32_t calls, const std::string& value) {
    uint32_t right = 0;
    while (calls > 0) {
      const std::optional<RawFrame> frame = client_->Read();
      if (!frame.has_value()) return right;
      if (frame->type == kData) right += frame->payload.find(value) != std::string::npos ? 1 : 0;
      if (frame->type == kHeaders && (frame->flags & kEndStream) != 0) --calls;
    }
    return right;
  }

  void Set(const std::string& key, const std::string& value) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    client_->Send(CallOf(kSet, request.SerializeAsString()));
    ASSERT_EQ(ReadAnswers(1, ""), 1u);
  }
  void Count(bool on) {
    v1::HotKeysRequest request;
    request.set_limit(on ? 1 : 0);
    client_->Send(CallOf(kCount, request.SerializeAsString()));
    ASSERT_EQ(ReadAnswers(1, ""), 1u);
  }
  struct Hit {
    const char* path;
    std::string request;
    std::string value;  // in the answer
  };
  // A Get of `key`, which has `value` from here on.
  Hit GetOf(const std::string& key, const std::string& value) {
    Set(key, value);
    v1::GetRequest request;
    request.set_key(key);
    return {kGet, request.SerializeAsString(), value};
  }
  // So many of them, several streams at once, which must all be hits.
  void Ask(const Hit& hit, uint32_t calls) {
    for (; calls > 0; calls -= kStreamsAtOnce) {
      std::string frames;
      for (uint32_t i = 0; i < kStreamsAtOnce; ++i) frames += CallOf(hit.path, hit.request);
      ASSERT_TRUE(client_->Send(frames));
      ASSERT_EQ(ReadAnswers(kStreamsAtOnce, hit.value), kStreamsAtOnce);
    }
  }

  // What the loop's thread allocates for so many calls, when it is warm. None takes a step
  // elsewhere.
  uint64_t AllocationsOf(const Hit& hit) {
    Count(true);
    const uint64_t before = AllocationsCounted();
    const int posts = executor_.posts;
    Ask(hit, kCalls);
    EXPECT_EQ(executor_.posts, posts);
    const uint64_t all = AllocationsCounted() - before;
    Count(false);
    return all;
  }
  void ExpectForEachCall(uint64_t allocations, const Hit& hit) {
    Ask(hit, 400);
    const uint64_t all = AllocationsOf(hit);
    EXPECT_LE(all, allocations * kCalls);
    if (all <= allocations * kCalls) return;
    PrintAllocations(4);
    AllocationsOf(hit);
    PrintAllocations(0);
  }

  const std::unique_ptr<ThreadPool> pool_ = ThreadPool::New({.threads = 1});
  CountingExecutor executor_{pool_.get()};
  Engine engine_{EngineOptions(&executor_)};
  RequestIds request_ids_{{}};
  MethodTable methods_;
  Switch switch_;
  CacheHandlers handlers_{{.limits = {}, .node_name = "a"}, &engine_, &request_ids_, &methods_};
  Dispatcher dispatcher_{Clock::System(), &executor_};
  std::unique_ptr<NativeLane> lane_;
  std::unique_ptr<RawClient> client_;
  uint32_t stream_ = static_cast<uint32_t>(-1);
};

TEST_F(HitTest, AllocatesNothingForAValueThatIsSentFromWhereItIs) {
  ExpectForEachCall(0, GetOf("user:44", RandomBytes(8 << 10)));
}

TEST_F(HitTest, AllocatesNothingForASmallValue) {
  ExpectForEachCall(0, GetOf("user:42", std::string(100, 'v')));
}

TEST_F(HitTest, AllocatesNothingForAValueThatIsCopiedAndFitsIntoNoCall) {
  ExpectForEachCall(0, GetOf("user:45", RandomBytes(2 << 10)));
}

TEST_F(HitTest, AllocatesNothingForALongKey) {
  ExpectForEachCall(0, GetOf("session:" + std::string(56, '5'), std::string(100, 'v')));
}

TEST_F(HitTest, AllocatesNothingForAGetOrLoadThatHits) {
  Set("user:46", "there");
  v1::GetOrLoadRequest request;
  request.set_key("user:46");
  ExpectForEachCall(0, {kGetOrLoad, request.SerializeAsString(), "there"});
}

// Two blocks for the results of all; of what each of them is nothing by itself.
TEST_F(HitTest, AllocatesTwiceForABatchOfTwentyHits) {
  v1::BatchGetRequest request;
  for (int i = 0; i < 20; ++i) {
    request.add_keys("user:" + std::to_string(i));
    Set(request.keys(i), "there");
  }
  ExpectForEachCall(2, {kBatchGet, request.SerializeAsString(), "there"});
}

TEST_F(HitTest, AnswersWhatCameTogetherWithOneWrite) {
  const Hit hit = GetOf("user:47", "there");
  Ask(hit, kCalls);
  Count(true);
  const uint64_t before = WritesCounted();
  Ask(hit, kCalls);
  const uint64_t writes = WritesCounted() - before;
  Count(false);
  EXPECT_LE(writes, kCalls / kStreamsAtOnce);
  EXPECT_GT(writes, 0u);
}

// In frames of 16 KiB, one behind the other in memory: no byte of it was anywhere else in between.
TEST_F(HitTest, SendsALargeValueFromWhereItIs) {
  const std::string value = RandomBytes(40 << 10);
  const Hit hit = GetOf("user:48", value);
  Count(true);
  ForgetLargePieces();
  client_->Send(CallOf(hit.path, hit.request));
  std::string got;
  bool over = false;
  while (!over) {
    const std::optional<RawFrame> frame = client_->Read();
    ASSERT_TRUE(frame.has_value());
    if (frame->type == kData) got += frame->payload;
    over = frame->type == kHeaders && (frame->flags & kEndStream) != 0;
  }
  Count(false);
  EXPECT_TRUE(got.ends_with(value));
  size_t sent = 0;
  for (const WrittenPiece& piece : LargePieces()) {
    EXPECT_EQ(piece.from, LargePieces().front().from + sent);
    sent += piece.size;
  }
  EXPECT_EQ(sent, value.size());
}

// The counting itself: what goes to a worker and back does allocate.
TEST_F(HitTest, IsCountedWhenItAllocates) {
  Count(true);
  const uint64_t before = AllocationsCounted();
  Set("user:43", "v");
  Count(false);
  EXPECT_GT(AllocationsCounted(), before);
}

}  // namespace
}  // namespace larder
