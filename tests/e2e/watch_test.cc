// Watch over a real server: what is told to whom, going on after a cut connection, clients that do
// not read, ten thousand streams, the end of a server, and two replicas over one Redis.

#include <gmock/gmock.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "tests/e2e/fleet_fixture.h"
#include "tests/e2e/lane_fixture.h"
#include "tests/e2e/tcp_proxy.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Fill = std::function<void(v1::WatchRequest*)>;

// One stream, read as the test goes on.
class Stream {
 public:
  Stream(v1::Cache::Stub* cache, const v1::WatchRequest& request, double seconds = 30)
      : context_(Replica::Within(seconds)), reader_(cache->Watch(context_.get(), request)) {}
  ~Stream() {
    context_->TryCancel();
    v1::WatchResponse rest;
    while (!ended_ && reader_->Read(&rest)) {
    }
    if (!ended_) reader_->Finish();
  }

  // The next message; false: the stream has ended, and status() says how.
  bool Read(v1::WatchResponse* message) {
    if (ended_) return false;
    if (reader_->Read(message)) {
      token_ = message->resume_token();
      return true;
    }
    status_ = reader_->Finish();
    ended_ = true;
    return false;
  }
  // The next message that is no heartbeat, in words: "put k 5"; at the end the reason.
  std::string Next() {
    v1::WatchResponse message;
    while (Read(&message)) {
      if (!message.has_heartbeat()) return Said(message);
    }
    return ReasonOf(status_);
  }
  // Waits for the heartbeat that says from when on the stream tells.
  Stream& Begun() {
    v1::WatchResponse message;
    EXPECT_TRUE(Read(&message)) << status_.error_message();
    EXPECT_TRUE(message.has_heartbeat()) << message.ShortDebugString();
    return *this;
  }
  const std::string& token() const { return token_; }
  const grpc::Status& status() const { return status_; }

  static std::string Said(const v1::WatchResponse& message) {
    if (message.has_put()) {
      const std::string value = message.put().has_value() ? " = " + message.put().value() : "";
      return "put " + message.put().key() + " " + std::to_string(message.put().version()) + value;
    }
    if (message.has_invalidated()) {
      const v1::ChangeInvalidated& gone = message.invalidated();
      if (gone.key().empty()) return v1::RuleKind_Name(gone.kind()) + " " + gone.match();
      return "gone " + gone.key() + " " + std::to_string(gone.version());
    }
    if (message.has_expired())
      return "expired " + message.expired().key() + " " +
             std::to_string(message.expired().version());
    if (message.has_gap()) return message.gap().goes_on() ? "gap goes on" : "gap";
    return message.ShortDebugString();
  }

 private:
  const std::unique_ptr<grpc::ClientContext> context_;
  const std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
  std::string token_;
  bool ended_ = false;
  grpc::Status status_;
};

v1::WatchRequest Watching(const Fill& fill) {
  v1::WatchRequest request;
  fill(&request);
  return request;
}
v1::WatchRequest WatchingAll(const std::string& token = "") {
  return Watching([&](auto* request) {
    request->set_all(true);
    request->set_resume_token(token);
  });
}
v1::WatchRequest WatchingKeys(const std::vector<std::string>& keys) {
  return Watching([&](auto* request) {
    request->mutable_keys()->mutable_keys()->Assign(keys.begin(), keys.end());
  });
}

std::string PutOf(const std::string& key, uint64_t version) {
  return "put " + key + " " + std::to_string(version);
}

class WatchTest : public LaneFixture {
 protected:
  explicit WatchTest(std::vector<std::string> args = {}) : LaneFixture(With(std::move(args))) {}
  void SetUp() override { ASSERT_TRUE(server_.running()); }

