#include "tests/e2e/native_lanes_fixture.h"

#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/support/sync_stream.h>

#include <cstdlib>
#include <set>

#include "absl/strings/escaping.h"
#include "google/protobuf/stubs/logging.h"
#include "google/protobuf/unknown_field_set.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::MethodDescriptor;
using google::protobuf::Reflection;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// Longer than anything takes that is not stuck.
constexpr std::chrono::seconds kPatience{30};
constexpr size_t kShownBytes = 1'000;

std::unique_ptr<Message> New(const Descriptor* type) {
  return std::unique_ptr<Message>(MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// Of these fields it differs whether they are there: zero is not on the wire. How many entries a
// rule covers counts what is covered until it is swept; whether a Touch made a TTL longer, jitter
// decides; memory and the places in it follow hashes, which differ from one server to the next, and
// with them whether the hits of an entry that has gone are remembered when it comes again.
bool IsChance(const FieldDescriptor& field) {
  static const std::set<std::string> kNames = {
      "InvalidateResponse.estimated_entries",
      "Touched.changed",
      "Copy.hits",
      "RuleStats.sweeps",
      "UsageStats.entries",
      "UsageStats.bytes",
      "UsageStats.key_bytes",
      "UsageStats.value_bytes",
      "UsageStats.overhead_bytes",
      "UsageStats.plain_bytes",
      "UsageStats.compressed_bytes",
      "UsageStats.compression_ratio",
      "TierStats.entries",
  };
  return kNames.count(field.full_name().substr(field.file()->package().size() + 1)) > 0;
}

// Of these it differs what they are.
bool IsVolatile(const FieldDescriptor& field) {
  static const std::set<std::string> kNames = {"version", "token", "current_version",
                                               "resume_token", "memory"};
  const Descriptor* const type = field.message_type();
  return kNames.count(field.name()) > 0 || field.full_name() == "larder.v1.TierStats.bytes" ||
         (type != nullptr && (type->full_name() == "google.protobuf.Duration" ||
                              type->full_name() == "google.protobuf.Timestamp"));
}

uint64_t NumberOf(const UnknownField& field) {
  switch (field.type()) {
    case UnknownField::TYPE_VARINT:
      return field.varint();
    case UnknownField::TYPE_FIXED32:
      return field.fixed32();
    case UnknownField::TYPE_FIXED64:
      return field.fixed64();
    default:
      return 0;
  }
}

std::string ValueOf(const UnknownField& field, const FieldDescriptor* known) {
  if (field.type() == UnknownField::TYPE_LENGTH_DELIMITED) {
    const Descriptor* const type = known == nullptr ? nullptr : known->message_type();
    return type == nullptr ? "\"" + field.length_delimited() + "\""
                           : "{" + ShapeOf(field.length_delimited(), type) + "}";
  }
  uint64_t number = NumberOf(field);
  // Why a key is gone is known as long as the place of its hash is not taken by another key's.
  if (known != nullptr && known->enum_type() == v1::MissReason_descriptor() &&
      (number == v1::MISS_REASON_INVALIDATED || number == v1::MISS_REASON_EXPIRED)) {
    number = v1::MISS_REASON_ABSENT;
  }
  return std::to_string(field.type()) + ":" + std::to_string(number);
}

std::string Shown(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  std::string text;
  for (const auto& [name, value] : metadata) {
    text += std::string(name.data(), name.size()) + "=" + std::string(value.data(), value.size());
    text += "; ";
  }
  return text;
}

std::string Readable(const std::string& bytes) { return absl::CHexEscape(bytes); }

std::string Shown(const LaneCall& call) {
  return call.path + " " + Readable(call.request.substr(0, kShownBytes));
}

std::string TextOf(const Outcome& o) {
  std::string text = std::to_string(o.code) + " " + o.message + "\ndetails: " + o.details +
                     "\ninitial metadata: " + o.initial_metadata +
                     "\ntrailing metadata: " + o.trailing_metadata;
  for (const std::string& message : o.messages) text += "\nmessage: " + message;
  return text;
}

}  // namespace

std::string DifferenceOf(const Outcome& reference, const Outcome& native) {
  constexpr size_t kBefore = 300;
  constexpr size_t kShown = 900;
  const std::string one = TextOf(reference);
  const std::string other = TextOf(native);
  size_t at = 0;
  while (at < one.size() && at < other.size() && one[at] == other[at]) ++at;
  if (at == one.size() && at == other.size()) return "";
  const size_t from = at < kBefore ? 0 : at - kBefore;
  return "they differ after " + std::to_string(at) + " bytes\nreference: ..." +
         Readable(one.substr(from, kShown)) + "\nnative: ..." +
         Readable(other.substr(from, kShown)) + "\n";
}

std::string ShapeOf(const std::string& bytes, const Descriptor* type) {
  UnknownFieldSet fields;
  if (!fields.ParseFromString(bytes)) return "unreadable: " + bytes;
  std::string shape;
  std::set<std::string> pairs;  // of maps, which have no order
  for (int i = 0; i < fields.field_count(); ++i) {
    const UnknownField& field = fields.field(i);
    const FieldDescriptor* const known = type->FindFieldByNumber(field.number());
    if (known != nullptr && IsChance(*known)) continue;
    const bool is_volatile = known != nullptr && IsVolatile(*known);
    const std::string part = " " + (known == nullptr ? "unknown" : known->name()) + " " +
                             std::to_string(field.number()) + "=" +
                             (is_volatile ? "~" : ValueOf(field, known));
    if (known != nullptr && known->is_map()) {
      pairs.insert(part);
    } else {
      shape += part;
    }
  }
  for (const std::string& pair : pairs) shape += pair;
  return shape;
}

// ---- RandomRequests

void RandomRequests::Fill(Message* message) {
  static const std::set<std::string> kWanted = {"key", "keys", "items", "value", "wait"};
  const Descriptor* const type = message->GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* const field = type->field(i);
    if (Below(10) >= (kWanted.count(field->name()) > 0 ? 9u : 2u)) continue;
    for (uint64_t n = field->is_repeated() ? 1 + Below(4) : 1; n > 0; --n) Set(message, field);
  }
}

