// Values around the size from which the server sends them without a copy, as a stock gRPC client
// gets them: of a type that is not compressed, and of one that is.

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/lane_fixture.h"

namespace larder {
namespace {

constexpr size_t kLargest = 1 << 20;

// `size` bytes that no other key, number or size shares: a mixture of two would be noticed.
std::string ValueOf(uint64_t key, uint64_t number, size_t size) {
  std::mt19937_64 random(key * 1'000'003 + number);
  std::string value(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    if (i % 4096 == 0) random.discard(1);
    value[i] = static_cast<char>(random() >> (i % 8) * 8);
    if (i >= 4096) i += 63;  // a byte in each cache line is enough
  }
  return value;
}

class LargeValuesTest : public LaneFixture {
 protected:
  LargeValuesTest()
      : LaneFixture({"--set", "memory.l1=16MiB", "--set", "types.plain.match=[\"plain:*\"]",
                     "--set", "types.plain.compress.codec=none", "--set",
                     "types.packed.match=[\"packed:*\"]"}) {}

  v1::GetOrLoadResponse Load(const std::string& key) {
    v1::GetOrLoadRequest request;
    request.set_key(key);
    v1::GetOrLoadResponse response;
    const grpc::Status status = cache_->GetOrLoad(Within(5).get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
};

TEST_F(LargeValuesTest, EverySizeComesBackAsItWasSet) {
  std::vector<size_t> sizes = {0, 1, 100, kLargest - 1, kLargest};
  for (size_t size = 1024; size <= kLargest / 2; size *= 2) {
    sizes.insert(sizes.end(), {size - 1, size, size + 1});
  }
  for (size_t i = 0; i < 2 * sizes.size(); ++i) {
    const size_t size = sizes[i / 2];
    const std::string key = (i % 2 == 0 ? "plain:" : "packed:") + std::to_string(size);
    SCOPED_TRACE(key);
    const std::string value = ValueOf(size, 1, size);
    ASSERT_TRUE(Set(key, value).ok());
    const v1::GetResponse got = Get(key);
    EXPECT_TRUE(got.hit().value() == value);
    EXPECT_EQ(got.hit().value_bytes(), size);
    EXPECT_GT(got.hit().remaining_ttl().seconds(), 0);
    EXPECT_TRUE(Load(key).hit().value() == value);

    v1::GetRequest exists;
    exists.set_key(key);
    exists.set_metadata_only(true);
    v1::GetResponse metadata;
    ASSERT_TRUE(cache_->Get(Within(5).get(), exists, &metadata).ok());
    EXPECT_EQ(metadata.hit().value(), "");
    EXPECT_EQ(metadata.hit().value_bytes(), size);

    v1::BatchGetRequest batch;
    batch.add_keys(key);
    batch.add_keys(key);
    v1::BatchGetResponse both;
    ASSERT_TRUE(cache_->BatchGet(Within(5).get(), batch, &both).ok());
    EXPECT_TRUE(both.results(0).hit().value() == value);
    EXPECT_TRUE(both.results(1).hit().value() == value);
  }
  const v1::StatsResponse stats = Stats();
  for (const v1::TypeStats& type : stats.types()) {
    if (type.type() == "plain") {
      EXPECT_EQ(type.usage().compressed_bytes(), 0u);
    } else if (type.type() == "packed") {
      EXPECT_GT(type.compression().saved_bytes(), 1u << 20);
    }
  }
  EXPECT_GT(stats.memory().large_bytes(), kLargest);
}

TEST_F(LargeValuesTest, RepliesUnderWayKeepTheirBytesWhateverBecomesOfTheEntry) {
  // A MiB takes many round trips of flow control. Meanwhile other threads overwrite, delete and
  // crowd out the entries, and some readers hang up in the middle of a reply.
  constexpr uint64_t kKeys = 6;
  std::atomic<bool> stop{false};
  std::atomic<int> read{0};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < 2; ++writer) {
    threads.emplace_back([&, writer] {
      for (uint64_t number = 1; !stop; ++number) {
        const uint64_t key = number % kKeys;
        if (key % 2 != writer) continue;
        v1::SetRequest set;
        set.set_key("plain:" + std::to_string(key));
        const size_t size = kLargest - number % 3;
        set.set_value(std::to_string(number) + " " + std::to_string(size) + " ");
        const std::string body = ValueOf(key, number, size);
        set.mutable_value()->append(body, set.value().size(), std::string::npos);
        v1::SetResponse stored;
        cache_->Set(Within(5).get(), set, &stored);
        if (number % 7 == 0) {
          v1::DeleteRequest remove;
          remove.set_key(set.key());
          v1::DeleteResponse removed;
          cache_->Delete(Within(5).get(), remove, &removed);
        }
        set.set_key("plain:crowd:" + std::to_string(number % 40));
        cache_->Set(Within(5).get(), set, &stored);
      }
    });
  }
  for (uint64_t reader = 0; reader < 4; ++reader) {
    threads.emplace_back([&, reader] {
      for (uint64_t i = 0; read < 400; ++i) {
        const uint64_t key = (i + reader) % kKeys;
        v1::GetRequest request;
        request.set_key("plain:" + std::to_string(key));
        v1::GetResponse got;
        const auto context = Within(i % 5 == 0 ? 0.001 : 5);
        if (!cache_->Get(context.get(), request, &got).ok() || !got.has_hit()) continue;
        ++read;
        const std::string& value = got.hit().value();
        const uint64_t number = std::stoull(value);
        const size_t size = std::stoull(value.substr(value.find(' ') + 1));
        const std::string head = std::to_string(number) + " " + std::to_string(size) + " ";
        if (value != head + ValueOf(key, number, size).substr(head.size())) ++wrong;
      }
    });
  }
  for (size_t t = 2; t < threads.size(); ++t) threads[t].join();
  stop = true;
  threads[0].join();
  threads[1].join();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(server_.running());
}

class LargeRepliesTest : public LaneFixture {
 protected:
  LargeRepliesTest()
      : LaneFixture({"--set", "limits.value_bytes=64KiB", "--set", "limits.message_bytes=128KiB"}) {
  }
};

TEST_F(LargeRepliesTest, ABatchThatIsTooLargeGivesItsLeasesBack) {
  v1::BatchGetOrLoadRequest request;
  request.add_keys("lease:1");
  for (int i = 0; i < 3; ++i) {
    const std::string key = "large:" + std::to_string(i);
    ASSERT_TRUE(Set(key, std::string(60 << 10, 'v')).ok());
    request.add_keys(key);
  }
  request.add_keys("lease:2");
  v1::BatchGetOrLoadResponse response;
  const grpc::Status status = cache_->BatchGetOrLoad(Within(5).get(), request, &response);
  EXPECT_EQ(ReasonOf(status), "MESSAGE_TOO_LARGE");
  for (const char* const key : {"lease:1", "lease:2"}) {
    v1::GetOrLoadRequest load;
    load.set_key(key);
    v1::GetOrLoadResponse loaded;
    ASSERT_TRUE(cache_->GetOrLoad(Within(2).get(), load, &loaded).ok()) << key;
    EXPECT_TRUE(loaded.has_lease()) << key;
  }
}

class TightBufferTest : public LaneFixture {
 protected:
  TightBufferTest()
      : LaneFixture({"--set", "limits.buffer_bytes=16MiB", "--set", "limits.message_bytes=16MiB"}) {
  }
};

// Three quarters of the buffer is less than this one message has.
TEST_F(TightBufferTest, AMessageOfAllowedSizeIsNotRefusedForItsAddress) {
  v1::BatchSetRequest request;
  for (uint64_t i = 0; i < 26; ++i) {
    v1::BatchSetItem* const item = request.add_items();
    item->set_key("plain:" + std::to_string(i));
    item->set_value(ValueOf(i, 1, kLargest / 2));
  }
  v1::BatchSetResponse response;
  const grpc::Status status = cache_->BatchSet(Within(20).get(), request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.results_size(), 26);
}

}  // namespace
}  // namespace larder
