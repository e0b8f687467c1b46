// The walk goes over the fields, not over the tree, so that defaults and given values take the same
// way: the default of a field is a text like any other, read by the same parser. Names in the tree
// that are no field's are found beside it.

#include "config/reader.h"

#include <optional>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "config/auto.h"
#include "config/units.h"
#include "config/value.h"
#include "config/yaml.h"
#include "core/suggest.h"
#include "policy/type_table.h"

namespace larder {
namespace {

namespace pb = google::protobuf;
using config::v1::Unit;

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

class Reader {
 public:
  Reader(const Machine& machine, Problems* problems, Reading* reading)
      : machine_(machine), problems_(problems), reading_(*reading) {}

  // `node` is null for a section that is not there: all defaults.
  void ReadSection(const Node* node, const std::string& path, Message* section) {
    std::unordered_map<std::string, const Node::Member*> members;
    if (node != nullptr) members = MembersOf(*node, path, section->GetDescriptor());
    const pb::Descriptor* const type = section->GetDescriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* const field = type->field(i);
      const auto found = members.find(field->name());
      const Node* const value = found == members.end() ? nullptr : &found->second->value;
      ReadField(field, value, Join(path, field->name()), section);
    }
  }

 private:
  // The members of a section by name; reports what cannot be one.
  std::unordered_map<std::string, const Node::Member*> MembersOf(const Node& node,
                                                                 const std::string& path,
                                                                 const pb::Descriptor* type) {
    std::unordered_map<std::string, const Node::Member*> members;
    if (!Expect(node, Node::Kind::kMap, path)) return members;
    for (const Node::Member& member : node.members) {
      const auto [first, added] = members.emplace(member.name, &member);
      if (!added) {
        ReportDuplicate("field", member, *first->second, path);
      } else if (type->FindFieldByName(member.name) == nullptr) {
        ReportUnknown(member, path, type);
      }
    }
    return members;
  }

  void ReportDuplicate(const std::string& what, const Node::Member& member,
                       const Node::Member& first, const std::string& path) {
    std::string message = absl::StrCat("duplicate ", what, " ", Quoted(member.name));
    if (!path.empty()) absl::StrAppend(&message, " in ", path);
    if (first.at.line > 0) absl::StrAppend(&message, "; it stands also in line ", first.at.line);
    problems_->Add(member.at, std::move(message));
  }

  void ReportUnknown(const Node::Member& member, const std::string& path,
                     const pb::Descriptor* type) {
    std::vector<std::string_view> known;
    known.reserve(type->field_count());
    for (int i = 0; i < type->field_count(); ++i) known.push_back(type->field(i)->name());
    std::string message = absl::StrCat("unknown field ", Quoted(member.name));
    if (!path.empty()) absl::StrAppend(&message, " in ", path);
    if (const std::optional<std::string> near = Suggest(member.name, known)) {
      absl::StrAppend(&message, "; did you mean ", Quoted(*near), "?");
    } else {
      const std::vector<std::string> names(known.begin(), known.end());
      absl::StrAppend(&message, "; there is ", absl::StrJoin(names, ", "));
    }
    problems_->Add(member.at, std::move(message));
  }

  // True when `node` is of the kind that its field needs. Else reports it and marks the field as
  // broken.
  bool Expect(const Node& node, Node::Kind kind, const std::string& path) {
    if (node.kind == kind) return true;
    reading_.broken.insert(path);
    if (node.kind == Node::Kind::kBroken) return false;
    const auto name = [](Node::Kind k) {
      return k == Node::Kind::kMap    ? "a section"
             : k == Node::Kind::kList ? "a list"
                                      : "a single value";
    };
    const std::string what = path.empty() ? "the configuration" : path;
    if (node.kind != Node::Kind::kNull) {
      problems_->Add(node.at,
                     absl::StrCat(what, " must be ", name(kind), ", not ", name(node.kind)));
    } else if (kind == Node::Kind::kMap) {
      problems_->Add(node.at, absl::StrCat(what, " is empty; leave it out or write {}"));
    } else {
      problems_->Add(node.at, absl::StrCat(what, " has no value; leave it out to get the default"));
    }
    return false;
  }

