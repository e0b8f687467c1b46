// AccessTable knows the callers of one configuration and what each of them may do. Immutable once
// made; a reload makes a new one. Thread safety: any method, any thread. Never blocks.
//
// Bytes are compared as they are: nothing is unescaped, folded or normalized, because nothing below
// does that either. What is not allowed is denied.

#ifndef LARDER_RPC_ACCESS_TABLE_H_
#define LARDER_RPC_ACCESS_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "policy/type_table.h"

namespace larder {

enum class Permission : uint8_t { kRead, kWrite, kInvalidate, kAdmin };
inline constexpr size_t kPermissions = 4;

// `read`, `write`, `invalidate`, `admin`.
std::string_view PermissionName(Permission permission);

// A SHA-256 sum, and the one of some bytes.
using Sha256Sum = std::array<unsigned char, 32>;
Sha256Sum Sha256Of(std::string_view bytes);

// What may be done, as the configuration says it.
struct AccessRole {
  std::vector<std::string> namespaces = {};  // `*`: all of them
  std::vector<std::string> types = {};       // none: all
  std::vector<std::string> prefixes = {};    // of keys; none: all keys
  std::vector<Permission> allow = {};
};

// Who may do it.
struct AccessCaller {
  std::string name = {};
  std::vector<std::string> roles = {};
  std::vector<Sha256Sum> token_sums = {};
  std::vector<std::string> certificates = {};
};

// One role, ready to be asked. A call is allowed when one role alone allows all that one of its
// keys or selectors needs. `types` is the table in effect, looked at only by roles that are limited
// to some types.
class Grant {
 public:
  explicit Grant(const AccessRole& role);

  // Whether it allows something in the namespace; empty is `default`.
  bool AllowsIn(Permission permission, std::string_view name_space) const {
    return Has(permission) && Covers(name_space);
  }
  // A key, of the type that a request names or, where that is empty, that the key has. A key that
  // a pattern gives a type needs that type as well: whoever may read orders does not get at a user
  // by calling it an order.
  bool AllowsKey(Permission permission, std::string_view name_space, std::string_view type,
                 std::string_view key, const TypeTable& types) const {
    return AllowsIn(permission, name_space) && (prefixes_.empty() || HasPrefixOf(key)) &&
           (types_.empty() || CoversTypeOf(key, type, types));
  }
  // Every key that begins with `prefix`.
  bool AllowsPrefix(Permission permission, std::string_view name_space,
                    std::string_view prefix) const {
    return AllowsIn(permission, name_space) && types_.empty() &&
           (prefixes_.empty() || HasPrefixOf(prefix));
  }
  // Every key of a type.
  bool AllowsType(Permission permission, std::string_view name_space, std::string_view type) const {
    return AllowsIn(permission, name_space) && prefixes_.empty() && CoversType(type);
  }
  // Every key of a namespace.
  bool AllowsAllOf(Permission permission, std::string_view name_space) const {
    return AllowsIn(permission, name_space) && types_.empty() && prefixes_.empty();
  }
  // What a filter leaves: of one namespace or, where none is named, of all; of one type or any; of
  // the keys that begin with `prefix` or all.
  bool AllowsFiltered(Permission permission, std::string_view name_space, std::string_view type,
                      std::string_view prefix) const {
    return Has(permission) && (name_space.empty() ? all_namespaces_ : Covers(name_space)) &&
           (types_.empty() || (!type.empty() && CoversType(type))) &&
           (prefixes_.empty() || (!prefix.empty() && HasPrefixOf(prefix)));
  }
  // Everything everywhere.
  bool AllowsAll(Permission permission) const {
    return Has(permission) && all_namespaces_ && types_.empty() && prefixes_.empty();
  }

  bool Has(Permission permission) const {
    return (allow_ & (1u << static_cast<unsigned>(permission))) != 0;
  }
  bool CoversType(std::string_view type) const;

 private:
  bool Covers(std::string_view name_space) const;
  bool HasPrefixOf(std::string_view key) const;
  bool CoversTypeOf(std::string_view key, std::string_view requested, const TypeTable& types) const;

  unsigned allow_ = 0;
  bool all_namespaces_ = false;
  // Sorted.
  std::vector<std::string> namespaces_;
  std::vector<std::string> types_;
  // Sorted, and none begins with another one: so only one of them can be the beginning of a key.
  std::vector<std::string> prefixes_;
};

// One caller, known by name.
struct KnownCaller {
  std::string name;
  std::vector<const Grant*> grants;  // the table's

  template <typename Test>  // bool(const Grant&)
  bool Any(const Test& test) const {
    for (const Grant* const grant : grants) {
      if (test(*grant)) return true;
    }
    return false;
  }
  bool IsAdmin() const {
    return Any([](const Grant& grant) { return grant.AllowsAll(Permission::kAdmin); });
  }
};

class AccessTable {
 public:
  struct Spec {
    absl::flat_hash_map<std::string, AccessRole> roles = {};
    std::vector<AccessCaller> callers = {};
    // Roles of those who show neither a certificate nor a token; none: they are not let in.
    std::vector<std::string> anonymous = {};
  };

  // Null where there are no callers: then everybody may do everything. REQUIRES: the names of roles
  // exist, and no token or certificate is two callers'.
  static std::shared_ptr<const AccessTable> Make(const Spec& spec);

  AccessTable(const AccessTable&) = delete;
  AccessTable& operator=(const AccessTable&) = delete;

  // Null: nobody has it. The sums are compared in constant time.
  const KnownCaller* ByToken(std::string_view token) const;
  const KnownCaller* ByCertificate(std::string_view name) const;
  // Null: calls of nobody are not let in.
  const KnownCaller* anonymous() const { return anonymous_.get(); }

 private:
  struct Token {
    Sha256Sum sum;
    const KnownCaller* caller;
  };

  AccessTable() = default;
  std::unique_ptr<const KnownCaller> NewCaller(const std::string& name,
                                               const std::vector<std::string>& roles) const;

  absl::flat_hash_map<std::string, std::unique_ptr<const Grant>> grants_;
  std::vector<std::unique_ptr<const KnownCaller>> callers_;
  absl::flat_hash_map<uint64_t, std::vector<Token>> tokens_;  // by the beginning of their sum
  absl::flat_hash_map<std::string, const KnownCaller*> certificates_;
  std::unique_ptr<const KnownCaller> anonymous_;
};

// What one caller may see, for answers that leave out the rest. Holds the table.
class AccessView {
 public:
  AccessView(std::shared_ptr<const AccessTable> table, const KnownCaller* caller,
             const TypeTable* types)
      : table_(std::move(table)), caller_(caller), types_(types) {}

  bool IsAdmin() const { return caller_->IsAdmin(); }
  // Every key of every namespace.
  bool ReadsAll() const;
  // Something of it.
  bool ReadsIn(std::string_view name_space) const;
  bool ReadsType(std::string_view type) const;
  bool ReadsKey(std::string_view name_space, std::string_view type, std::string_view key) const;

 private:
  const std::shared_ptr<const AccessTable> table_;
  const KnownCaller* const caller_;
  const TypeTable* const types_;
};

}  // namespace larder

#endif  // LARDER_RPC_ACCESS_TABLE_H_
