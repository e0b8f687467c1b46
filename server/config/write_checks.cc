// The section `journal` may stand in a file in which no type writes behind: a type that stops doing
// so for a day should not take four other lines with it.

#include "config/write_checks.h"

#include <optional>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "config/checker.h"
#include "config/journal.h"
#include "config/l2.h"
#include "config/origins.h"
#include "config/units.h"
#include "config/value.h"
#include "core/key.h"
#include "larder/config/v1/config.pb.h"
#include "origin/sql_statement.h"

namespace larder {
namespace {

namespace v1 = config::v1;

class WriteChecks : private Checker {
 public:
  WriteChecks(const Reading& reading, Problems* problems)
      : Checker(reading, problems), reading_(reading), journal_(reading.proto.journal()) {}

  void Run() {
    for (const std::string& name : reading_.type_names)
      CheckType(reading_.proto.types().at(name), absl::StrCat("types.", name));
    CheckPlace();
    CheckRoom();
  }

 private:
  static constexpr char kPath[] = "journal.path";

  void CheckType(const v1::Type& type, const std::string& path) {
    const v1::Write& write = type.write();
    const std::string here = path + ".write", mode = here + ".mode";
    NotAbove(here + ".backoff.first", D(write.backoff().first()), here + ".backoff.max",
             D(write.backoff().max()));
    if (Broken(mode)) return;
    const std::string name = FormatField(write, write.GetDescriptor()->FindFieldByName("mode"));
    const std::string why = absl::StrCat(mode, " is ", name);
    if (write.mode() == v1::WRITE_MODE_CACHE_ONLY) {
      NoEffect(here + ".timeout", why);
    } else {
      CheckOrigin(type, path, why);
    }
    if (write.mode() != v1::WRITE_MODE_BEHIND) return CheckWithoutJournal(write, here, why);
    if (behind_.empty()) behind_ = mode;
    CheckPart(write, here);
    CheckGuards(type, path, why);
  }

  // What a delivery that comes again would do to a newer value larder cannot see. But a statement
  // that is not even told the version cannot help it.
  void CheckGuards(const v1::Type& type, const std::string& path, const std::string& why) {
    const auto origin = reading_.proto.origins().find(type.origin());
    if (origin == reading_.proto.origins().end()) return;  // reported there
    const std::optional<OriginKind> kind = OriginKindOf(origin->second);
    if (!kind || *kind == OriginKind::kGrpc) return;
    const SqlDialect dialect =
        *kind == OriginKind::kPostgres ? SqlDialect::kPostgres : SqlDialect::kSqlite;
    for (const auto& [text, use, field] :
         {std::tuple(type.sql().store(), SqlUse::kStore, ".sql.store"),
          std::tuple(type.sql().delete_(), SqlUse::kDelete, ".sql.delete")}) {
      const auto statement = ParseSqlStatement(text, use, dialect);
      if (!statement.ok() || statement->Has(SqlParameter::Kind::kVersion)) continue;
      Add({path + field},
          absl::StrCat(path, field, " has no $version, and ", why,
                       ": a delivery that comes twice, or late from another replica, would undo a "
                       "newer write; change nothing unless $version is larger than the row's"));
    }
  }

  // Where the changes go.
  void CheckOrigin(const v1::Type& type, const std::string& path, const std::string& why) {
    const std::string mode = path + ".write.mode";
    if (type.origin().empty()) {
      return Add({mode, path + ".origin"},
                 absl::StrCat(why, ", which needs an origin, and ", path, ".origin is empty"));
    }
    const auto origin = reading_.proto.origins().find(type.origin());
    if (origin == reading_.proto.origins().end()) return;  // reported there
    const std::optional<OriginKind> kind = OriginKindOf(origin->second);
    if (!kind || *kind == OriginKind::kGrpc) return;
    for (const auto& [statement, field] : {std::pair(type.sql().store(), ".sql.store"),
                                           std::pair(type.sql().delete_(), ".sql.delete")}) {
      if (!statement.empty()) continue;
      Add({mode, path + field},
          absl::StrCat(why, ", and origins.", type.origin(), " is a ", OriginKindName(*kind),
                       " origin; it needs ", path, field));
    }
  }