  void ReadField(const FieldDescriptor* field, const Node* node, const std::string& path,
                 Message* message) {
    if (node != nullptr) NoteWritten(path, *node);
    if (field->is_map()) return ReadMap(field, node, path, message);
    if (IsSection(field)) {
      Message* const section = message->GetReflection()->MutableMessage(message, field);
      const std::optional<Node> spelled_out = SpellOut(field, node);
      return ReadSection(spelled_out ? &*spelled_out : node, path, section);
    }
    Setting setting{path, "", node == nullptr ? "default" : node->at.Origin()};
    if (field->is_repeated()) {
      ReadList(field, node, path, message);
    } else {
      ReadScalar(field, node, path, message, &setting.source);
    }
    if (list_depth_ > 0) return;
    setting.value = FormatField(*message, field);
    reading_.settings.push_back(std::move(setting));
  }

  void NoteWritten(const std::string& path, const Node& node) {
    if (node.at.kind != Source::Kind::kDefault) reading_.written[path] = node.at;
  }

  // `access: true` is short for `access: {enabled: true}`, and a section that is written out is
  // enabled. With a word of its own, as in `l2: none`, only that word is short for anything.
  std::optional<Node> SpellOut(const FieldDescriptor* field, const Node* node) {
    const std::string& name = RulesOf(field).shorthand_for();
    if (node == nullptr || name.empty()) return std::nullopt;
    const std::string& word = RulesOf(field).word_for_shorthand();
    const Node yes(Node::Kind::kScalar, node->at, "true");
    Node section = *node;
    if (node->kind == Node::Kind::kScalar) {
      if (!word.empty() && (node->quoted || node->text != word)) return std::nullopt;
      section = Node(Node::Kind::kMap, node->at);
      section.members.push_back({name, node->at, word.empty() ? *node : yes});
      return section;
    }
    if (node->kind != Node::Kind::kMap || !word.empty()) return std::nullopt;
    for (const Node::Member& member : node->members) {
      if (member.name == name) return std::nullopt;
    }
    section.members.push_back({name, node->at, yes});
    return section;
  }

  // Null `node` = the default.
  void ReadScalar(const FieldDescriptor* field, const Node* node, const std::string& path,
                  Message* message, std::string* source) {
    const Node fallback(Node::Kind::kScalar, Source{}, RulesOf(field).default_value());
    const Node& given = node == nullptr ? fallback : *node;
    if (!Expect(given, Node::Kind::kScalar, path)) return;
    std::string text = given.text;
    const config::v1::Auto from = RulesOf(field).auto_from();
    if (from != config::v1::AUTO_UNSPECIFIED && text == "auto" && !given.quoted) {
      AutoValue resolved = ResolveAuto(from, machine_, reading_.proto);
      text = std::move(resolved.text);
      *source = absl::StrCat("auto: ", resolved.why);
    }
    const absl::StatusOr<Value> value = ParseValue(field, path, text, given.quoted);
    if (value.ok()) {
      StoreValue(field, *value, message);
      const absl::StatusOr<Value> usual =
          ParseValue(field, path, RulesOf(field).default_value(), false);
      if (node != nullptr && (!usual.ok() || *usual != *value)) reading_.chosen.insert(path);
    } else {
      problems_->Add(given.at, std::string(value.status().message()));
      reading_.broken.insert(path);
    }
  }

  void ReadList(const FieldDescriptor* field, const Node* node, const std::string& path,
                Message* message) {
    if (node == nullptr) {
      const std::string& text = RulesOf(field).default_value();
      if (text.empty()) return;
      const Node fallback = ParseYaml(text, Source{}, problems_);
      return ReadItems(field, fallback, path, message);
    }
    if (!Expect(*node, Node::Kind::kList, path)) return;
    if (!CheckCount(*node, node->items.size(), RulesOf(field).items_max(), path)) return;
    ReadItems(field, *node, path, message);
  }

