#include "auth.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

using Strings = google::protobuf::RepeatedPtrField<std::string>;

std::vector<std::string> ListOf(const Strings& strings) { return {strings.begin(), strings.end()}; }

AccessRole RoleOf(const config::v1::Role& from) {
  AccessRole role{.namespaces = ListOf(from.namespaces()),
                  .types = ListOf(from.types()),
                  .prefixes = ListOf(from.prefixes())};
  for (const Permission permission :
       {Permission::kRead, Permission::kWrite, Permission::kInvalidate, Permission::kAdmin}) {
    const std::string_view name = PermissionName(permission);
    if (std::find(from.allow().begin(), from.allow().end(), name) != from.allow().end())
      role.allow.push_back(permission);
  }
  return role;
}

// REQUIRES: 64 hexadecimal digits.
Sha256Sum SumOf(const std::string& digits) {
  const std::string bytes = absl::HexStringToBytes(digits);
  Sha256Sum sum{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), sum.size()), sum.begin());
  return sum;
}

}  // namespace

std::shared_ptr<const AccessTable> AccessTableOf(const config::v1::Config& config) {
  AccessTable::Spec spec;
  for (const auto& [name, role] : config.auth().roles()) spec.roles.emplace(name, RoleOf(role));
  for (const auto& [name, from] : config.auth().callers()) {
    AccessCaller& caller = spec.callers.emplace_back();
    caller.name = name;
    caller.roles = ListOf(from.roles());
    caller.certificates = ListOf(from.certificates());
    for (const std::string& sum : from.token_sha256()) caller.token_sums.push_back(SumOf(sum));
  }
  spec.anonymous = ListOf(config.auth().anonymous());
  return AccessTable::Make(spec);
}

}  // namespace larder
