// A token's sum is looked up by its first eight bytes and then compared as a whole in constant
// time. Whoever measures how long the look-up takes learns something of sums, which are in a file,
// and nothing of the token: to make one with a given beginning of its sum is as much work as ever.

#include "rpc/access_table.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/strings.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr char kAllNamespaces[] = "*";
constexpr char kAnonymous[] = "anonymous";

std::string_view NameOf(std::string_view name_space) {
  return name_space.empty() ? kDefaultNamespace : name_space;
}

bool Holds(const std::vector<std::string>& sorted, std::string_view name) {
  // Most roles are of one or two.
  if (sorted.size() <= 2) return std::find(sorted.begin(), sorted.end(), name) != sorted.end();
  return std::binary_search(sorted.begin(), sorted.end(), name);
}

uint64_t BeginningOf(const Sha256Sum& sum) {
  uint64_t beginning;
  std::memcpy(&beginning, sum.data(), sizeof(beginning));
  return beginning;
}

}  // namespace

std::string_view PermissionName(Permission permission) {
  switch (permission) {
    case Permission::kRead:
      return "read";
    case Permission::kWrite:
      return "write";
    case Permission::kInvalidate:
      return "invalidate";
    case Permission::kAdmin:
      return "admin";
  }
  return "";
}

Sha256Sum Sha256Of(std::string_view bytes) {
  Sha256Sum sum;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), sum.data());
  return sum;
}

Grant::Grant(const AccessRole& role) : types_(role.types) {
  std::sort(types_.begin(), types_.end());
  for (const Permission permission : role.allow) allow_ |= 1u << static_cast<unsigned>(permission);
  for (const std::string& name : role.namespaces) {
    if (name == kAllNamespaces) {
      all_namespaces_ = true;
    } else {
      namespaces_.push_back(name);
    }
  }
  std::sort(namespaces_.begin(), namespaces_.end());
  std::vector<std::string> prefixes = role.prefixes;
  std::sort(prefixes.begin(), prefixes.end());
  for (std::string& prefix : prefixes) {
    if (prefixes_.empty() || !prefix.starts_with(prefixes_.back()))
      prefixes_.push_back(std::move(prefix));
  }
}

bool Grant::Covers(std::string_view name_space) const {
  return all_namespaces_ || Holds(namespaces_, NameOf(name_space));
}

bool Grant::HasPrefixOf(std::string_view key) const {
  const auto after = std::upper_bound(prefixes_.begin(), prefixes_.end(), key);
  return after != prefixes_.begin() && key.starts_with(*(after - 1));
}

bool Grant::CoversType(std::string_view type) const {
  return types_.empty() || Holds(types_, type);
}

bool Grant::CoversTypeOf(std::string_view key, std::string_view requested,
                         const TypeTable& types) const {
  const absl::StatusOr<TypeMatch> by_key = types.Resolve(key, "");
  if (!by_key.ok()) return false;
  if (requested.empty()) return CoversType(by_key->type->name);
  return CoversType(requested) &&
         (by_key->kind == TypeMatchKind::kDefault || CoversType(by_key->type->name));
}

std::unique_ptr<const KnownCaller> AccessTable::NewCaller(
    const std::string& name, const std::vector<std::string>& roles) const {
  auto caller = std::make_unique<KnownCaller>();
  caller->name = name;
  for (const std::string& role : roles) caller->grants.push_back(grants_.at(role).get());
  return caller;
}

std::shared_ptr<const AccessTable> AccessTable::Make(const Spec& spec) {
  if (spec.callers.empty()) return nullptr;
  const std::shared_ptr<AccessTable> table(new AccessTable());
  for (const auto& [name, role] : spec.roles)
    table->grants_.emplace(name, std::make_unique<Grant>(role));
  for (const AccessCaller& caller : spec.callers) {
    const KnownCaller* const known =
        table->callers_.emplace_back(table->NewCaller(caller.name, caller.roles)).get();
    for (const Sha256Sum& sum : caller.token_sums)
      table->tokens_[BeginningOf(sum)].push_back({sum, known});
    for (const std::string& name : caller.certificates) table->certificates_[name] = known;
  }
  if (!spec.anonymous.empty()) table->anonymous_ = table->NewCaller(kAnonymous, spec.anonymous);
  return table;
}

const KnownCaller* AccessTable::ByToken(std::string_view token) const {
  const Sha256Sum sum = Sha256Of(token);
  const auto found = tokens_.find(BeginningOf(sum));
  if (found == tokens_.end()) return nullptr;
  const KnownCaller* caller = nullptr;
  for (const Token& one : found->second) {
    if (CRYPTO_memcmp(one.sum.data(), sum.data(), sum.size()) == 0) caller = one.caller;
  }
  return caller;
}

const KnownCaller* AccessTable::ByCertificate(std::string_view name) const {
  const auto found = certificates_.find(ToAbsl(name));
  return found == certificates_.end() ? nullptr : found->second;
}

bool AccessView::ReadsAll() const {
  return caller_->Any([](const Grant& grant) { return grant.AllowsAll(Permission::kRead); });
}

bool AccessView::ReadsIn(std::string_view name_space) const {
  return caller_->Any(
      [&](const Grant& grant) { return grant.AllowsIn(Permission::kRead, name_space); });
}

bool AccessView::ReadsType(std::string_view type) const {
  return caller_->Any(
      [&](const Grant& grant) { return grant.Has(Permission::kRead) && grant.CoversType(type); });
}

bool AccessView::ReadsKey(std::string_view name_space, std::string_view type,
                          std::string_view key) const {
  return caller_->Any([&](const Grant& grant) {
    return grant.AllowsKey(Permission::kRead, name_space, type, key, *types_);
  });
}

}  // namespace larder
