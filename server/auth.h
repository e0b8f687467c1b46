// Who may do what, from the configuration (`auth`) as the lanes check it.
// Thread safety: a function.

#ifndef LARDER_AUTH_H_
#define LARDER_AUTH_H_

#include <memory>

#include "config/config.h"
#include "rpc/access_table.h"

namespace larder {

// Null where the configuration has no callers: then everybody may do everything. REQUIRES: the
// configuration was found right.
std::shared_ptr<const AccessTable> AccessTableOf(const config::v1::Config& config);

}  // namespace larder

#endif  // LARDER_AUTH_H_
