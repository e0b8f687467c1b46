// Attackers of a native lane, each beside a good client whose calls must all be answered.

#ifndef LARDER_TESTS_RPC_NATIVE_HOSTILE_H_
#define LARDER_TESTS_RPC_NATIVE_HOSTILE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "larder/v1/cache.pb.h"
#include "tests/rpc/native_fixture.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {

inline constexpr char kGet[] = "/larder.v1.Cache/Get";
inline constexpr char kGetOrLoad[] = "/larder.v1.Cache/GetOrLoad";
inline constexpr char kBatchGet[] = "/larder.v1.Cache/BatchGet";
inline constexpr char kWarm[] = "/larder.v1.Admin/Warm";
inline constexpr char kReflection[] =
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
inline constexpr int64_t kEnhanceYourCalm = 11;

inline std::string GetOf(const std::string& key) {
  v1::GetRequest request;
  request.set_key(key);
  return request.SerializeAsString();
}

inline std::string BatchOf(int keys) {
  v1::BatchGetRequest request;
  for (int i = 0; i < keys; ++i) request.add_keys("k");
  return request.SerializeAsString();
}

inline std::string HeadersOf(uint32_t stream, const std::string& path,
                             uint8_t flags = kEndHeaders) {
  return RawClient::Frame(kHeaders, flags, stream, RawClient::Block(RawClient::CallFields(path)));
}

inline std::string Repeated(const std::string& what, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += what;
  return all;
}

inline int OpenDescriptors() {
  int count = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd");
       it != std::filesystem::directory_iterator(); ++it) {
    ++count;
  }
  return count;
}

class NativeHostileTest : public NativeFixture {
 protected:
  void StartBesideAGoodClient(const NativeLane::Options& options = SomeOptions()) {
    Start(options);
    good_ = NewClient();
    ASSERT_EQ(ValueOf(good_.get(), "hit"), "now");
    descriptors_ = OpenDescriptors();
    good_thread_ = std::thread([this] {
      while (!stop_) {
        EXPECT_EQ(ValueOf(good_.get(), "hit"), "now");
        ++good_calls_;
      }
    });
  }
  // The good client was served all the time, and no attacker is left.
  void Conclude() {
    const int before = good_calls_;
    EXPECT_TRUE(Becomes([&] { return good_calls_ > before + 10; }));
    stop_ = true;
    good_thread_.join();
    EXPECT_TRUE(Becomes([&] { return Stat("connections") == 1; }));
    EXPECT_TRUE(Becomes([&] { return Stat("calls") == 0; }));
    EXPECT_TRUE(Becomes([&] { return OpenDescriptors() <= descriptors_; }));
  }
  ~NativeHostileTest() override {
    stop_ = true;
    if (good_thread_.joinable()) good_thread_.join();
  }

  static NativeLane::Options Impatient() {
    NativeLane::Options options = SomeOptions();
    options.handshake_timeout = absl::Milliseconds(200);
    options.request_timeout = absl::Milliseconds(200);
    options.stall_timeout = absl::Milliseconds(300);
    return options;
  }

  // An attacker that greets, sends `frames` as often as it can, and ends with its punishment.
  void ExpectPunished(const std::string& frames, std::string_view counter, int times = 1'000) {
    {
      RawClient attacker(port());
      attacker.Greet();
      for (int i = 0; i < times && attacker.Send(frames); ++i) {
      }
      attacker.ReadUntilClosed();
    }
    EXPECT_EQ(Stat(counter), 1u) << counter;
  }

  std::unique_ptr<v1::Cache::Stub> good_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> good_calls_ = 0;
  int descriptors_ = 0;
  std::thread good_thread_;
};

}  // namespace larder

#endif  // LARDER_TESTS_RPC_NATIVE_HOSTILE_H_
