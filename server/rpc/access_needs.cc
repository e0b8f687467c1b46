// A call with several keys is allowed when each of them is; each may be by another role. What a
// call with a selector touches cannot be listed beforehand, so one role alone must cover all that
// it could touch: a tag may be on any key, and a role that ends at some prefix or type does not
// cover that.
//
// A call without any key, an empty batch, still needs a role that allows something in the
// namespace: it is the handler that then says what is wrong with it.

#include "rpc/access_needs.h"

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "core/glob.h"
#include "core/key.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder {
namespace {

using google::protobuf::Message;

// Most bytes of a key that an error repeats.
constexpr size_t kShownBytesMax = 128;

std::string Shown(std::string_view text) {
  const std::string_view part = text.substr(0, kShownBytesMax);
  return StrCat(absl::Utf8SafeCHexEscape(ToAbsl(part)), part.size() < text.size() ? "..." : "");
}

// One key in `key`, and a type in `type`.
template <typename Request, Permission kPermission>
bool AskKey(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const Request&>(message);
  return asker->Key(kPermission, request.namespace_(), request.type(), request.key());
}

bool AskKeys(Permission permission, std::string_view name_space, std::string_view type,
             const google::protobuf::RepeatedPtrField<std::string>& keys, AccessAsker* asker) {
  if (!asker->In(permission, name_space)) return false;
  for (const std::string& key : keys) {
    if (!asker->Key(permission, name_space, type, key)) return false;
  }
  return true;
}

template <typename Request, Permission kPermission>
bool AskBatch(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const Request&>(message);
  return AskKeys(kPermission, request.namespace_(), request.type(), request.keys(), asker);
}

// Whoever makes an entry depend on a key is told by that entry when the key changes, so it needs to
// be one who may read the key.
template <typename Names>
bool AskDependencies(std::string_view name_space, const Names& depends_on, AccessAsker* asker) {
  for (const std::string& key : depends_on) {
    if (!asker->Key(Permission::kRead, name_space, "", key)) return false;
  }
  return true;
}

bool AskSet(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const v1::SetRequest&>(message);
  return asker->Key(Permission::kWrite, request.namespace_(), request.type(), request.key()) &&
         AskDependencies(request.namespace_(), request.depends_on(), asker);
}

bool AskBatchSet(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const v1::BatchSetRequest&>(message);
  if (!asker->In(Permission::kWrite, request.namespace_())) return false;
  for (const v1::BatchSetItem& item : request.items()) {
    if (!asker->Key(Permission::kWrite, request.namespace_(), item.type(), item.key()) ||
        !AskDependencies(request.namespace_(), item.depends_on(), asker))
      return false;
  }
  return true;
}

bool AskReleaseLease(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const v1::ReleaseLeaseRequest&>(message);
  return asker->Key(Permission::kWrite, request.namespace_(), "", request.key());
}

bool AskInvalidate(const Message& message, AccessAsker* asker) {
  constexpr Permission kPermission = Permission::kInvalidate;
  const auto& request = static_cast<const v1::InvalidateRequest&>(message);
  const std::string& name_space = request.namespace_();
  switch (request.selector_case()) {
    case v1::InvalidateRequest::kKeys:
      return AskKeys(kPermission, name_space, "", request.keys().keys(), asker);
    case v1::InvalidateRequest::kPrefix:
      return asker->Prefix(kPermission, name_space, request.prefix());
    case v1::InvalidateRequest::kGlob:
      return asker->Glob(kPermission, name_space, request.glob());
    case v1::InvalidateRequest::kType:
      return asker->Type(kPermission, name_space, request.type());
    default:
      return asker->Namespace(kPermission, name_space);
  }
}

bool AskWatch(const Message& message, AccessAsker* asker) {
  constexpr Permission kPermission = Permission::kRead;
  const auto& request = static_cast<const v1::WatchRequest&>(message);
  const std::string& name_space = request.namespace_();
  switch (request.selector_case()) {
    case v1::WatchRequest::kKeys:
      return AskKeys(kPermission, name_space, "", request.keys().keys(), asker);
    case v1::WatchRequest::kPrefix:
      return asker->Prefix(kPermission, name_space, request.prefix());
    case v1::WatchRequest::kType:
      return asker->Type(kPermission, name_space, request.type());
    default:
      return asker->Namespace(kPermission, name_space);
  }
}

// Whoever operates the server sees its figures, whether or not they may read keys.
bool AskStats(const Message& message, AccessAsker* asker) {
  if (asker->All(Permission::kAdmin, "")) return true;
  const auto& request = static_cast<const v1::StatsRequest&>(message);
  for (const std::string& name : request.namespaces()) {
    if (!asker->In(Permission::kRead, name)) return false;
  }
  for (const std::string& type : request.types()) {
    if (!asker->SomeOf(Permission::kRead, type)) return false;
  }
  return asker->Some(Permission::kRead);
}

bool AskHotKeys(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const v1::HotKeysRequest&>(message);
  // Here an empty name stands for every namespace.
  if (!request.namespace_().empty() && !asker->In(Permission::kRead, request.namespace_()))
    return false;
  if (!request.type().empty() && !asker->SomeOf(Permission::kRead, request.type())) return false;
  return asker->Some(Permission::kRead);
}

bool AskNothing(const Message&, AccessAsker*) { return true; }

bool AskAdmin(const Message&, AccessAsker* asker) { return asker->All(Permission::kAdmin, ""); }

bool AskWarm(const Message& message, AccessAsker* asker) {
  constexpr Permission kPermission = Permission::kAdmin;
  const auto& request = static_cast<const v1::WarmRequest&>(message);
  if (!request.keys().empty())
    return AskKeys(kPermission, request.namespace_(), request.type(), request.keys(), asker);
  if (request.type().empty()) return asker->In(kPermission, request.namespace_());
  return asker->Type(kPermission, request.namespace_(), request.type());
}

// Writes of every namespace wait in one journal.
bool AskFlush(const Message& message, AccessAsker* asker) {
  const auto& request = static_cast<const v1::FlushJournalRequest&>(message);
  return asker->Filtered(Permission::kAdmin, "", request.type(), "");
}

// Of a letter that type counts as which it was written.
template <typename Request>
bool AskLetters(const Message& message, AccessAsker* asker) {
  const v1::DeadLetterFilter& filter = static_cast<const Request&>(message).filter();
  return asker->Filtered(Permission::kAdmin, filter.namespace_(), filter.type(),
                         filter.key_prefix());
}

constexpr char kTheKey[] = "the key";
constexpr char kEachKey[] = "each key";
constexpr char kTheServer[] = "everything";

constexpr char kFilter[] = "what the filter leaves";

constexpr RpcAccess Act(std::string_view path, std::string_view scope = kTheServer,
                        bool (*ask)(const Message&, AccessAsker*) = AskAdmin) {
  return {path, "admin", scope, ask, /*is_act=*/true};
}

}  // namespace

