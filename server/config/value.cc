// One function for each direction decides by the field's type and unit what its text means.
// Whatever else the configuration learns is a line in config.proto, not code here, unless it brings
// a new unit.

#include "config/value.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "config/problem.h"
#include "config/units.h"
#include "config/yaml.h"
#include "core/key.h"
#include "core/suggest.h"
#include "google/protobuf/duration.pb.h"
#include "policy/name_template.h"
#include "policy/pattern.h"

namespace larder {
namespace {

namespace pb = google::protobuf;
using config::v1::Unit;

constexpr size_t kPathBytesMax = 4096;
constexpr size_t kSqlBytesMax = 64 << 10;

std::string EnumName(const pb::EnumValueDescriptor* value) {
  // LogLevel and LOG_LEVEL_INFO: the prefix is as long as the type's name with an underscore before
  // each capital.
  size_t prefix = 0;
  for (const char c : value->type()->name())
    prefix += absl::ascii_isupper(static_cast<unsigned char>(c)) ? 2 : 1;
  return absl::AsciiStrToLower(value->name().substr(prefix));
}

absl::StatusOr<Value> ParseEnum(const pb::EnumDescriptor* type, const std::string& text) {
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0 && EnumName(type->value(i)) == text)
      return Value(type->value(i));
  }
  const std::vector<std::string> names = EnumNames(type);
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text), " is none of ", absl::StrJoin(names, ", ")));
}

absl::Status CheckBytes(const std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("is ", text.size(), " bytes; at most ", bytes_max));
}

absl::StatusOr<Value> ParseText(Unit unit, const std::string& text) {
  if (!IsCleanText(text, unit == config::v1::UNIT_SQL ? "\n\t" : "")) {
    return absl::InvalidArgumentError("must be UTF-8 text without control characters");
  }
  switch (unit) {
    case config::v1::UNIT_ADDRESS:
      RETURN_IF_ERROR(CheckAddress(text));
      break;
    case config::v1::UNIT_HOST_NAME:
      RETURN_IF_ERROR(CheckHostName(text));
      break;
    case config::v1::UNIT_PATTERN:
      RETURN_IF_ERROR(Pattern::Parse(text).status());
      break;
    case config::v1::UNIT_TEMPLATE:
      RETURN_IF_ERROR(NameTemplate::Parse(text).status());
      break;
    case config::v1::UNIT_PATH:
      RETURN_IF_ERROR(CheckBytes(text, kPathBytesMax));
      break;
    case config::v1::UNIT_SQL:
      RETURN_IF_ERROR(CheckBytes(text, kSqlBytesMax));
      break;
    case config::v1::UNIT_ERROR_CODE:
      RETURN_IF_ERROR(ParseErrorCode(text).status());
      break;
    case config::v1::UNIT_NAMESPACE:
      if (text.empty() || !CheckNamespace(text).ok()) {
        return absl::InvalidArgumentError(absl::StrCat(
            Quoted(text), " is no namespace: 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'"));
      }
      break;
    case config::v1::UNIT_PERMISSION:
      RETURN_IF_ERROR(CheckPermission(text));
      break;
    case config::v1::UNIT_SHA256:
      RETURN_IF_ERROR(CheckSha256(text));
      break;
    default:
      break;
  }
  return Value(text);
}

template <typename T>
absl::StatusOr<Value> AsValue(absl::StatusOr<T> parsed) {
  if (!parsed.ok()) return parsed.status();
  return Value(*std::move(parsed));
}

// By type and unit only; no words, no limits.
absl::StatusOr<Value> ParsePlain(const FieldDescriptor* field, const std::string& text) {
  const Unit unit = RulesOf(field).unit();
  if (IsDuration(field)) return AsValue(ParseDuration(text));
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text == "true" || text == "false") return Value(text == "true");
      return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is neither true nor false"));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return AsValue(unit == config::v1::UNIT_RATIO ? ParseRatio(text) : ParseReal(text));
    case FieldDescriptor::CPPTYPE_ENUM:
      return ParseEnum(field->enum_type(), text);
    case FieldDescriptor::CPPTYPE_STRING:
      return ParseText(unit, text);
    default:
      return AsValue(unit == config::v1::UNIT_BYTES ? ParseBytes(text) : ParseWhole(text));
  }
}

bool IsZero(const Value& value) {
  return value == Value(uint64_t{0}) || value == Value(0.0) || value == Value(absl::ZeroDuration());
}
bool IsGreatest(const Value& value) { return value == Value(std::numeric_limits<uint64_t>::max()); }

// `text` of the field's rules; it was checked by the tests of config.proto.
Value RuleValue(const FieldDescriptor* field, const std::string& text) {
  return *ParsePlain(field, text);
}

bool InRange(const FieldDescriptor* field, const Value& value) {
  const config::v1::Rules& rules = RulesOf(field);
  if (!rules.word_for_zero().empty() && IsZero(value)) return true;
  return (rules.min().empty() || value >= RuleValue(field, rules.min())) &&
         (rules.max().empty() || value <= RuleValue(field, rules.max()));
}

