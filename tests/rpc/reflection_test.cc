#include "rpc/reflection.h"

#include <gtest/gtest.h>

#include <set>

#include "google/protobuf/descriptor.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

class ReflectionTest : public testing::Test {
 protected:
  // Keeps the descriptors of the API in this binary.
  ReflectionTest() { v1::GetRequest::descriptor(); }
  const Reflection reflection_{{"larder.v1.Cache"}};
};

TEST_F(ReflectionTest, ListsTheServices) {
  ServerReflectionRequest request;
  request.set_list_services("");
  const ServerReflectionResponse response = reflection_.Answer(request);
  ASSERT_EQ(response.list_services_response().service_size(), 1);
  EXPECT_EQ(response.list_services_response().service(0).name(), "larder.v1.Cache");
}

TEST_F(ReflectionTest, FileOfASymbolComesWithItsImports) {
  for (const char* symbol :
       {"larder.v1.Cache", "larder.v1.Cache.Get", "larder.v1.GetRequest", "larder.v1.Tier"}) {
    ServerReflectionRequest request;
    request.set_file_containing_symbol(symbol);
    const ServerReflectionResponse response = reflection_.Answer(request);
    std::set<std::string> names;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(bytes));
      names.insert(file.name());
    }
    EXPECT_TRUE(names.count("larder/v1/cache.proto")) << symbol;
    EXPECT_TRUE(names.count("google/protobuf/duration.proto")) << symbol;
  }
}

TEST_F(ReflectionTest, UnknownNamesAndEmptyQuestionsGetAnError) {
  ServerReflectionRequest request;
  EXPECT_EQ(reflection_.Answer(request).error_response().error_code(), 3);
  request.set_file_containing_symbol("no.such.Thing");
  EXPECT_EQ(reflection_.Answer(request).error_response().error_code(), 5);
  request.set_file_by_filename("no_such.proto");
  EXPECT_EQ(reflection_.Answer(request).error_response().error_code(), 5);
  request.mutable_file_containing_extension()->set_containing_type("no.Such");
  EXPECT_EQ(reflection_.Answer(request).error_response().error_code(), 5);
  request.set_all_extension_numbers_of_type("no.Such");
  EXPECT_EQ(reflection_.Answer(request).error_response().error_code(), 5);
}

TEST_F(ReflectionTest, LongNamesAreRefusedBeforeTheyCostAnything) {
  ServerReflectionRequest request;
  // Without the limit this one question would keep a thread busy for hours.
  request.set_file_containing_symbol(std::string(1 << 20, '.'));
  EXPECT_EQ(reflection_.Answer(request).error_response().error_code(), 3);
}

}  // namespace
}  // namespace larder
