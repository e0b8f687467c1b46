// The program's own send and sendmsg come before glibc's, and ask the kernel themselves.

#include "tests/allocations/counted_writes.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace larder {
namespace {

thread_local bool counted = false;
std::atomic<uint64_t> writes = 0;

constexpr size_t kLarge = 2 << 10;
std::array<WrittenPiece, 64> pieces;
size_t piece_count = 0;

void Count(const void* from, size_t size) {
  if (!counted || size < kLarge || piece_count == pieces.size()) return;
  pieces[piece_count++] = {static_cast<const char*>(from), size};
}
void Count() {
  if (counted) writes.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void CountWritesHere(bool count) { counted = count; }
uint64_t WritesCounted() { return writes.load(); }
std::span<const WrittenPiece> LargePieces() { return {pieces.data(), piece_count}; }
void ForgetLargePieces() { piece_count = 0; }

}  // namespace larder

extern "C" {

ssize_t send(int fd, const void* bytes, size_t size, int flags) {
  larder::Count();
  larder::Count(bytes, size);
  return syscall(SYS_sendto, fd, bytes, size, flags, nullptr, 0);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  larder::Count();
  for (size_t i = 0; i < message->msg_iovlen; ++i)
    larder::Count(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
  return syscall(SYS_sendmsg, fd, message, flags);
}

}  // extern "C"
