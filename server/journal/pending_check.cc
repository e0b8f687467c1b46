// What must hold of a PendingIndex at all times, counted anew from its nodes.

#include <cstdio>
#include <cstdlib>
#include <map>

#include "journal/pending_index.h"

namespace larder {
namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "PendingIndex: %s\n", what);
  std::abort();
}

// What is found of a type.
struct Counted {
  uint64_t depth = 0;
  uint64_t bytes = 0;
  size_t in_ages = 0;
};

size_t LengthOf(const PendingLine& line, PendingKey::Where where) {
  size_t length = 0;
  for (const PendingKey* key = line.front(); key != nullptr; key = key->behind) {
    Require(key->where == where, "a key stands in a line that it does not know of");
    ++length;
  }
  Require(length == line.size(), "the length of a line is wrong");
  return length;
}

void CheckKey(const PendingKey* key, bool coalesces, Counted* counted) {
  Require(key->writes != nullptr, "a key has no writes");
  size_t waiting = 0;
  bool flies = false;
  bool replaced = false;
  for (const PendingWrite* write = key->writes; write != nullptr; write = write->later) {
    Require(write->later == nullptr || write->later->version > write->version,
            "the writes of a key are not in the order of their versions");
    Require(write->in_flight == (write == key->flying), "a write flies that should not");
    flies = flies || write == key->flying;
    waiting += write == key->flying ? 0 : 1;
    replaced = replaced || write->replacing;
    ++counted->depth;
    counted->bytes += write->bytes;
  }
  Require(flies == key->in_flight(), "a key flies without its write");
  Require(!coalesces || waiting <= 1, "more than one write of a key waits");
  const bool placed = key->where != PendingKey::Where::kNowhere;
  Require(!(flies && placed), "a key in flight stands in line");
  Require(flies || placed || replaced, "a key that waits stands nowhere");
}

}  // namespace

void PendingIndex::CheckInvariants() const {
  std::map<PendingTypeId, Counted> counted;
  std::map<const PendingGroup*, size_t> keys;
  uint64_t depth = 0, bytes = 0;
  for (const PendingKey* first : keys_) {
    for (const PendingKey* key = first; key != nullptr; key = key->other_type) {
      Require(key->full_key() == first->full_key(), "keys that differ hang together");
      CheckKey(key, Coalesces(key), &counted[key->group->type]);
      ++keys[key->group];
    }
  }
  for (PendingTypeId id = 0; id < types_.size(); ++id) {
    const PendingType& type = *types_[id];
    Counted& one = counted[id];
    for (const PendingWrite* write = type.ages.oldest(); write != nullptr; write = write->newer) {
      ++one.in_ages;
    }
    Require(one.depth == type.depth && one.in_ages == type.depth, "a type's depth is wrong");
    Require(one.bytes == type.bytes, "a type's bytes are wrong");
    depth += one.depth;
    bytes += one.bytes;
    for (const auto& [name_space, group] : type.groups) {
      Require(group->keys > 0 && group->keys == keys[group.get()], "a group's keys are wrong");
      const size_t placed = LengthOf(group->line, PendingKey::Where::kLine) +
                            LengthOf(group->again, PendingKey::Where::kAgain) +
                            LengthOf(group->alone, PendingKey::Where::kAlone) +
                            group->pauses.size();
      Require(placed <= group->keys, "more keys stand in line than there are");
      if (!type.known) continue;
      Require(group->due == DueOf(*group), "a group has the wrong time");
      const PendingOrigin& origin = *origins_[type.origin_id];
      Require((group->due != kMonoNever) ==
                  origin.order.contains({group->due, group->turn, group.get()}),
              "a group is not in its origin's order");
      Require(!group->alone.empty() == origin.alone.contains({group->turn, group.get()}),
              "lone keys are not known to their origin");
    }
  }
  Require(depth == depth_ && bytes == bytes_, "the sums are wrong");
}

}  // namespace larder
