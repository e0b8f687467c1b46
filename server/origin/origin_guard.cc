// A call and its attempts. An attempt waits for its turn at the gate, asks the breaker, and runs as
// a coroutine of its own on the inner origin, while the caller's coroutine waits for a Race between
// its answer and the end of the time. So nothing has to be cancelled in the inner origin. An
// attempt that lost the race keeps its place at the gate: the origin is still at work on it, and a
// bound that forgot it would be none.
//
// Retries. What failed quickly and may do better is repeated: UNAVAILABLE, of a call or of some
// items of a Load, which then go alone. A Store is safe to repeat, because the origin applies a
// write only above the version it has. A probe of a half-open breaker is never repeated. The budget
// gives one fifth of a retry for each call that went well, so that retries add at most a fifth.
//
// Safe to repeat is not the same as not done. Who asks wants to know whether the origin has the
// write, and the last attempt knows that of itself alone:
//
//   1: an attempt is applied, and its answer gets lost.  2: the next one meets a lock.
//
// So after an attempt without an answer a write is done if a later one says so, else unknown.
//
// What the breaker learns, and how the guard notices an outage, stands in origin_guard_core.cc.

#include "origin/origin_guard.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/race.h"
#include "base/strings.h"
#include "origin/origin_guard_core.h"
#include "policy/freshness.h"

