// The conformance suite: what a user may rely on, run against the fake and, through the real
// client, against a real larderd. A test says `client()` and `Elapse(duration)` and does not know
// which of the two it talks to. Each test has a namespace of its own.

#ifndef LARDER_TESTS_CLIENT_CONFORMANCE_H_
#define LARDER_TESTS_CLIENT_CONFORMANCE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "larder/client.h"
#include "larder/fake.h"
#include "tests/client/larderd.h"

namespace larder::testing {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Client* client() = 0;
  virtual void Elapse(absl::Duration by) = 0;
};

// The fake, at a time that stands still between calls of Elapse.
class FakeBackend : public Backend {
 public:
  FakeBackend(const std::string& ns, bool with_origin)
      : fake_(NewFakeClient(Options(ns, with_origin))) {}

  Client* client() override { return fake_.get(); }
  void Elapse(absl::Duration by) override { fake_->Advance(by); }

 private:
  static FakeOptions Options(const std::string& ns, bool with_origin) {
    FakeOptions options;
    options.ns = ns;
    options.default_deadline = absl::Seconds(10);
    if (with_origin) options.types = {ItemType()};
    return options;
  }

  // As Larderd::StartWithOrigin has it.
  static FakeType ItemType() {
    FakeType item;
    item.name = "item";
    item.scan = [] {
      std::vector<std::string> keys = {"bad"};
      for (int n = 1000; n < 1300; ++n) keys.push_back("i" + std::to_string(n).substr(1));
      return keys;
    };
    item.origin = [keys = item.scan()](const LoadCall& call) -> absl::StatusOr<Loaded> {
      if (call.key == "bad") return absl::InvalidArgumentError("malformed JSON");
      if (std::find(keys.begin(), keys.end(), call.key) == keys.end()) return Loaded::Absent();
      return Loaded{"value of " + call.key};
    };
    return item;
  }

  std::unique_ptr<FakeClient> fake_;
};

// A client of the one larderd of this process, or of the one that has an origin.
class ServerBackend : public Backend {
 public:
  ServerBackend(const std::string& ns, bool with_origin) {
    ClientOptions options(Address(with_origin), absl::Seconds(10));
    options.ns = ns;
    absl::StatusOr<std::unique_ptr<Client>> client = Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  Client* client() override { return client_.get(); }
  void Elapse(absl::Duration by) override {
    // Another process keeps this time: that it passes is what the test is about.
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(by));
  }

 private:
  static std::string Address(bool with_origin) {
    if (with_origin) {
      static const std::unique_ptr<Larderd> server = Larderd::StartWithOrigin();
      return server->address();
    }
    static const std::unique_ptr<Larderd> server = Larderd::Start();
    return server->address();
  }

  std::unique_ptr<Client> client_;
};

// What there is to test: in a build without the server (LARDER_SERVER=OFF) the fake alone.
inline std::vector<std::string> Backends() {
  if (Larderd::IsBuilt()) return {"Fake", "Server"};
  return {"Fake"};
}

inline std::string NameOf(const ::testing::TestParamInfo<std::string>& backend) {
  return backend.param;
}

// Waits for the answer of a FooAsync call.
template <typename T>
class Answer {
 public:
  Callback<T> Done() {
    return [state = state_](absl::StatusOr<T> result) {
      std::lock_guard lock(state->mu);
      EXPECT_FALSE(state->result.has_value()) << "called twice";
      state->result = std::move(result);
      state->changed.notify_all();
    };
  }
  bool Here() const {
    std::lock_guard lock(state_->mu);
    return state_->result.has_value();
  }
  absl::StatusOr<T> Wait() {
    std::unique_lock lock(state_->mu);
    state_->changed.wait(lock, [this] { return state_->result.has_value(); });
    return *state_->result;
  }

 private:
  struct State {
    std::mutex mu;
    std::condition_variable changed;
    std::optional<absl::StatusOr<T>> result;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

class Conformance : public ::testing::TestWithParam<std::string> {
 protected:
  explicit Conformance(bool with_origin = false) {
    static int tests = 0;
    ns_ = absl::StrCat("test-", ++tests, "-", getpid());
    if (GetParam() == "Fake") {
      backend_ = std::make_unique<FakeBackend>(ns_, with_origin);
    } else {
      backend_ = std::make_unique<ServerBackend>(ns_, with_origin);
    }
  }

  Client* client() { return backend_->client(); }
  const std::string& ns() const { return ns_; }
  void Elapse(absl::Duration by) { backend_->Elapse(by); }

  void Set(std::string_view key, std::string_view value, const SetOptions& options = {}) {
    const absl::StatusOr<SetResult> result = client()->Set(key, value, options);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_TRUE(result->stored) << Name(result->reason);
  }
  Lease TakeLease(std::string_view key, const LoadOptions& options = {}) {
    const absl::StatusOr<LeaseResult> result = client()->GetOrLease(key, options);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result.ok() && result->lease.has_value()) << "no lease for " << key;
    return result.ok() && result->lease.has_value() ? *result->lease : Lease{};
  }
  // Blocks until `count` callers wait for the key's lease.
  void WaitForWaiters(std::string_view key, uint32_t count) {
    while (true) {
      const absl::StatusOr<ExplainResult> result = client()->Explain(key);
      ASSERT_TRUE(result.ok()) << result.status();
      if (result->lease_waiters == count) return;
      std::this_thread::yield();
    }
  }

 private:
  std::string ns_;
  std::unique_ptr<Backend> backend_;
};

// Shared by assertions on values.
inline std::string ValueOf(const absl::StatusOr<GetResult>& result) {
  if (!result.ok()) return absl::StrCat("error: ", std::string(result.status().message()));
  return result->hit() ? result->entry->value
                       : absl::StrCat("miss: ", std::string(Name(result->miss.reason)));
}

}  // namespace larder::testing

#endif  // LARDER_TESTS_CLIENT_CONFORMANCE_H_
