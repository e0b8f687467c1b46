// What those who watch are told. Who watches by tag or by type has to hear, too, of entries that
// lose the tag or go away. What a key was before its change is looked up where the change is made,
// and again where it is told (coherence.cc): the replica that a client reads from is the one that
// most likely has what the client has.
//
// Nothing of this is written down while nobody could be told.

#include <algorithm>
#include <utility>

#include "engine/engine.h"

namespace larder {
namespace {

// Entries that expired and are told in one step of the sweep, of which there is one a millisecond
// while there is more to do: a hundred thousand a second.
constexpr size_t kExpirationsAtOnce = 100;

}  // namespace

void Engine::NoteFormer(Storing* storing) const {
  if (!changes_.WantsFormer()) return;
  Found found = Peek(storing->fields.full_key);
  storing->former_known = found.present;
  if (found.present) storing->former_tags = std::move(found.entry.tags);
}

std::vector<KeyChange> Engine::ToldOf(const Storing& storing, bool gone) const {
  if (!coherence_.Tells()) return {};
  const bool put = !gone && !storing.fields.negative;
  std::vector<KeyChange> told(1);
  told[0].what = put ? KeyChange::What::kPut : KeyChange::What::kRemoved;
  told[0].tags_known = put || storing.former_known;
  told[0].type = storing.type->name;
  told[0].tags = storing.fields.tags;
  for (const std::string& tag : storing.former_tags) {
    if (std::find(told[0].tags.begin(), told[0].tags.end(), tag) == told[0].tags.end())
      told[0].tags.push_back(tag);
  }
  return told;
}

std::vector<KeyChange> Engine::ToldOfTimes(const Storing& storing) const {
  std::vector<KeyChange> told = ToldOf(storing);
  for (KeyChange& change : told) {
    change.what = KeyChange::What::kRevised;
    change.tags_known = true;
  }
  return told;
}

void Engine::TellHere(const Storing& storing) {
  if (!changes_.active()) return;
  for (const KeyChange& change : ToldOf(storing))
    coherence_.ChangedHere(storing.fields.full_key, storing.fields.version, change);
}

void Engine::TellRemoved(const Storing& storing) {
  if (!changes_.active()) return;
  for (const KeyChange& change : ToldOf(storing, /*gone=*/true))
    coherence_.ChangedHere(storing.fields.full_key, storing.fields.version, change);
}

void Engine::Describe(Removing* removing) const {
  if (!coherence_.Tells()) return;
  for (size_t i = 0; i < removing->full_keys.size(); ++i) {
    KeyChange& told = removing->changes.emplace_back();
    told.what = KeyChange::What::kRemoved;
    told.type = removing->types[i]->name;
    Found found = Peek(removing->full_keys[i]);
    if (!found.present) continue;
    told.type = options_.types->Get(found.entry.type_id).name;
    told.tags = std::move(found.entry.tags);
    told.tags_known = true;
  }
}

// What was made good was told here when it was changed, and the others may have heard of it then,
// while what they found in the tier was of before. That what was written is lost is new to all.
void Engine::TellSettled(LowerTier::Settled settled) {
  std::vector<KeyChange> told;
  if (coherence_.Tells()) {
    told.resize(settled.full_keys.size());
    for (size_t i = 0; i < told.size(); ++i) {
      told[i].version = settled.versions[i];
      told[i].what = settled.removed[i] ? KeyChange::What::kRemoved : KeyChange::What::kPut;
      const Found found = Peek(settled.full_keys[i]);
      if (found.present) {
        told[i].type = options_.types->Get(found.entry.type_id).name;
        told[i].tags = found.entry.tags;
        told[i].tags_known = true;
        if (found.entry.negative) told[i].what = KeyChange::What::kRemoved;
      }
      if (settled.removed[i]) coherence_.ChangedHere(settled.full_keys[i], settled.newest, told[i]);
    }
  }
  coherence_.ChangedElsewhere(std::move(settled.full_keys), settled.newest, std::move(told));
}

absl::StatusOr<std::unique_ptr<ChangeFeed::Watcher>> Engine::Watch(WatchSelector selector,
                                                                   std::string_view resume_token) {
  const bool expirations = selector.expirations;
  absl::StatusOr<std::unique_ptr<ChangeFeed::Watcher>> watcher =
      changes_.Watch(std::move(selector), resume_token);
  if (watcher.ok() && expirations) memory_->KeepEnded(true);
  return watcher;
}

bool Engine::TellExpired() {
  if (!changes_.WantsExpirations()) {
    memory_->KeepEnded(false);
    // Somebody may have come since it was asked.
    if (changes_.WantsExpirations()) memory_->KeepEnded(true);
    return false;
  }
  std::vector<L1::Ended> ended;
  uint64_t lost = 0;
  const bool more = memory_->TakeEnded(kExpirationsAtOnce, &ended, &lost);
  if (lost > 0) changes_.ExpiredUntold(lost);
  for (L1::Ended& one : ended) {
    // What took its place has been told, and the later event must not be the older one.
    if (const Found there = Peek(one.full_key); there.present && there.entry.version > one.version)
      continue;
    changes_.Expired(one.full_key, one.version, options_.types->Get(one.type_id).name,
                     std::move(one.tags));
  }
  return more;
}

bool Engine::PeekValue(std::string_view full_key, Version version, std::string* value) {
  Found found = Peek(full_key);
  if (!found.live() || found.entry.version != version) return false;
  if (!Decode(full_key, &found.entry)) return false;
  *value = found.entry.stored();
  return true;
}

}  // namespace larder
