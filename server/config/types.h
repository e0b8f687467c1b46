// Turns the types of a configuration into the table that the other layers use.

#ifndef LARDER_CONFIG_TYPES_H_
#define LARDER_CONFIG_TYPES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "larder/config/v1/config.pb.h"
#include "policy/freshness.h"
#include "policy/type_table.h"

namespace larder {

// `names`: the types in the order of the file. Errors are those of Pattern and TypeTable.
// REQUIRES: every field of `config` is filled in.
absl::StatusOr<std::shared_ptr<TypeTable>> MakeTypeTable(const config::v1::Config& config,
                                                         const std::vector<std::string>& names);

// What a type says about freshness. REQUIRES: every field is filled in, and all codes are some.
FreshnessPolicy FreshnessPolicyOf(const config::v1::Freshness& freshness);

}  // namespace larder

#endif  // LARDER_CONFIG_TYPES_H_
