// The rules of what types say is out of date when they change (`on_change`), and of the tags that
// they give. Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_CHANGE_CHECKS_H_
#define LARDER_CONFIG_CHANGE_CHECKS_H_

#include "config/problem.h"
#include "config/reader.h"

namespace larder {

// Adds what is wrong, leaving out every rule about a value that is broken already.
void CheckChanges(const Reading& reading, Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_CHANGE_CHECKS_H_
