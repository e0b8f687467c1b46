// An engine on a clock and an executor that the test owns.

#ifndef LARDER_TESTS_ENGINE_ENGINE_FIXTURE_H_
#define LARDER_TESTS_ENGINE_ENGINE_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "engine/engine.h"

namespace larder {

class EngineFixture : public testing::Test {
 protected:
  explicit EngineFixture(uint64_t seed = 1) : executor_(&clock_, seed), random_(seed) { Make({}); }
  ~EngineFixture() override { EXPECT_TRUE(engine_->memory().CheckInvariants()); }

  void Make(Engine::Options options, std::vector<TypePolicy> types = {}) {
    options.clock = &clock_;
    options.random = &random_;
    options.executor = &executor_;
    options.types = *TypeTable::Make(std::move(types));
    engine_ = std::make_unique<Engine>(options);
  }

  static TypePolicy Type(const std::string& name, const std::string& pattern, absl::Duration base) {
    TypePolicy type;
    type.name = name;
    type.match.push_back(*Pattern::Parse(pattern));
    type.ttl.base = base;
    type.ttl.jitter = 0;
    return type;
  }

  // Runs a task that does not wait to its end.
  template <typename T>
  T Now(Task<T> task) {
    std::optional<T> result;
    Spawn(std::move(task), [&result](T value) { result.emplace(std::move(value)); });
    executor_.RunReady();
    EXPECT_TRUE(result.has_value()) << "the task waits";
    return *std::move(result);
  }

  WriteResult Set(const std::string& key, const std::string& value,
                  std::optional<absl::Duration> ttl = std::nullopt, Expect condition = {},
                  const std::string& token = "") {
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = value;
    write.ttl = ttl;
    write.condition = condition;
    write.lease_token = token;
    const absl::StatusOr<WriteResult> result = Now(engine_->Set(write));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : WriteResult();
  }

  std::string Get(const std::string& key, MissReason* why = nullptr) {
    const absl::StatusOr<ReadResult> read = Now(engine_->Get({"", key, ""}));
    EXPECT_TRUE(read.ok()) << read.status();
    if (why != nullptr) *why = read->miss;
    return read->entry ? std::string(read->entry->stored()) : "(miss)";
  }

  // What the path of lane threads finds.
  bool FindHit(const std::string& key, Entry* entry = nullptr) {
    Entry ignored;
    return engine_->FindHit(FullKey("", key), clock_.Mono(), true,
                            entry != nullptr ? entry : &ignored);
  }

  // A GetOrLoad that may wait: `result` is set when it is answered.
  struct Loading {
    std::string key;
    Cancellation cancellation;
    std::optional<absl::StatusOr<LoadResult>> result;

    bool HasLease() const {
      return result.has_value() && result->ok() && (*result)->lease.has_value();
    }
    const std::string& Token() const { return (*result)->lease->token; }
    std::string Value() const {
      if (!result.has_value()) return "(waits)";
      if (!result->ok()) return DetailsOf(result->status()).reason;
      if ((*result)->lease.has_value()) return "(lease)";
      return (*result)->read.entry ? std::string((*result)->read.entry->stored()) : "(miss)";
    }
  };
  std::shared_ptr<Loading> Load(const std::string& key,
                                absl::Duration lease_ttl = absl::Seconds(10),
                                absl::Duration wait = absl::InfiniteDuration(),
                                absl::Duration deadline = absl::InfiniteDuration()) {
    auto loading = std::make_shared<Loading>();
    loading->key = key;
    LoadRequest request;
    request.key = {"", loading->key, ""};
    request.lease_ttl = lease_ttl;
    request.wait_until = MonoAfter(clock_.Mono(), wait);
    request.deadline = MonoAfter(clock_.Mono(), deadline);
    request.cancellation = &loading->cancellation;
    Spawn(engine_->GetOrLoad(request), [loading](absl::StatusOr<LoadResult> result) {
      loading->result.emplace(std::move(result));
    });
    return loading;
  }

  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom random_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_ENGINE_FIXTURE_H_
