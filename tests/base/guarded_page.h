// GuardedPage is a page of memory between two that nobody may touch: a byte read before its begin
// or after its end ends the test. For tests of code that reads strings by words.

#ifndef LARDER_TESTS_BASE_GUARDED_PAGE_H_
#define LARDER_TESTS_BASE_GUARDED_PAGE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

namespace larder {

class GuardedPage {
 public:
  GuardedPage() : size_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    void* const pages = mmap(nullptr, 3 * size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) std::abort();
    page_ = static_cast<char*>(pages) + size_;
    if (mprotect(page_, size_, PROT_READ | PROT_WRITE) != 0) std::abort();
  }
  ~GuardedPage() { munmap(page_ - size_, 3 * size_); }
  GuardedPage(const GuardedPage&) = delete;
  GuardedPage& operator=(const GuardedPage&) = delete;

  // Copies of `bytes`, one beginning where the page begins, one ending where it ends. Until the
  // next call of the same one.
  std::string_view AtBegin(std::string_view bytes) { return Copy(page_, bytes); }
  std::string_view AtEnd(std::string_view bytes) {
    return Copy(page_ + size_ - bytes.size(), bytes);
  }

 private:
  static std::string_view Copy(char* to, std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    return {to, bytes.size()};
  }

  const size_t size_;
  char* page_;
};

}  // namespace larder

#endif  // LARDER_TESTS_BASE_GUARDED_PAGE_H_
