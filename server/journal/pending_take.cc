// The half of PendingIndex that says what is delivered next, and takes back what was.
//
// A group is all that one call may hold: writes of one origin, namespace and type. It has a line of
// keys that wait, one of keys whose pause after a failure is over, and one of keys that go alone.
// An origin keeps its groups by when they are due, which takes the logarithm of their number; of
// those that are due the one that was served least recently comes first, so that a group with a
// million writes does not hold up another one with a single write.
//
// A call takes from the line the keys that are due, and those that will be within a quarter of the
// delay. It takes no more where writes are coalesced: each later delivery of a key is a write of it
// that was saved. For the same reason a full batch that waits is no cause to hurry there. Where
// every write is delivered, waiting on saves nothing, and a call takes what it can get.
//
// Keys that come back from a pause get half of a call's places as long as others wait: neither may
// a key that fails for ever hold up the rest, nor a flood of new keys one that failed once.

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/utf8.h"
#include "journal/pending_index.h"

namespace larder {

MonoNanos PendingIndex::DueOf(const PendingGroup& group) const {
  const PendingType& type = *types_[group.type];
  MonoNanos due = kMonoNever;
  if (!group.again.empty()) {
    due = 0;
  } else if (const PendingKey* const first = group.line.front(); first != nullptr) {
    const bool full = !type.policy.coalesce && group.line.size() >= type.policy.batch;
    const bool now = full || Hurries(type) || first->writes == nullptr;
    due = now ? 0 : MonoAfter(first->writes->since, type.policy.delay);
  }
  if (!group.pauses.empty()) due = std::min(due, group.pauses.begin()->first);
  return due == kMonoNever ? due : std::max(due, group.served);
}

bool PendingIndex::Hurries(const PendingType& type) const {
  return hurry_all_ || type.barriers > 0 || type.waiting > 0;
}

void PendingIndex::Reorder(PendingGroup* group) {
  const PendingType& type = *types_[group->type];
  if (!type.known) return;
  PendingOrigin& origin = *origins_[type.origin_id];
  const MonoNanos due = DueOf(*group);
  if (due != group->due) {
    if (group->due != kMonoNever) origin.order.erase({group->due, group->turn, group});
    group->due = due;
    if (due != kMonoNever) origin.order.emplace(due, group->turn, group);
  }
  const bool in_alone = !group->alone.empty();
  if (in_alone == group->in_alone) return;
  group->in_alone = in_alone;
  if (in_alone) {
    origin.alone.emplace(group->turn, group);
  } else {
    origin.alone.erase({group->turn, group});
  }
}

void PendingIndex::ReorderType(PendingType* type) {
  for (const auto& [name_space, group] : type->groups) Reorder(group.get());
}

void PendingIndex::AddWaiting(PendingTypeId type) {
  if (types_[type]->waiting++ == 0) ReorderType(types_[type].get());
}

void PendingIndex::RemoveWaiting(PendingTypeId type) {
  if (--types_[type]->waiting == 0) ReorderType(types_[type].get());
}

void PendingIndex::HurryAll() {
  hurry_all_ = true;
  for (const auto& type : types_) ReorderType(type.get());
}

void PendingIndex::Unplace(PendingKey* key) {
  PendingGroup* const group = key->group;
  switch (std::exchange(key->where, PendingKey::Where::kNowhere)) {
    case PendingKey::Where::kNowhere:
      return;
    case PendingKey::Where::kLine:
      group->line.Remove(key);
      return;
    case PendingKey::Where::kAgain:
      group->again.Remove(key);
      return;
    case PendingKey::Where::kAlone:
      group->alone.Remove(key);
      return;
    case PendingKey::Where::kPause:
      group->pauses.erase({key->trouble->until, key});
      return;
  }
}

void PendingIndex::Settle(PendingKey* key, bool in_front) {
  if (key->writes == nullptr) {
    Unplace(key);
    RemoveKey(key);
    return;
  }
  if (key->flying == nullptr && key->where == PendingKey::Where::kNowhere) {
    PendingGroup* const group = key->group;
    const PendingTrouble* const trouble = key->trouble.get();
    if (trouble != nullptr && trouble->paused) {
      key->where = PendingKey::Where::kPause;
      group->pauses.emplace(trouble->until, key);
    } else {
      const bool alone = trouble != nullptr && trouble->alone;
      key->where = alone ? PendingKey::Where::kAlone : PendingKey::Where::kLine;
      PendingLine& line = alone ? group->alone : group->line;
      in_front ? line.PushFront(key) : line.PushBack(key);
    }
  }
  Reorder(key->group);
}

void PendingIndex::Wake(PendingGroup* group, MonoNanos now) {
  while (!group->pauses.empty() && group->pauses.begin()->first <= now) {
    PendingKey* const key = group->pauses.begin()->second;
    Unplace(key);
    key->trouble->paused = false;
    const bool alone = key->trouble->alone;
    key->where = alone ? PendingKey::Where::kAlone : PendingKey::Where::kAgain;
    (alone ? group->alone : group->again).PushBack(key);
  }
}

std::optional<PendingIndex::Call> PendingIndex::Take(size_t origin_id, MonoNanos now, bool alone) {
  PendingOrigin& origin = *origins_[origin_id];
  // By turns, so that neither holds up the other.
  if (alone && !origin.was_alone) {
    if (std::optional<Call> call = TakeAlone(&origin, now)) return call;
  }
  if (std::optional<Call> call = TakeBatch(&origin, now)) return call;
  return alone ? TakeAlone(&origin, now) : std::nullopt;
}

std::optional<PendingIndex::Call> PendingIndex::TakeAlone(PendingOrigin* origin, MonoNanos now) {
  if (origin->alone.empty()) return std::nullopt;
  PendingGroup* const group = origin->alone.begin()->second;
  Call call;
  call.type = group->type;
  call.name_space = group->name_space;
  call.alone = true;
  TakeKey(group->alone.front(), &call);
  origin->was_alone = true;
  Served(group, now);
  return call;
}

std::optional<PendingIndex::Call> PendingIndex::TakeBatch(PendingOrigin* origin, MonoNanos now) {
  while (!origin->order.empty()) {
    const auto [due, turn, group] = *origin->order.begin();
    if (due > now) break;
    Wake(group, now);
    Call call;
    call.type = group->type;
    call.name_space = group->name_space;
    FillBatch(group, now, &call);
    if (call.writes.empty()) {
      // Only lone keys have woken.
      Reorder(group);
      continue;
    }
    origin->was_alone = false;
    Served(group, now);
    return call;
  }
  return std::nullopt;
}

void PendingIndex::FillBatch(PendingGroup* group, MonoNanos now, Call* call) {
  const PendingType& type = *types_[group->type];
  const size_t most = std::max<size_t>(type.policy.batch, 1);
  uint64_t bytes = 0;
  const auto fits = [&](const PendingKey* key) {
    return call->writes.empty() || bytes + key->writes->bytes <= options_.delivery_bytes_max;
  };
  const auto take = [&](PendingKey* key) {
    bytes += key->writes->bytes;
    TakeKey(key, call);
  };
  const auto take_again = [&](size_t upto) {
    while (call->writes.size() < upto && !group->again.empty() && fits(group->again.front())) {
      take(group->again.front());
    }
  };
  take_again(group->line.empty() ? most : std::max<size_t>(most / 2, 1));
  const MonoNanos in_time = MonoAfter(now, type.policy.delay / 4);
  const bool all = !type.policy.coalesce || Hurries(type);
  while (call->writes.size() < most && !group->line.empty() && fits(group->line.front())) {
    PendingKey* const key = group->line.front();
    if (!all && MonoAfter(key->writes->since, type.policy.delay) > in_time) break;
    take(key);
  }
  take_again(most);
}

void PendingIndex::TakeKey(PendingKey* key, Call* call) {
  Unplace(key);
  key->flying = key->writes;
  key->flying->in_flight = true;
  call->writes.push_back({key, key->flying->seq, key->flying->remove, key->flying->put_back});
}

void PendingIndex::Served(PendingGroup* group, MonoNanos now) {
  PendingOrigin& origin = *origins_[types_[group->type]->origin_id];
  if (group->due != kMonoNever) origin.order.erase({group->due, group->turn, group});
  if (group->in_alone) origin.alone.erase({group->turn, group});
  group->due = kMonoNever;
  group->in_alone = false;
  group->turn = ++turns_;
  group->served = now;
  Reorder(group);
}

bool PendingIndex::IsDue(size_t origin, MonoNanos now) const {
  const PendingOrigin& it = *origins_[origin];
  return !it.alone.empty() || (!it.order.empty() && std::get<0>(*it.order.begin()) <= now);
}

MonoNanos PendingIndex::NextDue(size_t origin, MonoNanos now) const {
  const auto& order = origins_[origin]->order;
  const auto it = order.lower_bound({now + 1, 0, nullptr});
  return it == order.end() ? kMonoNever : std::get<0>(*it);
}

void PendingIndex::Land(PendingKey* key, std::vector<uint64_t>* erase) {
  PendingWrite* const write = std::exchange(key->flying, nullptr);
  write->in_flight = false;
  if (write->superseded) {
    erase->push_back(write->seq);
    Leave(key, write);
    return;
  }
  PendingWrite* const later = write->later;
  if (!Coalesces(key) || later == nullptr) return;
  ++types_[key->group->type]->overtaken;
  erase->push_back(write->seq);
  // The bytes of the two change places, too, so that the one that leaves takes the right number.
  std::swap(write->bytes, later->bytes);
  write->seq = later->seq;
  write->version = later->version;
  write->remove = later->remove;
  write->put_back = write->put_back && later->put_back;
  write->replacing = later->replacing;
  if (key->trouble != nullptr) key->trouble->attempts = 0;
  Leave(key, later);
}

MonoNanos PendingIndex::Done(PendingKey* key, std::vector<uint64_t>* erase) {
  PendingWrite* const write = key->flying;
  const MonoNanos since = write->since;
  erase->push_back(write->seq);
  Leave(key, write);
  key->trouble.reset();
  Settle(key, /*in_front=*/false);
  return since;
}

void PendingIndex::Return(const Call& call, std::vector<uint64_t>* erase) {
  for (auto taken = call.writes.rbegin(); taken != call.writes.rend(); ++taken) {
    Land(taken->key, erase);
    Settle(taken->key, /*in_front=*/true);
  }
}

void PendingIndex::GoAlone(PendingKey* key, std::vector<uint64_t>* erase) {
  Land(key, erase);
  if (key->trouble == nullptr) key->trouble = std::make_unique<PendingTrouble>();
  key->trouble->alone = true;
  Settle(key, /*in_front=*/false);
}

bool PendingIndex::Retry(PendingKey* key, bool refused, MonoNanos now, absl::Time wall,
                         std::vector<uint64_t>* erase) {
  if (key->trouble == nullptr) key->trouble = std::make_unique<PendingTrouble>();
  PendingTrouble& trouble = *key->trouble;
  if (trouble.attempts++ == 0) trouble.first = wall;
  trouble.last = wall;
  const WritePolicy& policy = types_[key->group->type]->policy;
  const bool needless =
      key->flying->superseded || (Coalesces(key) && key->flying->later != nullptr);
  const bool over = refused || trouble.attempts >= static_cast<uint32_t>(policy.attempts);
  if (over && !key->flying->superseded && (refused || !needless)) return true;
  Delay(key, now, erase);
  return false;
}

MonoNanos PendingIndex::NoteSilent(PendingKey* key, MonoNanos began) {
  if (key->trouble == nullptr) key->trouble = std::make_unique<PendingTrouble>();
  return std::min(std::exchange(key->trouble->tried, began), began);
}

void PendingIndex::Delay(PendingKey* key, MonoNanos now, std::vector<uint64_t>* erase) {
  if (key->trouble == nullptr) key->trouble = std::make_unique<PendingTrouble>();
  PendingTrouble& trouble = *key->trouble;
  Land(key, erase);
  const Backoff& backoff = types_[key->group->type]->policy.backoff;
  const int failures = static_cast<int>(std::min<uint32_t>(++trouble.failures, 1'000));
  trouble.paused = key->writes != nullptr;
  trouble.until = MonoAfter(now, backoff.Pause(failures, options_.random));
  Settle(key, /*in_front=*/false);
}

PendingIndex::History PendingIndex::HistoryOf(PendingKey* key) const {
  const PendingTrouble& trouble = *key->trouble;
  return {trouble.attempts, trouble.first, trouble.last};
}

void PendingIndex::Buried(PendingKey* key) {
  Leave(key, key->flying, /*dead=*/true);
  key->trouble.reset();
  Settle(key, /*in_front=*/false);
}

bool PendingIndex::Vanished(PendingKey* key, std::vector<uint64_t>* erase) {
  PendingWrite* const write = key->flying;
  if (write->replacing) {
    // Its successor is on its way here, and puts the key in line again.
    key->flying = nullptr;
    write->in_flight = false;
    return true;
  }
  const bool known = write->superseded || (Coalesces(key) && write->later != nullptr);
  if (known) {
    Land(key, erase);
  } else {
    Leave(key, write);
  }
  Settle(key, /*in_front=*/true);
  return known;
}

std::vector<std::shared_ptr<PendingBarrier>> PendingIndex::TakeFinished() {
  return std::exchange(finished_, {});
}

void PendingIndex::NoteError(PendingKey* key, std::string_view error) {
  if (key->trouble == nullptr) key->trouble = std::make_unique<PendingTrouble>();
  std::string kept = CleanUtf8(error, kErrorBytesMax);
  PendingType& type = *types_[key->group->type];
  for (const auto& one : type.errors) {
    std::shared_ptr<const std::string> same = one.lock();
    if (same == nullptr || *same != kept) continue;
    key->trouble->error = std::move(same);
    return;
  }
  key->trouble->error.reset();
  if (errors_ >= kErrorsMax) return;
  ++errors_;
  key->trouble->error = std::shared_ptr<const std::string>(new std::string(std::move(kept)),
                                                           [this](const std::string* text) {
                                                             --errors_;
                                                             delete text;
                                                           });
  type.errors[type.next_error++ % type.errors.size()] = key->trouble->error;
}

std::optional<PendingIndex::Trying> PendingIndex::TryingOf(std::string_view full_key,
                                                           PendingTypeId type) const {
  const PendingKey* const key = FindKey(full_key, type);
  if (key == nullptr) return std::nullopt;
  Trying trying;
  trying.in_flight = key->in_flight();
  const PendingTrouble* const trouble = key->trouble.get();
  if (trouble != nullptr) {
    trying.attempts = trouble->attempts;
    if (trouble->error != nullptr) trying.error = *trouble->error;
  }
  const PendingType& of = *types_[type];
  if (trouble != nullptr && trouble->paused) {
    trying.due = trouble->until;
  } else if (key->where == PendingKey::Where::kLine && !Hurries(of)) {
    trying.due = MonoAfter(key->writes->since, of.policy.delay);
  }
  return trying;
}

void PendingIndex::AddLetters(PendingTypeId type, uint64_t letters, uint64_t bytes) {
  types_[type]->letters += letters;
  types_[type]->letter_bytes += bytes;
  letters_ += letters;
  letter_bytes_ += bytes;
}

void PendingIndex::RemoveLetters(PendingTypeId type, uint64_t letters, uint64_t bytes) {
  types_[type]->letters -= letters;
  types_[type]->letter_bytes -= bytes;
  letters_ -= letters;
  letter_bytes_ -= bytes;
}

uint64_t PendingIndex::deliverable() const {
  uint64_t sum = 0;
  for (const auto& origin : origins_) sum += origin->depth;
  return sum;
}

MonoNanos PendingIndex::oldest() const {
  MonoNanos oldest = kMonoNever;
  for (const auto& type : types_) {
    if (type->ages.oldest() != nullptr) oldest = std::min(oldest, type->ages.oldest()->since);
  }
  return oldest;
}

MonoNanos PendingIndex::oldest_known() const {
  MonoNanos oldest = kMonoNever;
  for (const auto& type : types_) {
    if (type->known && type->ages.oldest() != nullptr)
      oldest = std::min(oldest, type->ages.oldest()->since);
  }
  return oldest;
}

size_t PendingIndex::memory_bytes() const {
  size_t groups = 0;
  for (const auto& type : types_) groups += type->groups.size();
  return key_memory_ + depth_ * (sizeof(PendingWrite) + 16) +
         keys_.capacity() * (sizeof(PendingKey*) + 1) + groups * sizeof(PendingGroup);
}

}  // namespace larder
