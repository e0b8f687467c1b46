// The walk goes over two complete configurations at once, and a third, which begins as the wanted
// one and gets back what needs a restart. Which fields those are is said by config.proto alone. A
// data type that is new, or gone, is taken over whole or not at all: with an origin that it cannot
// have before a restart, its keys would be something that no file ever said.

#include "config/reload.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "config/machine.h"
#include "config/types.h"
#include "config/value.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

constexpr char kFromMachine[] = "auto";

class Walk {
 public:
  Walk(const Config& running, const Config& wanted) : default_type_(DefaultType()) {
    for (const Setting& setting : running.settings) sources_before_[setting.path] = setting.source;
    for (const Setting& setting : wanted.settings) sources_after_[setting.path] = setting.source;
  }

  void Section(const Message& before, const Message& after, const std::string& path,
               Message* next) {
    const google::protobuf::Descriptor* const type = before.GetDescriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* const field = type->field(i);
      const std::string here =
          path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
      if (field->is_map()) {
        Names(field, before, after, here, next);
      } else if (IsSection(field)) {
        Section(before.GetReflection()->GetMessage(before, field),
                after.GetReflection()->GetMessage(after, field), here,
                next->GetReflection()->MutableMessage(next, field));
      } else {
        Value(field, before, after, here, next);
      }
    }
  }

  std::vector<ConfigChange> TakeChanges() { return std::move(changes_); }
  // Paths that stay as they are until a restart.
  const std::set<std::string>& kept() const { return kept_; }

 private:
  using Entries = std::map<std::string, const Message*>;

  static std::unique_ptr<Message> DefaultType() {
    // A configuration of nothing is always right.
    const absl::StatusOr<Config> nothing = LoadConfig({}, ThisMachine());
    return std::make_unique<config::v1::Type>(nothing->proto->types().at("default"));
  }

  static Entries EntriesOf(const FieldDescriptor* field, const Message& message) {
    Entries entries;
    const google::protobuf::Reflection* const r = message.GetReflection();
    const google::protobuf::Descriptor* const type = field->message_type();
    for (int i = 0; i < r->FieldSize(message, field); ++i) {
      const Message& entry = r->GetRepeatedMessage(message, field, i);
      const google::protobuf::Reflection* const e = entry.GetReflection();
      entries[e->GetString(entry, type->map_key())] = &e->GetMessage(entry, type->map_value());
    }
    return entries;
  }

  // Whether a part of it that needs a restart says something.
  bool SaysWhatNeedsRestart(const Message& message, const Message& nothing) const {
    const google::protobuf::Descriptor* const type = message.GetDescriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* const field = type->field(i);
      if (field->is_map()) {
        if (message.GetReflection()->FieldSize(message, field) > 0) return true;
      } else if (IsSection(field)) {
        if (SaysWhatNeedsRestart(message.GetReflection()->GetMessage(message, field),
                                 nothing.GetReflection()->GetMessage(nothing, field))) {
          return true;
        }
      } else if (RulesOf(field).needs_restart() &&
                 FormatField(message, field) != FormatField(nothing, field)) {
        return true;
      }
    }
    return false;
  }

  void Names(const FieldDescriptor* field, const Message& before, const Message& after,
             const std::string& path, Message* next) {
    const Entries old = EntriesOf(field, before);
    const Entries wanted = EntriesOf(field, after);
    std::set<std::string> names;
    for (const auto& [name, entry] : old) names.insert(name);
    for (const auto& [name, entry] : wanted) names.insert(name);

    // Map fields are rebuilt: by reflection they are lists, whose entries cannot be looked up.
    next->GetReflection()->ClearField(next, field);
    for (const std::string& name : names) {
      const std::string here = absl::StrCat(path, ".", name);
      const Message* const was = old.contains(name) ? old.at(name) : nullptr;
      const Message* const is = wanted.contains(name) ? wanted.at(name) : nullptr;
      if (was != nullptr && is != nullptr) {
        Section(*was, *is, here, AddEntry(field, name, *is, next));
        continue;
      }
      const Message& one = was != nullptr ? *was : *is;
      const bool is_type = one.GetDescriptor() == default_type_->GetDescriptor();
      const std::unique_ptr<Message> empty(one.New());
      const bool restart = SaysWhatNeedsRestart(one, is_type ? *default_type_ : *empty);
      if (restart == (was != nullptr)) AddEntry(field, name, one, next);
      changes_.push_back(
          {here, was == nullptr ? "" : "present", is == nullptr ? "" : "present", restart});
      if (restart) kept_.insert(here);
    }
  }

  static Message* AddEntry(const FieldDescriptor* field, const std::string& name,
                           const Message& value, Message* to) {
    Message* const entry = to->GetReflection()->AddMessage(to, field);
    const google::protobuf::Reflection* const r = entry->GetReflection();
    r->SetString(entry, field->message_type()->map_key(), name);
    Message* const copy = r->MutableMessage(entry, field->message_type()->map_value());
    copy->CopyFrom(value);
    return copy;
  }

  void Value(const FieldDescriptor* field, const Message& before, const Message& after,
             const std::string& path, Message* next) {
    const std::string was = FormatField(before, field);
    const std::string is = FormatField(after, field);
    if (was == is) return;
    const bool restart = RulesOf(field).needs_restart();
    if (restart) {
      const std::unique_ptr<Message> old(before.New());
      old->CopyFrom(before);
      next->GetReflection()->SwapFields(next, old.get(), {field});
      kept_.insert(path);
      if (absl::StartsWith(sources_before_[path], kFromMachine) &&
          absl::StartsWith(sources_after_[path], kFromMachine)) {
        return;
      }
    }
    const bool secret = MayBeSecret(path);
    changes_.push_back({path, secret ? kNotShown : was, secret ? kNotShown : is, restart});
  }

  const std::unique_ptr<Message> default_type_;
  std::map<std::string, std::string> sources_before_;
  std::map<std::string, std::string> sources_after_;
  std::vector<ConfigChange> changes_;
  std::set<std::string> kept_;
};

