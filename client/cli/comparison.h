// Comparison judges what the replicas of a fleet say about the same keys, for `verify`. It knows no
// server: it is given answers of Explain with the times between which each was made, and keeps, for
// every key, which versions it has seen and since when each of them must have been there.
//
// A copy is stale when a newer version of its key was written before the replica was asked. How
// long before is reckoned so that no clock of a server can make it longer than it is: a version was
// written no later than the first answer that showed it, and no later than all who have it say by
// its age.
//
// Thread safety: none; one owner. Memory: by the keys, replicas and kViolationsMax.

#ifndef LARDER_CLIENT_CLI_COMPARISON_H_
#define LARDER_CLIENT_CLI_COMPARISON_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "larder/result.h"
#include "larder/stats.h"

namespace larder::cli {

// A key with its namespace.
struct KeyName {
  std::string ns;
  std::string key;

  bool operator<(const KeyName& other) const {
    return std::pair(ns, key) < std::pair(other.ns, other.key);
  }
};

// What one replica said about a key, and when: time since the beginning of the run.
struct Answer {
  size_t replica = 0;
  absl::Duration asked;
  absl::Duration answered;
  ExplainResult result;
};

enum class ViolationKind {
  kStale,     // a copy was older than the newest for longer than allowed
  kConflict,  // two values of one version
  kOrigin,    // the newest copy is not what the origin has, for longer than allowed
};
const char* Name(ViolationKind kind);

struct Violation {
  ViolationKind kind;
  KeyName name;
  size_t replica = 0;
  Tier tier = Tier::kUnspecified;
  uint64_t version = 0;
  // How long it was wrong; zero for a conflict.
  absl::Duration behind = {};
  std::string what = {};
};

class Comparison {
 public:
  static constexpr size_t kViolationsMax = 1'000;
  static constexpr std::array<absl::Duration, 6> kBuckets = {
      absl::Milliseconds(1), absl::Milliseconds(10), absl::Milliseconds(100),
      absl::Seconds(1),      absl::Seconds(10),      absl::Minutes(1)};

  struct Options {
    // How long a copy may be older than the newest.
    absl::Duration bound = absl::Seconds(1);
    // How long the newest copy may differ from what the origin has; unset: it is only counted.
    std::optional<absl::Duration> origin_bound = {};
  };

  struct Report {
    uint64_t memory_copies = 0;
    uint64_t lower_copies = 0;
    uint64_t origin_copies = 0;
    uint64_t origin_errors = 0;
    // Copies that their replica doubts itself; they are not judged.
    uint64_t suspect = 0;
    // Times that the origin was not compared, because a write for it waits in a journal.
    uint64_t waiting = 0;
    // Times that the newest copy was not what the origin has.
    uint64_t differs = 0;
    // Copies that were found stale, each once, by the longest time that they were found so; the
    // last is for what is above all bounds.
    std::array<uint64_t, kBuckets.size() + 1> staleness = {};
    // The first kViolationsMax of them.
    std::vector<Violation> violations = {};
    uint64_t violations_total = 0;
  };

  explicit Comparison(const Options& options) : options_(options) {}

  // What the replicas said about a key in one round. Answers about a key come in the order of
  // time.
  void Add(const KeyName& name, const std::vector<Answer>& answers);

  // Counts the stale copies that were there to the end. Nothing is added after it.
  void Finish();

  const Report& report() const { return report_; }

 private:
  struct Content {
    bool negative = false;
    std::optional<uint32_t> checksum;

    bool operator==(const Content& other) const {
      return negative == other.negative && checksum == other.checksum;
    }
  };
  struct Version {
    absl::Duration first_seen;
    // The latest time that the ages of its copies give.
    absl::Duration by_age;
    Content content;
    bool conflict = false;  // has been told

    absl::Duration written_before() const { return std::min(first_seen, by_age); }
  };
  // A stale copy, as long as it is there.
  struct Stale {
    uint64_t version = 0;
    absl::Duration longest;
    bool told = false;
  };
  // The newest copy, while it is not what the origin has.
  struct Difference {
    uint64_t version = 0;
    Content origin;
    absl::Duration since;
    bool told = false;
  };
  struct Book {
    std::map<uint64_t, Version> versions;
    std::map<std::pair<size_t, Tier>, Stale> stale;
    std::optional<Difference> difference;
  };

  static Content ContentOf(const CopyInfo& copy) { return {copy.negative, copy.checksum}; }
  void NoteVersion(const KeyName& name, const Answer& answer, const CopyInfo& copy, Book* book);
  void Judge(const KeyName& name, const Answer& answer, Book* book);
  void JudgeCopy(const KeyName& name, const Answer& answer, const CopyInfo& copy, Book* book);
  // `newest`: the version of the newest copy that is there now; 0: there is none.
  void CompareWithOrigin(const KeyName& name, const std::vector<Answer>& answers, uint64_t newest,
                         Book* book);
  void JudgeOrigin(const KeyName& name, const Answer& answer, const CopyInfo& origin,
                   uint64_t newest, Book* book);
  void Close(const Stale& stale);
  void Tell(Violation violation);

  const Options options_;
  std::map<KeyName, Book> books_;
  Report report_;
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_COMPARISON_H_
