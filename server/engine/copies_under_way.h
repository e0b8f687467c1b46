// CopiesUnderWay knows which writes behind have yet to make their copies. A write may be at its
// origin before that, and who compares the copies with it then would find them out of date, remove
// them under a newer version, and so have the write made again. Thread safety: any method, any
// thread; never blocks for longer than the lock.

#ifndef LARDER_ENGINE_COPIES_UNDER_WAY_H_
#define LARDER_ENGINE_COPIES_UNDER_WAY_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "base/task.h"
#include "base/wave.h"
#include "core/version.h"

namespace larder {

class CopiesUnderWay {
 public:
  // The executor outlives the calls.
  explicit CopiesUnderWay(Executor* executor) : executor_(executor) {}

  // From before the write is in the journal until its copies are made, or will not be.
  // REQUIRES: one at a time for a key.
  class Mark {
   public:
    Mark(CopiesUnderWay* all, std::string full_key, Version version)
        : all_(all), full_key_(std::move(full_key)) {
      MutexLock lock(&all_->mu_);
      all_->writes_[full_key_] = {version, {}};
    }
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;
    ~Mark() { all_->End(full_key_); }

   private:
    CopiesUnderWay* const all_;
    const std::string full_key_;
  };

  // Goes on when the write's copies are not under way any more.
  Task<bool> Done(std::string full_key, Version version) {
    std::shared_ptr<Wave> ended;
    {
      MutexLock lock(&mu_);
      const auto it = writes_.find(ToAbsl(full_key));
      if (it == writes_.end() || it->second.version != version) co_return true;
      ended = std::make_shared<Wave>(executor_, 1);
      it->second.waiting.push_back(ended);
    }
    co_await ended->done;
    co_return true;
  }

 private:
  struct Write {
    Version version = kNoVersion;
    std::vector<std::shared_ptr<Wave>> waiting;
  };

  void End(const std::string& full_key) {
    std::vector<std::shared_ptr<Wave>> waiting;
    {
      MutexLock lock(&mu_);
      const auto it = writes_.find(full_key);
      waiting = std::move(it->second.waiting);
      writes_.erase(it);
    }
    for (const std::shared_ptr<Wave>& ended : waiting) ended->End();
  }

  Executor* const executor_;
  Mutex mu_;
  absl::flat_hash_map<std::string, Write> writes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_ENGINE_COPIES_UNDER_WAY_H_
