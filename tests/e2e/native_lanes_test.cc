// The two lanes behave alike: the same thousands of calls, valid and not, go to two servers, to one
// by its reference lane and to the other by its native lane, and what comes back is the same but
// for what time and chance put into it.

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <regex>
#include <set>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "larder/rpc/v1/status.pb.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "tests/e2e/server_process.h"

namespace larder {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::MethodDescriptor;
using google::protobuf::Reflection;

constexpr uint64_t kSeed = 20'260'722;
constexpr int kCalls = 4'000;

// What the answer of one lane comes down to.
struct Outcome {
  int code = 0;
  std::string message;
  std::string reason;
  std::string fields;
  std::string response;

  bool operator==(const Outcome&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Outcome& o) {
    return out << o.code << " " << o.message << " [" << o.reason << "; " << o.fields << "] "
               << o.response;
  }
};

std::string WithoutNumbers(const std::string& text) {
  return std::regex_replace(text, std::regex("[0-9]+(\\.[0-9]+)?"), "#");
}

// Clears what differs between two runs of the same calls: times (and whether a Touch made one
// longer, which jitter decides), versions, tokens, and estimates, which count what is covered until
// it is swept.
void ClearVolatile(Message* message) {
  static const std::set<std::string> kVolatile = {
      "version", "token", "current_version", "estimated_entries", "lease_token", "changed"};
  const Reflection* const r = message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  r->ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    // Why a key is gone is known as long as the place of its hash, which differs from one server to
    // the next, is not taken by another key's.
    if (field->name() == "reason" && field->enum_type() != nullptr &&
        field->enum_type()->name() == "MissReason") {
      const int why = r->GetEnumValue(*message, field);
      if (why == v1::MISS_REASON_INVALIDATED || why == v1::MISS_REASON_EXPIRED)
        r->SetEnumValue(message, field, v1::MISS_REASON_ABSENT);
      continue;
    }
    const Descriptor* const type = field->message_type();
    if (kVolatile.count(field->name()) > 0) {
      r->ClearField(message, field);
    } else if (type == nullptr) {
      continue;
    } else if (type->full_name() == "google.protobuf.Duration" ||
               type->full_name() == "google.protobuf.Timestamp") {
      r->ClearField(message, field);
    } else if (field->is_repeated()) {
      for (int i = 0; i < r->FieldSize(*message, field); ++i) {
        ClearVolatile(r->MutableRepeatedMessage(message, field, i));
      }
    } else {
      ClearVolatile(r->MutableMessage(message, field));
    }
  }
}

// Random requests of any type, most of them nearly right.
class Requests {
 public:
  explicit Requests(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t end) { return random_() % end; }

  void Fill(Message* message) {
    const Descriptor* const type = message->GetDescriptor();
    const Reflection* const r = message->GetReflection();
    if (type->full_name() == "google.protobuf.Duration") {
      static constexpr int64_t kSeconds[] = {60, 3'600, 600, 600, -1, 1'000'000'000'000};
      r->SetInt64(message, type->FindFieldByName("seconds"), kSeconds[Below(6)]);
      return;
    }
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* const field = type->field(i);
      const bool wanted = field->name() == "key" || field->name() == "keys" ||
                          field->name() == "items" || field->name() == "value";
      if (Below(10) >= (wanted ? 9u : 2u)) continue;
      if (!field->is_repeated()) {
        Set(message, field);
        continue;
      }
      for (uint64_t n = 1 + Below(4); n > 0; --n) Set(message, field);
    }
  }

