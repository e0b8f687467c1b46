// What each RPC needs of its caller: the one list that the server checks, the tests go through and
// docs/security.md tells. An RPC that is not in it is denied wherever callers are known.
// Thread safety: constants and functions without state.

#ifndef LARDER_RPC_ACCESS_NEEDS_H_
#define LARDER_RPC_ACCESS_NEEDS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message.h"
#include "policy/type_table.h"
#include "rpc/access_table.h"

namespace larder {

// One thing that a call needs. What does not apply is empty. Refers to the request.
struct AccessNeed {
  enum class Kind : uint8_t {
    kKey,        // `name`, of `type` or, where that is empty, of the type that the key has
    kPrefix,     // every key that begins with `name`
    kGlob,       // every key that matches `name`
    kType,       // every key of `type`
    kNamespace,  // every key of the namespace
    kFiltered,   // what is of the namespace, of `type` and begins with `name`; empty: of any
    kSomething,  // whatever it be, in the namespace, or in any where that is not named
    kAll,        // everything everywhere
  };
  Kind kind = Kind::kSomething;
  Permission permission = Permission::kAdmin;
  std::string_view name_space = {};
  std::string_view type = {};
  std::string_view name = {};
};

// `write order:7 in namespace "shop"`: what the caller may not, in words.
std::string InWords(const AccessNeed& need);

// Asks what one caller may do, and remembers the last question.
class AccessAsker {
 public:
  AccessAsker(const KnownCaller& caller, const TypeTable& types) : caller_(caller), types_(types) {}

  bool Key(Permission permission, std::string_view name_space, std::string_view type,
           std::string_view key) {
    last_ = {AccessNeed::Kind::kKey, permission, name_space, type, key};
    return caller_.Any([&](const Grant& grant) {
      return grant.AllowsKey(permission, name_space, type, key, types_);
    });
  }
  bool Prefix(Permission permission, std::string_view name_space, std::string_view prefix);
  bool Glob(Permission permission, std::string_view name_space, std::string_view glob);
  bool Type(Permission permission, std::string_view name_space, std::string_view type);
  bool Namespace(Permission permission, std::string_view name_space);
  // Something in the namespace.
  bool In(Permission permission, std::string_view name_space);
  // Something of the type; something.
  bool SomeOf(Permission permission, std::string_view type);
  bool Some(Permission permission);
  // What a filter leaves. Here empty stands for any.
  bool Filtered(Permission permission, std::string_view name_space, std::string_view type,
                std::string_view prefix);
  // Everything; `name_space` is for the audit.
  bool All(Permission permission, std::string_view name_space);

  const AccessNeed& last() const { return last_; }

 private:
  const KnownCaller& caller_;
  const TypeTable& types_;
  AccessNeed last_;
};

struct RpcAccess {
  std::string_view path;  // "/larder.v1.Cache/Get"
  // For people: which permission, and for what. docs/security.md says the same.
  std::string_view permission;
  std::string_view scope;
  // Asks for all that `request` needs; false: something of it, the last that was asked for, is not
  // allowed.
  bool (*ask)(const google::protobuf::Message& request, AccessAsker* asker);
  // An act that is written down each time.
  bool is_act = false;
  // Its answer leaves out what the caller may not see.
  bool is_filtered = false;
  // For everybody, known or not.
  bool is_open = false;
};

// Null: the RPC is not in the list.
const RpcAccess* RpcAccessOf(std::string_view path);
const std::vector<RpcAccess>& AllRpcAccess();

// Of health and reflection.
const RpcAccess* OpenAccess();

}  // namespace larder

#endif  // LARDER_RPC_ACCESS_NEEDS_H_