  void ReadItems(const FieldDescriptor* field, const Node& list, const std::string& path,
                 Message* message) {
    ++list_depth_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      const Node& item = list.items[i];
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      NoteWritten(item_path, item);
      if (IsSectionList(field)) {
        ReadSection(&item, item_path, message->GetReflection()->AddMessage(message, field));
      } else {
        std::string source;
        ReadScalar(field, &item, item_path, message, &source);
      }
    }
    --list_depth_;
  }

  bool CheckCount(const Node& node, size_t count, size_t count_max, const std::string& path) {
    if (count <= count_max) return true;
    problems_->Add(node.at, absl::StrCat(path, " has ", count, " entries; at most ", count_max));
    reading_.broken.insert(path);
    return false;
  }

  void ReadMap(const FieldDescriptor* field, const Node* node, const std::string& path,
               Message* message) {
    std::unordered_map<std::string, const Node::Member*> seen;
    if (node != nullptr && Expect(*node, Node::Kind::kMap, path) &&
        CheckCount(*node, node->members.size(), RulesOf(field).items_max(), path)) {
      for (const Node::Member& member : node->members) {
        const auto [first, added] = seen.emplace(member.name, &member);
        if (!added) {
          ReportDuplicate("name", member, *first->second, path);
        } else if (const std::string problem = NameProblem(field, member.name); !problem.empty()) {
          problems_->Add(member.at, absl::StrCat(Quoted(member.name), " is no name for ", problem));
        } else {
          reading_.written[Join(path, member.name)] = member.at;
          ReadEntry(field, &member.value, member.name, path, message);
        }
      }
    }
    if (RulesOf(field).unit() == config::v1::UNIT_TYPE_NAME && !seen.contains(kAlwaysThere))
      ReadEntry(field, nullptr, kAlwaysThere, path, message);
  }

  // What a name in the map is for and how it is written; empty when `name` is one.
  static std::string NameProblem(const FieldDescriptor* field, const std::string& name) {
    constexpr char kHow[] = ": a-z, then up to 63 of a-z, 0-9, '_' and '-'";
    switch (RulesOf(field).unit()) {
      case config::v1::UNIT_ORIGIN_NAME:
        return TypeTable::IsName(name) ? "" : absl::StrCat("an origin", kHow);
      case config::v1::UNIT_METADATA_NAME:
        if (IsMetadataName(name)) return "";
        return "metadata: a-z or 0-9, then up to 63 of a-z, 0-9, '_' and '-', neither grpc-... nor "
               "...-bin";
      case config::v1::UNIT_ROLE_NAME:
        return TypeTable::IsName(name) ? "" : absl::StrCat("a role", kHow);
      case config::v1::UNIT_CALLER_NAME:
        return TypeTable::IsName(name) ? "" : absl::StrCat("a caller", kHow);
      default:
        return TypeTable::IsName(name) ? "" : absl::StrCat("a type", kHow);
    }
  }

  void ReadEntry(const FieldDescriptor* field, const Node* node, const std::string& name,
                 const std::string& path, Message* message) {
    const pb::Reflection* const r = message->GetReflection();
    Message* const entry = r->AddMessage(message, field);
    const pb::Descriptor* const type = entry->GetDescriptor();
    entry->GetReflection()->SetString(entry, type->map_key(), name);
    const Unit unit = RulesOf(field).unit();
    if (unit == config::v1::UNIT_TYPE_NAME) reading_.type_names.push_back(name);
    if (unit == config::v1::UNIT_ORIGIN_NAME) reading_.origin_names.push_back(name);
    ReadSection(node, Join(path, name),
                entry->GetReflection()->MutableMessage(entry, type->map_value()));
  }

  static constexpr char kAlwaysThere[] = "default";

  const Machine& machine_;
  Problems* const problems_;
  Reading& reading_;
  // Inside a list no field is a setting of its own: the list is one.
  int list_depth_ = 0;
};

}  // namespace

Reading ReadTree(const Node& root, const Machine& machine, Problems* problems) {
  Reading reading;
  const bool nothing = root.kind == Node::Kind::kNull || root.kind == Node::Kind::kBroken;
  Reader(machine, problems, &reading).ReadSection(nothing ? nullptr : &root, "", &reading.proto);
  return reading;
}

}  // namespace larder
