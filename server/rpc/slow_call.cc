// What calls ask for and are answered has the same names in all messages of larder.v1, so it is
// read by them: a handler need not know that there is a log.

#include "rpc/slow_call.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/strings.h"
#include "core/error.h"
#include "google/protobuf/descriptor.h"
#include "rpc/log_key.h"
#include "rpc/methods.h"

namespace larder {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The text of a field, or of the field of that name in the first element of a list; empty where
// there is none.
std::string TextOf(const Message& message, const char* name) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) return "";
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  if (!field->is_repeated()) return reflection.GetString(message, field);
  return reflection.FieldSize(message, field) == 0
             ? ""
             : reflection.GetRepeatedString(message, field, 0);
}

std::string KeyOf(const Message& request) {
  const std::string key = TextOf(request, "key");
  return key.empty() ? TextOf(request, "keys") : key;
}

// The value of `name` in the message's field `inner`, or `inner` where that has no such enum;
// empty: it is not set.
std::string EnumOf(const Message& message, const char* inner, const char* name) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(inner);
  if (field == nullptr || field->is_repeated() || field->message_type() == nullptr ||
      !reflection.HasField(message, field))
    return "";
  const Message& found = reflection.GetMessage(message, field);
  const FieldDescriptor* const value = found.GetDescriptor()->FindFieldByName(name);
  if (value == nullptr || value->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) return inner;
  return found.GetReflection()->GetEnum(found, value)->name();
}

// Where the answer came from: the tier of a hit, or why it is a miss; of other calls, what came of
// it.
std::string PathOfOne(const Message& response) {
  for (const auto& [inner, name] :
       {std::pair("hit", "tier"), std::pair("miss", "reason"), std::pair("lease", "token"),
        std::pair("error", "message"), std::pair("stored", "version"),
        std::pair("not_stored", "reason")}) {
    std::string path = EnumOf(response, inner, name);
    if (!path.empty()) return path;
  }
  return "";
}

// The same; of a batch, how often each: `97 TIER_L1, 3 TIER_ORIGIN`.
std::string PathOf(const Message& response) {
  const FieldDescriptor* const results = response.GetDescriptor()->FindFieldByName("results");
  if (results == nullptr || !results->is_repeated() || results->message_type() == nullptr)
    return PathOfOne(response);
  const google::protobuf::Reflection& reflection = *response.GetReflection();
  std::map<std::string, int> counts;
  for (int i = 0; i < reflection.FieldSize(response, results); ++i)
    ++counts[PathOfOne(reflection.GetRepeatedMessage(response, results, i))];
  std::string path;
  for (const auto& [one, count] : counts) {
    if (!one.empty()) path = StrCat(path, path.empty() ? "" : ", ", count, " ", one);
  }
  return path;
}

// The type of all keys that the call is about; empty: there are none, or they have several.
std::string TypeOf(const Message& request, const TypeTable* types) {
  const std::string named = TextOf(request, "type");
  if (types == nullptr) return named;
  const google::protobuf::Reflection& reflection = *request.GetReflection();
  std::string all;
  // False: it is another one than those before.
  const auto add = [&](const std::string& key, const std::string& type) {
    const absl::StatusOr<TypeMatch> match = types->Resolve(key, type);
    const std::string_view name = match.ok() ? match->type->name : std::string_view(type);
    if (all.empty()) all = name;
    return all == name;
  };
  const google::protobuf::Descriptor& fields = *request.GetDescriptor();
  if (const FieldDescriptor* const keys = fields.FindFieldByName("keys");
      keys != nullptr && keys->is_repeated() &&
      keys->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    for (int i = 0; i < reflection.FieldSize(request, keys); ++i) {
      if (!add(reflection.GetRepeatedString(request, keys, i), named)) return "";
    }
  } else if (const FieldDescriptor* const items = fields.FindFieldByName("items");
             items != nullptr && items->is_repeated() && items->message_type() != nullptr) {
    for (int i = 0; i < reflection.FieldSize(request, items); ++i) {
      const Message& item = reflection.GetRepeatedMessage(request, items, i);
      if (!add(TextOf(item, "key"), TextOf(item, "type"))) return "";
    }
  } else if (const std::string key = TextOf(request, "key"); !key.empty()) {
    add(key, named);
  }
  return all.empty() ? named : all;
}

}  // namespace

void LogSlowCall(Call* call, const absl::Status& status, absl::Duration took,
                 const TypeTable* types) {
  // Thousands may wait for one slow load.
  LogLazily(LogLevel::kWarning, "slow_call", [&]() -> std::vector<LogField> {
    const Message* const request = call->request();
    std::vector<LogField> line = {{"rpc", call->method().name},
                                  {"took", took},
                                  {"waited_for_worker", absl::Nanoseconds(call->notes().waited)}};
    for (size_t i = 0; i < kStepNames.size(); ++i) {
      const MonoNanos nanos = call->notes().steps.Of(static_cast<Step>(i));
      if (nanos > 0) line.emplace_back(kStepNames[i], absl::Nanoseconds(nanos));
    }
    line.insert(line.end(),
                {{"code", absl::StatusCodeToString(status.code())},
                 {"path", status.ok() ? PathOf(*call->response()) : DetailsOf(status).reason}});
    // A call may be refused before it has messages.
    if (request != nullptr) {
      line.insert(line.end(), {{"namespace", TextOf(*request, "namespace")},
                               {"type", TypeOf(*request, types)},
                               KeyForLog(KeyOf(*request))});
    }
    line.emplace_back("traceparent", call->Metadata("traceparent"));
    return line;
  });
}

}  // namespace larder
