// What a thread is called in `top -H`, /proc and debuggers. docs/operations.md lists the names.
// Thread safety: any thread.

#ifndef LARDER_BASE_THREAD_NAME_H_
#define LARDER_BASE_THREAD_NAME_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace larder {

// The kernel keeps no more.
inline constexpr size_t kThreadNameBytesMax = 15;

// Names the thread that calls; what is too long is cut. Threads that it starts afterwards have its
// name until they take another one.
void NameThisThread(const std::string& name);

// `worker-3`: one of several.
std::string NumberedThreadName(std::string_view name, int number);

}  // namespace larder

#endif  // LARDER_BASE_THREAD_NAME_H_
