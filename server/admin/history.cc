#include "admin/history.h"

namespace larder {
namespace {

void Push(const HistorySample& sample, size_t most, std::deque<HistorySample>* into) {
  into->push_back(sample);
  if (into->size() > most) into->pop_front();
}

}  // namespace

void History::Add(const HistorySample& sample) {
  MutexLock lock(&mu_);
  Push(sample, kFineMax, &fine_);
  // The first one too, so that a young server has a day's chart.
  if (added_++ % kCoarseEvery == 0) Push(sample, kCoarseMax, &coarse_);
}

std::vector<HistorySample> History::Fine() const {
  MutexLock lock(&mu_);
  return {fine_.begin(), fine_.end()};
}

std::vector<HistorySample> History::Coarse() const {
  MutexLock lock(&mu_);
  return {coarse_.begin(), coarse_.end()};
}

}  // namespace larder
