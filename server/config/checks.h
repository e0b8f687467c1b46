// What no single field can tell: rules between the values of a configuration.
// Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_CHECKS_H_
#define LARDER_CONFIG_CHECKS_H_

#include "config/machine.h"
#include "config/problem.h"
#include "config/reader.h"

namespace larder {

// Adds what is wrong, leaving out every rule about a value that is broken already.
void CheckTogether(const Reading& reading, const Machine& machine, Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_CHECKS_H_
