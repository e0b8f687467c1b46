#include "origin/sql.h"

namespace larder {

std::string_view SqlUseName(SqlUse use) {
  switch (use) {
    case SqlUse::kLoad:
      return "load";
    case SqlUse::kStore:
      return "store";
    case SqlUse::kDelete:
      return "delete";
    case SqlUse::kScan:
      break;
  }
  return "scan";
}

const std::string& SqlType::Statement(SqlUse use) const {
  switch (use) {
    case SqlUse::kLoad:
      return load;
    case SqlUse::kStore:
      return store;
    case SqlUse::kDelete:
      return remove;
    case SqlUse::kScan:
      break;
  }
  return scan;
}

}  // namespace larder
