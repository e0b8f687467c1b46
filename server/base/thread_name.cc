#include "base/thread_name.h"

#include <pthread.h>

#include "base/strings.h"

namespace larder {

void NameThisThread(const std::string& name) {
  // Fails for nothing but names that are too long.
  pthread_setname_np(pthread_self(), name.substr(0, kThreadNameBytesMax).c_str());
}

std::string NumberedThreadName(std::string_view name, int number) {
  return StrCat(name, "-", number);
}

}  // namespace larder
