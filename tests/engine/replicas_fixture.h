// Engines of one fleet on a clock and an executor that the test owns.

#ifndef LARDER_TESTS_ENGINE_REPLICAS_FIXTURE_H_
#define LARDER_TESTS_ENGINE_REPLICAS_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "tests/engine/replica.h"

namespace larder {

class ReplicasFixture : public testing::Test {
 protected:
  explicit ReplicasFixture(uint64_t seed = 1, const FakeTier::Options& tier = {})
      : executor_(&clock_, seed), random_(seed), fleet_(&clock_, &executor_, seed, tier) {}
  ~ReplicasFixture() override {
    for (const auto& replica : replicas_) EXPECT_TRUE(replica->engine->memory().CheckInvariants());
    for (const auto& replica : replicas_) replica->Kill();
    executor_.RunReady();
  }

  static TypePolicy Type(const std::string& name, absl::Duration base = absl::Minutes(5)) {
    TypePolicy type;
    type.name = name;
    if (name != "default") type.match.push_back(*Pattern::Parse(name + ":*"));
    type.ttl.base = base;
    type.ttl.jitter = 0;
    return type;
  }

  // One more replica; the others must have the same types.
  Replica& Add(Replica::Options options) {
    options.number = static_cast<int>(replicas_.size());
    options.node_id = static_cast<uint32_t>(replicas_.size()) + 1;
    if (options.types.empty()) options.types = types_;
    options.types.push_back(Type("default"));
    replicas_.push_back(std::make_unique<Replica>(&fleet_, &executor_, &random_, options));
    return *replicas_.back();
  }
  Engine& engine(size_t replica) { return *replicas_[replica]->engine; }
  FakeTier::Handle& tier(size_t replica) { return *replicas_[replica]->tier; }

  // Runs a task to its end, and the clock as far as it needs.
  template <typename T>
  T Now(Task<T> task) {
    const auto result = std::make_shared<std::optional<T>>();
    Spawn(std::move(task), [result](T value) { result->emplace(std::move(value)); });
    executor_.RunReady();
    for (int i = 0; i < 10'000 && !result->has_value(); ++i) {
      executor_.Advance(absl::Milliseconds(1));
    }
    EXPECT_TRUE(result->has_value()) << "the task waits";
    return **std::move(result);
  }

  absl::StatusOr<WriteResult> TrySet(size_t replica, const std::string& key,
                                     const std::string& value,
                                     std::optional<absl::Duration> ttl = std::nullopt,
                                     Expect condition = {}, const std::string& token = "") {
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = value;
    write.ttl = ttl;
    write.condition = condition;
    write.lease_token = token;
    return Now(engine(replica).Set(write));
  }
  WriteResult Set(size_t replica, const std::string& key, const std::string& value,
                  std::optional<absl::Duration> ttl = std::nullopt, Expect condition = {},
                  const std::string& token = "") {
    const absl::StatusOr<WriteResult> result = TrySet(replica, key, value, ttl, condition, token);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : WriteResult();
  }
  ReadResult Read(size_t replica, const std::string& key) {
    const absl::StatusOr<ReadResult> read = Now(engine(replica).Get({"", key, ""}));
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? *read : ReadResult();
  }
  // The value; else in brackets why there is none.
  std::string Get(size_t replica, const std::string& key) { return Text(Read(replica, key)); }
  static std::string Text(const ReadResult& read) {
    if (read.entry.has_value()) return std::string(read.entry->stored());
    switch (read.miss) {
      case MissReason::kAbsent:
        return "(absent)";
      case MissReason::kExpired:
        return "(expired)";
      case MissReason::kInvalidated:
        return "(invalidated)";
      case MissReason::kNegative:
        return "(negative)";
      case MissReason::kLoading:
        return "(loading)";
      case MissReason::kTierFailed:
        return "(tier failed)";
      case MissReason::kRolledPast:
        return "(rolled past)";
    }
    return "";
  }
  bool Delete(size_t replica, const std::string& key) {
    const absl::StatusOr<RemoveResult> removed = Now(engine(replica).Delete({"", key, ""}));
    EXPECT_TRUE(removed.ok()) << removed.status();
    return removed.ok() && removed->existed;
  }
  static IncrementRequest Counting(std::string_view key, int64_t delta) {
    IncrementRequest request;
    request.key = {"", key, ""};
    request.delta = delta;
    return request;
  }
  int64_t Increment(size_t replica, const std::string& key, int64_t delta = 1) {
    const absl::StatusOr<IncrementResult> result =
        Now(engine(replica).Increment(Counting(key, delta)));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->value : -1;
  }

  // What memory alone says.
  bool InMemory(size_t replica, const std::string& key, Entry* entry = nullptr) {
    Entry ignored;
    MissReason why;
    return engine(replica).memory().Peek(FullKey("", key).view(), clock_.Mono(),
                                         entry != nullptr ? entry : &ignored, &why);
  }
  // As if memory had needed the room: no trace, no ticket taken.
  void Evict(size_t replica, const std::string& key) {
    const std::string value(kJunkBytes, 'j');
    for (int i = 0; i < 10'000 && InMemory(replica, key); ++i) {
      const std::string junk(FullKey("", "junk:" + std::to_string(++junk_)).view());
      EntryFields fields;
      fields.full_key = junk;
      fields.value = value;
      fields.version = engine(replica).versions().Next();
      fields.fresh_until = fields.usable_until = MonoAfter(clock_.Mono(), absl::Hours(1));
      engine(replica).memory().Insert(fields, {}, clock_.Mono());
    }
    ASSERT_FALSE(InMemory(replica, key));
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
      return (*result)->lease.has_value() ? "(lease)" : Text((*result)->read);
    }
  };
  std::shared_ptr<Loading> Load(size_t replica, const std::string& key,
                                absl::Duration lease_ttl = absl::Seconds(10),
                                absl::Duration wait = absl::InfiniteDuration()) {
    auto loading = std::make_shared<Loading>();
    loading->key = key;
    LoadRequest request;
    request.key = {"", loading->key, ""};
    request.lease_ttl = lease_ttl;
    request.wait_until = MonoAfter(clock_.Mono(), wait);
    request.cancellation = &loading->cancellation;
    Spawn(engine(replica).GetOrLoad(request), [loading](absl::StatusOr<LoadResult> result) {
      loading->result.emplace(std::move(result));
    });
    executor_.RunReady();
    return loading;
  }

  static constexpr size_t kJunkBytes = 16 << 10;

  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom random_;
  Fleet fleet_;
  std::vector<TypePolicy> types_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  int junk_ = 0;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_REPLICAS_FIXTURE_H_
