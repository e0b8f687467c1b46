// The package's reflection library answers v1alpha only, and today's tools ask for v1 first. The
// messages of both are the same bytes, so one implementation over protobuf's descriptors serves
// both names.

#include "rpc/reflection.h"

#include <set>
#include <utility>

#include "base/strings.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace larder {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr int kNotFound = 5;
constexpr int kInvalidArgument = 3;
// Looking up a name that does not exist takes protobuf time quadratic in its dots, under the lock
// of all descriptors.
constexpr size_t kNameBytesMax = 512;

void Fail(int code, std::string message, ServerReflectionResponse* response) {
  response->mutable_error_response()->set_error_code(code);
  response->mutable_error_response()->set_error_message(std::move(message));
}

// The file and, before it is needed, everything that it imports.
void AddFile(const FileDescriptor* file, std::set<std::string>* added,
             ServerReflectionResponse* response) {
  if (!added->insert(file->name()).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  response->mutable_file_descriptor_response()->add_file_descriptor_proto(
      proto.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) AddFile(file->dependency(i), added, response);
}

void AnswerFile(const FileDescriptor* file, const std::string& asked,
                ServerReflectionResponse* response) {
  if (file == nullptr) return Fail(kNotFound, StrCat("nothing is known of ", asked), response);
  std::set<std::string> added;
  AddFile(file, &added, response);
}

}  // namespace

ServerReflectionResponse Reflection::Answer(const ServerReflectionRequest& request) const {
  const DescriptorPool* const pool = DescriptorPool::generated_pool();
  ServerReflectionResponse response;
  if (request.ByteSizeLong() > kNameBytesMax) {
    Fail(kInvalidArgument, StrCat("the question is longer than ", kNameBytesMax, " bytes"),
         &response);
    return response;
  }
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : services_)
        response.mutable_list_services_response()->add_service()->set_name(name);
      break;
    case ServerReflectionRequest::kFileByFilename:
      AnswerFile(pool->FindFileByName(request.file_by_filename()), request.file_by_filename(),
                 &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      AnswerFile(pool->FindFileContainingSymbol(request.file_containing_symbol()),
                 request.file_containing_symbol(), &response);
      break;
    case ServerReflectionRequest::kFileContainingExtension: {
      const auto& asked = request.file_containing_extension();
      const auto* type = pool->FindMessageTypeByName(asked.containing_type());
      const auto* extension =
          type == nullptr ? nullptr : pool->FindExtensionByNumber(type, asked.extension_number());
      AnswerFile(extension == nullptr ? nullptr : extension->file(),
                 StrCat("extension ", asked.extension_number(), " of ", asked.containing_type()),
                 &response);
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType: {
      const auto* type = pool->FindMessageTypeByName(request.all_extension_numbers_of_type());
      if (type == nullptr) {
        Fail(kNotFound, StrCat("nothing is known of ", request.all_extension_numbers_of_type()),
             &response);
        break;
      }
      std::vector<const google::protobuf::FieldDescriptor*> extensions;
      pool->FindAllExtensions(type, &extensions);
      auto* const answer = response.mutable_all_extension_numbers_response();
      answer->set_base_type_name(type->full_name());
      for (const auto* extension : extensions) answer->add_extension_number(extension->number());
      break;
    }
    default:
      Fail(kInvalidArgument, "the question is empty", &response);
  }
  return response;
}

}  // namespace larder
