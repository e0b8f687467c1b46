// Values of single fields: from the text of a file to the proto and back, as the field's rules
// (options.proto) say. Thread safety: pure functions over descriptors; a message by one thread at a
// time.

#ifndef LARDER_CONFIG_VALUE_H_
#define LARDER_CONFIG_VALUE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "larder/config/v1/options.pb.h"

namespace larder {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const config::v1::Rules& RulesOf(const FieldDescriptor* field);

// A message with fields of its own; not a map, a list or a duration.
bool IsSection(const FieldDescriptor* field);
bool IsDuration(const FieldDescriptor* field);
// A list whose elements are sections.
bool IsSectionList(const FieldDescriptor* field);

// What one field or one element of a list can hold.
using Value = std::variant<bool, uint64_t, double, absl::Duration, std::string,
                           const google::protobuf::EnumValueDescriptor*>;

// `text` as a value of `field`, checked against its limits. `path` begins the message of an error,
// which is InvalidArgument. `quoted`: no word of the language. Does not know `auto`. REQUIRES:
// `field` is neither a section nor a map nor a section list.
absl::StatusOr<Value> ParseValue(const FieldDescriptor* field, const std::string& path,
                                 const std::string& text, bool quoted);

// Writes `value` into `field` of `message`; appends where the field is a list.
void StoreValue(const FieldDescriptor* field, const Value& value, Message* message);

// A field of `message` as a file would write it, in one line; lists and sections in brackets and
// braces.
std::string FormatField(const Message& message, const FieldDescriptor* field);

// The limits of `field` in words, such as `1s to 7d, or off`; empty when it has none.
std::string RangeOf(const FieldDescriptor* field);

// The names that the file may use for the values of an enum: LOG_LEVEL_INFO is `info`.
std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor* type);

}  // namespace larder

#endif  // LARDER_CONFIG_VALUE_H_