 private:
  std::string Text(const FieldDescriptor* field) {
    const std::string& name = field->name();
    if (name == "key" || name == "keys") {
      static const std::string kOdd[] = {"", "a\nb", std::string(1025, 'k'), "\x7F", "t:1"};
      return Below(12) == 0 ? kOdd[Below(5)] : "k" + std::to_string(Below(20));
    }
    if (name == "namespace") return Below(4) == 0 ? "a b\x01" : "space";
    if (name == "type") return Below(3) == 0 ? "defualt" : "default";
    if (name == "request_id") return Below(2) == 0 ? std::to_string(Below(50)) : "";
    return std::string(Below(20) == 0 ? 50'000 : Below(200), static_cast<char>('a' + Below(26)));
  }

  void Set(Message* message, const FieldDescriptor* field) {
    const Reflection* const r = message->GetReflection();
    const bool many = field->is_repeated();
    const uint64_t number = Below(8) == 0 ? random_() : Below(5);
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string text = Text(field);
        return many ? r->AddString(message, field, text) : r->SetString(message, field, text);
      }
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Fill(many ? r->AddMessage(message, field) : r->MutableMessage(message, field));
      case FieldDescriptor::CPPTYPE_BOOL:
        return r->SetBool(message, field, Below(4) != 0);
      case FieldDescriptor::CPPTYPE_ENUM:
        return r->SetEnumValue(message, field, static_cast<int>(Below(5)));
      case FieldDescriptor::CPPTYPE_INT64:
        return r->SetInt64(message, field, static_cast<int64_t>(number));
      case FieldDescriptor::CPPTYPE_UINT64:
        return r->SetUInt64(message, field, number);
      case FieldDescriptor::CPPTYPE_INT32:
        return r->SetInt32(message, field, static_cast<int32_t>(number));
      case FieldDescriptor::CPPTYPE_UINT32:
        return r->SetUInt32(message, field, static_cast<uint32_t>(number));
      default:
        return;
    }
  }

  std::mt19937_64 random_;
};

