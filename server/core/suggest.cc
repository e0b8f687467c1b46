// The distance is Damerau-Levenshtein with neighbours swapped at most once (optimal string
// alignment): most typing errors are one of its edits. The limits are what keeps the suggestions
// believable: two edits turn `max` into `min`, which nobody who wrote `max` meant.

#include "core/suggest.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace larder {
namespace {

size_t EditsMax(size_t length) { return length <= 4 ? 1 : length <= 8 ? 2 : 3; }

char Fold(char c) { return c == '-' ? '_' : absl::ascii_tolower(static_cast<unsigned char>(c)); }

// REQUIRES: neither is empty.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = Fold(a[i - 1]) == Fold(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      const bool swapped =
          i > 1 && j > 1 && Fold(a[i - 1]) == Fold(b[j - 2]) && Fold(a[i - 2]) == Fold(b[j - 1]);
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::optional<std::string> Suggest(std::string_view wrong,
                                   const std::vector<std::string_view>& known) {
  std::optional<std::string> best;
  size_t best_distance = 0;
  for (const std::string_view name : known) {
    if (wrong.empty() || name.empty()) continue;
    const size_t limit = EditsMax(std::min(wrong.size(), name.size()));
    const size_t lengths_apart =
        wrong.size() > name.size() ? wrong.size() - name.size() : name.size() - wrong.size();
    if (lengths_apart > limit) continue;
    const size_t distance = Distance(wrong, name);
    if (distance <= limit && (!best || distance < best_distance)) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace larder