std::string RandomRequests::Bytes(const Descriptor* type) {
  const std::unique_ptr<Message> message = New(type);
  Fill(message.get());
  const FieldDescriptor* const wait = type->FindFieldByName("wait");
  const bool waits = wait != nullptr && wait->message_type() != nullptr;
  if (waits && !message->GetReflection()->HasField(*message, wait)) Set(message.get(), wait);
  const std::string right = message->SerializeAsString();
  std::string bytes = right;
  if (Below(10) == 0 && !bytes.empty()) {
    bytes[Below(bytes.size())] = static_cast<char>(Below(256));
  }
  if (Below(20) == 0) bytes.resize(Below(bytes.size() + 1));
  // Without its limit it would wait to the end of the call.
  const google::protobuf::LogSilencer quiet;
  return waits && New(type)->ParseFromString(bytes) ? right : bytes;
}

std::string RandomRequests::TextFor(const std::string& name) {
  // The last is a key.
  static const std::string kOdd[] = {"", "a\nb", std::string(1025, 'k'), "\x7F", "t:1"};
  // None that is accepted: where two keys share a place by their hash, which differs from one
  // server to the next, the change of one costs what depends on the other.
  if (name == "depends_on") return kOdd[Below(4)];
  if (name == "key" || name == "keys") {
    return Below(12) == 0 ? kOdd[Below(5)] : "k" + std::to_string(Below(20));
  }
  if (name == "namespace") return Below(4) == 0 ? "a b\x01" : "space";
  if (name == "type") return Below(3) == 0 ? "defualt" : "default";
  if (name == "request_id") return Below(2) == 0 ? std::to_string(Below(50)) : "";
  return std::string(Below(20) == 0 ? 50'000 : Below(200), static_cast<char>('a' + Below(26)));
}

void RandomRequests::FillDuration(const std::string& name, Message* duration) {
  // In milliseconds. None that is accepted may be over before the test is, but for waits.
  static const std::map<std::string, std::vector<int64_t>> kChoices = {
      {"wait", {0, 0, 0, 2, -1'000}},
      {"lease_ttl", {300'000, 290'000, 240'000, 300'001, 9, 0, -1}},
      {"heartbeat", {60'000, 5'000, 100, 60'001, 99, 0, -1}},
      {"", {600'000, 3'600'000, 600'000, 600'000, -1'000, 1'000'000'000'000'000}}};
  const auto found = kChoices.find(name);
  const std::vector<int64_t>& choices = found == kChoices.end() ? kChoices.at("") : found->second;
  const int64_t millis = choices[Below(choices.size())];
  const Descriptor* const type = duration->GetDescriptor();
  const Reflection* const r = duration->GetReflection();
  r->SetInt64(duration, type->FindFieldByName("seconds"), millis / 1'000);
  r->SetInt32(duration, type->FindFieldByName("nanos"),
              static_cast<int32_t>(millis % 1'000 * 1'000'000));
}

void RandomRequests::Set(Message* message, const FieldDescriptor* field) {
  const Reflection* const r = message->GetReflection();
  const bool many = field->is_repeated();
  const uint64_t number = Below(8) == 0 ? random_() : Below(5);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text = TextFor(field->name());
      return many ? r->AddString(message, field, text) : r->SetString(message, field, text);
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      Message* const part =
          many ? r->AddMessage(message, field) : r->MutableMessage(message, field);
      if (field->message_type()->full_name() != "google.protobuf.Duration") return Fill(part);
      return FillDuration(field->name(), part);
    }
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
      // A few keys a second would take seconds.
      return r->SetUInt32(message, field,
                          field->name() == "rate" ? 0 : static_cast<uint32_t>(number));
    default:
      return;
  }
}

// ---- Calls

LaneCall CallOf(const MethodDescriptor* method, std::string request) {
  return {"/" + method->service()->full_name() + "/" + method->name(), std::move(request),
          method->output_type()};
}

LaneCall CallOf(const std::string& method, const Message& request) {
  const auto* const pool = google::protobuf::DescriptorPool::generated_pool();
  const MethodDescriptor* const found = pool->FindMethodByName("larder.v1." + method);
  if (found == nullptr) std::abort();
  return CallOf(found, request.SerializeAsString());
}

std::vector<const MethodDescriptor*> MethodsOf(bool streams) {
  std::vector<const MethodDescriptor*> methods;
  for (const auto* file :
       {v1::GetRequest::descriptor()->file(), v1::ServerInfoRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service(0)->method_count(); ++i) {
      const MethodDescriptor* const method = file->service(0)->method(i);
      if (method->server_streaming() == streams) methods.push_back(method);
    }
  }
  return methods;
}

NativeLanesTest::Lane::Lane(std::string lane, const std::vector<std::string>& args)
    : name(std::move(lane)), server(args) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  channel = grpc::CreateCustomChannel(server.AddressOf(name), grpc::InsecureChannelCredentials(),
                                      arguments);
}

int NativeLanesTest::Lane::port() const {
  const std::string address = server.AddressOf(name);
  return std::atoi(address.c_str() + address.rfind(':') + 1);
}

namespace {

// No lease may run out in one of the two servers while the other is asked.
std::vector<std::string> With(std::vector<std::string> args) {
  args.insert(args.end(), {"--set", "node.name=same", "--set", "node.id=1", "--set",
                           "leases.ttl=5m", "--set", "memory.l1=64MiB"});
  return args;
}

}  // namespace

NativeLanesTest::NativeLanesTest(const std::vector<std::string>& reference_args,
                                 const std::vector<std::string>& native_args)
    : reference_("reference", With(reference_args)), native_("native", With(native_args)) {}

void NativeLanesTest::SetUp() {
  ASSERT_TRUE(reference_.server.running());
  ASSERT_TRUE(native_.server.running());
}

std::unique_ptr<grpc::ClientContext> NativeLanesTest::NewContext(const LaneCall& call) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + kPatience);
  for (const auto& [name, value] : call.metadata) context->AddMetadata(name, value);
  return context;
}

void NativeLanesTest::Conclude(const grpc::Status& status, const grpc::ClientContext& context,
                               Outcome* outcome) {
  outcome->code = status.error_code();
  outcome->message = status.error_message();
  outcome->details = status.error_details();
  outcome->initial_metadata = Shown(context.GetServerInitialMetadata());
  outcome->trailing_metadata = Shown(context.GetServerTrailingMetadata());
}

namespace {

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  grpc::Slice slice;
  if (!buffer.Valid() || !buffer.DumpToSingleSlice(&slice).ok()) return "no bytes";
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

std::string AnswerOf(const LaneCall& call, const std::string& bytes) {
  return call.answer == nullptr ? std::to_string(bytes.size()) + " bytes"
                                : ShapeOf(bytes, call.answer);
}

}  // namespace

Outcome NativeLanesTest::Call(const Lane& lane, const LaneCall& call, std::string* raw) {
  const std::unique_ptr<grpc::ClientContext> context = NewContext(call);
  const grpc::Slice slice(call.request);
  const grpc::ByteBuffer in(&slice, 1);
  grpc::ByteBuffer out;
  const grpc::internal::RpcMethod method(call.path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
  const grpc::Status status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      lane.channel.get(), method, context.get(), in, &out);
  Outcome outcome;
  Conclude(status, *context, &outcome);
  if (!status.ok()) return outcome;
  const std::string bytes = BytesOf(out);
  outcome.messages = {AnswerOf(call, bytes)};
  if (raw != nullptr) *raw = bytes;
  return outcome;
}

Outcome NativeLanesTest::ReadStream(const Lane& lane, const LaneCall& call, size_t most) {
  const std::unique_ptr<grpc::ClientContext> context = NewContext(call);
  const grpc::Slice slice(call.request);
  const grpc::internal::RpcMethod method(call.path.c_str(),
                                         grpc::internal::RpcMethod::SERVER_STREAMING);
  const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
          lane.channel.get(), method, context.get(), grpc::ByteBuffer(&slice, 1)));
  Outcome outcome;
  grpc::ByteBuffer message;
  while (outcome.messages.size() < most && reader->Read(&message)) {
    outcome.messages.push_back(AnswerOf(call, BytesOf(message)));
  }
  const bool given_up = outcome.messages.size() == most;
  if (given_up) context->TryCancel();
  const grpc::Status status = reader->Finish();
  Conclude(status, *context, &outcome);
  if (given_up) outcome.code = -1;
  return outcome;
}

Outcome NativeLanesTest::Compare(const LaneCall& to_reference, const LaneCall& to_native,
                                 std::string* raw_reference, std::string* raw_native) {
  const Outcome reference = Call(reference_, to_reference, raw_reference);
  const Outcome native = Call(native_, to_native, raw_native);
  const std::string difference = DifferenceOf(reference, native);
  EXPECT_TRUE(difference.empty()) << Shown(to_native) << "\n" << difference;
  return reference;
}

Outcome NativeLanesTest::Compare(const LaneCall& call) {
  return Compare(call, call, nullptr, nullptr);
}

Outcome NativeLanesTest::CompareStreams(const LaneCall& call, size_t most) {
  Outcome reference = ReadStream(reference_, call, most);
  Outcome native = ReadStream(native_, call, most);
  // How often a warm-up tells how far it is, is a matter of time.
  if (call.path.ends_with("/Warm")) {
    for (Outcome* const outcome : {&reference, &native}) {
      if (outcome->messages.size() > 1) outcome->messages = {outcome->messages.back()};
    }
  }
  const std::string difference = DifferenceOf(reference, native);
  EXPECT_TRUE(difference.empty()) << Shown(call) << "\n" << difference;
  return reference;
}

}  // namespace larder
