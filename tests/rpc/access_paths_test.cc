// Every RPC, streams too, by odd forms of its path, over both lanes with a client that sends what
// no library would: none of them gets to a handler, whoever asks. And by its own path none gets
// there but who may.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/strings.h"
#include "rpc/access.h"
#include "rpc/dispatcher.h"
#include "rpc/native_lane.h"
#include "rpc/reference_lane.h"
#include "tests/rpc/access_rig.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

constexpr uint32_t kMetadataBytes = 16 << 10;

// What somebody might take for `/SERVICE/NAME`.
std::vector<std::string> OddForms(const Method& method) {
  const std::string& service = method.service;
  const std::string& name = method.name;
  const auto lower = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(c));
    return text;
  };
  const auto upper = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::toupper(c));
    return text;
  };
  const std::string path = method.path;
  const std::string other = service == "larder.v1.Cache" ? "larder.v1.Admin" : "larder.v1.Cache";
  return {"/" + path,
          "//" + path,
          path.substr(1),
          path + "/",
          path + "//",
          StrCat("/", service, "//", name),
          StrCat("/", service, "/./", name),
          StrCat("/", service, "/../", service, "/", name),
          "/." + path,
          "/.." + path,
          StrCat("/grpc.health.v1.Health/..", path),
          StrCat("/grpc.health.v1.Health/Check", path),
          StrCat("/", service, "/%", "4", std::to_string(name[0] - '@'), name.substr(1)),
          StrCat("/", service, "%2F", name),
          StrCat("/", service, "%2f", name),
          StrCat("%2F", service, "/", name),
          path + "%00",
          path + "%20",
          path + "%2F",
          StrCat("/", lower(service), "/", name),
          StrCat("/", service, "/", lower(name)),
          StrCat("/", upper(service), "/", upper(name)),
          StrCat("/", service, "2/", name),
          StrCat("/", other, "/", name),
          StrCat("/Cache/", name),
          StrCat("/larder/v1/", service.substr(10), "/", name),
          StrCat("/", service, ".", name),
          StrCat("\\", service, "\\", name),
          path + "?",
          path + "?a=b",
          "?" + path,
          path + "#a",
          path + ";a",
          path + ":443",
          path + " ",
          " " + path,
          path + "\t",
          path + "\xC3\xA9",
          "http://localhost" + path,
          "https://localhost:443" + path,
          path + path,
          path + "," + path,
          path + std::string(8 << 10, 'x'),
          path + std::string(2 * kMetadataBytes, '/'),
          "*",
          "/",
          ""};
}

class AccessPathsTest : public testing::Test {
 protected:
  AccessPathsTest() {
    access_.Replace(AccessTable::Make(OneCallerEach(
        {{"all",
          {.namespaces = {"*"},
           .allow = {Permission::kRead, Permission::kWrite, Permission::kInvalidate,
                     Permission::kAdmin}}},
         {"none", {.namespaces = {"*"}, .types = {"order"}, .prefixes = {"nothing:"}}}})));
    for (const Method& method : methods_.methods()) {
      // The table is this test's, and no lane runs yet.
      const_cast<Method&>(method).run = [this](Call*) { return Reached(); };
    }
    StartLanes();
  }
  ~AccessPathsTest() override {
    StopLanes();
    pool_->Shutdown();
  }

  Task<absl::Status> Reached() {
    ++reached_;
    co_return Error(Reason::kMETHOD_UNKNOWN, "reached");
  }

  void StartLanes() {
    ReferenceLane::Options reference;
    reference.address = "127.0.0.1:0";
    reference.metadata_bytes_max = kMetadataBytes;
    reference_ = *ReferenceLane::Start(reference, &methods_, &dispatcher_);
    NativeLane::Options native;
    native.address = "127.0.0.1:0";
    native.loops = 1;
    native.metadata_bytes_max = kMetadataBytes;
    native_ = *NativeLane::Start(native, &methods_, &dispatcher_);
    reference_->SetReady(true);
    native_->SetReady(true);
  }
  // What they have begun has ended.
  void StopLanes() {
    reference_.reset();
    native_.reset();
  }
  std::vector<std::string> Addresses() const { return {reference_->address(), native_->address()}; }
  static int PortOf(const std::string& address) {
    return std::stoi(address.substr(address.rfind(':') + 1));
  }

