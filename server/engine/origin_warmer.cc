#include "engine/origin_warmer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/race.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

// Batches are that far apart when the rate is small.
constexpr absl::Duration kStep = absl::Milliseconds(100);
constexpr absl::Duration kPageMost = absl::Seconds(30);
// How often it is looked whether there is something that is wanted.
constexpr absl::Duration kWantedPause = absl::Milliseconds(20);

}  // namespace

OriginWarmer::OriginWarmer(const Options& options) : options_(options) {
  for (const TypePolicy& type : options_.engine->options().types->types()) {
    if (!options_.engine->WarmsFromOrigin(type)) continue;
    StartJob& job = start_jobs_.emplace_back();
    job.type = &type;
    job.stats.type = type.name;
    job.stats.state = "waiting";
  }
}

size_t OriginWarmer::BatchFor(uint32_t rate) const {
  if (rate == 0) return options_.batch;
  const auto step = static_cast<size_t>(rate * absl::ToDoubleSeconds(kStep));
  return std::clamp<size_t>(step, 1, options_.batch);
}

bool OriginWarmer::Full() const {
  const L1Usage usage = options_.engine->memory().Usage();
  return static_cast<double>(usage.bytes) >=
         options_.full_at * static_cast<double>(usage.budget_bytes);
}

Task<absl::Status> OriginWarmer::Run(WarmJob job, WarmObserver* observer) {
  return RunFor(std::move(job), nullptr, observer);
}

// A job may go on for a day, so those that several tenants may ask for leave places for the jobs at
// the start and for whoever operates the server.
absl::Status OriginWarmer::Begin(const WarmJob& job) {
  constexpr absl::Duration kComeAgain = absl::Seconds(10);
  const int most = job.of_part ? options_.jobs_max - options_.jobs_kept : options_.jobs_max;
  MutexLock lock(&mu_);
  if (jobs_ >= most) {
    return RetryableError(Reason::kOVERLOADED, kComeAgain,
                          StrCat(jobs_, " warmings are under way"));
  }
  if (job.of_part && !parts_.insert(job.name_space).second) {
    return RetryableError(Reason::kOVERLOADED, kComeAgain,
                          "another warming of this namespace is under way");
  }
  ++jobs_;
  return absl::OkStatus();
}

void OriginWarmer::End(const WarmJob& job) {
  MutexLock lock(&mu_);
  --jobs_;
  if (job.of_part) parts_.erase(job.name_space);
}

Task<absl::Status> OriginWarmer::RunFor(WarmJob job, StartJob* start, WarmObserver* observer) {
  // What everybody means who names none.
  if (job.name_space.empty()) job.name_space = std::string(kDefaultNamespace);
  CO_RETURN_IF_ERROR(Begin(job));
  WarmCount count;
  count.began = clock()->Mono();
  absl::Status status = co_await RunJob(&job, start, &count, observer);
  End(job);
  if (status.ok() && stopping_) {
    status =
        RetryableError(Reason::kDRAINING, absl::Milliseconds(100), "the server is shutting down");
  }
  count.elapsed = absl::Nanoseconds(clock()->Mono() - count.began);
  LogInfo("warmed", {{"type", job.type},
                     {"loaded", count.loaded},
                     {"failed", count.failed},
                     {"full", count.full},
                     {"took", count.elapsed},
                     {"status", status}});
  co_return status;
}

Task<absl::Status> OriginWarmer::RunJob(const WarmJob* job, StartJob* start, WarmCount* count,
                                        WarmObserver* observer) {
  if (job->keys.empty()) {
    CO_ASSIGN_OR_RETURN(const TypeMatch match,
                        options_.engine->options().types->Resolve("", job->type));
    if (options_.engine->OriginOf(*match.type) == nullptr) {
      co_return FieldError(Reason::kTYPE_WITHOUT_ORIGIN, "type",
                           StrCat("the type `", match.type->name, "` has no origin to list"));
    }
    if (start != nullptr) {
      absl::Status status;
      const bool goes_on =
          co_await RunWanted(job, start, Await::kAllWanted, count, observer, &status);
      if (!goes_on) co_return status;
    }
    co_return co_await RunScan(job, match.type, start, count, observer);
  }
  absl::Status status;
  count->total = job->keys.size();
  if (job->limit > 0) count->total = std::min(count->total, job->limit);
  const size_t step = BatchFor(job->rate);
  bool goes_on = true;
  for (size_t at = 0; goes_on && at < count->total; at += step) {
    const size_t end = std::min<size_t>(at + step, count->total);
    std::vector<std::string> keys(job->keys.begin() + static_cast<ptrdiff_t>(at),
                                  job->keys.begin() + static_cast<ptrdiff_t>(end));
    goes_on = co_await LoadBatch(job, std::move(keys), count, observer, &status);
  }
  co_return status;
}