  void CheckWithoutJournal(const v1::Write& write, const std::string& here,
                           const std::string& why) {
    for (const char* const field : {".delay", ".batch", ".coalesce", ".attempts", ".backoff.",
                                    ".on_full", ".max_bytes", ".max_entries", ".max_age"}) {
      NoEffect(here + field, why);
    }
    // `auto` stands for a value that a file may also write out.
    if (write.sync() != journal_.sync()) NoEffect(here + ".sync", why);
  }

  // The part of the journal that a type may take.
  void CheckPart(const v1::Write& write, const std::string& here) {
    const std::string bytes = here + ".max_bytes", entries = here + ".max_entries";
    if (write.max_bytes() > journal_.max_bytes()) {
      Add({bytes, "journal.max_bytes"}, absl::StrCat(bytes, " is ", WriteBytes(write.max_bytes()),
                                                     ", more than journal.max_bytes, which is ",
                                                     WriteBytes(journal_.max_bytes())));
    }
    if (write.max_entries() > journal_.max_entries()) {
      Add({entries, "journal.max_entries"},
          absl::StrCat(entries, " is ", write.max_entries(),
                       ", more than journal.max_entries, which is ", journal_.max_entries()));
    }
    if (D(write.max_age()) > absl::ZeroDuration())
      NotAbove(here + ".delay", D(write.delay()), here + ".max_age", D(write.max_age()));
    if (D(journal_.max_age()) > absl::ZeroDuration())
      NotAbove(here + ".delay", D(write.delay()), "journal.max_age", D(journal_.max_age()));
  }

  void CheckPlace() {
    if (behind_.empty()) return;
    const v1::Config& c = reading_.proto;
    const std::string place = JournalPathOf(c);
    if (place.empty()) {
      return Add({behind_, kPath, "data.path"},
                 absl::StrCat(behind_,
                              " is behind, and the journal has no place on the disk; set data.path "
                              "or journal.path"));
    }
    if (place == c.data().path()) {
      return Add({kPath, "data.path"},
                 "journal.path and data.path are the same; the journal needs a directory of its "
                 "own");
    }
    if (L2KindOf(c) != L2Options::Kind::kRocks) return;
    const std::string tier =
        c.l2().rocksdb().path().empty() ? c.data().path() + "/l2" : c.l2().rocksdb().path();
    if (place == tier) {
      Add({kPath, "l2.rocksdb.path"},
          absl::StrCat("journal.path and l2.rocksdb.path are the same, ", Quoted(place),
                       "; the journal needs a directory of its own"));
    }
  }

  // A write that never fits would be told to come again for ever.
  void CheckRoom() {
    if (behind_.empty()) return;
    const uint64_t value = reading_.proto.limits().value_bytes();
    const uint64_t needed = value + kKeyRoom;
    if (journal_.max_bytes() >= needed) return;
    Add({"journal.max_bytes", "limits.value_bytes"},
        absl::StrCat("journal.max_bytes is ", WriteBytes(journal_.max_bytes()),
                     "; limits.value_bytes of ", WriteBytes(value), " needs at least ",
                     WriteBytes(needed)));
  }

  // For the key and the namespace beside the value.
  static constexpr uint64_t kKeyRoom = 2 << 10;
  static_assert(kKeyRoom >= kKeyBytesMax + kNamespaceBytesMax);

  const Reading& reading_;
  const v1::Journal& journal_;
  // The first mode that is behind; empty: none.
  std::string behind_;
};

}  // namespace

void CheckWrites(const Reading& reading, Problems* problems) {
  WriteChecks(reading, problems).Run();
}

}  // namespace larder
