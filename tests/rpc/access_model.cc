#include "tests/rpc/access_model.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder {
namespace {

using google::protobuf::Message;
using P = Permission;
using Roles = AccessRoles;
using Way = AccessWay;

bool Begins(const std::string& text, const std::string& with) {
  return text.compare(0, with.size(), with) == 0;
}
bool Holds(const std::vector<std::string>& list, const std::string& one) {
  return std::find(list.begin(), list.end(), one) != list.end();
}

// The model.

bool Allows(const AccessRole& role, P permission, const std::string& name_space) {
  const std::string name = name_space.empty() ? "default" : name_space;
  return std::find(role.allow.begin(), role.allow.end(), permission) != role.allow.end() &&
         (Holds(role.namespaces, "*") || Holds(role.namespaces, name));
}

// Empty: no pattern gives the key a type.
std::string TypeByPattern(const std::string& key) {
  if (Begins(key, "order:")) return "order";
  if (Begins(key, "user:") && key.size() > 5 && key.find(':', 5) == std::string::npos)
    return "user";
  return "";
}

bool ModelKey(const Roles& roles, P permission, const std::string& name_space,
              const std::string& type, const std::string& key) {
  for (const AccessRole& role : roles) {
    if (!Allows(role, permission, name_space)) continue;
    bool inside = role.prefixes.empty();
    for (const std::string& prefix : role.prefixes) inside = inside || Begins(key, prefix);
    if (!inside) continue;
    if (!role.types.empty()) {
      const std::string own = TypeByPattern(key);
      if (!own.empty() && !Holds(role.types, own)) continue;
      if (!type.empty() && !Holds(role.types, type)) continue;
      if (own.empty() && type.empty() && !Holds(role.types, "default")) continue;
    }
    return true;
  }
  return false;
}

// What a selector covers: `prefix` null: more than a prefix; `type` null: more than a type.
bool ModelCovers(const Roles& roles, P permission, const std::string& name_space,
                 const std::string* prefix, const std::string* type) {
  for (const AccessRole& role : roles) {
    if (!Allows(role, permission, name_space)) continue;
    if (!role.types.empty() && (type == nullptr || !Holds(role.types, *type))) continue;
    bool inside = role.prefixes.empty();
    if (prefix != nullptr) {
      for (const std::string& one : role.prefixes) inside = inside || Begins(*prefix, one);
    }
    if (inside) return true;
  }
  return false;
}

bool ModelSome(const Roles& roles, P permission, const std::string* name_space,
               const std::string* type) {
  for (const AccessRole& role : roles) {
    if (!Allows(role, permission, name_space == nullptr ? "" : *name_space) &&
        (name_space != nullptr ||
         std::find(role.allow.begin(), role.allow.end(), permission) == role.allow.end()))
      continue;
    if (type == nullptr || role.types.empty() || Holds(role.types, *type)) return true;
  }
  return false;
}

bool ModelAdmin(const Roles& roles) {
  for (const AccessRole& role : roles) {
    if (Allows(role, P::kAdmin, "") && Holds(role.namespaces, "*") && role.types.empty() &&
        role.prefixes.empty())
      return true;
  }
  return false;
}

// What a filter leaves; here empty stands for any.
bool ModelFiltered(const Roles& roles, P permission, const std::string& name_space,
                   const std::string& type, const std::string& prefix) {
  for (const AccessRole& role : roles) {
    if (!Holds(role.namespaces, "*") && (name_space.empty() || !Holds(role.namespaces, name_space)))
      continue;
    if (std::find(role.allow.begin(), role.allow.end(), permission) == role.allow.end()) continue;
    if (!role.types.empty() && !Holds(role.types, type)) continue;
    bool inside = role.prefixes.empty();
    for (const std::string& one : role.prefixes) inside = inside || Begins(prefix, one);
    if (inside) return true;
  }
  return false;
}

constexpr char kFine[] = "order:fine";

template <typename Request>
Request* As(Message* message) {
  return static_cast<Request*>(message);
}

template <typename Request>
Way OneKey(const std::string& path, P permission) {
  return {path, "",
          [](Message* m, const std::string& n, const std::string& t, const std::string& k) {
            As<Request>(m)->set_namespace_(n);
            As<Request>(m)->set_type(t);
            As<Request>(m)->set_key(k);
          },
          [permission](const Roles& r, const std::string& n, const std::string& t,
                       const std::string& k) { return ModelKey(r, permission, n, t, k); }};
}

// The odd key is the second one.
template <typename Request>
Way TwoKeys(const std::string& path, P permission) {
  return {path, "",
          [](Message* m, const std::string& n, const std::string& t, const std::string& k) {
            As<Request>(m)->set_namespace_(n);
            As<Request>(m)->set_type(t);
            As<Request>(m)->add_keys(kFine);
            As<Request>(m)->add_keys(k);
          },
          [permission](const Roles& r, const std::string& n, const std::string& t,
                       const std::string& k) {
            return ModelKey(r, permission, n, t, kFine) && ModelKey(r, permission, n, t, k);
          }};
}

template <typename Request, typename Set>
Way Selecting(
    const std::string& path, const std::string& name, Set set,
    std::function<bool(const Roles&, const std::string&, const std::string&, const std::string&)>
        allowed) {
  return {path, name,
          [set](Message* m, const std::string& n, const std::string& t, const std::string& k) {
            As<Request>(m)->set_namespace_(n);
            set(As<Request>(m), t, k);
          },
          std::move(allowed)};
}

template <typename Request>
void AddSelectors(const std::string& path, P permission, std::vector<Way>* ways) {
  using S = const std::string&;
  ways->push_back(Selecting<Request>(
      path, "keys", [](Request* m, S, S k) { m->mutable_keys()->add_keys(k); },
      [permission](const Roles& r, S n, S, S k) { return ModelKey(r, permission, n, "", k); }));
  ways->push_back(Selecting<Request>(
      path, "prefix", [](Request* m, S, S k) { m->set_prefix(k); },
      [permission](const Roles& r, S n, S, S k) {
        return ModelCovers(r, permission, n, &k, nullptr);
      }));
  ways->push_back(Selecting<Request>(
      path, "tags", [](Request* m, S, S k) { m->mutable_tags()->add_tags(k); },
      [permission](const Roles& r, S n, S, S) {
        return ModelCovers(r, permission, n, nullptr, nullptr);
      }));
  ways->push_back(Selecting<Request>(
      path, "type", [](Request* m, S t, S) { m->set_type(t); },
      [permission](const Roles& r, S n, S t, S) {
        return ModelCovers(r, permission, n, nullptr, &t);
      }));
  for (const bool all : {true, false}) {
    ways->push_back(Selecting<Request>(
        path, all ? "all" : "all: false", [all](Request* m, S, S) { m->set_all(all); },
        [permission](const Roles& r, S n, S, S) {
          return ModelCovers(r, permission, n, nullptr, nullptr);
        }));
  }
  ways->push_back(Selecting<Request>(
      path, "nothing", [](Request*, S, S) {},
      [permission](const Roles& r, S n, S, S) {
        return ModelCovers(r, permission, n, nullptr, nullptr);
      }));
}

template <typename Request>
Way ForAdmins(const std::string& name) {
  return {"/larder.v1.Admin/" + name, "",
          [](Message*, const std::string&, const std::string&, const std::string&) {},
          [](const Roles& r, const std::string&, const std::string&, const std::string&) {
            return ModelAdmin(r);
          }};
}

// Of a caller who names nothing, of one who names all, and of those in between.
template <typename Request>
void AddFiltered(const std::string& name, std::vector<Way>* ways) {
  using S = const std::string&;
  for (const bool by_type : {false, true}) {
    for (const bool by_prefix : {false, true}) {
      ways->push_back(
          {"/larder.v1.Admin/" + name, StrCat(by_type ? "type " : "", by_prefix ? "prefix" : ""),
           [=](Message* m, S n, S t, S k) {
             v1::DeadLetterFilter* const filter = As<Request>(m)->mutable_filter();
             filter->set_namespace_(n);
             if (by_type) filter->set_type(t);
             if (by_prefix) filter->set_key_prefix(k);
           },
           [=](const Roles& r, S n, S t, S k) {
             return ModelFiltered(r, P::kAdmin, n, by_type ? t : "", by_prefix ? k : "");
           }});
    }
  }
}

const std::vector<P> kAllows = {P::kRead, P::kWrite, P::kInvalidate, P::kAdmin};

}  // namespace

