// Every RPC x caller x namespace x type x odd form of a key, each judged by a model
// (access_model.h). Part of it goes over both lanes.

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <map>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/strings.h"
#include "rpc/access.h"
#include "rpc/dispatcher.h"
#include "rpc/native_lane.h"
#include "rpc/reference_lane.h"
#include "tests/rpc/access_model.h"
#include "tests/rpc/access_rig.h"

namespace larder {
namespace {

using google::protobuf::Message;

class AccessMatrixTest : public testing::Test {
 protected:
  AccessMatrixTest() { access_.Replace(AccessTable::Make(SpecOf(callers_))); }

  const std::shared_ptr<TypeTable> types_ = AccessTypes();
  const std::map<std::string, AccessRoles> callers_ = AllAccessCallers();
  const std::vector<AccessWay> ways_ = AllAccessWays();
  MethodTable methods_;
  Access access_{types_.get()};
};

TEST_F(AccessMatrixTest, KnowsEveryRpc) {
  for (const Method& method : methods_.methods()) {
    EXPECT_TRUE(std::any_of(ways_.begin(), ways_.end(), [&](const AccessWay& way) {
      return way.path == method.path;
    })) << method.path;
  }
}

TEST_F(AccessMatrixTest, EveryRpcAndCallerAndNamespaceAndTypeAndOddKey) {
  int allowed = 0;
  int denied = 0;
  for (const AccessWay& way : ways_) {
    AccessCall call(&MethodOf(methods_, way.path));
    for (const std::string& name_space : OddNamespaces()) {
      for (const std::string& type : OddTypes()) {
        for (const std::string& key : OddKeys()) {
          call.request()->Clear();
          way.fill(call.request(), name_space, type, key);
          for (const auto& [name, roles] : callers_) {
            call.authorization = "Bearer token-" + name;
            const std::string verdict = Verdict(access_.Check(&call));
            const bool expected = way.allowed(roles, name_space, type, key);
            ++(expected ? allowed : denied);
            ASSERT_EQ(verdict, expected ? "ok" : "NOT_ALLOWED")
                << way.path << " " << way.name << " by " << name << " in \"" << name_space
                << "\" of type \"" << type << "\": " << testing::PrintToString(key);
          }
        }
      }
    }
  }
  EXPECT_GT(allowed, 100'000);
  EXPECT_GT(denied, 100'000);
}

// Over both lanes as a stranger would send them: what is allowed reaches the handler, which there
// is none of.
TEST_F(AccessMatrixTest, TheLanesSayTheSame) {
  const std::unique_ptr<ThreadPool> pool = ThreadPool::New({2, 10'000});
  Dispatcher dispatcher(Clock::System(), pool.get(), &access_);
  ReferenceLane::Options reference_options;
  reference_options.address = "127.0.0.1:0";
  auto reference = ReferenceLane::Start(reference_options, &methods_, &dispatcher);
  ASSERT_TRUE(reference.ok()) << reference.status();
  NativeLane::Options native_options;
  native_options.address = "127.0.0.1:0";
  native_options.loops = 1;
  auto native = NativeLane::Start(native_options, &methods_, &dispatcher);
  ASSERT_TRUE(native.ok()) << native.status();
  int calls = 0;
  for (const std::string& address : {(*reference)->address(), (*native)->address()}) {
    grpc::GenericStub stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    for (const AccessWay& way : ways_) {
      const Method& method = MethodOf(methods_, way.path);
      // Streams are looked at by the same code, and need another kind of call here.
      if (method.streams) continue;
      for (const std::string name_space : {"", "shop", "Shop", "crm"}) {
        for (const std::string key : {"order:7", "order:../user:1", "Order:7", "user:1"}) {
          const std::unique_ptr<Message> request(method.request->New());
          way.fill(request.get(), name_space, "", key);
          const std::string bytes = request->SerializeAsString();
          for (const char* name : {"tight", "mixed", "all", "nobody"}) {
            grpc::ClientContext context;
            context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
            context.AddMetadata("authorization", StrCat("Bearer token-", name));
            const grpc::Slice slice(bytes);
            const grpc::ByteBuffer in(&slice, 1);
            grpc::ByteBuffer out;
            std::promise<grpc::Status> done;
            stub.UnaryCall(&context, way.path, {}, &in, &out,
                           [&done](grpc::Status status) { done.set_value(std::move(status)); });
            const grpc::StatusCode code = done.get_future().get().error_code();
            const auto caller = callers_.find(name);
            const bool expected =
                caller != callers_.end() && way.allowed(caller->second, name_space, "", key);
            ASSERT_EQ(code, caller == callers_.end() ? grpc::StatusCode::UNAUTHENTICATED
                            : expected               ? grpc::StatusCode::UNIMPLEMENTED
                                                     : grpc::StatusCode::PERMISSION_DENIED)
                << address << " " << way.path << " " << way.name << " by " << name << " in \""
                << name_space << "\": " << key;
            ++calls;
          }
        }
      }
    }
  }
  EXPECT_GT(calls, 2'000);
  native->reset();
  reference->reset();
  pool->Shutdown();
}

}  // namespace
}  // namespace larder
