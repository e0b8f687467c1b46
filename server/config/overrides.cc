// An override changes the tree, not the result, so that one reader checks all values and a wrong
// override is reported like a wrong line. Only how to read the text of an override needs the
// schema: `[::]:50051` is an address, and `["a:*"]` is a list.
//
// Kubernetes gives every container variables for every Service of its namespace: a Service `larder`
// makes LARDER_PORT and LARDER_SERVICE_HOST, a Service `larder-data` makes
// LARDER_DATA_SERVICE_HOST. A server must not fail for the name of a Service, so that form is never
// taken for a misspelt setting. No setting ends like it.

#include "config/overrides.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "config/config.h"
#include "config/value.h"
#include "config/yaml.h"
#include "core/suggest.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

namespace pb = google::protobuf;

constexpr char kPrefix[] = "LARDER_";

// The field that `path` names; null when there is none, or when the path ends at a name in a map.
const FieldDescriptor* FieldOf(const std::vector<std::string>& path) {
  const pb::Descriptor* type = config::v1::Config::descriptor();
  const FieldDescriptor* field = nullptr;
  for (size_t i = 0; i < path.size(); ++i) {
    if (type == nullptr) return nullptr;
    field = type->FindFieldByName(path[i]);
    if (field == nullptr) return nullptr;
    type = nullptr;
    if (field->is_map() && i + 1 < path.size()) {
      type = field->message_type()->map_value()->message_type();
      field = nullptr;
      ++i;
    } else if (IsSection(field)) {
      type = field->message_type();
    }
  }
  return field;
}

// Makes `value` what `path` names, and a section of everything on the way that is none.
void SetAt(const std::vector<std::string>& path, Node value, const Source& at, Node* node) {
  for (const std::string& name : path) {
    if (node->kind != Node::Kind::kMap) *node = Node(Node::Kind::kMap, at);
    auto member = std::find_if(node->members.begin(), node->members.end(),
                               [&](const Node::Member& m) { return m.name == name; });
    if (member == node->members.end()) member = node->members.insert(member, {name, at, {}});
    node = &member->value;
  }
  *node = std::move(value);
}

void AddNames(const pb::Descriptor* type, const std::string& path,
              std::vector<EnvironmentName>* names) {
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* const field = type->field(i);
    const std::string field_path =
        path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
    if (IsSection(field)) {
      AddNames(field->message_type(), field_path, names);
    } else if (!field->is_repeated()) {
      names->push_back({EnvironmentNameOf(field_path), field_path});
    }
  }
}

// LARDER_<section>_...: meant for a setting.
bool BeginsLikeASection(const std::string& variable) {
  const pb::Descriptor* const type = config::v1::Config::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    if (variable.starts_with(EnvironmentNameOf(type->field(i)->name()) + "_")) return true;
  }
  return false;
}

bool IsOfKubernetes(const std::string& variable) {
  return variable.ends_with("_SERVICE_HOST") || absl::StrContains(variable, "_SERVICE_PORT") ||
         variable.ends_with("_PORT") || absl::StrContains(variable, "_PORT_");
}

}  // namespace

std::string EnvironmentNameOf(const std::string& path) {
  std::string name = absl::StrCat(kPrefix, absl::AsciiStrToUpper(path));
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

const std::vector<EnvironmentName>& EnvironmentNames() {
  static const auto* const names = [] {
    auto* const all = new std::vector<EnvironmentName>;
    AddNames(config::v1::Config::descriptor(), "", all);
    return all;
  }();
  return *names;
}

void ApplyEnvironment(const std::vector<std::pair<std::string, std::string>>& environment,
                      Node* root, Problems* problems) {
  for (const auto& [variable, text] : environment) {
    if (!variable.starts_with(kPrefix) || text.empty()) continue;
    const Source at{.kind = Source::Kind::kEnvironment, .label = variable};
    const auto& names = EnvironmentNames();
    const auto found = std::find_if(names.begin(), names.end(), [&](const EnvironmentName& n) {
      return n.variable == variable;
    });
    if (found != names.end()) {
      SetAt(absl::StrSplit(found->path, '.'), Node(Node::Kind::kScalar, at, text), at, root);
    } else if (BeginsLikeASection(variable) && !IsOfKubernetes(variable)) {
      std::vector<std::string_view> known;
      for (const EnvironmentName& name : names) known.push_back(name.variable);
      const std::optional<std::string> near = Suggest(variable, known);
      const std::string hint =
          near ? absl::StrCat("; did you mean ", *near, "?")
               : std::string("; lists, origins and data types cannot be set from the environment");
      problems->Add(at, absl::StrCat("the variable names no setting", hint));
    }
  }
}

void ApplyOverrides(const std::vector<std::pair<std::string, std::string>>& overrides, Node* root,
                    Problems* problems) {
  for (const auto& [path, text] : overrides) {
    const Source at{.kind = Source::Kind::kSet, .label = path};
    const std::vector<std::string> names = absl::StrSplit(path, '.');
    if (std::find(names.begin(), names.end(), "") != names.end()) {
      problems->Add(at, "is no path; write it like types.user.ttl.base=10m");
      continue;
    }
    const FieldDescriptor* const field = FieldOf(names);
    const bool single = field != nullptr && !field->is_repeated() && !IsSection(field);
    const bool yaml = !single && (text.starts_with('[') || text.starts_with('{'));
    Node value(Node::Kind::kScalar, at, text);
    if (yaml) value = ParseYaml(text, at, problems);
    SetAt(names, std::move(value), at, root);
  }
}

}  // namespace larder
