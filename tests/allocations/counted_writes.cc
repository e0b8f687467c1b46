// The program's own send and sendmsg come before glibc's, and ask the kernel themselves.

#include "tests/allocations/counted_writes.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

namespace larder {
namespace {

thread_local bool counted = false;
std::atomic<uint64_t> writes = 0;

void Count() {
  if (counted) writes.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void CountWritesHere(bool count) { counted = count; }
uint64_t WritesCounted() { return writes.load(); }

}  // namespace larder

extern "C" {

ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  larder::Count();
  return syscall(SYS_sendto, fd, bytes, size, flags, nullptr, 0);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  larder::Count();
  return syscall(SYS_sendmsg, fd, message, flags);
}

}  // extern "C"
