// The rules of who may do what and how much (`auth`, `quotas`): names that are used exist, and
// nobody is known twice.
// Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_AUTH_CHECKS_H_
#define LARDER_CONFIG_AUTH_CHECKS_H_

#include "config/problem.h"
#include "config/reader.h"

namespace larder {

// Adds what is wrong, leaving out every rule about a value that is broken already.
void CheckAuth(const Reading& reading, Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_AUTH_CHECKS_H_
