// The W3C trace context that comes with a call. Thread safety: a pure function.

#ifndef LARDER_CORE_TRACE_PARENT_H_
#define LARDER_CORE_TRACE_PARENT_H_

#include <string_view>

namespace larder {

// Whether `text` has the form of a `traceparent` of version 00: 55 characters, which are four
// numbers in lower-case hexadecimal with dashes between them. Says nothing of the numbers.
bool IsTraceParent(std::string_view text);

}  // namespace larder

#endif  // LARDER_CORE_TRACE_PARENT_H_
