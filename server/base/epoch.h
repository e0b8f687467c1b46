// Epoch tells when memory that readers may still be looking at can be used again. Readers take no
// lock: they say that they read, look, and say that they are done. Whoever takes something out of
// the readers' reach stamps it, and uses its memory again once no reader is left who began before
// the stamp. Thread safety: any function, any thread. Never blocks.

#ifndef LARDER_BASE_EPOCH_H_
#define LARDER_BASE_EPOCH_H_

#include <atomic>
#include <cstdint>

#include "absl/base/optimization.h"

namespace larder {

class Epoch {
 public:
  // While one of these lives on a thread, what the thread can reach stays as it is. Keep it short:
  // memory waits for it. Do not nest.
  class Reader {
   public:
    Reader() : slot_(ThreadSlot()) {
      const uint64_t now = current_.load(std::memory_order_acquire);
      if (ABSL_PREDICT_TRUE(barriers_by_system_)) {
        slot_->store(now, std::memory_order_release);
        std::atomic_signal_fence(std::memory_order_seq_cst);
      } else {
        slot_->exchange(now, std::memory_order_seq_cst);
      }
    }
    ~Reader() { slot_->store(0, std::memory_order_release); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

   private:
    std::atomic<uint64_t>* const slot_;
  };

  // A stamp for what was taken out of reach before the call. Stamps grow.
  static uint64_t Stamp() { return current_.fetch_add(1, std::memory_order_seq_cst) + 1; }

  // No reader is left that could see what has this stamp or an earlier one. Costs a few
  // microseconds: ask for many stamps at once.
  static uint64_t Passed();

 private:
  static std::atomic<uint64_t>* ThreadSlot() {
    std::atomic<uint64_t>* const slot = thread_slot_;
    return ABSL_PREDICT_TRUE(slot != nullptr) ? slot : AssignThreadSlot();
  }
  static std::atomic<uint64_t>* AssignThreadSlot();

  inline static std::atomic<uint64_t> current_{1};
  inline static constinit thread_local std::atomic<uint64_t>* thread_slot_ = nullptr;
  static const bool barriers_by_system_;
};

}  // namespace larder

#endif  // LARDER_BASE_EPOCH_H_
