// Origins that answer what nobody should, or nothing: each key gets its own answer, an error has
// its reason, nothing hangs, and the server goes on.

#include <grpcpp/generic/async_generic_service.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "tests/e2e/origin_fixture.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kHard{3'000};
// For a busy machine.
constexpr milliseconds kRoom{5'000};

// A service whose answers to Load are no messages: of keys that end in `cut` the last byte is
// missing, others go on with bytes that mean nothing. What they begin with is well-formed.
class Gibberish : public grpc::CallbackGenericService {
 public:
  Gibberish() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
  }
  ~Gibberish() override { server_->Shutdown(); }
  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  class Call : public grpc::ServerGenericBidiReactor {
   public:
    Call() { StartRead(&in_); }
    void OnReadDone(bool ok) override {
      v1::LoadRequest request;
      if (!ok || !grpc::SerializationTraits<v1::LoadRequest>::Deserialize(&in_, &request).ok())
        return Finish(grpc::Status::CANCELLED);
      v1::LoadResponse response;
      for (const v1::LoadItem& item : request.items()) {
        v1::LoadResult* const result = response.add_results();
        result->set_key(item.key());
        result->mutable_found()->set_value("from a broken answer");
      }
      std::string bytes = response.SerializeAsString();
      const bool cut = request.items(0).key().find("cut") != std::string::npos;
      if (cut) {
        bytes.pop_back();
      } else {
        bytes.append(100, '\xff');
      }
      const grpc::Slice slice(bytes);
      out_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&out_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer in_;
    grpc::ByteBuffer out_;
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Call;
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class OriginAnswersTest : public testing::Test {
 protected:
  OriginAnswersTest() {
    service_.on_load = [this](v1::LoadResponse* response) {
      if (!honest_) Spoil(response);
    };
    replica_ = std::make_unique<Replica>(
        "types:\n"
        "  item: { match: [\"item:{id}\"], origin: items, freshness: { hard_timeout: " +
        std::to_string(kHard.count()) +
        "ms } }\n"
        "  slim: { match: [\"slim:{id}\"], origin: slim }\n"
        "  noise: { match: [\"noise:{id}\"], origin: noise }\n"
        "  well: { match: [\"well:{id}\"], origin: well }\n"
        "origins:\n"
        "  items: { grpc: { target: \"" +
        service_.target() +
        "\" } }\n"
        "  slim: { grpc: { target: \"" +
        service_.target() +
        "\", message_bytes: 64KiB } }\n"
        "  noise: { grpc: { target: \"" +
        gibberish_.target() +
        "\" } }\n"
        "  well: { grpc: { target: \"" +
        well_.target() + "\" } }\n");
    for (const char* key : {"item:good", "item:garbage", "item:twice", "item:missing"})
      service_.Put(key, {.value = "right"});
    service_.Put("item:large", {.value = std::string(2 << 20, 'x')});
    service_.SetFault("item:fails", OriginFault::kLoadFails);
    service_.SetFault("item:garbage", OriginFault::kGarbage);
    for (const char* key : {"well:0", "well:1"}) well_.Put(key, {.value = "well"});
  }

  // Turns the answer round; leaves one key out, says another twice, adds one that nobody wants.
  static void Spoil(v1::LoadResponse* response) {
    v1::LoadResponse spoilt;
    for (int i = response->results_size(); i > 0; --i) {
      const v1::LoadResult& result = response->results(i - 1);
      if (result.key() == "item:missing") continue;
      *spoilt.add_results() = result;
      if (result.key() != "item:twice") continue;
      *spoilt.add_results() = result;
      spoilt.mutable_results()->rbegin()->mutable_found()->set_value("wrong");
    }
    spoilt.add_results()->set_key("item:unwanted");
    spoilt.mutable_results()->rbegin()->mutable_found()->set_value("wrong");
    *response = spoilt;
  }

  v1::OriginStats Origin(const std::string& name) {
    const v1::StatsResponse stats = replica_->Stats();
    for (const v1::OriginStats& origin : stats.origins()) {
      if (origin.name() == name) return origin;
    }
    ADD_FAILURE() << "there is no origin " << name;
    return {};
  }

  OriginService service_;
  OriginService well_;
  const Gibberish gibberish_;
  std::atomic<bool> honest_{false};
  std::unique_ptr<Replica> replica_;
};

TEST_F(OriginAnswersTest, EachKeyOfABadAnswerGetsItsOwn) {
  const std::map<std::string, std::string> expected = {{"item:good", "right"},
                                                       {"item:garbage", "ORIGIN_BAD_ANSWER"},
                                                       {"item:twice", "right"},
                                                       {"item:missing", "ORIGIN_BAD_ANSWER"},
                                                       {"item:nowhere", "NEGATIVE"},
                                                       {"item:fails", "ORIGIN_UNAVAILABLE"},
                                                       {"item:large", "ORIGIN_BAD_ANSWER"}};
  std::vector<std::string> keys;
  for (const auto& [key, shown] : expected) keys.push_back(key);
  const v1::BatchGetOrLoadResponse response = replica_->BatchGetOrLoad(keys);
  for (int i = 0; i < response.results_size(); ++i) {
    const std::string& key = keys[static_cast<size_t>(i)];
    EXPECT_EQ(Shown(response.results(i)), expected.at(key)) << key;
    EXPECT_NE(response.results(i).has_error(), response.results(i).error().message().empty())
        << key;
  }
  EXPECT_EQ(replica_->Value("item:unwanted"), "");
  EXPECT_GE(Origin("items").bad_answers(), 4u);

  honest_ = true;
  service_.SetFault("item:fails", OriginFault::kNone);
  service_.SetFault("item:garbage", OriginFault::kNone);
  // The breaker may have opened for a moment.
  EXPECT_TRUE(Eventually([&] { return Loaded(replica_.get(), "item:missing") == "right"; }));
  EXPECT_EQ(Loaded(replica_.get(), "item:garbage"), "right");
  EXPECT_EQ(Loaded(replica_.get(), "item:fails"), "NEGATIVE");
  EXPECT_EQ(Loaded(replica_.get(), "item:large"), "ORIGIN_BAD_ANSWER");
}

TEST_F(OriginAnswersTest, SingleCallsSayTheReasonAndTheOriginsName) {
  v1::GetOrLoadResponse response;
  const grpc::Status status = replica_->GetOrLoad("item:missing", &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonOf(status), "ORIGIN_BAD_ANSWER");
  EXPECT_NE(status.error_message().find("`items`"), std::string::npos) << status.error_message();
  EXPECT_NE(status.error_message().find("left this key out"), std::string::npos)
      << status.error_message();
}

TEST_F(OriginAnswersTest, BytesThatAreNoMessageAreATypedErrorAndNothingOfThemIsKept) {
  for (const std::string key : {"noise:cut", "noise:tail"}) {
    // Twice: what was kept would be there then.
    for (int i = 0; i < 2; ++i) {
      const std::string shown = Loaded(replica_.get(), key);
      EXPECT_TRUE(shown == "ORIGIN_UNAVAILABLE" || shown == "ORIGIN_BAD_ANSWER")
          << key << ": " << shown;
    }
    EXPECT_EQ(replica_->Value(key), "");
  }
  const v1::OriginStats noise = Origin("noise");
  EXPECT_GT(noise.errors() + noise.bad_answers(), 0u);
  EXPECT_EQ(Loaded(replica_.get(), "well:1"), "well");
}

TEST_F(OriginAnswersTest, AnswerLargerThanTheMessageLimitIsATypedError) {
  honest_ = true;
  service_.Put("slim:1", {.value = std::string(100 << 10, 'x')});
  service_.Put("slim:2", {.value = "small"});
  EXPECT_EQ(Loaded(replica_.get(), "slim:1"), "ORIGIN_UNAVAILABLE");
  EXPECT_EQ(Loaded(replica_.get(), "slim:2"), "small");
}

TEST_F(OriginAnswersTest, OriginThatNeverAnswersHoldsNobodyLongerThanTheHardTimeout) {
  honest_ = true;
  service_.Hang(true);
  constexpr int kKeys = 100;
  std::vector<std::string> keys;
  for (int i = 0; i < kKeys; ++i) keys.push_back("item:hung" + std::to_string(i));
  // Its time is not for the first connection.
  EXPECT_EQ(Loaded(replica_.get(), "well:0"), "well");
  const auto began = steady_clock::now();
  Crowd crowd(replica_.get(), keys);
  // The origin beside it is as quick as ever.
  EXPECT_EQ(Loaded(replica_.get(), "well:1", kHard.count() * 1e-3), "well");
  const std::map<std::string, int> answers = crowd.Answers();
  EXPECT_LT(steady_clock::now() - began, kHard + kRoom);
  int typed = 0;
  for (const auto& [shown, count] : answers) {
    EXPECT_TRUE(shown == "ORIGIN_TIMEOUT" || shown == "ORIGIN_UNAVAILABLE") << shown;
    typed += count;
  }
  EXPECT_EQ(typed, kKeys);
  EXPECT_GT(answers.count("ORIGIN_TIMEOUT"), 0u);
  // Calls that nobody waits for any more are given up, at the origin too.
  EXPECT_TRUE(Eventually([&] {
    return replica_->Stats().flights().under_way() == 0 && Origin("items").under_way() == 0 &&
           service_.hanging() == 0;
  }));
  EXPECT_GT(service_.cancelled(), 0);
  service_.Hang(false);
  EXPECT_TRUE(Eventually([&] { return Loaded(replica_.get(), "item:good") == "right"; }));
}

}  // namespace
}  // namespace larder
