// BatchGetOrLoad. Keys of types with an origin fly side by side, and their loads gather in full
// calls. Leases are another matter: two callers who are each given the lease of one key and wait
// for the other's would wait for each other until the leases run out. So a caller who is given a
// lease waits for nobody's.

#include <map>
#include <memory>
#include <utility>

#include "base/status.h"
#include "base/wave.h"
#include "engine/engine.h"

namespace larder {
namespace {

bool IsLoading(const absl::StatusOr<LoadResult>& result) {
  return result.ok() && !result->lease.has_value() && !result->read.entry.has_value() &&
         result->read.miss == MissReason::kLoading;
}

}  // namespace

Task<absl::StatusOr<LoadResult>> Engine::LoadOne(LoadRequest request, Resolved resolved,
                                                 Found found) {
  const FullKey full_key(request.key.name_space, request.key.key);
  if (resolved.past) co_return co_await LoadPast(&full_key, request, resolved, std::move(found));
  if (LoaderOf(*resolved.type) != nullptr)
    co_return co_await LoadThrough(&full_key, request, resolved, std::move(found));
  co_return co_await LoadByLease(&full_key, request, resolved, std::move(found));
}

Task<std::vector<absl::StatusOr<LoadResult>>> Engine::BatchGetOrLoad(BatchLoadRequest request) {
  const size_t count = request.keys.size();
  StepTimes* const steps = co_await StepsOfThis();
  std::vector<absl::StatusOr<LoadResult>> results(count, absl::UnknownError(""));
  std::vector<Resolved> resolved;
  resolved.reserve(count);
  for (const std::string_view key : request.keys) {
    absl::StatusOr<Resolved> one = ResolveForRead({request.name_space, key, request.type});
    if (!one.ok()) {
      co_return std::vector<absl::StatusOr<LoadResult>>(count, one.status());
    }
    one->ahead = request.ahead;
    resolved.push_back(*one);
  }
  std::vector<Found> found =
      co_await FindMany(request.name_space, request.keys, resolved, /*want_value=*/true);

  LoadRequest load;
  load.lease_ttl = request.lease_ttl;
  load.deadline = request.deadline;
  load.trace_parent = request.trace_parent;
  load.trace_state = request.trace_state;
  // One for each, since one wakes one.
  const std::shared_ptr<Cancellation[]> cancellations(new Cancellation[count]);
  if (request.cancellation != nullptr) {
    request.cancellation->OnCancel([cancellations, count] {
      for (size_t i = 0; i < count; ++i) cancellations[i].Cancel();
    });
  }
  // Leases last, because they run from when they are given; and first those that are to be had at
  // once.
  for (const bool leased : {false, true}) {
    std::vector<size_t> chosen;
    for (size_t i = 0; i < count; ++i) {
      if ((LoaderOf(*resolved[i].type) == nullptr) == leased) chosen.push_back(i);
    }
    load.wait_until = leased ? options_.clock->Mono() : request.wait_until;
    const auto wave = std::make_shared<Wave>(options_.executor, chosen.size());
    std::vector<StepTimes> each(steps == nullptr ? 0 : count);
    {
      std::map<OriginLoader*, OriginLoader::Gather> together;
      for (const size_t i : chosen) {
        OriginLoader* const loader = LoaderOf(*resolved[i].type);
        if (loader != nullptr) together.try_emplace(loader, loader);
        load.key = {request.name_space, request.keys[i], request.type};
        load.cancellation = &cancellations[i];
        Spawn(
            LoadOne(load, resolved[i], std::move(found[i])),
            [wave, result = &results[i]](absl::StatusOr<LoadResult> loaded) {
              *result = std::move(loaded);
              wave->End();
            },
            each.empty() ? nullptr : &each[i]);
      }
    }
    if (!chosen.empty()) co_await wave->done;
    AddLongest(each, steps);
  }

  if (request.cancellation != nullptr) request.cancellation->OnCancel(nullptr);

  bool holds = false;
  for (const absl::StatusOr<LoadResult>& result : results)
    holds = holds || (result.ok() && result->lease.has_value());
  for (size_t i = 0; i < count && !holds; ++i) {
    if (LoaderOf(*resolved[i].type) != nullptr || !IsLoading(results[i])) continue;
    load.key = {request.name_space, request.keys[i], request.type};
    load.wait_until = request.wait_until;
    load.cancellation = request.cancellation;
    results[i] = co_await GetOrLoad(load, /*again=*/true);
    holds = results[i].ok() && results[i]->lease.has_value();
  }
  co_return results;
}

Task<EngineWarmed> Engine::WarmKeys(std::string_view name_space,
                                    const std::vector<std::string>* keys, std::string_view type) {
  EngineWarmed warmed;
  BatchLoadRequest load;
  load.name_space = name_space;
  load.type = type;
  load.ahead = true;
  std::vector<std::string_view> others;
  std::vector<Resolved> others_resolved;
  for (const std::string& key : *keys) {
    const absl::StatusOr<Resolved> resolved = ResolveForRead({name_space, key, type});
    const bool known = resolved.ok() && LoaderOf(*resolved->type) != nullptr;
    if (resolved.ok() && !known) others_resolved.push_back(*resolved);
    if (resolved.ok()) (known ? load.keys : others).push_back(key);
    if (!resolved.ok()) ++warmed.failed;
    if (!resolved.ok()) warmed.error = resolved.status();
  }
  const auto results = co_await BatchGetOrLoad(std::move(load));
  for (const absl::StatusOr<LoadResult>& result : results) {
    // That the origin has no such key any more is an answer, too.
    if (result.ok()) {
      ++warmed.loaded;
    } else {
      ++warmed.failed;
      warmed.error = result.status();
    }
  }
  if (others.empty()) co_return warmed;
  const std::vector<Found> found = co_await FindMany(
      name_space, std::move(others), std::move(others_resolved), /*want_value=*/false);
  for (const Found& one : found) {
    ++(one.present ? warmed.loaded : warmed.failed);
    if (!one.present && one.why == MissReason::kTierFailed)
      warmed.error = TierAway(absl::UnavailableError("it could not be read"));
  }
  co_return warmed;
}

}  // namespace larder