const std::vector<RpcAccess>& AllRpcAccess() {
  using P = Permission;
  static const auto* const all = new std::vector<RpcAccess>{
      {"/larder.v1.Cache/Get", "read", kTheKey, AskKey<v1::GetRequest, P::kRead>},
      {"/larder.v1.Cache/BatchGet", "read", kEachKey, AskBatch<v1::BatchGetRequest, P::kRead>},
      {"/larder.v1.Cache/Set", "write", "the key; read of each key that it depends on", AskSet},
      {"/larder.v1.Cache/BatchSet", "write", "each key; read of each key that one depends on",
       AskBatchSet},
      {"/larder.v1.Cache/Delete", "write", kTheKey, AskKey<v1::DeleteRequest, P::kWrite>},
      {"/larder.v1.Cache/BatchDelete", "write", kEachKey,
       AskBatch<v1::BatchDeleteRequest, P::kWrite>},
      {"/larder.v1.Cache/Invalidate", "invalidate", "what the selector covers", AskInvalidate},
      {"/larder.v1.Cache/GetOrLoad", "read", kTheKey, AskKey<v1::GetOrLoadRequest, P::kRead>},
      {"/larder.v1.Cache/BatchGetOrLoad", "read", kEachKey,
       AskBatch<v1::BatchGetOrLoadRequest, P::kRead>},
      {"/larder.v1.Cache/ReleaseLease", "write", kTheKey, AskReleaseLease},
      {"/larder.v1.Cache/Touch", "write", kTheKey, AskKey<v1::TouchRequest, P::kWrite>},
      {"/larder.v1.Cache/Increment", "write", kTheKey, AskKey<v1::IncrementRequest, P::kWrite>},
      {"/larder.v1.Cache/Watch", "read", "what the selector covers", AskWatch},
      {"/larder.v1.Cache/Stats", "read", "something; the answer holds what may be seen", AskStats,
       /*is_act=*/false, /*is_filtered=*/true},
      {"/larder.v1.Admin/ServerInfo", "none", "any known caller", AskNothing},
      {"/larder.v1.Admin/Explain", "read", kTheKey, AskKey<v1::ExplainRequest, P::kRead>},
      {"/larder.v1.Admin/HotKeys", "read", "something; the answer holds what may be seen",
       AskHotKeys, /*is_act=*/false, /*is_filtered=*/true},
      Act("/larder.v1.Admin/Warm", "each key, or all of the type in the namespace", AskWarm),
      Act("/larder.v1.Admin/FlushJournal", "all of the type in every namespace", AskFlush),
      Act("/larder.v1.Admin/PauseDelivery"),
      Act("/larder.v1.Admin/ResumeDelivery"),
      Act("/larder.v1.Admin/ListDeadLetters", kFilter, AskLetters<v1::ListDeadLettersRequest>),
      Act("/larder.v1.Admin/RetryDeadLetters", kFilter, AskLetters<v1::RetryDeadLettersRequest>),
      Act("/larder.v1.Admin/DropDeadLetters", kFilter, AskLetters<v1::DropDeadLettersRequest>),
      Act("/larder.v1.Admin/ExportDeadLetters", kFilter, AskLetters<v1::ExportDeadLettersRequest>),
      Act("/larder.v1.Admin/ReloadConfig"),
      Act("/larder.v1.Admin/Drain"),
  };
  return *all;
}