class NativeLanesTest : public testing::Test {
 protected:
  static std::shared_ptr<grpc::Channel> ChannelTo(const ServerProcess& server,
                                                  const std::string& lane) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(server.AddressOf(lane), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  static Outcome Call(grpc::Channel* channel, const std::string& path, const std::string& request,
                      Message* response, const std::map<std::string, std::string>& metadata = {}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    for (const auto& [name, value] : metadata) context.AddMetadata(name, value);
    const grpc::Slice slice(request);
    const grpc::ByteBuffer in(&slice, 1);
    grpc::ByteBuffer out;
    const grpc::internal::RpcMethod method(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
    const grpc::Status status =
        grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(channel, method,
                                                                              &context, in, &out);
    Outcome outcome;
    outcome.code = status.error_code();
    outcome.message = WithoutNumbers(status.error_message());
    Explain(status.error_details(), &outcome);
    if (!status.ok() || response == nullptr) return outcome;
    grpc::Slice bytes;
    if (out.DumpToSingleSlice(&bytes).ok()) {
      EXPECT_TRUE(response->ParseFromArray(bytes.begin(), static_cast<int>(bytes.size())));
    }
    ClearVolatile(response);
    outcome.response = response->ShortDebugString();
    return outcome;
  }

  static void Explain(const std::string& details, Outcome* outcome) {
    rpc::v1::Status wire;
    if (!wire.ParseFromString(details)) outcome->reason = "unreadable";
    for (const auto& any : wire.details()) {
      rpc::v1::ErrorInfo info;
      rpc::v1::BadRequest bad;
      if (any.type_url().ends_with("ErrorInfo") && info.ParseFromString(any.value())) {
        outcome->reason += info.domain() + "/" + info.reason();
      } else if (any.type_url().ends_with("BadRequest") && bad.ParseFromString(any.value())) {
        outcome->fields += WithoutNumbers(bad.ShortDebugString());
      } else {
        outcome->reason += " " + any.type_url();
      }
    }
  }

  // Calls whose answers are alike for the same state.
  static std::vector<const MethodDescriptor*> Methods() {
    static const std::set<std::string> kOthers = {"Stats", "Watch", "GetOrLoad", "BatchGetOrLoad"};
    std::vector<const MethodDescriptor*> methods;
    const auto* const service = v1::GetRequest::descriptor()->file()->service(0);
    for (int i = 0; i < service->method_count(); ++i) {
      if (kOthers.count(service->method(i)->name()) == 0) methods.push_back(service->method(i));
    }
    return methods;
  }

  const std::vector<std::string> args_ = {"--set", "node.name=same", "--set", "node.id=1"};
  const ServerProcess first_{args_};
  const ServerProcess second_{args_};
  const std::shared_ptr<grpc::Channel> reference_ = ChannelTo(first_, "reference");
  const std::shared_ptr<grpc::Channel> native_ = ChannelTo(second_, "native");
};

TEST_F(NativeLanesTest, AnswerTheSameCallsAlike) {
  Requests random(kSeed);
  const std::vector<const MethodDescriptor*> methods = Methods();
  std::map<int, int> codes;
  for (int i = 0; i < kCalls; ++i) {
    const MethodDescriptor* const method = methods[random.Below(methods.size())];
    const auto make = [](const Descriptor* type) {
      return std::unique_ptr<Message>(
          MessageFactory::generated_factory()->GetPrototype(type)->New());
    };
    const std::unique_ptr<Message> request = make(method->input_type());
    random.Fill(request.get());
    std::string bytes = request->SerializeAsString();
    if (random.Below(10) == 0 && !bytes.empty()) {
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Below(256));
    }
    if (random.Below(20) == 0) bytes.resize(random.Below(bytes.size() + 1));
    std::string path = "/" + method->service()->full_name() + "/" + method->name();
    if (random.Below(50) == 0) path += "x";
    const std::unique_ptr<Message> one = make(method->output_type());
    const std::unique_ptr<Message> other = make(method->output_type());
    const Outcome reference = Call(reference_.get(), path, bytes, one.get());
    const Outcome native = Call(native_.get(), path, bytes, other.get());
    ASSERT_EQ(reference, native) << "call " << i << ", seed " << kSeed << ": " << path << " "
                                 << request->ShortDebugString().substr(0, 500);
    ++codes[reference.code];
  }
  EXPECT_GT(codes[grpc::StatusCode::OK], kCalls / 10);
  EXPECT_GT(codes[grpc::StatusCode::INVALID_ARGUMENT], kCalls / 10);
  EXPECT_GT(codes[grpc::StatusCode::UNIMPLEMENTED], kCalls / 200);
}

TEST_F(NativeLanesTest, RefuseAlikeWhatIsNoCallOfOurs) {
  v1::GetRequest request;
  request.set_key("k");
  const std::string bytes = request.SerializeAsString();
  const std::string get = "/larder.v1.Cache/Get";
  struct Case {
    std::string path;
    std::string request;
    std::map<std::string, std::string> metadata;
  };
  const std::vector<Case> cases = {
      {"/", bytes, {}},
      {"/larder.v1.Cache", bytes, {}},
      {"/larder.v1.Cache/get", bytes, {}},
      {"/grpc.health.v1.Health/Check", "", {}},
      {"/grpc.health.v1.Health/Check", "\x0A\x04gone", {}},
      {get, std::string((16 << 20) + 1, 'x'), {}},
      {get, "", {}},
      {get, bytes, {{"some-bin", std::string("\0\xFF", 2)}}},
  };
  for (const Case& one : cases) {
    const Outcome reference = Call(reference_.get(), one.path, one.request, nullptr, one.metadata);
    const Outcome native = Call(native_.get(), one.path, one.request, nullptr, one.metadata);
    EXPECT_EQ(reference, native) << one.path;
  }
  // Of these the two say the same in words of their own.
  const std::map<std::string, std::string> much = {{"much", std::string(20'000, 'm')}};
  EXPECT_EQ(Call(reference_.get(), get, bytes, nullptr, much).code,
            Call(native_.get(), get, bytes, nullptr, much).code);
  const std::string far_too_large((32 << 20), 'x');
  EXPECT_EQ(Call(reference_.get(), get, far_too_large, nullptr).code,
            Call(native_.get(), get, far_too_large, nullptr).code);
}

}  // namespace
}  // namespace larder
