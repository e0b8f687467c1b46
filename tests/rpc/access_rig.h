// Callers, types and calls for the tests of who may do what.

#ifndef LARDER_TESTS_RPC_ACCESS_RIG_H_
#define LARDER_TESTS_RPC_ACCESS_RIG_H_

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "policy/type_table.h"
#include "rpc/access.h"
#include "rpc/access_table.h"
#include "rpc/methods.h"

namespace larder {

// A call of a lane that only notes the answer.
class AccessCall : public Call {
 public:
  explicit AccessCall(const Method* method) : Call(method) { MakeMessages(); }

  void Answer(const absl::Status& status) override { answer = status; }
  std::string_view Metadata(std::string_view name) const override {
    return name == "authorization" ? std::string_view(authorization) : std::string_view();
  }
  std::string_view PeerName() const override { return certificate; }
  std::string PeerAddress() const override { return "192.0.2.1:1234"; }

  std::string authorization;
  std::string certificate;
  std::optional<absl::Status> answer;
};

// Types `order` (order:*), `user` (user:{id}) and `default`.
inline std::shared_ptr<TypeTable> AccessTypes() {
  TypePolicy order;
  order.name = "order";
  order.match.push_back(*Pattern::Parse("order:*"));
  TypePolicy user;
  user.name = "user";
  user.match.push_back(*Pattern::Parse("user:{id}"));
  return *TypeTable::Make({order, user});
}

// One caller for each role, of its name, with the token `token-NAME` and the certificate
// `cert-NAME`.
inline AccessTable::Spec OneCallerEach(const std::map<std::string, AccessRole>& roles) {
  AccessTable::Spec spec;
  for (const auto& [name, role] : roles) {
    spec.roles.emplace(name, role);
    spec.callers.push_back({.name = name,
                            .roles = {name},
                            .token_sums = {Sha256Of("token-" + name)},
                            .certificates = {"cert-" + name}});
  }
  return spec;
}

inline const Method& MethodOf(const MethodTable& methods, const std::string& path) {
  for (const Method& method : methods.methods()) {
    if (method.path == path) return method;
  }
  std::abort();
}

// What Check says, in a word: `ok`, or the reason of its error.
inline std::string Verdict(const absl::Status& status) {
  return status.ok() ? "ok" : DetailsOf(status).reason;
}

}  // namespace larder

#endif  // LARDER_TESTS_RPC_ACCESS_RIG_H_
