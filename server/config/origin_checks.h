// The rules of `origins` and of what types say about loading: origin, sql, freshness, filter, warm.
// Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_ORIGIN_CHECKS_H_
#define LARDER_CONFIG_ORIGIN_CHECKS_H_

#include "config/problem.h"
#include "config/reader.h"

namespace larder {

// Adds what is wrong, leaving out every rule about a value that is broken already.
void CheckOrigins(const Reading& reading, Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_ORIGIN_CHECKS_H_