std::vector<Way> AllAccessWays() {
  using S = const std::string&;
  const std::string cache = "/larder.v1.Cache/";
  const std::string admin = "/larder.v1.Admin/";
  std::vector<Way> ways = {
      OneKey<v1::GetRequest>(cache + "Get", P::kRead),
      TwoKeys<v1::BatchGetRequest>(cache + "BatchGet", P::kRead),
      OneKey<v1::SetRequest>(cache + "Set", P::kWrite),
      OneKey<v1::DeleteRequest>(cache + "Delete", P::kWrite),
      TwoKeys<v1::BatchDeleteRequest>(cache + "BatchDelete", P::kWrite),
      OneKey<v1::GetOrLoadRequest>(cache + "GetOrLoad", P::kRead),
      TwoKeys<v1::BatchGetOrLoadRequest>(cache + "BatchGetOrLoad", P::kRead),
      OneKey<v1::TouchRequest>(cache + "Touch", P::kWrite),
      OneKey<v1::IncrementRequest>(cache + "Increment", P::kWrite),
      OneKey<v1::ExplainRequest>(admin + "Explain", P::kRead),
      TwoKeys<v1::WarmRequest>(admin + "Warm", P::kAdmin),
      ForAdmins<v1::PauseDeliveryRequest>("PauseDelivery"),
      ForAdmins<v1::ResumeDeliveryRequest>("ResumeDelivery"),
      ForAdmins<v1::ReloadConfigRequest>("ReloadConfig"),
      ForAdmins<v1::DrainRequest>("Drain"),
  };
  AddFiltered<v1::ListDeadLettersRequest>("ListDeadLetters", &ways);
  AddFiltered<v1::RetryDeadLettersRequest>("RetryDeadLetters", &ways);
  AddFiltered<v1::DropDeadLettersRequest>("DropDeadLetters", &ways);
  AddFiltered<v1::ExportDeadLettersRequest>("ExportDeadLetters", &ways);
  ways.push_back(
      {admin + "FlushJournal", "",
       [](Message* m, S, S t, S) { As<v1::FlushJournalRequest>(m)->set_type(t); },
       [](const Roles& r, S, S t, S) { return ModelFiltered(r, P::kAdmin, "", t, ""); }});
  ways.push_back({admin + "Warm", "type",
                  [](Message* m, S n, S t, S) {
                    As<v1::WarmRequest>(m)->set_namespace_(n);
                    As<v1::WarmRequest>(m)->set_type(t);
                  },
                  [](const Roles& r, S n, S t, S) {
                    if (!t.empty()) return ModelCovers(r, P::kAdmin, n, nullptr, &t);
                    const std::string named = n.empty() ? "default" : n;
                    return ModelSome(r, P::kAdmin, &named, nullptr);
                  }});
  AddSelectors<v1::InvalidateRequest>(cache + "Invalidate", P::kInvalidate, &ways);
  AddSelectors<v1::WatchRequest>(cache + "Watch", P::kRead, &ways);
  // The keys of the matrix hold no wildcard, and none is escaped: each is its own beginning.
  ways.push_back(Selecting<v1::InvalidateRequest>(
      cache + "Invalidate", "glob", [](v1::InvalidateRequest* m, S, S k) { m->set_glob(k + "*"); },
      [](const Roles& r, S n, S, S k) {
        const bool readable = k.find('\\') == std::string::npos && k.size() < 256;
        return ModelCovers(r, P::kInvalidate, n, readable ? &k : nullptr, nullptr);
      }));
  ways.push_back({cache + "BatchSet", "",
                  [](Message* m, S n, S t, S k) {
                    auto* const request = As<v1::BatchSetRequest>(m);
                    request->set_namespace_(n);
                    request->add_items()->set_key(kFine);
                    v1::BatchSetItem* const item = request->add_items();
                    item->set_key(k);
                    item->set_type(t);
                  },
                  [](const Roles& r, S n, S t, S k) {
                    return ModelKey(r, P::kWrite, n, "", kFine) && ModelKey(r, P::kWrite, n, t, k);
                  }});
  ways.push_back({cache + "Set", "depends_on",
                  [](Message* m, S n, S t, S k) {
                    auto* const request = As<v1::SetRequest>(m);
                    request->set_namespace_(n);
                    request->set_key(kFine);
                    request->set_type(t);
                    request->add_depends_on(k);
                  },
                  [](const Roles& r, S n, S t, S k) {
                    return ModelKey(r, P::kWrite, n, t, kFine) && ModelKey(r, P::kRead, n, "", k);
                  }});
  ways.push_back({cache + "ReleaseLease", "",
                  [](Message* m, S n, S, S k) {
                    As<v1::ReleaseLeaseRequest>(m)->set_namespace_(n);
                    As<v1::ReleaseLeaseRequest>(m)->set_key(k);
                  },
                  [](const Roles& r, S n, S, S k) { return ModelKey(r, P::kWrite, n, "", k); }});
  ways.push_back({cache + "Stats", "",
                  [](Message* m, S n, S t, S) {
                    As<v1::StatsRequest>(m)->add_namespaces(n);
                    if (!t.empty()) As<v1::StatsRequest>(m)->add_types(t);
                  },
                  [](const Roles& r, S n, S t, S) {
                    return ModelAdmin(r) || (ModelSome(r, P::kRead, &n, nullptr) &&
                                             (t.empty() || ModelSome(r, P::kRead, nullptr, &t)));
                  }});
  ways.push_back({admin + "HotKeys", "",
                  [](Message* m, S n, S t, S) {
                    As<v1::HotKeysRequest>(m)->set_namespace_(n);
                    As<v1::HotKeysRequest>(m)->set_type(t);
                  },
                  [](const Roles& r, S n, S t, S) {
                    return ModelSome(r, P::kRead, n.empty() ? nullptr : &n, nullptr) &&
                           (t.empty() || ModelSome(r, P::kRead, nullptr, &t));
                  }});
  ways.push_back({admin + "ServerInfo", "", [](Message*, S, S, S) {},
                  [](const Roles&, S, S, S) { return true; }});
  return ways;
}