  static std::vector<std::string> With(std::vector<std::string> args) {
    args.insert(args.end(), {"--set", "types.user.match=[\"user:{id}\"]"});
    return args;
  }
  uint64_t SetNow(const std::string& key, const std::string& value = "v",
                  const std::vector<std::string>& tags = {}, int ttl_ms = 0) {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    if (ttl_ms > 0) request.mutable_ttl()->set_nanos(ttl_ms * 1'000'000);
    request.mutable_tags()->Assign(tags.begin(), tags.end());
    v1::SetResponse response;
    const grpc::Status status = cache_->Set(Within(5).get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.stored().version();
  }
  uint64_t DeleteNow(const std::string& key) {
    v1::DeleteRequest request;
    request.set_key(key);
    v1::DeleteResponse response;
    EXPECT_TRUE(cache_->Delete(Within(5).get(), request, &response).ok());
    return response.version();
  }
  // Many puts in few calls.
  void SetMany(const std::string& key, int count) {
    for (int done = 0; done < count;) {
      v1::BatchSetRequest request;
      for (; done < count && request.items_size() < 1'000; ++done) {
        auto* const item = request.add_items();
        item->set_key(key + std::to_string(done));
        item->set_value("v");
      }
      v1::BatchSetResponse response;
      const grpc::Status status = cache_->BatchSet(Within(10).get(), request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
  }
  std::string Refusal(const Fill& fill, std::string* field = nullptr) {
    Stream stream(cache_.get(), Watching(fill));
    v1::WatchResponse message;
    EXPECT_FALSE(stream.Read(&message)) << message.ShortDebugString();
    if (field != nullptr) *field = FieldOf(stream.status());
    return LaneFixture::ReasonOf(stream.status());
  }
};

TEST_F(WatchTest, TellsEachStreamWhatItSelects) {
  Stream all(cache_.get(), WatchingAll());
  Stream keys(cache_.get(), WatchingKeys({"a", "user:1"}));
  Stream prefix(cache_.get(), Watching([](auto* r) { r->set_prefix("user:"); }));
  Stream tags(cache_.get(), Watching([](auto* r) { r->mutable_tags()->add_tags("red"); }));
  Stream type(cache_.get(), Watching([](auto* r) { r->set_type("user"); }));
  Stream other(cache_.get(), Watching([](auto* r) {
                 r->set_namespace_("other");
                 r->set_all(true);
               }));
  for (Stream* stream : {&all, &keys, &prefix, &tags, &type, &other}) stream->Begun();
  const std::string a = PutOf("a", SetNow("a", "v", {"red"}));
  const std::string user = PutOf("user:1", SetNow("user:1"));
  const std::string gone = "gone user:1 " + std::to_string(DeleteNow("user:1"));
  v1::InvalidateRequest rule;
  rule.set_prefix("user:");
  v1::InvalidateResponse ruled;
  const grpc::Status status = cache_->Invalidate(Within(5).get(), rule, &ruled);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const std::string last = PutOf("user:1", SetNow("user:1", "v", {"red"}));
  const std::string by_rule = "RULE_KIND_PREFIX user:";
  for (const std::string& said : {a, user, gone, by_rule, last}) EXPECT_EQ(all.Next(), said);
  for (const std::string& said : {a, user, gone, by_rule, last}) EXPECT_EQ(keys.Next(), said);
  for (const std::string& said : {user, gone, by_rule, last}) EXPECT_EQ(prefix.Next(), said);
  for (const std::string& said : {a, by_rule, last}) EXPECT_EQ(tags.Next(), said);
  for (const std::string& said : {user, gone, by_rule, last}) EXPECT_EQ(type.Next(), said);
  v1::SetRequest elsewhere;
  elsewhere.set_namespace_("other");
  elsewhere.set_key("x");
  elsewhere.set_value("v");
  v1::SetResponse set;
  ASSERT_TRUE(cache_->Set(Within(5).get(), elsewhere, &set).ok());
  EXPECT_EQ(other.Next(), PutOf("x", set.stored().version()));
}

TEST_F(WatchTest, SendsValuesOnlyWhereTheyAreAskedForAndOnlyThisVersions) {
  Stream plain(cache_.get(), WatchingKeys({"a"}));
  v1::WatchRequest request = WatchingKeys({"a"});
  request.set_values(true);
  Stream values(cache_.get(), request);
  plain.Begun(), values.Begun();
  const uint64_t one = SetNow("a", "one");
  EXPECT_EQ(plain.Next(), PutOf("a", one));
  EXPECT_EQ(values.Next(), PutOf("a", one) + " = one");
  const uint64_t empty = SetNow("a", "");
  EXPECT_EQ(values.Next(), PutOf("a", empty) + " = ");
  // When it is told of the first, there is only the second.
  const std::string token = values.token();
  const uint64_t two = SetNow("a", "two"), three = SetNow("a", "three");
  request.set_resume_token(token);
  Stream late(cache_.get(), request);
  EXPECT_EQ(late.Next(), PutOf("a", two));
  EXPECT_EQ(late.Next(), PutOf("a", three) + " = three");
}

TEST_F(WatchTest, TellsOfWhatExpiresThoseWhoAskForIt) {
  v1::WatchRequest request = WatchingAll();
  request.set_expirations(true);
  Stream all(cache_.get(), request);
  Stream changes(cache_.get(), WatchingAll());
  all.Begun(), changes.Begun();
  const uint64_t stays = SetNow("stays");
  const uint64_t ends = SetNow("ends", "v", {}, 200);
  for (Stream* stream : {&all, &changes}) {
    EXPECT_EQ(stream->Next(), PutOf("stays", stays));
    EXPECT_EQ(stream->Next(), PutOf("ends", ends));
  }
  EXPECT_EQ(all.Next(), "expired ends " + std::to_string(ends));
  const uint64_t last = SetNow("last");
  EXPECT_EQ(all.Next(), PutOf("last", last));
  EXPECT_EQ(changes.Next(), PutOf("last", last));
  v1::StatsResponse stats;
  ASSERT_TRUE(cache_->Stats(Within(5).get(), {}, &stats).ok());
  EXPECT_EQ(stats.watch().watchers(), 2u);
  EXPECT_EQ(stats.watch().changes(), 4u);
  EXPECT_EQ(stats.watch().told(), 7u);
  EXPECT_EQ(stats.watch().expirations_untold(), 0u);
}

TEST_F(WatchTest, HeartbeatsComeWhileNothingHappens) {
  v1::WatchRequest request = WatchingKeys({"a"});
  request.mutable_heartbeat()->set_nanos(100'000'000);
  Stream stream(cache_.get(), request);
  stream.Begun();
  const std::string first = stream.token();
  SetNow("not watched");
  v1::WatchResponse beat;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(stream.Read(&beat));
    ASSERT_TRUE(beat.has_heartbeat());
    EXPECT_GT(beat.heartbeat().time().seconds(), 1'600'000'000);
    EXPECT_LE(beat.resume_token().size(), 256u);
  }
  // Its position moves on with what it is not told of.
  EXPECT_NE(stream.token(), first);
}

TEST_F(WatchTest, RefusesWhatMakesNoSense) {
  std::string field;
  EXPECT_EQ(Refusal([](auto*) {}, &field), "SELECTOR_INVALID");
  EXPECT_EQ(field, "selector");
  EXPECT_EQ(Refusal([](auto* r) { r->set_all(false); }, &field), "SELECTOR_INVALID");
  EXPECT_EQ(field, "all");
  EXPECT_EQ(Refusal([](auto* r) { r->mutable_keys(); }, &field), "SELECTOR_INVALID");
  EXPECT_EQ(field, "keys.keys");
  EXPECT_EQ(Refusal([](auto* r) { r->mutable_keys()->add_keys("a\n"); }, &field), "KEY_INVALID");
  EXPECT_EQ(field, "keys.keys[0]");
  const auto keys = [](int count) {
    return [count](auto* r) {
      for (int i = 0; i < count; ++i) r->mutable_keys()->add_keys(std::to_string(i));
    };
  };
  EXPECT_EQ(Refusal(keys(1'001), &field), "BATCH_INVALID");
  EXPECT_EQ(field, "keys.keys");
  Stream(cache_.get(), Watching(keys(1'000))).Begun();
  EXPECT_EQ(Refusal([](auto* r) { r->set_prefix(""); }, &field), "SELECTOR_INVALID");
  EXPECT_EQ(field, "prefix");
  EXPECT_EQ(Refusal([](auto* r) { r->set_prefix(std::string(1'025, 'p')); }), "SELECTOR_INVALID");
  EXPECT_EQ(Refusal([](auto* r) { r->mutable_tags(); }, &field), "SELECTOR_INVALID");
  EXPECT_EQ(field, "tags.tags");
  EXPECT_EQ(Refusal([](auto* r) { r->mutable_tags()->add_tags(std::string(129, 't')); }, &field),
            "TAG_INVALID");
  EXPECT_EQ(field, "tags.tags[0]");
  EXPECT_EQ(Refusal([](auto* r) { r->set_type(""); }, &field), "SELECTOR_INVALID");
  EXPECT_EQ(Refusal([](auto* r) { r->set_type("usr"); }, &field), "TYPE_UNKNOWN");
  EXPECT_EQ(Refusal([](auto* r) {
              r->set_all(true);
              r->set_namespace_("no spaces");
            }),
            "NAMESPACE_INVALID");
  for (const int64_t ms : {-1, 0, 99, 60'001}) {
    EXPECT_EQ(Refusal(
                  [ms](auto* r) {
                    r->set_all(true);
                    r->mutable_heartbeat()->set_seconds(ms / 1'000);
                    r->mutable_heartbeat()->set_nanos(static_cast<int>(ms % 1'000) * 1'000'000);
                  },
                  &field),
              "REQUEST_INVALID")
        << ms;
    EXPECT_EQ(field, "heartbeat");
  }
  for (const std::string& token :
       {std::string("x"), std::string(256, 't'), std::string(257, 't')}) {
    EXPECT_EQ(Refusal(
                  [&](auto* r) {
                    r->set_all(true);
                    r->set_resume_token(token);
                  },
                  &field),
              "RESUME_TOKEN_INVALID");
    EXPECT_EQ(field, "resume_token");
  }
}

TEST_F(WatchTest, TokensOfAnotherStartOrAnotherServerAreRefused) {
  Stream stream(cache_.get(), WatchingAll());
  stream.Begun();
  const ServerProcess stranger({"--set", "node.name=stranger"});
  const auto channel = grpc::CreateChannel(stranger.address(), grpc::InsecureChannelCredentials());
  Stream(v1::Cache::NewStub(channel).get(), WatchingAll()).Begun();
  Stream other(v1::Cache::NewStub(channel).get(), WatchingAll(stream.token()));
  EXPECT_EQ(other.Next(), "RESUME_TOKEN_INVALID");
  EXPECT_EQ(other.status().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const ServerProcess again(With({}));
  Stream restarted(
      v1::Cache::NewStub(grpc::CreateChannel(again.address(), grpc::InsecureChannelCredentials()))
          .get(),
      WatchingAll(stream.token()));
  EXPECT_EQ(restarted.Next(), "RESUME_TOKEN_OLD");
  EXPECT_EQ(restarted.status().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(WatchTest, GoesOnWhereACutConnectionEnded) {
  const size_t colon = server_.address().rfind(':');
  TcpProxy proxy(std::stoi(server_.address().substr(colon + 1)));
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  const auto cut_off = v1::Cache::NewStub(grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(proxy.port()), grpc::InsecureChannelCredentials(), args));
  std::string token;
  std::vector<std::string> told, made;
  for (int round = 0; round < 20; ++round) {
    Stream stream(cut_off.get(), WatchingAll(token));
    v1::WatchResponse message;
    if (round == 0) stream.Begun();
    // While what is made now is on its way, the connection is cut. Again until the stream has
    // ended: a cut may come before there is a connection.
    std::atomic<bool> ended = false;
    std::thread writer([&] {
      for (int i = 0; i < 20; ++i)
        made.push_back(PutOf("k" + std::to_string(i), SetNow("k" + std::to_string(i))));
      EXPECT_TRUE(Eventually([&] {
        proxy.Cut();
        return ended.load();
      }));
    });
    while (stream.Read(&message)) {
      if (!message.has_heartbeat()) told.push_back(Stream::Said(message));
    }
    ended = true;
    writer.join();
    if (!stream.token().empty()) token = stream.token();
    const std::string reason = LaneFixture::ReasonOf(stream.status());
    ASSERT_EQ(reason, "") << stream.status().error_message();
  }
  ASSERT_FALSE(token.empty());
  Stream rest(cache_.get(), WatchingAll(token));
  while (told.size() < made.size()) told.push_back(rest.Next());
  EXPECT_EQ(told, made);
}

TEST_F(WatchTest, WhoDoesNotReadIsCutAndTheOthersAreNot) {
  Stream slow(cache_.get(), WatchingAll(), 60);
  slow.Begun();
  Stream quick(cache_.get(), WatchingKeys({"last"}), 60);
  quick.Begun();
  // More than waits for one watcher and lies in the buffers on the way.
  SetMany("some-key-that-fills-the-buffers-of-the-connection-a-little-faster-", 200'000);
  const uint64_t last = SetNow("last");
  EXPECT_EQ(quick.Next(), PutOf("last", last));
  uint64_t told = 0;
  v1::WatchResponse message;
  while (slow.Read(&message)) ++told;
  EXPECT_LT(told, 200'000u);
  EXPECT_EQ(LaneFixture::ReasonOf(slow.status()), "WATCH_TOO_SLOW");
  EXPECT_EQ(slow.status().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  bool retry = false;
  const rpc::v1::Status details = DetailsOf(slow.status());
  for (const auto& any : details.details())
    retry = retry || any.type_url() == "type.googleapis.com/google.rpc.RetryInfo";
  EXPECT_TRUE(retry);
}

TEST_F(WatchTest, AServerThatGoesEndsStreamsWithTheirLastPosition) {
  Stream stream(cache_.get(), WatchingAll());
  stream.Begun();
  const uint64_t version = SetNow("a");
  server_.Signal(SIGTERM);
  EXPECT_EQ(stream.Next(), PutOf("a", version));
  v1::WatchResponse last;
  int beats = 0;
  while (stream.Read(&last)) beats += last.has_heartbeat();
  EXPECT_GE(beats, 1);
  EXPECT_FALSE(stream.token().empty());
  EXPECT_EQ(LaneFixture::ReasonOf(stream.status()), "DRAINING");
  EXPECT_EQ(stream.status().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server_.Wait().exit_code, 0);
}

class FewWatchersTest : public WatchTest {
 protected:
  FewWatchersTest() : WatchTest({"--set", "limits.watchers=2"}) {}
};

TEST_F(FewWatchersTest, StreamsBeyondTheLimitAreRefusedUntilOneEnds) {
  Stream one(cache_.get(), WatchingAll());
  one.Begun();
  {
    Stream two(cache_.get(), WatchingAll());
    two.Begun();
    EXPECT_EQ(Refusal([](auto* r) { r->set_all(true); }), "WATCHERS_FULL");
  }
  EXPECT_TRUE(Eventually([&] {
    Stream again(cache_.get(), WatchingAll());
    v1::WatchResponse message;
    return again.Read(&message);
  }));
}

// One of very many streams: counts what it is told.
class CountingReader : public grpc::ClientReadReactor<v1::WatchResponse> {
 public:
  CountingReader(v1::Cache::Stub* cache, std::string key, std::atomic<int>* begun,
                 std::atomic<int>* told, std::atomic<int>* ended)
      : key_(std::move(key)), begun_(begun), told_(told), ended_(ended) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    request_ = WatchingKeys({key_});
    cache->async()->Watch(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }
  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (message_.has_heartbeat() && !std::exchange(has_begun_, true)) ++*begun_;
    if (message_.has_put()) {
      EXPECT_EQ(message_.put().key(), key_);
      ++*told_;
    }
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED) << status.error_message();
    ++*ended_;
  }

 private:
  const std::string key_;
  std::atomic<int>* const begun_;
  std::atomic<int>* const told_;
  std::atomic<int>* const ended_;
  grpc::ClientContext context_;
  v1::WatchRequest request_;
  v1::WatchResponse message_;
  bool has_begun_ = false;
};

TEST_F(WatchTest, TenThousandWatchersOfDistinctKeysAreToldOfTheirs) {
  constexpr int kWatchers = 10'000, kChannels = 10;
  std::atomic<int> begun{0}, told{0}, ended{0};
  std::vector<std::unique_ptr<v1::Cache::Stub>> stubs;
  for (int i = 0; i < kChannels; ++i) {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(v1::Cache::NewStub(
        grpc::CreateCustomChannel(server_.address(), grpc::InsecureChannelCredentials(), args)));
  }
  std::vector<std::unique_ptr<CountingReader>> readers;
  for (int i = 0; i < kWatchers; ++i) {
    readers.push_back(std::make_unique<CountingReader>(
        stubs[i % kChannels].get(), "k" + std::to_string(i), &begun, &told, &ended));
    // Not more at once than the server lets wait.
    if (i % 1'000 != 999) continue;
    ASSERT_TRUE(Eventually([&] { return begun == i + 1; })) << begun;
  }
  SetMany("k", kWatchers);
  EXPECT_TRUE(Eventually([&] { return told == kWatchers; })) << told;
  for (const auto& reader : readers) reader->Cancel();
  EXPECT_TRUE(Eventually([&] { return ended == kWatchers; })) << ended;
  EXPECT_EQ(told, kWatchers);
}

// Two replicas over one Redis, each by a connection that can be cut.
class WatchFleetTest : public testing::Test {
 protected:
  explicit WatchFleetTest(const FleetTimes& times = {}) {
    for (int i = 0; i < 2; ++i) {
      proxies_.push_back(std::make_unique<TcpProxy>(redis_.port()));
      replicas_.push_back(std::make_unique<Replica>(
          FleetConfig(i, "redis://127.0.0.1:" + std::to_string(proxies_.back()->port()) + "/0",
                      /*more=*/"", times)));
    }
    EXPECT_TRUE(Eventually([&] { return Well(); }));
  }
  bool Well() {
    return replicas_[0]->Well() && replicas_[1]->Well() && replicas_[0]->Fleet().replicas() == 1 &&
           replicas_[1]->Fleet().replicas() == 1;
  }
  uint64_t SetOn(int replica, const std::string& key, const std::string& value = "v") {
    v1::SetRequest request;
    request.set_key(key);
    request.set_value(value);
    v1::SetResponse response;
    const grpc::Status status = replicas_[replica]->Set(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.stored().version();
  }

  RedisServer redis_;
  std::vector<std::unique_ptr<TcpProxy>> proxies_;
  std::vector<std::unique_ptr<Replica>> replicas_;
};

TEST_F(WatchFleetTest, ChangesOnAnyReplicaAreToldOnAll) {
  Stream here(&replicas_[0]->stub(), WatchingAll());
  Stream there(&replicas_[1]->stub(), WatchingAll());
  here.Begun(), there.Begun();
  for (int i = 0; i < 50; ++i) {
    const std::string key = "k" + std::to_string(i % 5);
    const std::string put = PutOf(key, SetOn(i % 2, key, std::to_string(i)));
    ASSERT_EQ(here.Next(), put);
    ASSERT_EQ(there.Next(), put);
    // Whoever is told and reads finds it.
    ASSERT_EQ(replicas_[0]->Value(key), std::to_string(i));
    ASSERT_EQ(replicas_[1]->Value(key), std::to_string(i));
  }
  ASSERT_TRUE(replicas_[0]->Delete("k1").ok());
  EXPECT_THAT(here.Next(), testing::StartsWith("gone k1 "));
  EXPECT_THAT(there.Next(), testing::StartsWith("gone k1 "));
  Stream of_the_other(&replicas_[1]->stub(), WatchingAll(here.token()));
  EXPECT_EQ(of_the_other.Next(), "RESUME_TOKEN_OLD");
}

// With a silence that is soon noticed.
class WatchFleetAwayTest : public WatchFleetTest {
 protected:
  WatchFleetAwayTest() : WatchFleetTest({.trust = std::chrono::milliseconds(3000)}) {}
};

TEST_F(WatchFleetAwayTest, AReplicaThatDoesNotHearTheOthersSaysSoAndWhenItDoesAgain) {
  v1::WatchRequest request = WatchingAll();
  request.mutable_heartbeat()->set_nanos(100'000'000);
  Stream there(&replicas_[1]->stub(), request, 60);
  there.Begun();
  proxies_[1]->Hold();
  EXPECT_EQ(there.Next(), "gap goes on");
  SetOn(0, "missed");
  // While it goes on there are no heartbeats: who begins now hears of it first.
  Stream late(&replicas_[1]->stub(), request, 60);
  EXPECT_EQ(late.Next(), "gap goes on");
  proxies_[1]->Cut();
  proxies_[1]->Release();
  std::string said = there.Next();
  while (said != "gap" && said.substr(0, 4) == "put ") said = there.Next();
  EXPECT_EQ(said, "gap");
  // From here on nothing is missed.
  const std::string put = PutOf("after", SetOn(0, "after"));
  for (said = there.Next(); said != put && said.substr(0, 4) == "put ";) said = there.Next();
  EXPECT_EQ(said, put);
  for (said = late.Next(); said != put && !said.empty();) said = late.Next();
  EXPECT_EQ(said, put);
}

}  // namespace
}  // namespace larder
