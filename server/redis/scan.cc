// A walk over all masters, one page a call. What there is to walk is told in slots and not in
// nodes, because nodes change while the walk goes on:
//
//   1: A and B serve a half each; A has been walked.   2: A slot goes from B to A.   3: B is
//   walked.
//
// The keys of that slot were never where the walk was. So the cursor says which slots are done, and
// A is walked once more for the one that is not. A slot counts as done when it was its node's from
// the beginning of that node's walk to the end of it. However many ranges a node serves, its keys
// are one table for SCAN, so that it is walked once. Without a Cluster there is one master, which
// serves every slot.
//
// Rejected: nodes in the order of their first slots, which leaves out what a node has not given yet
// when it takes over a lower slot; nodes in the order of their addresses, which change when a
// replica takes over.

#include <algorithm>
#include <bitset>
#include <charconv>
#include <utility>

#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/strings.h"
#include "redis/calls.h"
#include "redis/round.h"

namespace larder {
namespace {

using Slots = std::bitset<RedisRoutes::kSlots>;

struct ScanPlace {
  // Who gave `cursor`, which means something only there.
  std::string address;
  std::string cursor = "0";
  // Of that node since its walk began.
  Slots current;
  Slots done;
};

// `0-5460,8000`, or `-` for none.
std::string SlotsText(const Slots& slots) {
  std::string text;
  for (size_t first = 0; first < slots.size(); ++first) {
    if (!slots[first]) continue;
    size_t last = first;
    while (last + 1 < slots.size() && slots[last + 1]) ++last;
    absl::StrAppend(&text, text.empty() ? "" : ",", first);
    if (last > first) absl::StrAppend(&text, "-", last);
    first = last;
  }
  return text.empty() ? "-" : text;
}

// Of a number at the start of `text`, which is removed; false when there is none.
bool TakeSlot(std::string_view* text, size_t* slot) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *slot);
  if (error != std::errc() || *slot >= RedisRoutes::kSlots) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

bool ParseSlots(std::string_view text, Slots* slots) {
  if (text == "-") return true;
  while (true) {
    size_t first;
    if (!TakeSlot(&text, &first)) return false;
    size_t last = first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      if (!TakeSlot(&text, &last)) return false;
    }
    for (size_t slot = first; slot <= last; ++slot) slots->set(slot);
    if (text.empty()) return true;
    if (!text.starts_with(',')) return false;
    text.remove_prefix(1);
  }
}

// `address cursor current done`
std::string PlaceText(const ScanPlace& place) {
  return StrCat(place.address, " ", place.cursor, " ", SlotsText(place.current), " ",
                SlotsText(place.done));
}

absl::StatusOr<ScanPlace> ParsePlace(const std::string& text) {
  ScanPlace place;
  if (text.empty()) return place;
  const std::vector<std::string> parts = absl::StrSplit(text, ' ');
  if (parts.size() != 4 || !ParseSlots(parts[2], &place.current) ||
      !ParseSlots(parts[3], &place.done)) {
    return absl::InvalidArgumentError(StrCat("\"", text, "\" is no cursor of a scan"));
  }
  place.address = parts[0];
  place.cursor = parts[1];
  return place;
}

size_t OwnerOf(const RedisRoutes& routes, size_t slot) {
  return routes.slots.empty() ? 0 : routes.slots[slot];
}

Slots SlotsOf(const RedisRoutes& routes, size_t master) {
  Slots slots;
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (OwnerOf(routes, slot) == master) slots.set(slot);
  }
  return slots;
}

// To the start of a node that serves a slot that is not done. Null: the walk is over.
const RedisNode* NextNode(const RedisRoutes& routes, ScanPlace* place) {
  for (size_t slot = 0; slot < RedisRoutes::kSlots; ++slot) {
    const size_t owner = OwnerOf(routes, slot);
    if (place->done[slot] || owner >= routes.masters.size()) continue;
    const RedisNode* const node = routes.masters[owner].get();
    place->address = node->address;
    place->cursor = "0";
    place->current = SlotsOf(routes, owner) & ~place->done;
    return node;
  }
  return nullptr;
}

// To where the page before ended, if the node is there yet and still serves what is walked for.
const RedisNode* SameNode(const RedisRoutes& routes, ScanPlace* place) {
  for (size_t at = 0; at < routes.masters.size(); ++at) {
    const RedisNode* const node = routes.masters[at].get();
    if (node->address != place->address) continue;
    place->current &= SlotsOf(routes, at);
    return place->current.any() ? node : nullptr;
  }
  return nullptr;
}

}  // namespace

Task<absl::StatusOr<RedisScanPage>> RunRedisScan(std::shared_ptr<RedisCore> core,
                                                 std::string cursor, std::string match,
                                                 size_t count, MonoNanos deadline) {
  CO_ASSIGN_OR_RETURN(ScanPlace place, ParsePlace(cursor));
  std::shared_ptr<const RedisRoutes> routes = core->routes();
  if (routes == nullptr) {
    co_await core->RoutesKnown(deadline);
    routes = core->routes();
    if (routes == nullptr) co_return core->routes_error();
  }
  const RedisNode* node = SameNode(*routes, &place);
  if (node == nullptr) node = NextNode(*routes, &place);
  if (node == nullptr) co_return RedisScanPage();

  std::vector<std::string> args = {"SCAN", place.cursor, "COUNT", absl::StrCat(count)};
  if (!match.empty()) {
    args.emplace_back("MATCH");
    args.push_back(match);
  }
  absl::StatusOr<RedisReply> answer;
  RedisRound round(core, absl::MakeSpan(&answer, 1));
  round.Add(node->LeastBusy(), 0, args, false);
  co_await round.Send(deadline);
  CountRedisReplies(core.get(), round.results);
  if (!answer.ok()) co_return answer.status();
  RedisReply& reply = *answer;
  if (reply.items.size() != 2 || reply.items[0].kind != RedisReply::Kind::kString) {
    co_return absl::InternalError("SCAN answered something else than a cursor and keys");
  }
  RedisScanPage page;
  for (RedisReply& key : reply.items[1].items) page.keys.push_back(std::move(key.text));
  place.cursor = std::move(reply.items[0].text);
  bool over = false;
  if (place.cursor == "0") {
    // What moved during this page is not done.
    routes = core->routes();
    if (SameNode(*routes, &place) != nullptr) place.done |= place.current;
    over = NextNode(*routes, &place) == nullptr;
  }
  if (!over) page.cursor = PlaceText(place);
  co_return page;
}

}  // namespace larder