const RpcAccess* RpcAccessOf(std::string_view path) {
  for (const RpcAccess& access : AllRpcAccess()) {
    if (access.path == path) return &access;
  }
  return nullptr;
}

const RpcAccess* OpenAccess() {
  static const RpcAccess open{"",
                              "none",
                              "everybody",
                              AskNothing,
                              /*is_act=*/false,
                              /*is_filtered=*/false,
                              /*is_open=*/true};
  return &open;
}

std::string InWords(const AccessNeed& need) {
  const std::string_view permission = PermissionName(need.permission);
  const std::string in =
      StrCat(" in namespace \"",
             Shown(need.name_space.empty() ? kDefaultNamespace : need.name_space), "\"");
  switch (need.kind) {
    case AccessNeed::Kind::kKey:
      return StrCat(permission, " ", Shown(need.name), in,
                    need.type.empty() ? "" : StrCat(" as type \"", Shown(need.type), "\""));
    case AccessNeed::Kind::kPrefix:
      return StrCat(permission, " all that begins with \"", Shown(need.name), "\"", in);
    case AccessNeed::Kind::kGlob:
      return StrCat(permission, " all that matches \"", Shown(need.name), "\"", in);
    case AccessNeed::Kind::kType:
      return StrCat(permission, " all of type \"", Shown(need.type), "\"", in);
    case AccessNeed::Kind::kNamespace:
      return StrCat(permission, " everything", in);
    case AccessNeed::Kind::kFiltered:
      return StrCat(permission, " everything",
                    need.type.empty() ? "" : StrCat(" of type \"", Shown(need.type), "\""),
                    need.name.empty() ? "" : StrCat(" that begins with \"", Shown(need.name), "\""),
                    need.name_space.empty() ? " in every namespace" : in);
    case AccessNeed::Kind::kSomething:
      if (!need.type.empty()) return StrCat(permission, " type \"", Shown(need.type), "\"");
      if (need.name_space.empty()) return StrCat(permission, " anything");
      return StrCat(permission, in);
    case AccessNeed::Kind::kAll:
      return StrCat("use what needs ", permission, " of everything");
  }
  return "";
}

bool AccessAsker::Prefix(Permission permission, std::string_view name_space,
                         std::string_view prefix) {
  last_ = {AccessNeed::Kind::kPrefix, permission, name_space, "", prefix};
  return caller_.Any(
      [&](const Grant& grant) { return grant.AllowsPrefix(permission, name_space, prefix); });
}

// Keys that match begin with what stands before the first wildcard. A pattern that cannot be read
// could match anything.
bool AccessAsker::Glob(Permission permission, std::string_view name_space, std::string_view glob) {
  if (Namespace(permission, name_space)) return true;
  const absl::StatusOr<larder::Glob> parsed = larder::Glob::Parse(glob);
  const bool allowed =
      Prefix(permission, name_space, parsed.ok() ? parsed->literal_prefix() : std::string());
  last_ = {AccessNeed::Kind::kGlob, permission, name_space, "", glob};
  return allowed;
}

bool AccessAsker::Type(Permission permission, std::string_view name_space, std::string_view type) {
  last_ = {AccessNeed::Kind::kType, permission, name_space, type, ""};
  return caller_.Any(
      [&](const Grant& grant) { return grant.AllowsType(permission, name_space, type); });
}

bool AccessAsker::Namespace(Permission permission, std::string_view name_space) {
  last_ = {AccessNeed::Kind::kNamespace, permission, name_space, "", ""};
  return caller_.Any([&](const Grant& grant) { return grant.AllowsAllOf(permission, name_space); });
}

bool AccessAsker::In(Permission permission, std::string_view name_space) {
  last_ = {AccessNeed::Kind::kSomething, permission,
           name_space.empty() ? kDefaultNamespace : name_space, "", ""};
  return caller_.Any([&](const Grant& grant) { return grant.AllowsIn(permission, name_space); });
}

bool AccessAsker::SomeOf(Permission permission, std::string_view type) {
  last_ = {AccessNeed::Kind::kSomething, permission, "", type, ""};
  return caller_.Any(
      [&](const Grant& grant) { return grant.Has(permission) && grant.CoversType(type); });
}

bool AccessAsker::Some(Permission permission) {
  last_ = {AccessNeed::Kind::kSomething, permission, "", "", ""};
  return caller_.Any([&](const Grant& grant) { return grant.Has(permission); });
}

bool AccessAsker::Filtered(Permission permission, std::string_view name_space,
                           std::string_view type, std::string_view prefix) {
  last_ = {AccessNeed::Kind::kFiltered, permission, name_space, type, prefix};
  return caller_.Any([&](const Grant& grant) {
    return grant.AllowsFiltered(permission, name_space, type, prefix);
  });
}

bool AccessAsker::All(Permission permission, std::string_view name_space) {
  last_ = {AccessNeed::Kind::kAll, permission, name_space, "", ""};
  return caller_.Any([&](const Grant& grant) { return grant.AllowsAll(permission); });
}

}  // namespace larder