Task<bool> OriginWarmer::RunWanted(const WarmJob* job, StartJob* start, Await await,
                                   WarmCount* count, WarmObserver* observer, absl::Status* status) {
  WarmJob part;
  part.type = job->type;
  part.rate = job->rate;
  while (!stopping_) {
    const bool all = await == Await::kNo || options_.wanted_all == nullptr || options_.wanted_all();
    std::vector<std::string> keys = TakeWanted(start, BatchFor(job->rate));
    if (!keys.empty()) {
      part.name_space = std::string(FullKey::NamespaceOf(keys[0]));
      for (std::string& key : keys) key = std::string(FullKey::KeyOf(key));
      const bool goes_on = co_await LoadBatch(&part, std::move(keys), count, observer, status);
      if (!goes_on) co_return false;
    } else if (all) {
      co_return true;
    } else {
      co_await Pause(options_.engine->options().executor, kWantedPause);
    }
  }
  co_return false;
}

std::vector<std::string> OriginWarmer::TakeWanted(StartJob* start, size_t most) {
  std::vector<std::string> keys;
  MutexLock lock(&mu_);
  std::deque<std::string>& wanted = start->wanted;
  while (!wanted.empty() && keys.size() < most) {
    if (!keys.empty() && FullKey::NamespaceOf(wanted.front()) != FullKey::NamespaceOf(keys[0]))
      break;
    keys.push_back(std::move(wanted.front()));
    wanted.pop_front();
  }
  return keys;
}

void OriginWarmer::Want(std::vector<std::string> full_keys) {
  const TypeTable& types = *options_.engine->options().types;
  MutexLock lock(&mu_);
  for (std::string& full_key : full_keys) {
    const absl::StatusOr<TypeMatch> match = types.Resolve(FullKey::KeyOf(full_key), "");
    if (!match.ok()) continue;
    const auto job = std::find_if(start_jobs_.begin(), start_jobs_.end(),
                                  [&](const StartJob& one) { return one.type == match->type; });
    if (job == start_jobs_.end() || job->over || job->wanted_total >= job->type->warm.limit)
      continue;
    ++job->wanted_total;
    job->wanted.push_back(std::move(full_key));
  }
}

Task<absl::Status> OriginWarmer::RunScan(const WarmJob* job, const TypePolicy* type,
                                         StartJob* start, WarmCount* count,
                                         WarmObserver* observer) {
  Origin* const origin = options_.engine->OriginOf(*type);
  const uint64_t limit = job->limit > 0 ? job->limit : type->warm.limit;
  uint64_t listed = count->loaded + count->failed;
  std::string cursor;
  absl::Status status;
  int failures = 0;
  int empty = 0;
  while (listed < limit) {
    if (start != nullptr) {
      const bool goes_on = co_await RunWanted(job, start, Await::kNo, count, observer, &status);
      if (!goes_on) co_return status;
    }
    OriginScan scan;
    scan.call = {job->name_space, type->name};
    scan.limit = static_cast<uint32_t>(std::min<uint64_t>(options_.batch, limit - listed));
    scan.cursor = cursor;
    scan.keys_only = true;
    if (cursor.empty()) scan.count_to = limit - listed;
    absl::StatusOr<OriginPage> page =
        co_await origin->Scan(std::move(scan), MonoAfter(clock()->Mono(), kPageMost));
    if (!page.ok()) {
      if (++failures >= options_.failures_max || stopping_) co_return page.status();
      co_await Pause(options_.engine->options().executor,
                     std::min(options_.pause_first * (1 << failures), options_.pause_most));
      continue;
    }
    failures = 0;
    if (page->total.has_value()) count->total = listed + std::min(*page->total, limit - listed);
    cursor = page->cursor;
    empty = page->items.empty() ? empty + 1 : 0;
    if (empty >= options_.empty_pages_max)
      co_return Error(Reason::kORIGIN_BAD_ANSWER, "the origin lists empty pages without end");
    if (empty > 0 && observer != nullptr) {
      const bool wanted = co_await observer->OnProgress(*count);
      if (!wanted) co_return absl::OkStatus();
    }
    const size_t step = BatchFor(job->rate);
    for (size_t at = 0; at < page->items.size(); at += step) {
      std::vector<std::string> keys;
      for (size_t i = at; i < std::min(at + step, page->items.size()); ++i)
        keys.push_back(std::move(page->items[i].key));
      listed += keys.size();
      const bool goes_on = co_await LoadBatch(job, std::move(keys), count, observer, &status);
      if (!goes_on) co_return status;
    }
    if (cursor.empty() || stopping_) break;
  }
  if (start != nullptr) co_await RunWanted(job, start, Await::kNo, count, observer, &status);
  co_return status;
}