std::map<std::string, Roles> AllAccessCallers() {
  std::map<std::string, Roles> callers;
  for (const P permission : kAllows) {
    const std::string name(PermissionName(permission));
    callers[name + "-everywhere"] = {{.namespaces = {"*"}, .allow = {permission}}};
    callers[name + "-shop"] = {{.namespaces = {"shop"}, .allow = {permission}}};
    callers[name + "-prefix"] = {
        {.namespaces = {"*"}, .prefixes = {"order:"}, .allow = {permission}}};
    callers[name + "-type"] = {{.namespaces = {"*"}, .types = {"order"}, .allow = {permission}}};
  }
  callers["nothing"] = {};
  callers["all"] = {{.namespaces = {"*"}, .allow = kAllows}};
  callers["default-only"] = {{.namespaces = {"default"}, .allow = kAllows}};
  callers["types"] = {
      {.namespaces = {"shop", "default"}, .types = {"order", "default"}, .allow = kAllows}};
  callers["tight"] = {{.namespaces = {"shop"},
                       .types = {"order"},
                       .prefixes = {"order:7", "order:../"},
                       .allow = kAllows}};
  callers["mixed"] = {{.namespaces = {"shop"}, .prefixes = {"user:"}, .allow = {P::kRead}},
                      {.namespaces = {"default"}, .types = {"user"}, .allow = {P::kWrite}},
                      {.namespaces = {"*"}, .prefixes = {"order:fine"}, .allow = kAllows},
                      {.namespaces = {"shop"}, .allow = {P::kInvalidate}}};
  return callers;
}

