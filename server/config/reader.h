// ReadTree gives a tree its meaning: it walks the fields of config.proto, takes each from the tree
// or its default, and reports whatever in the tree no field wants. It knows fields only by their
// rules (options.proto). Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_READER_H_
#define LARDER_CONFIG_READER_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/machine.h"
#include "config/problem.h"
#include "config/tree.h"
#include "larder/config/v1/config.pb.h"

namespace larder {

struct Reading {
  config::v1::Config proto;  // every field filled in
  // Every field that holds a value, in the order of the schema; what has names in the order of the
  // file, the type `default` last unless the file has it.
  std::vector<Setting> settings;
  std::vector<std::string> type_names;
  std::vector<std::string> origin_names;
  // Where the fields and list elements stand that the tree has, by path.
  std::map<std::string, Source> written;
  // Paths of the single values among them that are not the default.
  std::set<std::string> chosen;
  // Paths of fields that have a problem; their values are not to be believed.
  std::set<std::string> broken;
};

Reading ReadTree(const Node& root, const Machine& machine, Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_READER_H_
