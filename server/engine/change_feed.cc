// A watcher has no copies of what it is to be told, only the places of it in the ring. So what
// waits for all watchers together takes the bytes of the ring, and eight more for each place; and a
// change is written down once, however many it concerns. A watcher whose oldest place has left the
// ring has missed something: it is cut, and comes back by its token or begins anew.
//
// Going on by a token means to look through the ring from there. Whoever does so is in the index
// from the first moment, so that what happens meanwhile goes to his list as for everybody, and
// looks through what was there before step by step, between which others get the lock.
//
// When the last watcher leaves, changes are kept for a while yet: his connection may only have been
// cut. When nothing has been kept for a time, sequences leave out one number, so that tokens of
// before are behind what is kept, and nobody goes on over a hole.
//
//   active() is loaded after the change is in memory; watching begins before the watcher reads. If
//   the change is not told, it was in memory before the watcher could read anything.

#include "engine/change_feed.h"

#include <algorithm>
#include <utility>

#include "base/keyed_hash.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"

namespace larder {
namespace {

constexpr char kDrainingText[] = "the server is shutting down";

uint64_t HashOfName(std::string_view name) {
  static const KeyedHash hash(0x6c61726465722066, 0x6c6565746e616d65);
  return KeyedHash::Sip(hash, name);
}

}  // namespace

ChangeFeed::ChangeFeed(const Options& options)
    : options_(options), fleet_(HashOfName(options.fleet)) {}

// ---- What happens

void ChangeFeed::Changed(std::string_view full_key, Version version, const KeyChange& change) {
  if (!active()) return;
  Change kept;
  const Version own = change.version != kNoVersion ? change.version : version;
  // Where it is not said what it was, what is older is gone in any case.
  const bool unknown = change.what == KeyChange::What::kUnknown;
  kept.kind = change.what == KeyChange::What::kPut       ? Change::Kind::kPut
              : change.what == KeyChange::What::kRevised ? Change::Kind::kRevised
                                                         : Change::Kind::kRemoved;
  kept.version = unknown ? own - 1 : own;
  kept.full_key = full_key;
  kept.type = change.type;
  kept.tags = change.tags;
  kept.tags_known = change.what == KeyChange::What::kPut || (!unknown && change.tags_known);
  Keep(std::move(kept));
}

void ChangeFeed::Expired(std::string_view full_key, Version version, std::string_view type,
                         std::vector<std::string> tags) {
  if (!WantsExpirations()) return;
  Change kept;
  kept.kind = Change::Kind::kExpired;
  kept.version = version;
  kept.full_key = full_key;
  kept.type = type;
  kept.tags = std::move(tags);
  Keep(std::move(kept));
}

void ChangeFeed::ExpiredUntold(uint64_t count) {
  MutexLock lock(&mu_);
  stats_.expirations_untold += count;
}

void ChangeFeed::Ruled(const Rule& rule) {
  if (!active()) return;
  Change kept;
  kept.kind = Change::Kind::kRule;
  kept.version = rule.version;
  kept.rule = rule;
  if (rule.name_space.empty()) kept.rule->name_space = kDefaultNamespace;
  if (rule.kind == Rule::Kind::kGlob) {
    absl::StatusOr<Glob> glob = Glob::Parse(rule.match);
    if (glob.ok()) kept.glob = *std::move(glob);
  }
  Keep(std::move(kept));
}

void ChangeFeed::Gap(bool goes_on) {
  {
    MutexLock lock(&mu_);
    hearing_ = !goes_on;
    ++stats_.gaps;
  }
  if (!active()) return;
  Change kept;
  kept.kind = Change::Kind::kGap;
  kept.goes_on = goes_on;
  Keep(std::move(kept));
}

void ChangeFeed::Keep(Change change) {
  const auto kept = std::make_shared<const Change>(std::move(change));
  std::deque<std::shared_ptr<const Change>> garbage;
  std::vector<WatchPlace*> found;
  std::vector<std::shared_ptr<Signal<bool>>> woken;
  {
    MutexLock lock(&mu_);
    if (!active()) return;
    if (index_.size() == 0 && options_.clock->Mono() > MonoAfter(idle_since_, options_.linger)) {
      return Forget(&garbage);
    }
    index_.Find(*kept, &found);
    if (found.empty() && kept->kind == Change::Kind::kExpired) return;
    const uint64_t sequence = first_ + ring_.size();
    ring_.push_back(kept);
    ring_bytes_ += kept->bytes();
    ++stats_.changes;
    Trim();
    stats_.told += found.size();
    for (WatchPlace* const place : found) {
      auto* const watcher = static_cast<Watcher*>(place->owner());
      if (watcher->pending_.size() < options_.pending_max) {
        watcher->pending_.push_back(sequence);
      } else {
        watcher->too_slow_ = true;
        std::deque<uint64_t>().swap(watcher->pending_);
        Unlist(watcher);
      }
      if (watcher->wake_ != nullptr) woken.push_back(std::move(watcher->wake_));
    }
  }
  for (const auto& wake : woken) wake->TrySet(true);
}

void ChangeFeed::Trim() {
  while (ring_.size() > options_.changes_max ||
         (ring_bytes_ > options_.bytes_max && ring_.size() > 1)) {
    ring_bytes_ -= ring_.front()->bytes();
    ring_.pop_front();
    ++first_;
  }
}

void ChangeFeed::Forget(std::deque<std::shared_ptr<const Change>>* garbage) {
  first_ += ring_.size() + 1;
  ring_.swap(*garbage);
  ring_bytes_ = 0;
  active_.store(false, std::memory_order_seq_cst);
}

// ---- Watchers

absl::StatusOr<std::unique_ptr<ChangeFeed::Watcher>> ChangeFeed::Watch(
    WatchSelector selector, std::string_view resume_token) {
  std::optional<ResumeToken> token;
  if (!resume_token.empty()) {
    token = DecodeResumeToken(resume_token);
    if (!token.has_value() || token->fleet != fleet_) {
      return FieldError(
          Reason::kRESUME_TOKEN_INVALID, "resume_token",
          token.has_value() ? "the token is of another fleet" : "the bytes are no resume token");
    }
  }
  if (selector.name_space.empty()) selector.name_space = kDefaultNamespace;
  std::unique_ptr<Watcher> watcher(new Watcher(this, std::move(selector)));
  absl::Status placed;
  {
    MutexLock lock(&mu_);
    placed = Place(watcher.get(), token.has_value() ? &*token : nullptr);
    if (!placed.ok()) ++stats_.refused;
  }
  if (!placed.ok()) return placed;
  return watcher;
}

absl::Status ChangeFeed::Place(Watcher* watcher, const ResumeToken* token) {
  if (draining_) return RetryableError(Reason::kDRAINING, absl::Milliseconds(100), kDrainingText);
  if (index_.size() >= options_.watchers_max) {
    return RetryableError(Reason::kWATCHERS_FULL, absl::Seconds(1),
                          StrCat(index_.size(), " streams watch; at most ", options_.watchers_max,
                                 " (limits.watchers)"));
  }
  const uint64_t bytes = watcher->place_.bytes();
  if (selector_bytes_ + bytes > options_.selector_bytes_max) {
    return RetryableError(Reason::kWATCHERS_FULL, absl::Seconds(1),
                          StrCat("what is watched takes ", selector_bytes_,
                                 " bytes to find; at most ", options_.selector_bytes_max));
  }
  const uint64_t next = first_ + ring_.size();
  watcher->tell_gap_ = !hearing_;
  watcher->catch_up_next_ = watcher->catch_up_end_ = next;
  if (token != nullptr) {
    const bool here = token->node == options_.node_id && token->boot == options_.boot;
    if (!here || !active() || token->position + 1 < first_ || token->position >= next) {
      return Error(Reason::kRESUME_TOKEN_OLD,
                   here ? "what came after the token is not kept any more"
                        : "the token is of another replica, or of before a restart");
    }
    watcher->tell_gap_ = false;  // it is among what comes
    watcher->catch_up_next_ = token->position + 1;
    ++stats_.resumed;
  }
  watcher->told_ = watcher->catch_up_next_ - 1;
  index_.Add(&watcher->place_);
  watcher->listed_ = true;
  selector_bytes_ += bytes;
  Count(watcher->place_.selector(), 1);
  active_.store(true, std::memory_order_seq_cst);
  return absl::OkStatus();
}

void ChangeFeed::Count(const WatchSelector& selector, int by) {
  const auto count = static_cast<size_t>(by);
  if (selector.kind == WatchSelector::Kind::kTags)
    by_tags_.fetch_add(count, std::memory_order_relaxed);
  if (selector.expirations) by_expiry_.fetch_add(count, std::memory_order_relaxed);
}

void ChangeFeed::Unlist(Watcher* watcher) {
  if (!std::exchange(watcher->listed_, false)) return;
  index_.Remove(&watcher->place_);
  selector_bytes_ -= watcher->place_.bytes();
  Count(watcher->place_.selector(), -1);
  if (index_.size() == 0) idle_since_ = options_.clock->Mono();
}

void ChangeFeed::Leave(Watcher* watcher) {
  MutexLock lock(&mu_);
  Unlist(watcher);
}

// ---- News

absl::Status ChangeFeed::TooSlow() {
  return RetryableError(Reason::kWATCH_TOO_SLOW, absl::Milliseconds(100),
                        "changes came faster than the stream was read");
}

bool ChangeFeed::CatchUp(Watcher* watcher, News* news) {
  if (watcher->catch_up_next_ < first_) return false;
  const uint64_t end =
      std::min<uint64_t>(watcher->catch_up_end_, watcher->catch_up_next_ + options_.catch_up_step);
  while (watcher->catch_up_next_ < end && news->events.size() < options_.together_max) {
    const uint64_t sequence = watcher->catch_up_next_++;
    const std::shared_ptr<const Change>& change = ring_[sequence - first_];
    if (watcher->place_.Wants(*change)) news->events.push_back({change, sequence});
  }
  news->position = watcher->told_ = watcher->catch_up_next_ - 1;
  return true;
}

bool ChangeFeed::Collect(Watcher* watcher, News* news, bool* again) {
  if (std::exchange(watcher->tell_gap_, false)) {
    auto gap = std::make_shared<Change>();
    gap->kind = Change::Kind::kGap;
    gap->goes_on = true;
    news->position = watcher->told_;
    news->events.push_back({std::move(gap), news->position});
    return true;
  }
  bool missed = watcher->too_slow_;
  if (!missed && watcher->catch_up_next_ < watcher->catch_up_end_) {
    missed = !CatchUp(watcher, news);
    *again = !missed;
    if (!missed) return !news->events.empty();
  }
  while (!missed && !watcher->pending_.empty() && news->events.size() < options_.together_max) {
    const uint64_t sequence = watcher->pending_.front();
    missed = sequence < first_;
    if (missed) break;
    watcher->pending_.pop_front();
    news->events.push_back({ring_[sequence - first_], sequence});
    watcher->told_ = sequence;
  }
  // Who is in the list is told all that concerns him, so what does not is behind him, too.
  if (!missed && watcher->listed_ && watcher->pending_.empty())
    watcher->told_ = first_ + ring_.size() - 1;
  news->position = watcher->told_;
  watcher->too_slow_ = missed;
  // What could still be told is; the end comes with the next news.
  if (!news->events.empty()) return true;
  if (missed) {
    ++stats_.too_slow;
    Unlist(watcher);
    news->end = TooSlow();
  } else if (draining_) {
    news->end = RetryableError(Reason::kDRAINING, absl::Milliseconds(100), kDrainingText);
  }
  return !news->end.ok();
}

Task<ChangeFeed::News> ChangeFeed::Next(Watcher* watcher, MonoNanos until,
                                        Cancellation* cancellation) {
  while (true) {
    News news;
    const auto wake = std::make_shared<Signal<bool>>(options_.executor);
    const MonoNanos now = options_.clock->Mono();
    const bool over = now >= until || cancellation->IsCancelled();
    bool again = false;
    {
      MutexLock lock(&mu_);
      const bool found = Collect(watcher, &news, &again);
      if (found || (over && !again)) co_return news;
      if (!again) watcher->wake_ = wake;
    }
    if (again) continue;
    cancellation->OnCancel([wake] { wake->TrySet(false); });
    const TimerId timer =
        options_.executor->After(absl::Nanoseconds(until - now), [wake] { wake->TrySet(false); });
    co_await *wake;
    options_.executor->Cancel(timer);
  }
}

std::string ChangeFeed::TokenAt(uint64_t position) const {
  return EncodeResumeToken({fleet_, options_.node_id, options_.boot, position});
}

void ChangeFeed::Drain() {
  std::vector<std::shared_ptr<Signal<bool>>> woken;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    std::vector<WatchPlace*> all;
    index_.All(&all);
    for (WatchPlace* const place : all) {
      auto* const watcher = static_cast<Watcher*>(place->owner());
      Unlist(watcher);
      if (watcher->wake_ != nullptr) woken.push_back(std::move(watcher->wake_));
    }
  }
  for (const auto& wake : woken) wake->TrySet(true);
}

ChangeFeed::Stats ChangeFeed::GetStats() const {
  MutexLock lock(&mu_);
  Stats stats = stats_;
  stats.watchers = index_.size();
  stats.kept = ring_.size();
  stats.kept_bytes = ring_bytes_;
  return stats;
}

}  // namespace larder
