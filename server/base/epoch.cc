// A reader's slot holds the number of the epoch in which it began, or 0. The reader must not look
// at anything before the slot is visible to the others; a fence for that costs more than the look
// itself. So the fence is left to the other side: membarrier makes every running thread of the
// process pass one. It is rare there, because one call serves everything that was stamped before.
// Where the system has no membarrier, and under the thread sanitizer, which does not know it,
// readers pay for an atomic exchange instead.

#include "base/epoch.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace larder {
namespace {

struct alignas(64) ReaderSlot {
  std::atomic<uint64_t> began{0};
  std::atomic<bool> taken{true};
  ReaderSlot* next = nullptr;
};

// Slots are never freed: their number is that of the threads that lived at one time.
std::atomic<ReaderSlot*> all_slots{nullptr};

// Gives the slot back when the thread ends.
struct SlotOwner {
  ReaderSlot* slot = nullptr;
  std::atomic<uint64_t>** shortcut = nullptr;
  ~SlotOwner() {
    if (slot == nullptr) return;
    *shortcut = nullptr;
    slot->taken.store(false, std::memory_order_release);
  }
};
thread_local SlotOwner slot_owner;

bool RegisterBarriers() {
#if defined(__SANITIZE_THREAD__) || defined(_GLIBCXX_TSAN)
  return false;
#else
  const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  if (commands < 0 || (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return false;
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
#endif
}

}  // namespace

const bool Epoch::barriers_by_system_ = RegisterBarriers();

std::atomic<uint64_t>* Epoch::AssignThreadSlot() {
  ReaderSlot* slot = all_slots.load(std::memory_order_acquire);
  for (; slot != nullptr; slot = slot->next) {
    bool taken = false;
    if (slot->taken.compare_exchange_strong(taken, true, std::memory_order_acq_rel)) break;
  }
  if (slot == nullptr) {
    slot = new ReaderSlot;
    slot->next = all_slots.load(std::memory_order_relaxed);
    while (!all_slots.compare_exchange_weak(slot->next, slot, std::memory_order_acq_rel)) {
    }
  }
  slot_owner.slot = slot;
  slot_owner.shortcut = &thread_slot_;
  thread_slot_ = &slot->began;
  return thread_slot_;
}

uint64_t Epoch::Passed() {
  // Readers that begin after this line see everything that has a stamp up to `passed`.
  uint64_t passed = current_.load(std::memory_order_seq_cst);
  if (barriers_by_system_) syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  for (ReaderSlot* slot = all_slots.load(std::memory_order_acquire); slot != nullptr;
       slot = slot->next) {
    const uint64_t began = slot->began.load(std::memory_order_acquire);
    if (began != 0) passed = std::min(passed, began);
  }
  return passed;
}

}  // namespace larder