std::string QuotedYaml(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == '\n' || c == '\t') {
      quoted += c == '\n' ? "\\n" : "\\t";
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string FormatValue(const FieldDescriptor* field, const Value& value) {
  const config::v1::Rules& rules = RulesOf(field);
  if (!rules.word_for_zero().empty() && IsZero(value)) return rules.word_for_zero();
  if (!rules.word_for_empty().empty() && value == Value(std::string())) {
    return rules.word_for_empty();
  }
  if (!rules.word_for_greatest().empty() && IsGreatest(value)) return rules.word_for_greatest();
  struct Format {
    Unit unit;
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(uint64_t v) const {
      return unit == config::v1::UNIT_BYTES ? WriteBytes(v) : absl::StrCat(v);
    }
    std::string operator()(double v) const {
      return unit == config::v1::UNIT_RATIO ? WriteRatio(v) : WriteReal(v);
    }
    std::string operator()(absl::Duration v) const { return WriteDuration(v); }
    std::string operator()(const std::string& v) const { return QuotedYaml(v); }
    std::string operator()(const pb::EnumValueDescriptor* v) const { return EnumName(v); }
  };
  return std::visit(Format{rules.unit()}, value);
}

std::string FormatSection(const Message& section) {
  std::vector<std::string> fields;
  const pb::Descriptor* const type = section.GetDescriptor();
  fields.reserve(type->field_count());
  for (int i = 0; i < type->field_count(); ++i) {
    fields.push_back(
        absl::StrCat(type->field(i)->name(), ": ", FormatField(section, type->field(i))));
  }
  return absl::StrCat("{", absl::StrJoin(fields, ", "), "}");
}

Value LoadValue(const Message& message, const FieldDescriptor* field) {
  const pb::Reflection* const r = message.GetReflection();
  if (IsDuration(field)) {
    const auto& duration = static_cast<const pb::Duration&>(r->GetMessage(message, field));
    return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return r->GetBool(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return r->GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return r->GetEnum(message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return r->GetString(message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return uint64_t{r->GetUInt32(message, field)};
    default:
      return r->GetUInt64(message, field);
  }
}

}  // namespace

const config::v1::Rules& RulesOf(const FieldDescriptor* field) {
  return field->options().GetExtension(config::v1::rules);
}

bool IsDuration(const FieldDescriptor* field) {
  return field->message_type() == pb::Duration::descriptor();
}

bool IsSection(const FieldDescriptor* field) {
  return field->message_type() != nullptr && !IsDuration(field) && !field->is_repeated();
}

bool IsSectionList(const FieldDescriptor* field) {
  return field->message_type() != nullptr && !IsDuration(field) && field->is_repeated() &&
         !field->is_map();
}

std::vector<std::string> EnumNames(const pb::EnumDescriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0) names.push_back(EnumName(type->value(i)));
  }
  return names;
}

std::string RangeOf(const FieldDescriptor* field) {
  const config::v1::Rules& rules = RulesOf(field);
  std::string range;
  if (!rules.min().empty()) range = absl::StrCat(rules.min(), " to ", rules.max());
  for (const std::string& word : {rules.word_for_zero(), rules.word_for_greatest()}) {
    if (!word.empty()) absl::StrAppend(&range, ", or ", word);
  }
  return range;
}

absl::StatusOr<Value> ParseValue(const FieldDescriptor* field, const std::string& path,
                                 const std::string& text, bool quoted) {
  const config::v1::Rules& rules = RulesOf(field);
  if (!quoted && text == rules.word_for_zero() && !text.empty()) {
    if (IsDuration(field)) return Value(absl::ZeroDuration());
    return field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE ? Value(0.0) : Value(uint64_t{0});
  }
  if (!quoted && text == rules.word_for_empty() && !text.empty()) return Value(std::string());
  if (!quoted && text == rules.word_for_greatest() && !text.empty()) {
    return Value(std::numeric_limits<uint64_t>::max());
  }
  absl::StatusOr<Value> value = ParsePlain(field, text);
  if (absl::IsOutOfRange(value.status()) || (value.ok() && !InRange(field, *value))) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", Quoted(text), " is out of range; allowed is ", RangeOf(field)));
  }
  if (!value.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", std::string(value.status().message())));
  }
  return value;
}

void StoreValue(const FieldDescriptor* field, const Value& value, Message* message) {
  const pb::Reflection* const r = message->GetReflection();
  if (IsDuration(field)) {
    const int64_t nanos = absl::ToInt64Nanoseconds(std::get<absl::Duration>(value));
    auto* const duration = static_cast<pb::Duration*>(r->MutableMessage(message, field));
    duration->set_seconds(nanos / 1'000'000'000);
    duration->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    return;
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return r->SetBool(message, field, std::get<bool>(value));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return r->SetDouble(message, field, std::get<double>(value));
    case FieldDescriptor::CPPTYPE_ENUM:
      return r->SetEnum(message, field, std::get<const pb::EnumValueDescriptor*>(value));
    case FieldDescriptor::CPPTYPE_STRING:
      if (field->is_repeated()) return r->AddString(message, field, std::get<std::string>(value));
      return r->SetString(message, field, std::get<std::string>(value));
    case FieldDescriptor::CPPTYPE_UINT32:
      return r->SetUInt32(message, field, static_cast<uint32_t>(std::get<uint64_t>(value)));
    default:
      return r->SetUInt64(message, field, std::get<uint64_t>(value));
  }
}

std::string FormatField(const Message& message, const FieldDescriptor* field) {
  if (IsSection(field)) return FormatSection(message.GetReflection()->GetMessage(message, field));
  if (!field->is_repeated()) return FormatValue(field, LoadValue(message, field));
  std::vector<std::string> items;
  const pb::Reflection* const r = message.GetReflection();
  items.reserve(r->FieldSize(message, field));
  for (int i = 0; i < r->FieldSize(message, field); ++i) {
    items.push_back(IsSectionList(field)
                        ? FormatSection(r->GetRepeatedMessage(message, field, i))
                        : FormatValue(field, r->GetRepeatedString(message, field, i)));
  }
  return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
}

}  // namespace larder
