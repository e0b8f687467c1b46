// The rules of `journal` and of what types say about writes. Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_WRITE_CHECKS_H_
#define LARDER_CONFIG_WRITE_CHECKS_H_

#include "config/problem.h"
#include "config/reader.h"

namespace larder {

// Adds what is wrong, leaving out every rule about a value that is broken already.
void CheckWrites(const Reading& reading, Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_WRITE_CHECKS_H_
