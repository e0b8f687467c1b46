// What the matrix of who may do what is made of: callers, odd namespaces, types and keys, the ways
// to call each RPC, and a model that says which of it is allowed. The model shares no code with
// what is tested: it knows nothing of sorted prefixes, hashes or patterns.

#ifndef LARDER_TESTS_RPC_ACCESS_MODEL_H_
#define LARDER_TESTS_RPC_ACCESS_MODEL_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "rpc/access_table.h"

namespace larder {

using AccessRoles = std::vector<AccessRole>;

// One way to call an RPC.
struct AccessWay {
  std::string path;
  std::string name;
  std::function<void(google::protobuf::Message*, const std::string& name_space,
                     const std::string& type, const std::string& key)>
      fill;
  std::function<bool(const AccessRoles&, const std::string& name_space, const std::string& type,
                     const std::string& key)>
      allowed;
};

// Every RPC, in every form.
std::vector<AccessWay> AllAccessWays();
// By name; each has the token `token-NAME`.
std::map<std::string, AccessRoles> AllAccessCallers();
AccessTable::Spec SpecOf(const std::map<std::string, AccessRoles>& callers);

// What somebody might take for something else.
std::vector<std::string> OddKeys();
std::vector<std::string> OddNamespaces();
std::vector<std::string> OddTypes();

}  // namespace larder

#endif  // LARDER_TESTS_RPC_ACCESS_MODEL_H_
