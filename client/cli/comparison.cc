#include "client/cli/comparison.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder::cli {
namespace {

// Of one key. Copies that are older than the oldest of them have been judged when it was new.
constexpr size_t kVersionsMax = 32;

std::string Described(const CopyInfo& copy) {
  if (copy.negative) return "absent";
  const std::string bytes = absl::StrCat(copy.value_bytes, " bytes");
  return copy.checksum.has_value() ? absl::StrCat(bytes, " (", absl::Hex(*copy.checksum), ")")
                                   : bytes;
}

}  // namespace

const char* Name(ViolationKind kind) {
  switch (kind) {
    case ViolationKind::kStale:
      return "stale";
    case ViolationKind::kConflict:
      return "conflict";
    case ViolationKind::kOrigin:
      return "origin";
  }
  return "unknown";
}

void Comparison::Add(const KeyName& name, const std::vector<Answer>& answers) {
  Book& book = books_[name];
  uint64_t newest = 0;
  for (const Answer& answer : answers) {
    for (const CopyInfo& copy : answer.result.copies) {
      if (copy.tier == Tier::kOrigin) continue;
      ++(copy.tier == Tier::kL1 ? report_.memory_copies : report_.lower_copies);
      if (!copy.suspect) newest = std::max(newest, copy.version);
      NoteVersion(name, answer, copy, &book);
    }
  }
  for (const Answer& answer : answers) Judge(name, answer, &book);
  CompareWithOrigin(name, answers, newest, &book);
  while (book.versions.size() > kVersionsMax) book.versions.erase(book.versions.begin());
}

void Comparison::CompareWithOrigin(const KeyName& name, const std::vector<Answer>& answers,
                                   uint64_t newest, Book* book) {
  const bool waits = std::any_of(answers.begin(), answers.end(), [](const Answer& answer) {
    return answer.result.pending.has_value();
  });
  for (const Answer& answer : answers) {
    if (!answer.result.origin_error.empty()) ++report_.origin_errors;
    for (const CopyInfo& copy : answer.result.copies) {
      if (copy.tier != Tier::kOrigin) continue;
      ++report_.origin_copies;
      if (waits) {
        ++report_.waiting;
        book->difference.reset();
      } else {
        JudgeOrigin(name, answer, copy, newest, book);
      }
    }
  }
}

void Comparison::NoteVersion(const KeyName& name, const Answer& answer, const CopyInfo& copy,
                             Book* book) {
  const absl::Duration by_age = answer.answered - copy.age;
  const auto [at, is_new] =
      book->versions.emplace(copy.version, Version{answer.answered, by_age, ContentOf(copy)});
  if (is_new) return;
  Version& version = at->second;
  version.first_seen = std::min(version.first_seen, answer.answered);
  version.by_age = std::max(version.by_age, by_age);
  if (version.content == ContentOf(copy) || version.conflict) return;
  version.conflict = true;
  Tell({ViolationKind::kConflict, name, answer.replica, copy.tier, copy.version,
        absl::ZeroDuration(),
        absl::StrCat("another copy of this version is not ", Described(copy))});
}

void Comparison::Judge(const KeyName& name, const Answer& answer, Book* book) {
  std::set<Tier> there;
  for (const CopyInfo& copy : answer.result.copies) {
    if (copy.tier == Tier::kOrigin) continue;
    there.insert(copy.tier);
    JudgeCopy(name, answer, copy, book);
  }
  for (const Tier tier : {Tier::kL1, Tier::kL2}) {
    const auto gone = book->stale.find({answer.replica, tier});
    if (there.count(tier) > 0 || gone == book->stale.end()) continue;
    Close(gone->second);
    book->stale.erase(gone);
  }
}

void Comparison::JudgeCopy(const KeyName& name, const Answer& answer, const CopyInfo& copy,
                           Book* book) {
  if (copy.suspect) ++report_.suspect;
  absl::Duration behind;
  if (!copy.suspect) {
    for (auto newer = book->versions.upper_bound(copy.version); newer != book->versions.end();
         ++newer) {
      behind = std::max(behind, answer.asked - newer->second.written_before());
    }
  }
  const std::pair<size_t, Tier> place(answer.replica, copy.tier);
  auto open = book->stale.find(place);
  if (open != book->stale.end() &&
      (open->second.version != copy.version || behind <= absl::ZeroDuration())) {
    Close(open->second);
    book->stale.erase(open);
    open = book->stale.end();
  }
  if (behind <= absl::ZeroDuration()) return;
  if (open == book->stale.end())
    open = book->stale.emplace(place, Stale{copy.version, behind}).first;
  Stale& stale = open->second;
  stale.longest = std::max(stale.longest, behind);
  if (behind <= options_.bound || stale.told) return;
  stale.told = true;
  Tell({ViolationKind::kStale, name, answer.replica, copy.tier, copy.version, behind,
        absl::StrCat("version ", book->versions.rbegin()->first, " is there")});
}

void Comparison::JudgeOrigin(const KeyName& name, const Answer& answer, const CopyInfo& origin,
                             uint64_t version, Book* book) {
  // Where no replica holds a copy now, nothing wrong can be served.
  const auto newest = book->versions.find(version);
  if (newest == book->versions.end() || newest->second.content == ContentOf(origin)) {
    book->difference.reset();
    return;
  }
  ++report_.differs;
  std::optional<Difference>& difference = book->difference;
  if (!difference.has_value() || difference->version != newest->first ||
      !(difference->origin == ContentOf(origin))) {
    difference = Difference{newest->first, ContentOf(origin), answer.answered};
  }
  const absl::Duration behind = std::max(answer.asked - difference->since, absl::ZeroDuration());
  if (!options_.origin_bound.has_value() || behind < *options_.origin_bound || difference->told)
    return;
  difference->told = true;
  Tell({ViolationKind::kOrigin, name, answer.replica, Tier::kOrigin, newest->first, behind,
        absl::StrCat("the origin has ", Described(origin))});
}

void Comparison::Close(const Stale& stale) {
  const auto bucket = std::find_if(kBuckets.begin(), kBuckets.end(),
                                   [&](absl::Duration most) { return stale.longest <= most; });
  ++report_.staleness[static_cast<size_t>(bucket - kBuckets.begin())];
}

void Comparison::Tell(Violation violation) {
  ++report_.violations_total;
  if (report_.violations.size() < kViolationsMax)
    report_.violations.push_back(std::move(violation));
}

void Comparison::Finish() {
  for (const auto& [name, book] : books_) {
    for (const auto& [place, stale] : book.stale) Close(stale);
  }
  books_.clear();
}

}  // namespace larder::cli