// What somebody might take for something else.
std::vector<std::string> OddKeys() {
  return {"order:7",
          "order:",
          "order",
          "Order:7",
          "ORDER:7",
          "order%3a7",
          "%6frder:7",
          "order:../user:1",
          "../order:7",
          "./order:7",
          "order:7/../../user:1",
          "order:%2e%2e/user:1",
          "order:7\x1fuser:1",
          "//order:7",
          "shop/order:7",
          "shop:order:7",
          "\x04shoporder:7",
          "\x07"
          "defaultorder:7",
          " order:7",
          "order:7 ",
          "order;7",
          "order\xEF\xBC\x9A"
          "7",
          "o\xE2\x80\x8Brder:7",
          "\xD0\xBErder:7",
          "order:caf\xC3\xA9",
          "order:cafe\xCC\x81",
          "order\\u003a7",
          "order\\x00:7",
          std::string("order:7\0user:1", 14),
          std::string("\0order:7", 8),
          "order:fine",
          "order:77",
          "order:\xFF",
          "user:1",
          "user:1:2",
          "user:",
          "user:order:7",
          "{order}:7",
          "default",
          "",
          std::string(1025, 'o')};
}
std::vector<std::string> OddNamespaces() {
  return {"",
          "default",
          "shop",
          "Shop",
          "SHOP",
          "shop ",
          " shop",
          "sho",
          "shopp",
          "*",
          "shop.",
          "../shop",
          "shop/../default",
          "shop%00",
          std::string("shop\0", 5),
          "\x04shop",
          "Default",
          "crm"};
}
std::vector<std::string> OddTypes() { return {"", "order", "user", "default", "Order", "nope"}; }

AccessTable::Spec SpecOf(const std::map<std::string, Roles>& callers) {
  AccessTable::Spec spec;
  for (const auto& [name, roles] : callers) {
    AccessCaller& caller = spec.callers.emplace_back();
    caller.name = name;
    caller.token_sums = {Sha256Of("token-" + name)};
    for (size_t i = 0; i < roles.size(); ++i) {
      caller.roles.push_back(StrCat(name, "-", i));
      spec.roles.emplace(caller.roles.back(), roles[i]);
    }
  }
  return spec;
}

}  // namespace larder