Task<bool> OriginWarmer::LoadBatch(const WarmJob* job, std::vector<std::string> keys,
                                   WarmCount* count, WarmObserver* observer, absl::Status* status) {
  Engine& engine = *options_.engine;
  Executor* const executor = engine.options().executor;
  const MonoNanos began = clock()->Mono();
  for (int failures = 0;;) {
    if (stopping_) co_return false;
    count->full = Full();
    if (count->full) break;
    const EngineWarmed warmed = co_await engine.WarmKeys(job->name_space, &keys, job->type);
    count->loaded += warmed.loaded;
    // Keys that nobody has are no reason to ask once more.
    const bool unwell = warmed.failed == keys.size() && !warmed.error.ok();
    if (!unwell || ++failures >= options_.failures_max) {
      count->failed += warmed.failed;
      if (failures >= options_.failures_max) *status = warmed.error;
      break;
    }
    co_await Pause(executor, std::min(options_.pause_first * (1 << failures), options_.pause_most));
  }
  // More than had been counted: they came meanwhile.
  if (count->total > 0) count->total = std::max(count->total, count->loaded + count->failed);
  count->elapsed = absl::Nanoseconds(clock()->Mono() - count->began);
  if (observer != nullptr) {
    const bool wanted = co_await observer->OnProgress(*count);
    if (!wanted) co_return false;
  }
  if (!status->ok() || count->full) co_return false;
  if (job->rate > 0) {
    const absl::Duration due = absl::Seconds(static_cast<double>(keys.size()) / job->rate);
    const absl::Duration took = absl::Nanoseconds(clock()->Mono() - began);
    if (took < due) co_await Pause(executor, due - took);
  }
  co_return !stopping_;
}

// Tells the waiters of readiness how a job goes.
class OriginWarmer::AtStart : public WarmObserver {
 public:
  AtStart(OriginWarmer* warmer, StartJob* job) : warmer_(warmer), job_(job) {}

  Task<bool> OnProgress(const WarmCount& count) override {
    MutexLock lock(&warmer_->mu_);
    job_->stats.count = count;
    return Yes();
  }

 private:
  static Task<bool> Yes() { co_return true; }
  OriginWarmer* const warmer_;
  StartJob* const job_;
};

void OriginWarmer::Start() {
  began_ = clock()->Mono();
  bool any = false;
  {
    MutexLock lock(&mu_);
    any = !start_jobs_.empty();
  }
  if (any) Spawn(RunStartJobs(), [](bool) {});
}

Task<bool> OriginWarmer::RunStartJobs() {
  size_t count = 0;
  {
    MutexLock lock(&mu_);
    count = start_jobs_.size();
  }
  for (size_t i = 0; i < count && !stopping_; ++i) {
    StartJob* job = nullptr;
    {
      MutexLock lock(&mu_);
      job = &start_jobs_[i];
      job->stats.state = "warming";
    }
    WarmJob warm;
    warm.type = job->type->name;
    warm.limit = job->type->warm.limit;
    warm.rate = job->type->warm.rate;
    AtStart observer(this, job);
    const absl::Status status = co_await RunFor(std::move(warm), job, &observer);
    MutexLock lock(&mu_);
    job->over = true;
    job->wanted.clear();
    job->stats.state = !status.ok() ? status.ToString() : job->stats.count.full ? "full" : "done";
  }
  co_return true;
}

bool OriginWarmer::Ready(MonoNanos now) const {
  return std::all_of(start_jobs_.begin(), start_jobs_.end(), [&](const StartJob& job) {
    const WarmPolicy& warm = job.type->warm;
    return job.over || now >= MonoAfter(began_, warm.ready_timeout) ||
           static_cast<double>(job.stats.count.loaded + job.stats.count.failed) >=
               warm.ready_share * static_cast<double>(warm.limit);
  });
}

bool OriginWarmer::ready() const {
  MutexLock lock(&mu_);
  return Ready(clock()->Mono());
}

void OriginWarmer::Stop() { stopping_ = true; }

std::vector<OriginWarmer::TypeStats> OriginWarmer::Stats() const {
  MutexLock lock(&mu_);
  std::vector<TypeStats> stats;
  stats.reserve(start_jobs_.size());
  for (const StartJob& job : start_jobs_) stats.push_back(job.stats);
  return stats;
}

}  // namespace larder
