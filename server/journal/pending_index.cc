// A key is one node that carries its own text, and each of its writes is another. The key stands in
// at most one line of its group; the write stands in the list of all writes of its type, in the
// order of appending, whose first is the type's oldest.
//
// Coalescing. A newer write takes over the node of the waiting one: its place in the list of ages,
// the time since which the key waits and the key's place in line stay. So a key that is written all
// the time is delivered as often as any other, and a barrier that waits for the older write waits
// for the newer one, without which the older one would never get to the origin. While the older one
// is in flight the newer one is a node of its own; when the older one comes back undelivered, the
// two become one again.
//
// Between the moment when a write is planned and the moment when it is on disk and known here, the
// one that it replaces may be taken for a delivery, and be gone from the disk when it is read. It
// is marked (`replacing`), so that this is not taken for a loss. To keep it from being taken
// instead would starve a key that is written without pause.

#include "journal/pending_index.h"

#include <algorithm>
#include <cstdlib>

#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"

namespace larder {
namespace {

// What the allocator adds to a node.
constexpr uint64_t kNodeOverhead = 16;
// How soon a caller may find room.
constexpr absl::Duration kRetryFull = absl::Milliseconds(500);

PendingWrite* Waiting(const PendingKey* key) {
  PendingWrite* write = key->writes;
  return write != nullptr && write == key->flying ? write->later : write;
}

bool Concerns(const PendingBarrier& barrier, PendingTypeId id, const PendingType& type,
              uint64_t seq) {
  return type.known && seq <= barrier.seq && (barrier.type == kNoPendingType || barrier.type == id);
}

uint64_t More(uint64_t wanted, uint64_t held) { return wanted > held ? wanted - held : 0; }

}  // namespace

PendingIndex::PendingIndex(const Options& options)
    : options_(options),
      hash_(options.random->Next(), options.random->Next()),
      keys_(0, KeyHash{&hash_}) {
  for (const Type& type : options_.types) AddType(type, true);
}

PendingIndex::~PendingIndex() {
  for (PendingKey* key : keys_) {
    while (key != nullptr) {
      while (key->writes != nullptr) delete std::exchange(key->writes, key->writes->later);
      PendingKey::Delete(std::exchange(key, key->other_type));
    }
  }
}

PendingTypeId PendingIndex::AddType(const Type& type, bool known) {
  const auto id = static_cast<PendingTypeId>(types_.size());
  auto added = std::make_unique<PendingType>();
  added->name = type.name;
  added->known = known;
  added->policy = type.policy;
  if (known) {
    const auto it = std::find_if(origins_.begin(), origins_.end(),
                                 [&](const auto& origin) { return origin->name == type.origin; });
    added->origin_id = static_cast<size_t>(it - origins_.begin());
    if (it == origins_.end()) {
      origins_.push_back(std::make_unique<PendingOrigin>());
      origins_.back()->name = type.origin;
    }
  }
  types_.push_back(std::move(added));
  type_ids_[type.name] = id;
  return id;
}

PendingTypeId PendingIndex::TypeOf(std::string_view name) const {
  const auto it = type_ids_.find(ToAbsl(name));
  return it == type_ids_.end() || !types_[it->second]->known ? kNoPendingType : it->second;
}

PendingTypeId PendingIndex::TypeOfStored(std::string_view name) {
  const auto it = type_ids_.find(ToAbsl(name));
  if (it != type_ids_.end()) return it->second;
  return AddType({.name = std::string(name), .origin = {}, .policy = {}}, false);
}

PendingKey* PendingIndex::FindKey(std::string_view full_key, PendingTypeId type) const {
  const auto it = keys_.find(full_key);
  if (it == keys_.end()) return nullptr;
  PendingKey* key = *it;
  while (key != nullptr && key->group->type != type) key = key->other_type;
  return key;
}

PendingKey* PendingIndex::FindOrAddKey(std::string_view full_key, PendingTypeId type) {
  if (PendingKey* const key = FindKey(full_key, type); key != nullptr) return key;
  std::unique_ptr<PendingGroup>& group =
      types_[type]->groups[ToAbsl(FullKey::NamespaceOf(full_key))];
  if (group == nullptr) {
    group = std::make_unique<PendingGroup>();
    group->type = type;
    group->name_space = FullKey::NamespaceOf(full_key);
  }
  ++group->keys;
  PendingKey* const key = PendingKey::New(full_key, group.get());
  if (options_.filter != nullptr) options_.filter->Add(full_key);
  key_memory_ += sizeof(PendingKey) + full_key.size() + kNodeOverhead;
  const auto [place, fresh] = keys_.insert(key);
  if (!fresh) {
    key->other_type = (*place)->other_type;
    (*place)->other_type = key;
  }
  return key;
}

void PendingIndex::RemoveKey(PendingKey* key) {
  const auto it = keys_.find(key->full_key());
  if (*it == key) {
    PendingKey* const other = key->other_type;
    keys_.erase(it);
    if (other != nullptr) keys_.insert(other);
  } else {
    PendingKey* before = *it;
    while (before->other_type != key) before = before->other_type;
    before->other_type = key->other_type;
  }
  if (options_.filter != nullptr) options_.filter->Remove(key->full_key());
  key_memory_ -= sizeof(PendingKey) + key->bytes + kNodeOverhead;
  PendingGroup* const group = key->group;
  PendingKey::Delete(key);
  if (--group->keys > 0) {
    Reorder(group);
    return;
  }
  PendingType& type = *types_[group->type];
  if (type.known && group->due != kMonoNever) {
    origins_[type.origin_id]->order.erase({group->due, group->turn, group});
  }
  if (type.known && group->in_alone) origins_[type.origin_id]->alone.erase({group->turn, group});
  type.groups.erase(type.groups.find(group->name_space));
}

std::optional<PendingIndex::Newest> PendingIndex::NewestOf(std::string_view full_key) const {
  const auto it = keys_.find(full_key);
  if (it == keys_.end()) return std::nullopt;
  const PendingWrite* newest = nullptr;
  for (const PendingKey* key = *it; key != nullptr; key = key->other_type) {
    for (const PendingWrite* write = key->writes; write != nullptr; write = write->later) {
      if (write->put_back || write->superseded) continue;
      if (newest == nullptr || write->version > newest->version) newest = write;
    }
  }
  if (newest == nullptr) return std::nullopt;
  return Newest{newest->seq, newest->version, newest->remove};
}

bool PendingIndex::Knows(std::string_view full_key, PendingTypeId type, uint64_t seq) const {
  const PendingKey* const key = FindKey(full_key, type);
  const PendingWrite* write = key == nullptr ? nullptr : key->writes;
  while (write != nullptr && write->seq != seq) write = write->later;
  return write != nullptr;
}

absl::Status PendingIndex::Reserve(const std::vector<Wanted>& writes, MonoNanos now,
                                   Reservation* reservation, bool* never, bool* in_all) {
  Reservation wanted;
  Share all;
  for (const Wanted& write : writes) {
    Share need{write.type, write.bytes, 1};
    const PendingKey* const key = FindKey(write.full_key, write.type);
    if (key != nullptr && Coalesces(key)) {
      if (key->newest()->version >= write.version) continue;
      if (const PendingWrite* const waiting = Waiting(key); waiting != nullptr) {
        need.entries = 0;
        need.bytes = More(write.bytes, waiting->bytes);
      }
    }
    if (need.entries == 0 && need.bytes == 0) continue;
    auto share = std::find_if(wanted.begin(), wanted.end(),
                              [&](const Share& other) { return other.type == need.type; });
    if (share == wanted.end()) share = wanted.insert(wanted.end(), Share{need.type});
    share->bytes += need.bytes;
    share->entries += need.entries;
    all.bytes += need.bytes;
    all.entries += need.entries;
  }
  const auto full = [](std::string_view what) {
    return RetryableError(Reason::kJOURNAL_FULL, kRetryFull,
                          StrCat("the journal has no room: ", what));
  };
  *never = all.bytes > options_.bytes_max || all.entries > options_.entries_max;
  for (const Share& share : wanted) {
    const WritePolicy& policy = types_[share.type]->policy;
    *never = *never || (policy.bytes_max > 0 && share.bytes > policy.bytes_max) ||
             (policy.entries_max > 0 && share.entries > policy.entries_max);
  }
  const std::string full_in_all = FullInAll(all, now);
  if (in_all != nullptr) *in_all = !full_in_all.empty();
  if (!full_in_all.empty()) return full(full_in_all);
  for (const Share& share : wanted) {
    if (const std::string why = FullOfType(share, now); !why.empty()) return full(why);
  }
  for (const Share& share : wanted) {
    types_[share.type]->reserved_bytes += share.bytes;
    types_[share.type]->reserved_entries += share.entries;
  }
  reserved_bytes_ += all.bytes;
  reserved_entries_ += all.entries;
  *reservation = std::move(wanted);
  return absl::OkStatus();
}

std::string PendingIndex::FullInAll(const Share& all, MonoNanos now) const {
  if (all.bytes > 0 && bytes_ + reserved_bytes_ + letter_bytes_ + all.bytes > options_.bytes_max)
    return StrCat(options_.bytes_max, " bytes of writes and dead letters wait in all");
  if (all.entries == 0) return "";
  if (depth_ + reserved_entries_ + letters_ + all.entries > options_.entries_max)
    return StrCat(options_.entries_max, " writes and dead letters wait in all");
  if (options_.age_max == absl::InfiniteDuration()) return "";
  const MonoNanos oldest = oldest_known();
  if (oldest == kMonoNever || MonoAfter(oldest, options_.age_max) >= now) return "";
  return StrCat("the oldest write of all has waited longer than ",
                absl::FormatDuration(options_.age_max));
}

std::string PendingIndex::FullOfType(const Share& share, MonoNanos now) const {
  const PendingType& type = *types_[share.type];
  const WritePolicy& policy = type.policy;
  const std::string name = StrCat("type \"", type.name, "\": ");
  if (policy.bytes_max > 0 && share.bytes > 0 &&
      type.bytes + type.reserved_bytes + type.letter_bytes + share.bytes > policy.bytes_max) {
    return StrCat(name, policy.bytes_max, " bytes of writes and dead letters wait");
  }
  if (policy.entries_max > 0 && share.entries > 0 &&
      type.depth + type.reserved_entries + type.letters + share.entries > policy.entries_max) {
    return StrCat(name, policy.entries_max, " writes and dead letters wait");
  }
  const PendingWrite* const oldest = type.ages.oldest();
  if (share.entries > 0 && oldest != nullptr && MonoAfter(oldest->since, policy.age_max) < now) {
    return StrCat(name, "its oldest write has waited longer than ",
                  absl::FormatDuration(policy.age_max));
  }
  return "";
}

void PendingIndex::Release(const Reservation& reservation) {
  for (const Share& share : reservation) {
    types_[share.type]->reserved_bytes -= share.bytes;
    types_[share.type]->reserved_entries -= share.entries;
    reserved_bytes_ -= share.bytes;
    reserved_entries_ -= share.entries;
  }
}

PendingIndex::Place PendingIndex::PlaceOf(std::string_view full_key, PendingTypeId type,
                                          Version version) {
  Place place;
  const PendingKey* const key = FindKey(full_key, type);
  if (key == nullptr || !Coalesces(key)) return place;
  place.superseded = key->newest()->version >= version;
  PendingWrite* const waiting = Waiting(key);
  if (place.superseded || waiting == nullptr) return place;
  waiting->replacing = true;
  place.replaces = waiting->seq;
  return place;
}

void PendingIndex::Keep(std::string_view full_key, PendingTypeId type) {
  PendingKey* const key = FindKey(full_key, type);
  if (key == nullptr) return;
  for (PendingWrite* write = key->writes; write != nullptr; write = write->later) {
    write->replacing = false;
  }
  Settle(key, /*in_front=*/true);
}

bool PendingIndex::Insert(const Stored& stored, std::vector<uint64_t>* erase) {
  PendingKey* const key = FindOrAddKey(stored.full_key, stored.type);
  PendingType& type = *types_[stored.type];
  const bool coalesces = Coalesces(key);
  PendingWrite* before = nullptr;
  for (PendingWrite* write = key->writes; write != nullptr; write = write->later) {
    if (write->version == stored.version || (coalesces && write->version > stored.version)) {
      erase->push_back(stored.seq);
      return true;
    }
    if (write->version < stored.version) before = write;
  }
  PendingWrite* const waiting = coalesces ? Waiting(key) : nullptr;
  if (coalesces && key->flying != nullptr) key->flying->replacing = false;
  if (waiting != nullptr) {
    if (waiting->seq != stored.replaces) erase->push_back(waiting->seq);
    type.bytes += stored.bytes - waiting->bytes;
    bytes_ += stored.bytes - waiting->bytes;
    waiting->seq = stored.seq;
    waiting->version = stored.version;
    waiting->bytes = static_cast<uint32_t>(stored.bytes);
    waiting->remove = stored.remove;
    waiting->put_back = waiting->put_back && stored.put_back;
    waiting->replacing = false;
    if (key->trouble != nullptr && key->flying == nullptr) key->trouble->attempts = 0;
    Settle(key, /*in_front=*/true);
    return true;
  }
  auto* const write = new PendingWrite{.seq = stored.seq,
                                       .first_seq = stored.seq,
                                       .since = stored.since,
                                       .version = stored.version,
                                       .bytes = static_cast<uint32_t>(stored.bytes),
                                       .remove = stored.remove,
                                       .put_back = stored.put_back};
  PendingWrite*& place = before == nullptr ? key->writes : before->later;
  write->later = place;
  place = write;
  type.ages.PushNewest(write);
  ++type.depth;
  type.bytes += stored.bytes;
  ++depth_;
  bytes_ += stored.bytes;
  if (type.known) ++origins_[type.origin_id]->depth;
  // One that turned out to be on disk only after the barrier was made.
  for (const auto& barrier : barriers_) {
    if (!Concerns(*barrier, stored.type, type, stored.seq)) continue;
    ++barrier->all;
    ++barrier->left;
  }
  Settle(key, /*in_front=*/false);
  return false;
}

size_t PendingIndex::Supersede(std::string_view full_key, PendingTypeId type, Version upto,
                               std::vector<uint64_t>* erase) {
  PendingKey* const key = FindKey(full_key, type);
  if (key == nullptr) return 0;
  size_t left = 0;
  for (PendingWrite* write = key->writes; write != nullptr && write->version <= upto;) {
    PendingWrite* const later = write->later;
    if (write == key->flying) {
      write->superseded = true;
    } else {
      erase->push_back(write->seq);
      Leave(key, write);
      ++left;
    }
    write = later;
  }
  Settle(key, /*in_front=*/false);
  return left;
}

void PendingIndex::Leave(PendingKey* key, PendingWrite* write, bool dead) {
  PendingWrite** place = &key->writes;
  while (*place != write) place = &(*place)->later;
  *place = write->later;
  if (key->flying == write) key->flying = nullptr;
  PendingType& type = *types_[key->group->type];
  type.ages.Remove(write);
  --type.depth;
  type.bytes -= write->bytes;
  --depth_;
  bytes_ -= write->bytes;
  if (type.known) --origins_[type.origin_id]->depth;
  for (size_t i = 0; i < barriers_.size();) {
    const bool concerned = Concerns(*barriers_[i], key->group->type, type, write->first_seq);
    if (concerned && dead) ++barriers_[i]->dead;
    if (concerned && --barriers_[i]->left == 0) {
      finished_.push_back(barriers_[i]);
      DropBarrier(barriers_[i]);
    } else {
      ++i;
    }
  }
  delete write;
}

std::shared_ptr<PendingBarrier> PendingIndex::AddBarrier(PendingTypeId type, uint64_t seq) {
  const uint64_t left = type == kNoPendingType ? deliverable() : types_[type]->depth;
  if (left == 0) return nullptr;
  auto barrier = std::make_shared<PendingBarrier>();
  barrier->seq = seq;
  barrier->type = type;
  barrier->all = barrier->left = left;
  barriers_.push_back(barrier);
  for (const auto& other : types_) {
    if (type != kNoPendingType && other != types_[type]) continue;
    if (other->barriers++ == 0) ReorderType(other.get());
  }
  return barrier;
}

void PendingIndex::DropBarrier(const std::shared_ptr<PendingBarrier>& barrier) {
  const auto it = std::find(barriers_.begin(), barriers_.end(), barrier);
  if (it == barriers_.end()) return;
  const PendingTypeId type = (*it)->type;
  barriers_.erase(it);
  for (const auto& other : types_) {
    if (type != kNoPendingType && other != types_[type]) continue;
    if (--other->barriers == 0) ReorderType(other.get());
  }
}

}  // namespace larder
