// The near cache before the real client, against a server that does what the test says.

#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "larder/near_cache.h"
#include "tests/client/conformance.h"
#include "tests/client/watch_server.h"

namespace larder::testing {
namespace {

std::unique_ptr<Client> MustConnect(const std::string& address) {
  ClientOptions options(address, absl::Seconds(20));
  options.retry.backoff_first = absl::Milliseconds(1);
  options.retry.backoff_max = absl::Milliseconds(2);
  absl::StatusOr<std::unique_ptr<Client>> client = Connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

// A stream that lives as long as the test, unless the test says otherwise.
NearCacheOptions Patient() {
  NearCacheOptions options;
  options.silence_max = absl::Minutes(3);
  return options;
}

std::unique_ptr<NearClient> MustNear(const std::string& address, const NearCacheOptions& options) {
  auto client = NewNearClient(MustConnect(address), options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

// Blocks until it is so; the test's own time limit ends it else.
template <typename Holds>
void Await(Holds holds) {
  while (!holds()) std::this_thread::yield();
}

class NearClientTest : public ::testing::Test {
 protected:
  // A client whose streams are alive.
  void Begin(const NearCacheOptions& options = Patient()) {
    client_ = MustNear(server_.address(), options);
    ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  }
  std::string Get(const std::string& key, const GetOptions& options = {}) {
    return ValueOf(client_->Get(key, options));
  }
  // Blocks until the streams have told everything up to now.
  void Settle() {
    const uint64_t changes = client_->Near().changes;
    server_.TellPut("settle", 1);
    Await([&] { return client_->Near().changes > changes; });
  }

  WatchServer server_;
  std::unique_ptr<NearClient> client_;
};

TEST_F(NearClientTest, ReadsOnceAndThenFromMemory) {
  const uint64_t version = server_.Put("k", "v", {"tag"});
  Begin();
  EXPECT_EQ(Get("k"), "v");
  EXPECT_EQ(Get("k"), "v");
  const absl::StatusOr<GetResult> found = client_->Get("k");
  EXPECT_EQ(found->entry->version, version);
  EXPECT_EQ(found->entry->tags, std::vector<std::string>{"tag"});
  EXPECT_EQ(found->entry->value_bytes, 1u);
  EXPECT_GT(found->entry->remaining_ttl, absl::Seconds(1));
  EXPECT_LE(found->entry->remaining_ttl, absl::Seconds(60));
  EXPECT_EQ(client_->Find("k").value(), "v");
  EXPECT_FALSE(client_->Find("other"));
  EXPECT_EQ(server_.reads(), 1u);
  const NearStats stats = client_->Near();
  EXPECT_EQ((std::vector<uint64_t>{stats.hits, stats.misses, stats.kept, stats.entries}),
            (std::vector<uint64_t>{3, 1, 1, 1}));
  EXPECT_TRUE(stats.live);
}

TEST_F(NearClientTest, EveryWayToReadUsesTheCopies) {
  server_.Put("k", "v");
  server_.Put("l", "w");
  Begin();
  EXPECT_EQ(client_->BatchGet({"k", "none", "l"})->size(), 3u);
  EXPECT_EQ(server_.reads(), 3u);
  Answer<GetResult> answer;
  client_->GetAsync("k", {}, answer.Done());
  ASSERT_TRUE(answer.Here());  // at once
  EXPECT_EQ(ValueOf(answer.Wait()), "v");
  EXPECT_EQ(client_->GetOrLease("l")->entry->value, "w");
  EXPECT_EQ((*client_->BatchGetOrLease({"k", "l"}))[1]->entry->value, "w");
  const auto never = [](const LoadCall&) -> absl::StatusOr<Loaded> {
    return absl::InternalError("the loader ran");
  };
  EXPECT_EQ(client_->GetOrLoad("k", never)->entry->value, "v");
  GetOptions exists;
  exists.metadata_only = true;
  EXPECT_EQ(client_->Get("k", exists)->entry->value, "");
  EXPECT_EQ(client_->Get("k", exists)->entry->value_bytes, 1u);
  const auto both = client_->BatchGet({"l", "none", "k"});
  EXPECT_EQ((*both)[0].entry->value + (*both)[2].entry->value, "wv");
  EXPECT_FALSE((*both)[1].hit());
  EXPECT_EQ(server_.reads(), 4u);  // none, once more
}

TEST_F(NearClientTest, AnswersOfLookupsAreKept) {
  server_.Put("k", "v");
  Begin();
  EXPECT_EQ(client_->GetOrLease("k")->entry->value, "v");
  EXPECT_EQ(Get("k"), "v");
  EXPECT_EQ(server_.reads(), 1u);
}

TEST_F(NearClientTest, ChangeElsewhereDropsTheCopy) {
  server_.Put("k", "old");
  Begin();
  EXPECT_EQ(Get("k"), "old");
  server_.Put("k", "new");
  Settle();
  EXPECT_EQ(Get("k"), "new");
  server_.Remove("k");
  Settle();
  EXPECT_EQ(Get("k"), "miss: ABSENT");
}

TEST_F(NearClientTest, RuleDropsWhatItCovers) {
  server_.Put("user:1", "v", {"red"});
  server_.Put("user:2", "v");
  Begin();
  Get("user:1");
  Get("user:2");
  server_.Rule(v1::RULE_KIND_TAG, "red", [](const std::string& key) { return key == "user:1"; });
  Settle();
  EXPECT_EQ(Get("user:1"), "miss: ABSENT");
  EXPECT_EQ(Get("user:2"), "v");
  EXPECT_EQ(server_.reads(), 3u);
}

TEST_F(NearClientTest, AnswerThatAChangeOvertookIsGivenAndNotKept) {
  server_.Put("k", "old");
  Begin();
  server_.HoldGets();
  Answer<GetResult> answer;
  client_->GetAsync("k", {}, answer.Done());
  server_.WaitForReads(1);
  server_.Put("k", "new");
  Settle();
  server_.AnswerHeld();
  EXPECT_EQ(ValueOf(answer.Wait()), "old");
  EXPECT_FALSE(client_->Find("k"));
  EXPECT_EQ(Get("k"), "new");
  EXPECT_EQ(client_->Near().outdated, 1u);
}

TEST_F(NearClientTest, OwnWritesAreReadAtOnce) {
  server_.Put("k", "old");
  Begin();
  EXPECT_EQ(Get("k"), "old");
  ASSERT_TRUE(client_->Set("k", "new").ok());  // which this server does not tell the stream
  EXPECT_EQ(Get("k"), "new");
  EXPECT_EQ(client_->Find("k").value(), "new");
}

TEST_F(NearClientTest, ReaderAfterAWriteDoesNotShareTheAnswerToAReadBeforeIt) {
  server_.Put("k", "old");
  Begin();
  server_.HoldGets();
  Answer<GetResult> before, after;
  client_->GetAsync("k", {}, before.Done());
  server_.WaitForReads(1);
  ASSERT_TRUE(client_->Set("k", "new").ok());
  client_->GetAsync("k", {}, after.Done());
  server_.WaitForReads(2);
  server_.AnswerHeld();
  EXPECT_EQ(ValueOf(after.Wait()), "new");
  EXPECT_EQ(ValueOf(before.Wait()), "old");
  EXPECT_EQ(Get("k"), "new");
}

TEST_F(NearClientTest, CallersOfOneKeyShareACall) {
  server_.Put("k", "v");
  Begin();
  server_.HoldGets();
  std::vector<Answer<GetResult>> answers(50);
  for (auto& answer : answers) client_->GetAsync("k", {}, answer.Done());
  Answer<GetResult> other;  // one with less time has a call of its own
  GetOptions hurried;
  hurried.call.deadline = absl::Seconds(15);
  client_->GetAsync("k", hurried, other.Done());
  server_.WaitForReads(2);
  server_.AnswerHeld();
  for (auto& answer : answers) EXPECT_EQ(ValueOf(answer.Wait()), "v");
  EXPECT_EQ(ValueOf(other.Wait()), "v");
  EXPECT_EQ(server_.reads(), 2u);
  EXPECT_EQ(client_->Near().shared, 49u);
}

TEST_F(NearClientTest, FailedWriteDropsTheCopyUnlessNothingCanHaveHappened) {
  server_.Put("k", "v");
  Begin();
  Get("k");
  EXPECT_EQ(client_->Delete("k").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_FALSE(client_->Find("k"));
  Get("k");
  EXPECT_EQ(client_->Delete("\xFF").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(client_->Find("k"));
  SetOptions late;
  late.call.deadline = absl::ZeroDuration();
  EXPECT_EQ(client_->Set("k", "v", late).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(client_->Find("k"));
}

TEST_F(NearClientTest, KeepsWhatIsInScope) {
  for (const char* key : {"user:1", "order:1", "session:1"}) server_.Put(key, "v");
  NearCacheOptions options = Patient();
  options.prefixes = {"user:", "order:"};
  options.types = {"session"};
  Begin(options);
  EXPECT_EQ(server_.watch(0).all(), true);
  GetOptions session;
  session.type = "session";
  GetOptions elsewhere;
  elsewhere.call.ns = "other";
  for (int i = 0; i < 2; ++i) {
    Get("user:1");
    Get("order:1");
    Get("session:1", session);
  }
  EXPECT_EQ(server_.reads(), 3u);
  server_.Put("other:1", "v");
  for (int i = 0; i < 2; ++i) {
    Get("other:1");
    Get("user:1", elsewhere);
  }
  EXPECT_EQ(server_.reads(), 7u);
}

TEST_F(NearClientTest, FollowsEachPrefixByAStreamOfItsOwn) {
  server_.Put("a:1", "v");
  server_.Put("b:1", "v");
  NearCacheOptions options = Patient();
  options.prefixes = {"a:", "b:"};
  Begin(options);
  EXPECT_EQ(server_.watches(), 2u);
  Get("a:1");
  Get("b:1");
  server_.Put("b:1", "w");
  Await([&] { return client_->Near().changes >= 1; });
  EXPECT_TRUE(client_->Find("a:1"));
  EXPECT_EQ(Get("b:1"), "w");
}

TEST_F(NearClientTest, StaleAnswersAreNotKept) {
  server_.Put("k", "v");
  server_.AnswerStale(true);
  Begin();
  Get("k");
  Get("k");
  EXPECT_EQ(server_.reads(), 2u);
}

TEST_F(NearClientTest, NothingIsServedFromTheMomentTheStreamIsCut) {
  server_.Put("k", "old");
  Begin();
  Get("k");
  server_.RefuseStreams(true);
  server_.CutStreams();
  server_.PutSilently("k", "new");
  Await([&] { return !client_->Near().live; });
  EXPECT_EQ(Get("k"), "new");
  EXPECT_FALSE(client_->Find("k"));
  EXPECT_GE(client_->Near().suspect, 1u);
}

TEST_F(NearClientTest, CopiesAreServedAgainAfterAStreamThatResumed) {
  server_.Put("same", "v");
  server_.Put("changed", "old");
  Begin();
  Get("same");
  Get("changed");
  server_.RefuseStreams(true);
  server_.CutStreams();
  Await([&] { return !client_->Near().live; });
  server_.Put("changed", "new");
  server_.RefuseStreams(false);
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_NE(server_.watch(server_.watches() - 1).resume_token(), "");
  EXPECT_EQ(client_->Find("same").value(), "v");
  EXPECT_EQ(Get("changed"), "new");
  const NearStats stats = client_->Near();
  EXPECT_EQ(stats.resumed, 1u);
  EXPECT_GE(stats.streams_lost, 1u);
  EXPECT_EQ(stats.dropped_whole, 0u);
}

TEST_F(NearClientTest, AnswerReadDuringAnOutageIsTrueAfterItOrGone) {
  server_.Put("k", "v1");
  server_.Put("l", "v1");
  Begin();
  server_.RefuseStreams(true);
  server_.CutStreams();
  Await([&] { return !client_->Near().live; });
  EXPECT_EQ(Get("k") + Get("l"), "v1v1");
  server_.Put("k", "v2");
  server_.RefuseStreams(false);
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_EQ(Get("k"), "v2");
  EXPECT_EQ(client_->Find("l").value(), "v1");
}

TEST_F(NearClientTest, EverythingIsDroppedWhenTheStreamCannotResume) {
  server_.Put("k", "old");
  Begin();
  Get("k");
  server_.PutSilently("k", "new");  // which nobody will ever tell
  server_.ForgetHistory();
  server_.CutStreams();
  Await([&] { return client_->Near().dropped_whole == 1; });
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_EQ(server_.watch(server_.watches() - 1).resume_token(), "");
  EXPECT_EQ(Get("k"), "new");
  EXPECT_EQ(client_->Find("k").value(), "new");
}

TEST_F(NearClientTest, GapDropsEverythingAndGoesOn) {
  server_.Put("k", "old");
  Begin();
  Get("k");
  server_.PutSilently("k", "new");
  server_.Gap(true);
  Await([&] { return !client_->Near().live; });
  EXPECT_FALSE(client_->Find("k"));
  EXPECT_EQ(Get("k"), "new");
  server_.Gap(false);
  server_.Heartbeat();
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_EQ(client_->Near().dropped_whole, 1u);
  EXPECT_FALSE(client_->Find("k"));  // kept before the gap was over
  EXPECT_EQ(Get("k"), "new");
  EXPECT_EQ(client_->Find("k").value(), "new");
}

TEST_F(NearClientTest, SilentStreamIsNotTrustedAndIsReplaced) {
  server_.Put("k", "old");
  NearCacheOptions options;
  options.silence_max = absl::Milliseconds(300);
  Begin(options);
  EXPECT_EQ(server_.watch(0).heartbeat().nanos(), 100'000'000);
  server_.Heartbeat();
  Get("k");
  server_.Silence(true);
  server_.PutSilently("k", "new");
  Await([&] { return !client_->Find("k"); });
  EXPECT_EQ(Get("k"), "new");
  server_.WaitForWatches(2);
  server_.Silence(false);
  EXPECT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_GE(client_->Near().streams_lost, 1u);
}

TEST_F(NearClientTest, ServesOnForTheStaleBoundAndNoLonger) {
  server_.Put("k", "old");
  NearCacheOptions options = Patient();
  options.stale_bound = absl::Seconds(1);
  Begin(options);
  Get("k");
  server_.RefuseStreams(true);
  server_.CutStreams();
  Await([&] { return !client_->Near().live; });
  const absl::Time noticed = absl::Now();
  EXPECT_TRUE(client_->Find("k"));
  server_.PutSilently("k", "new");
  absl::Time last = noticed;
  for (absl::Time asked = noticed; client_->Find("k"); asked = absl::Now()) last = asked;
  EXPECT_LE(last - noticed, options.stale_bound);
  EXPECT_EQ(Get("k"), "new");
}

TEST_F(NearClientTest, NothingIsKeptBeforeTheFirstWordOfTheStream) {
  server_.Put("k", "v");
  server_.RefuseStreams(true);
  client_ = MustNear(server_.address(), Patient());
  Get("k");
  server_.RefuseStreams(false);
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_FALSE(client_->Find("k"));
  EXPECT_EQ(client_->Near().refused, 1u);
}

TEST_F(NearClientTest, LivesOnWhenTheServerRestarts) {
  auto server = std::make_unique<WatchServer>();
  server->Put("k", "v");
  client_ = MustNear(server->address(), Patient());
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  Get("k");
  const int port = server->port();
  server = nullptr;
  Await([&] { return !client_->Near().live; });
  EXPECT_FALSE(client_->Find("k"));
  server = std::make_unique<WatchServer>(port);
  server->Put("k", "w");
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  EXPECT_EQ(Get("k"), "w");
  client_ = nullptr;
}

TEST_F(NearClientTest, DestructionCancelsWhatIsUnderWay) {
  server_.Put("k", "v");
  Begin();
  server_.HoldGets();
  std::vector<Answer<GetResult>> answers(10);
  for (auto& answer : answers) client_->GetAsync("k", {}, answer.Done());
  server_.WaitForReads(1);
  client_ = nullptr;
  for (auto& answer : answers) {
    ASSERT_TRUE(answer.Here());
    EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kCancelled);
  }
}

TEST_F(NearClientTest, BlockingCallInACallbackIsRefused) {
  server_.Put("k", "v");
  Begin();
  Get("k");
  Answer<GetResult> answer;
  client_->GetAsync("k", {}, [&, done = answer.Done()](const absl::StatusOr<GetResult>&) mutable {
    done(client_->Get("k"));
  });
  EXPECT_EQ(answer.Wait().status().code(), absl::StatusCode::kFailedPrecondition);
}

// Readers, writers elsewhere, and streams that break all the time: a value that a reader sees is
// never older than one that was settled before it began to read.
TEST_F(NearClientTest, ReadersNeverGoBackUnderFaults) {
  for (int k = 0; k < 8; ++k) server_.Put("k" + std::to_string(k), "0");
  Begin();
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::vector<int> seen(8, 0);
      for (int i = t; !stop; ++i) {
        const int k = i % 8;
        const int value = std::stoi(Get("k" + std::to_string(k)));
        EXPECT_GE(value, seen[static_cast<size_t>(k)]) << k;
        seen[static_cast<size_t>(k)] = value;
        ++reads;
        std::this_thread::yield();  // the writer and the streams need a turn, too
      }
    });
  }
  for (int i = 1; i <= 600; ++i) {
    server_.Put("k" + std::to_string(i % 8), std::to_string(i));
    if (i % 50 == 0) server_.CutStreams();
    if (i % 120 == 0) server_.ForgetHistory();
    const int before = reads;
    Await([&] { return reads >= before + 10; });
    if (i % 200 == 0) {
      EXPECT_TRUE(client_->AwaitLive(absl::Seconds(60)));
    }
  }
  ASSERT_TRUE(client_->AwaitLive(absl::Seconds(20)));
  Settle();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  for (int k = 0; k < 8; ++k) {
    EXPECT_EQ(Get("k" + std::to_string(k)),
              ValueOf(MustConnect(server_.address())->Get("k" + std::to_string(k))));
  }
  EXPECT_GT(client_->Near().hits, 0u);
}

TEST(NearCacheOptions, LimitsAreCheckedAtTheirEdges) {
  const auto field = [](const std::function<void(NearCacheOptions*)>& change) -> std::string {
    NearCacheOptions options;
    change(&options);
    const absl::Status status = ValidateNearCacheOptions(options);
    return status.ok() ? "" : FieldViolations(status).at(0).field;
  };
  EXPECT_EQ(field([](auto*) {}), "");
  EXPECT_EQ(field([](auto* o) { o->bytes_max = 1 << 20; }), "");
  EXPECT_EQ(field([](auto* o) { o->bytes_max = (1 << 20) - 1; }), "bytes_max");
  EXPECT_EQ(field([](auto* o) { o->bytes_max = (size_t{64} << 30) + 1; }), "bytes_max");
  EXPECT_EQ(field([](auto* o) { o->value_bytes_max = 256 << 10; }), "");
  EXPECT_EQ(field([](auto* o) { o->value_bytes_max = (256 << 10) + 1; }), "value_bytes_max");
  EXPECT_EQ(field([](auto* o) { o->value_bytes_max = 0; }), "value_bytes_max");
  EXPECT_EQ(field([](auto* o) { o->ttl_max = absl::Microseconds(999); }), "ttl_max");
  EXPECT_EQ(field([](auto* o) { o->ttl_max = absl::Hours(25); }), "ttl_max");
  EXPECT_EQ(field([](auto* o) { o->stale_bound = absl::Hours(1); }), "");
  EXPECT_EQ(field([](auto* o) { o->stale_bound = absl::Nanoseconds(-1); }), "stale_bound");
  EXPECT_EQ(field([](auto* o) { o->stale_bound = absl::InfiniteDuration(); }), "stale_bound");
  EXPECT_EQ(field([](auto* o) { o->silence_max = absl::Milliseconds(299); }), "silence_max");
  EXPECT_EQ(field([](auto* o) { o->silence_max = absl::Minutes(4); }), "silence_max");
  EXPECT_EQ(field([](auto* o) { o->prefixes.assign(16, "p"); }), "");
  EXPECT_EQ(field([](auto* o) { o->prefixes.assign(17, "p"); }), "prefixes");
  EXPECT_EQ(field([](auto* o) { o->prefixes = {"a", ""}; }), "prefixes[1]");
  EXPECT_EQ(field([](auto* o) { o->prefixes = {std::string(1025, 'p')}; }), "prefixes[0]");
  EXPECT_EQ(field([](auto* o) { o->prefixes = {"\xFF"}; }), "prefixes[0]");
  EXPECT_EQ(field([](auto* o) { o->types.assign(65, "t"); }), "types");
  const auto client = NewNearClient(MustConnect("127.0.0.1:1"), [] {
    NearCacheOptions options;
    options.bytes_max = 0;
    return options;
  }());
  EXPECT_EQ(client.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace larder::testing