namespace larder {
namespace {

// What became of one attempt.
template <typename Answer>
struct Tried {
  absl::StatusOr<Answer> answer;
  bool asked = false;  // the origin; else it was refused before
  bool probe = false;
};

// What an answer says of the origin: OK, or how all items failed.
template <typename Item>
absl::Status HealthOf(const std::vector<Item>& items) {
  const ErrorSet unwell = ErrorSet::OfUnwell();
  for (const Item& item : items) {
    if (!unwell.Has(item.error.code())) return absl::OkStatus();
  }
  return items.empty() ? absl::OkStatus() : items.front().error;
}
absl::Status HealthOf(const OriginPage& /*page*/) { return absl::OkStatus(); }
template <typename Answer>
absl::Status HealthOf(const absl::StatusOr<Answer>& answer) {
  return answer.ok() ? HealthOf(*answer) : answer.status();
}

template <typename Answer, typename Request>
using Method = Task<absl::StatusOr<Answer>> (Origin::*)(Request, MonoNanos);

// The times of a call.
struct Span {
  MonoNanos began;
  MonoNanos end;
};

Span SpanOf(const OriginGuardCore& core, MonoNanos deadline) {
  const OriginGuardOptions& options = core.options();
  const MonoNanos now = options.clock->Mono();
  return {now, std::min(MonoAfter(now, options.call_max), deadline)};
}

template <typename Answer, typename Request>
Task<Tried<Answer>> Try(std::shared_ptr<OriginGuardCore> core, Method<Answer, Request> method,
                        Request request, Span call) {
  const OriginGuardOptions& options = core->options();
  const absl::StatusOr<OriginAdmission> admission = co_await core->Begin(call.end);
  if (!admission.ok()) co_return Tried<Answer>{.answer = admission.status()};

  const MonoNanos began = options.clock->Mono();
  const auto attempt = std::make_shared<Race<absl::StatusOr<Answer>>>();
  Spawn((core->inner()->*method)(std::move(request), call.end),
        [core, attempt](absl::StatusOr<Answer> answer) {
          core->End(HealthOf(answer));
          attempt->Finish(std::move(answer));
        });
  TimerId timer = 0;
  TimerId trial_timer = 0;
  if (!attempt->finished()) {
    if (admission->ticket.trial != 0) {
      trial_timer = options.executor->After(
          options.trial_max, [core, admission = *admission] { core->EndTrial(admission); });
    }
    timer = options.executor->After(absl::Nanoseconds(call.end - began),
                                    Alarm<absl::StatusOr<Answer>>(attempt, options.executor));
  }
  std::optional<absl::StatusOr<Answer>> answer = co_await *attempt;
  if (timer != 0) options.executor->Cancel(timer);
  if (trial_timer != 0) options.executor->Cancel(trial_timer);
  if (!answer) answer = absl::DeadlineExceededError("the origin did not answer in time");

  const MonoNanos took = options.clock->Mono() - began;
  if constexpr (std::is_same_v<Request, OriginLoad>) core->LoadTook(took);
  if constexpr (std::is_same_v<Request, OriginStore>) core->StoreTook(took);
  const double part = static_cast<double>(call.end - began) /
                      static_cast<double>(std::max<MonoNanos>(call.end - call.began, 1));
  core->Judge(*admission, HealthOf(*answer), began, call.end, part);
  co_return Tried<Answer>{
      .answer = *std::move(answer), .asked = true, .probe = admission->pass.probe};
}

// After a pause, whether what failed with UNAVAILABLE in attempt number `attempts` may be repeated.
Task<bool> MayRepeat(std::shared_ptr<OriginGuardCore> core, int attempts, bool probe, Span call) {
  const OriginGuardOptions& options = core->options();
  if (probe || attempts >= options.attempts_max) co_return false;
  const absl::Duration pause = options.backoff.Pause(attempts, options.random);
  if (MonoAfter(options.clock->Mono(), pause) >= call.end) co_return false;
  if (!core->budget().TryRetry()) co_return false;
  core->CountRetry();
  co_await Pause(options.executor, pause);
  co_return true;
}

using Stores = std::vector<OriginStored>;

// The answer to a call of which an earlier attempt ended with `before`, and may have done it.
template <typename Answer>
void Doubt(const absl::Status& before, absl::StatusOr<Answer>* answer) {
  // Why it was not asked again would hide that it was.
  if (WasNotAsked(answer->status())) *answer = before;
  if constexpr (std::is_same_v<Answer, Stores>) {
    const auto doubtful = [&before](const absl::Status& error) {
      return absl::Status(before.code(), StrCat(ToStd(before.message()),
                                                "; asked again, it said: ", error.ToString()));
    };
    if (!answer->ok()) {
      // Other errors say nothing of the writes, as `before`.
      if (!ErrorSet::OfUnwell().Has(answer->status().code())) *answer = doubtful(answer->status());
      return;
    }
    for (OriginStored& stored : **answer) {
      if (stored.kind == OriginStored::Kind::kDone) continue;
      stored = {OriginStored::Kind::kUnknown, doubtful(stored.error)};
    }
  }
}

template <typename Answer, typename Request>
Task<absl::StatusOr<Answer>> Call(std::shared_ptr<OriginGuardCore> core,
                                  Method<Answer, Request> method, Request request, bool repeatable,
                                  MonoNanos deadline) {
  const Span call = SpanOf(*core, deadline);
  absl::Status said;  // of the last attempt that may have reached the origin
  for (int attempts = 1;; ++attempts) {
    const bool last = !repeatable || attempts >= core->options().attempts_max;
    // NOLINTNEXTLINE(bugprone-use-after-move): what is moved away is not repeated.
    Request copy = last ? std::move(request) : request;
    Tried<Answer> tried = co_await Try(core, method, std::move(copy), call);
    if (tried.answer.ok()) core->budget().OnSuccess();
    // Also what was not asked because no connection was to be had: there may be one soon.
    const bool repeats = tried.asked && !last && absl::IsUnavailable(tried.answer.status());
    if (!said.ok()) Doubt(said, &tried.answer);
    if (!WasNotAsked(tried.answer.status())) said = tried.answer.status();
    if (!repeats) co_return std::move(tried.answer);
    const bool again = co_await MayRepeat(core, attempts, tried.probe, call);
    if (!again) co_return std::move(tried.answer);
  }
}

using Loads = std::vector<OriginLoaded>;

// The items of `load` that the call asks for again, and where in the answer they belong.
void KeepUnavailable(const Loads& answer, OriginLoad* load, std::vector<size_t>* places) {
  size_t kept = 0;
  for (size_t i = 0; i < places->size(); ++i) {
    if (!absl::IsUnavailable(answer[(*places)[i]].error)) continue;
    (*places)[kept] = (*places)[i];
    if (kept != i) load->items[kept] = std::move(load->items[i]);
    ++kept;
  }
  places->resize(kept);
  load->items.resize(kept);
}

// Like Call, and repeats those items alone that failed alone. What has been answered once stays
// answered, whatever becomes of the rest.
Task<absl::StatusOr<Loads>> CallLoad(std::shared_ptr<OriginGuardCore> core, OriginLoad load,
                                     MonoNanos deadline) {
  const Span call = SpanOf(*core, deadline);
  Loads answer;
  std::vector<size_t> places(load.items.size());
  std::iota(places.begin(), places.end(), size_t{0});
  for (int attempts = 1;; ++attempts) {
    OriginLoad copy = load;
    Tried<Loads> tried = co_await Try(core, &Origin::Load, std::move(copy), call);
    if (!tried.answer.ok()) {
      if (answer.empty()) {
        if (!tried.asked || !absl::IsUnavailable(tried.answer.status())) {
          co_return std::move(tried.answer);
        }
        const bool again = co_await MayRepeat(core, attempts, tried.probe, call);
        if (!again) co_return std::move(tried.answer);
        continue;
      }
      // Why it was not asked again is less to the point than why it failed before.
      if (!tried.asked) co_return answer;
      for (const size_t place : places) answer[place].error = tried.answer.status();
    } else if (answer.empty()) {
      answer = *std::move(tried.answer);
    } else {
      for (size_t i = 0; i < places.size(); ++i) answer[places[i]] = std::move((*tried.answer)[i]);
    }
    KeepUnavailable(answer, &load, &places);
    if (places.empty()) {
      if (tried.answer.ok()) core->budget().OnSuccess();
      co_return answer;
    }
    const bool again = co_await MayRepeat(core, attempts, tried.probe, call);
    if (!again) co_return answer;
  }
}

class OriginGuard : public Origin {
 public:
  OriginGuard(std::unique_ptr<Origin> inner, const OriginGuardOptions& options)
      : core_(std::make_shared<OriginGuardCore>(std::move(inner), options)) {}
  ~OriginGuard() override { core_->Close(); }

  Task<absl::StatusOr<Loads>> Load(OriginLoad load, MonoNanos deadline) override {
    return CallLoad(core_, std::move(load), deadline);
  }

  Task<absl::StatusOr<Stores>> Store(OriginStore store, MonoNanos deadline) override {
    size_t bytes = 0;
    for (const OriginStore::Write& write : store.writes) bytes += write.value.size();
    const bool repeatable = bytes <= core_->options().retry_bytes_max;
    return Call(core_, &Origin::Store, std::move(store), repeatable, deadline);
  }

  Task<absl::StatusOr<OriginPage>> Scan(OriginScan scan, MonoNanos deadline) override {
    return Call(core_, &Origin::Scan, std::move(scan), /*repeatable=*/true, deadline);
  }

  OriginStats Stats() const override { return core_->Stats(); }

 private:
  const std::shared_ptr<OriginGuardCore> core_;
};

}  // namespace

std::unique_ptr<Origin> NewOriginGuard(std::unique_ptr<Origin> inner,
                                       const OriginGuardOptions& options) {
  return std::make_unique<OriginGuard>(std::move(inner), options);
}

}  // namespace larder
