// journal_store_writer PATH POINT COUNT VALUE_BYTES SYNC_EVERY opens the store at PATH and applies
// batches (queue.h), of which each SYNC_EVERYth is synced. It writes the last seq of each batch to
// standard output when it was acknowledged, and kills itself when the store comes by POINT for the
// COUNTth time. Exit code 3: the store cannot be opened; 4: it takes nothing; 5: nobody reads.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "journal/journal_store.h"
#include "tests/journal/store_writer/queue.h"

namespace larder {
namespace {

int Run(const std::string& path, std::string_view point, int count, size_t value_bytes,
        uint64_t sync_every) {
  std::atomic<int> left{count};
  JournalStore::Options options;
  options.path = path;
  options.at = [&](std::string_view reached) {
    if (reached == point && left.fetch_sub(1) == 1) kill(getpid(), SIGKILL);
  };
  const auto store = JournalStore::Open(options);
  if (!store.ok()) {
    std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
    return 3;
  }
  for (uint64_t last = (*store)->last_seq();; last += kBatch) {
    const bool sync = last / kBatch % sync_every == 0;
    if (!(*store)->Apply(BatchAfter(last, value_bytes), sync).ok()) return 4;
    const uint64_t acknowledged = last + kBatch;
    // Of its size, a write to a pipe is one piece.
    if (write(STDOUT_FILENO, &acknowledged, sizeof(acknowledged)) != sizeof(acknowledged)) return 5;
  }
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s PATH POINT COUNT VALUE_BYTES SYNC_EVERY\n", argv[0]);
    return 2;
  }
  return larder::Run(argv[1], argv[2], std::atoi(argv[3]), std::strtoull(argv[4], nullptr, 10),
                     std::strtoull(argv[5], nullptr, 10));
}