// Whether the setting is one of those that stay, or in a section that does.
bool IsKept(const std::set<std::string>& kept, const std::string& path) {
  for (size_t end = path.size(); end != std::string::npos; end = path.rfind('.', end - 1)) {
    if (kept.contains(path.substr(0, end))) return true;
    if (end == 0) break;
  }
  return false;
}

}  // namespace

bool MayBeSecret(const std::string& path) {
  return path.find(".metadata.") != std::string::npos && absl::EndsWith(path, ".value");
}

absl::StatusOr<ConfigStep> StepToConfig(const Config& running, const Config& wanted) {
  auto proto = std::make_shared<config::v1::Config>(*wanted.proto);
  Walk walk(running, wanted);
  walk.Section(*running.proto, *wanted.proto, "", proto.get());

  ConfigStep step;
  step.changes = walk.TakeChanges();
  const auto add_types = [&](const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      const auto& known = step.next.type_names;
      if (proto->types().contains(name) &&
          std::find(known.begin(), known.end(), name) == known.end())
        step.next.type_names.push_back(name);
    }
  };
  add_types(wanted.type_names);
  add_types(running.type_names);
  auto types = MakeTypeTable(*proto, step.next.type_names);
  if (!types.ok()) {
    return absl::FailedPreconditionError(
        StrCat("not without a restart, because of what is kept until then: ",
               ToStd(types.status().message())));
  }
  step.next.types = *std::move(types);
  step.next.proto = std::move(proto);
  for (const Setting& setting : wanted.settings) {
    if (!IsKept(walk.kept(), setting.path)) step.next.settings.push_back(setting);
  }
  for (const Setting& setting : running.settings) {
    if (IsKept(walk.kept(), setting.path)) step.next.settings.push_back(setting);
  }
  return step;
}

}  // namespace larder