  static std::string CallOf(uint32_t stream, RawClient::Fields fields, const std::string& token) {
    if (!token.empty()) fields.emplace_back("authorization", "Bearer token-" + token);
    std::string block = RawClient::Block(fields);
    std::string frames;
    // No frame is larger than a peer may send unasked.
    uint8_t type = kHeaders;
    do {
      const std::string part = block.substr(0, 16'384);
      block.erase(0, part.size());
      frames += RawClient::Frame(type, block.empty() ? kEndHeaders : 0, stream, part);
      type = kContinuation;
    } while (!block.empty());
    return frames + RawClient::Frame(kData, kEndStream, stream, RawClient::Message(""));
  }
  // Sends one call and waits for its end, or that of the connection. False: neither comes.
  static bool Ends(int port, const RawClient::Fields& fields, const std::string& token) {
    RawClient client(port);
    client.Greet();
    client.Send(CallOf(1, fields, token));
    while (true) {
      const std::optional<RawFrame> frame = client.Read();
      if (!frame.has_value()) return client.closed();
      if (frame->type == kGoAway) return true;
      if (frame->stream == 1 && (frame->type == kRstStream || (frame->flags & kEndStream) != 0))
        return true;
    }
  }

  const std::shared_ptr<TypeTable> types_ = AccessTypes();
  MethodTable methods_;
  Access access_{types_.get()};
  std::atomic<int> reached_ = 0;
  const std::unique_ptr<ThreadPool> pool_ = ThreadPool::New({2, 10'000});
  Dispatcher dispatcher_{Clock::System(), pool_.get(), &access_};
  std::unique_ptr<ReferenceLane> reference_;
  std::unique_ptr<NativeLane> native_;
};

TEST_F(AccessPathsTest, NoOddFormOfAPathGetsToAHandler) {
  int calls = 0;
  int streams = 0;
  for (const std::string& address : Addresses()) {
    for (const Method& method : methods_.methods()) {
      for (const std::string& path : OddForms(method)) {
        for (const char* token : {"", "all"}) {
          ASSERT_TRUE(Ends(PortOf(address), RawClient::CallFields(path), token))
              << address << " " << testing::PrintToString(path);
          ASSERT_EQ(reached_, 0) << address << " " << testing::PrintToString(path);
          ++calls;
          if (method.streams) ++streams;
        }
      }
    }
  }
  StopLanes();
  EXPECT_EQ(reached_, 0);
  EXPECT_GT(calls, 4'000);
  EXPECT_GT(streams, 400);
}

// One that is open to everybody, and one that is not, in one call.
TEST_F(AccessPathsTest, TwoPathsAreNotOneOfThem) {
  for (const std::string& address : Addresses()) {
    for (const Method& method : methods_.methods()) {
      RawClient::Fields fields = RawClient::CallFields("/grpc.health.v1.Health/Check");
      fields.insert(fields.begin() + 3, {":path", method.path});
      EXPECT_TRUE(Ends(PortOf(address), fields, "")) << address << " " << method.path;
      fields = RawClient::CallFields(method.path);
      fields.insert(fields.begin() + 3, {":path", "/grpc.health.v1.Health/Check"});
      EXPECT_TRUE(Ends(PortOf(address), fields, "")) << address << " " << method.path;
      fields = RawClient::CallFields(method.path);
      fields.emplace_back(":path", "/grpc.health.v1.Health/Check");
      EXPECT_TRUE(Ends(PortOf(address), fields, "")) << address << " " << method.path;
    }
  }
  StopLanes();
  EXPECT_EQ(reached_, 0);
}

// By its own path, streams as well as the others.
TEST_F(AccessPathsTest, EveryRpcAsksWhoCalls) {
  int streams = 0;
  for (const std::string& address : Addresses()) {
    RawClient client(PortOf(address));
    client.Greet();
    uint32_t stream = 1;
    const auto status = [&](const Method& method, const std::string& token) {
      client.Send(CallOf(stream, RawClient::CallFields(method.path), token));
      auto fields = client.ReadHeaders(stream);
      // The reference lane sends the end of a stream by itself.
      if (fields.has_value() && !fields->contains("grpc-status"))
        fields = client.ReadHeaders(stream);
      stream += 2;
      return fields.has_value() ? (*fields)["grpc-status"] : "none";
    };
    for (const Method& method : methods_.methods()) {
      const int before = reached_;
      EXPECT_EQ(status(method, ""), "16") << address << " " << method.path;
      EXPECT_EQ(status(method, "nobody"), "16") << address << " " << method.path;
      const bool open_to_known = method.access->permission == "none";
      EXPECT_EQ(status(method, "none"), open_to_known ? "12" : "7")
          << address << " " << method.path;
      EXPECT_EQ(reached_, before + (open_to_known ? 1 : 0)) << address << " " << method.path;
      EXPECT_EQ(status(method, "all"), "12") << address << " " << method.path;
      EXPECT_EQ(reached_, before + (open_to_known ? 2 : 1)) << address << " " << method.path;
      if (method.streams) ++streams;
    }
  }
  EXPECT_EQ(streams, 2 * 3);
}

}  // namespace
}  // namespace larder
