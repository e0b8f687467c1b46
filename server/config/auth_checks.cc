#include "config/auth_checks.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "config/checker.h"
#include "config/problem.h"
#include "core/key.h"
#include "core/suggest.h"
#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

constexpr char kAll[] = "*";
// There, whether or not the file says something of it.
constexpr char kDefaultType[] = "default";

class AuthChecks : private Checker {
 public:
  AuthChecks(const Reading& reading, Problems* problems)
      : Checker(reading, problems), reading_(reading), auth_(reading.proto.auth()) {}

  void Run() {
    // Maps of protobuf have no order, and problems are to have one.
    for (const auto& [name, role] : std::map(auth_.roles().begin(), auth_.roles().end()))
      CheckRole(role, absl::StrCat("auth.roles.", name));
    for (const auto& [name, caller] : std::map(auth_.callers().begin(), auth_.callers().end()))
      CheckCaller(caller, absl::StrCat("auth.callers.", name));
    CheckRoleNames(auth_.anonymous(), "auth.anonymous");
    for (int i = 0; i < reading_.proto.quotas_size(); ++i) {
      KnownOnce(reading_.proto.quotas(i).namespace_(), absl::StrCat("quotas[", i, "].namespace"),
                &quotas_);
    }
    if (auth_.callers().empty() && !auth_.roles().empty()) {
      Add({"auth.roles"},
          "auth.roles says what may be done, and auth.callers nobody who may do it: without "
          "callers everybody may do everything");
    }
  }

 private:
  using Strings = google::protobuf::RepeatedPtrField<std::string>;

  void CheckRole(const config::v1::Role& role, const std::string& path) {
    if (role.namespaces().empty() && !Broken(path + ".namespaces"))
      Add({path}, absl::StrCat(path, " allows nothing: it has no namespaces; \"*\" is all"));
    if (role.allow().empty() && !Broken(path + ".allow"))
      Add({path}, absl::StrCat(path, " allows nothing: `allow` is empty"));
    for (int i = 0; i < role.namespaces_size(); ++i) {
      const std::string& name = role.namespaces(i);
      if (name != kAll && (name.empty() || !CheckNamespace(name).ok()))
        Refuse(absl::StrCat(path, ".namespaces[", i, "]"), name, "is no namespace");
    }
    for (int i = 0; i < role.types_size(); ++i) {
      const std::string& name = role.types(i);
      if (name == kDefaultType || reading_.proto.types().contains(name)) continue;
      const auto near = Suggest(name, {reading_.type_names.begin(), reading_.type_names.end()});
      Refuse(absl::StrCat(path, ".types[", i, "]"), name,
             near ? absl::StrCat("is no type; did you mean ", Quoted(*near), "?") : "is no type");
    }
    for (int i = 0; i < role.prefixes_size(); ++i) {
      if (!CheckKey(role.prefixes(i)).ok()) {
        Refuse(absl::StrCat(path, ".prefixes[", i, "]"), role.prefixes(i),
               "is nothing that a key begins with");
      }
    }
  }

  void CheckCaller(const config::v1::Caller& caller, const std::string& path) {
    CheckRoleNames(caller.roles(), path + ".roles");
    if (caller.token_sha256().empty() && caller.certificates().empty() &&
        !Broken(path + ".token_sha256") && !Broken(path + ".certificates")) {
      Add({path}, absl::StrCat(path,
                               " cannot be known: it has neither token_sha256 nor "
                               "certificates"));
    }
    for (int i = 0; i < caller.token_sha256_size(); ++i) {
      KnownOnce(absl::AsciiStrToLower(caller.token_sha256(i)),
                absl::StrCat(path, ".token_sha256[", i, "]"), &tokens_);
    }
    for (int i = 0; i < caller.certificates_size(); ++i) {
      const std::string here = absl::StrCat(path, ".certificates[", i, "]");
      if (caller.certificates(i).empty()) Refuse(here, "", "is no name of a certificate");
      KnownOnce(caller.certificates(i), here, &certificates_);
      if (reading_.proto.listen().tls().client_ca_file().empty()) {
        Add({here}, absl::StrCat(here,
                                 " is never shown: certificates of clients are only asked "
                                 "for with listen.tls.client_ca_file"));
      }
    }
  }

  void CheckRoleNames(const Strings& names, const std::string& path) {
    std::vector<std::string> known;
    for (const auto& [name, role] : auth_.roles()) known.push_back(name);
    for (int i = 0; i < names.size(); ++i) {
      if (auth_.roles().contains(names[i])) continue;
      const auto near = Suggest(names[i], {known.begin(), known.end()});
      Refuse(absl::StrCat(path, "[", i, "]"), names[i],
             near ? absl::StrCat("is no role; did you mean ", Quoted(*near), "?") : "is no role");
    }
  }

  void Refuse(const std::string& path, const std::string& text, const std::string& why) {
    Add({path}, absl::StrCat(path, ": ", Quoted(text), " ", why));
  }

  // What is shown tells one caller alone, and a quota is of one namespace. It is not repeated: it
  // may be a secret.
  void KnownOnce(const std::string& shown, const std::string& path,
                 std::map<std::string, std::string>* all) {
    const auto [first, added] = all->emplace(shown, path);
    if (!added) Add({path}, absl::StrCat(path, " is the same as ", first->second));
  }

  const Reading& reading_;
  const config::v1::Auth& auth_;
  std::map<std::string, std::string> tokens_;        // to their path
  std::map<std::string, std::string> certificates_;  // to their path
  std::map<std::string, std::string> quotas_;        // to their path
};

}  // namespace

void CheckAuth(const Reading& reading, Problems* problems) { AuthChecks(reading, problems).Run(); }

}  // namespace larder
