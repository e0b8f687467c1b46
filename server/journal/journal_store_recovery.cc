// The folders beside LOCK and MARK:
//
//   db            the database
//   before        the same files, as they were before a recovery that has not ended
//   damaged-TIME  what `before` was when damage was found; the newest four are kept
//   work-*        made on the way, and removed by the next recovery
//
// RocksDB's recovery replays the log into tables and removes it. What it found unreadable is gone
// then, and only afterwards can it be told whether that was the torn end of something that nobody
// was told of, or acknowledged. So the files are linked into `before` first: a list of names, made
// in one step by a rename. As long as it is there, nothing new has been acknowledged, and a
// recovery that was cut off, wherever that was, begins again from it. It goes as the last step.
//
// What is found must agree with three witnesses:
//
//   each record's checksum, which counts in its number;
//   the state, which every batch writes with it: how many records and letters there are, and a sum
//     over their numbers. A hole anywhere in the log or the tables, also one that RocksDB does not
//     notice, such as a piece of the log that reads as zeros, makes the later state disagree;
//   MARK: the state must be as late as what was acknowledged. Less is a lost end, though it looks
//     as if it had just been torn.
//
// If they agree, what was cut off the end of the log had not been acknowledged, and is no damage.
// Else all that can be read is copied into a new database: from RocksDB's repair of a copy, which
// reads the log on behind damage, but leaves out whole tables for one bad block; and if it left out
// any, also from a copy that was not repaired, around its bad blocks. Erased records may be back
// then, and go to their origin again, which their versions make harmless; those that are known to
// have been erased are marked as put back, so that readers do not see them. Rejected: to go on with
// the repaired database itself, in which one entry may lie twice, which SingleDelete does not bear;
// and RocksDB's way to skip damage in the log, which reads on for ever at one that a flipped bit
// can make (a record of a recycled log).
//
// After a failed fsync the kernel may take the lost pages for written, and a repeat says OK. Here
// nothing is repeated: what was read from the log, be it from the kernel's memory, is written to
// new tables, synced by themselves, before anybody is told that it is there.

#include "journal/journal_store_recovery.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "journal/journal_store_files.h"
#include "journal/record.h"

namespace larder {
namespace {

constexpr int kSetAsideMax = 4;
// Of one batch while a database is copied.
constexpr size_t kCopyBytes = 4 << 20;

using Family = JournalDb::Family;

const LiveSum& SumOf(Family family, const JournalDbState& state) {
  return family == Family::kRecords ? state.records : state.letters;
}

LiveSet& SetOf(Family family, RecoveredJournal* found) {
  return family == Family::kRecords ? found->records : found->letters;
}

const char* NameOf(Family family) {
  return family == Family::kRecords ? "records" : "dead letters";
}

bool IsReadable(Family family, uint64_t number, std::string_view bytes) {
  uint64_t value_bytes = 0;
  return family == Family::kRecords ? DecodeRecordHead(number, bytes, &value_bytes).ok()
                                    : DecodeLetterHead(number, bytes, &value_bytes).ok();
}

// One that had been erased, and is back.
std::string AsPutBack(Family family, uint64_t number, std::string_view bytes) {
  auto record = DecodeRecord(number, bytes);
  if (family == Family::kLetters || !record.ok()) return std::string(bytes);
  record->put_back = true;
  return EncodeRecord(*record);
}

class Recovery {
 public:
  Recovery(const std::string& path, JournalMark* mark, JournalDb::Hooks hooks,
           JournalDamage* damage)
      : path_(path), mark_(mark), hooks_(std::move(hooks)), damage_(damage) {}

  absl::StatusOr<RecoveredJournal> Run(const std::string& suspicion) {
    At("before_recover");
    RETURN_IF_ERROR(Tidy());
    if (!FolderExists(Before()) && !FolderExists(Db())) return Begin();
    RETURN_IF_ERROR(KeepBefore());
    At("kept_before");
    RecoveredJournal found;
    std::string damage = suspicion;
    if (damage.empty()) {
      ASSIGN_OR_RETURN(damage, OpenAndCheck(&found));
    }
    if (damage.empty()) {
      RETURN_IF_ERROR(Mark(found));
      RETURN_IF_ERROR(RenameFolder(Before(), Work("old")));
      RETURN_IF_ERROR(RemoveFolder(Work("old")));
    } else {
      LogDamage(damage);
      found = RecoveredJournal();  // Closes the database.
      ASSIGN_OR_RETURN(found, Salvage());
      At("before_set_aside");
      ASSIGN_OR_RETURN(const std::string set_aside,
                       SetAside(Before(), path_, Clock::System()->Now(), kSetAsideMax));
      Report(damage, set_aside, found);
      RETURN_IF_ERROR(Mark(found));
    }
    LogInfo("journal_opened", {{"path", path_},
                               {"records", found.state.records.count},
                               {"dead_letters", found.state.letters.count}});
    At("after_recover");
    return found;
  }

 private:
  std::string Db() const { return JournalDbPath(path_); }
  std::string Before() const { return path_ + "/before"; }
  std::string Work(const char* name) const { return StrCat(path_, "/work-", name); }
  void At(std::string_view point) const {
    if (hooks_.at != nullptr) hooks_.at(point);
  }

  // Said before anything is done about it, which may be cut off.
  void LogDamage(const std::string& damage) const {
    LogError("journal_damaged", {{"path", path_}, {"damage", damage}});
  }

  // As soon as it cannot be found again.
  void Report(const std::string& damage, const std::string& set_aside,
              const RecoveredJournal& found) const {
    ++damage_->events;
    damage_->records_lost += lost_;
    damage_->last = damage;
    damage_->set_aside = set_aside;
    LogError("journal_salvaged", {{"path", path_},
                                  {"damage", damage},
                                  {"set_aside", set_aside},
                                  {"records", found.state.records.count},
                                  {"dead_letters", found.state.letters.count},
                                  {"lost_at_least", lost_}});
  }

  absl::Status Tidy() const {
    for (const char* name : {"before", "db", "new", "repaired", "unrepaired", "old"})
      RETURN_IF_ERROR(RemoveFolder(Work(name)));
    return absl::OkStatus();
  }

  // There is no database: the first one is made, or that is the damage.
  absl::StatusOr<RecoveredJournal> Begin() {
    RecoveredJournal found;
    const std::string damage =
        mark_->facts().written > 0 || mark_->damaged() ? "the database is gone" : "";
    if (!damage.empty()) LogDamage(damage);
    // Before the database, since one without it is damage.
    if (damage.empty()) RETURN_IF_ERROR(mark_->Begin());
    RETURN_IF_ERROR(MakeNew({}, &found));
    RETURN_IF_ERROR(RenameFolder(Work("new"), Db()));
    ASSIGN_OR_RETURN(found.db, JournalDb::Open(Db(), JournalDb::Mode::kOpen, hooks_));
    if (!damage.empty()) Report(damage, "", found);
    RETURN_IF_ERROR(Mark(found));
    return found;
  }

  // Afterwards `before` is there, and `db` holds the same files.
  absl::Status KeepBefore() const {
    if (FolderExists(Before())) {
      RETURN_IF_ERROR(LinkFolder(Before(), Work("db")));
      if (FolderExists(Db())) RETURN_IF_ERROR(RenameFolder(Db(), Work("old")));
      RETURN_IF_ERROR(RenameFolder(Work("db"), Db()));
      return RemoveFolder(Work("old"));
    }
    RETURN_IF_ERROR(LinkFolder(Db(), Work("before")));
    return RenameFolder(Work("before"), Before());
  }

  // What is wrong, in a sentence; empty: nothing.
  absl::StatusOr<std::string> OpenAndCheck(RecoveredJournal* found) {
    auto db = JournalDb::Open(Db(), JournalDb::Mode::kOpen, hooks_);
    At("replayed");
    if (absl::IsDataLoss(db.status())) return std::string(ToStd(db.status().message()));
    RETURN_IF_ERROR(db.status());
    found->db = *std::move(db);
    auto state = found->db->ReadState();
    if (absl::IsDataLoss(state.status())) return std::string(ToStd(state.status().message()));
    RETURN_IF_ERROR(state.status());
    if (!state->has_value()) return "the database has lost its state";
    found->state = **state;

    uint64_t bad = 0;
    for (const Family family : {Family::kRecords, Family::kLetters}) {
      const LiveSum& sum = SumOf(family, found->state);
      const absl::Status walked =
          found->db->Walk(family, sum.first, [&](uint64_t number, std::string_view bytes) {
            if (!IsReadable(family, number, bytes)) ++bad;
            SetOf(family, found).Add(number);
          });
      if (absl::IsDataLoss(walked)) return std::string(ToStd(walked.message()));
      RETURN_IF_ERROR(walked);
    }
    if (bad > 0) return StrCat(bad, " entries do not match their checksums");
    return WhatIsMissing(found);
  }

  std::string WhatIsMissing(RecoveredJournal* found) const {
    for (const Family family : {Family::kRecords, Family::kLetters}) {
      const LiveSum wanted = SumOf(family, found->state);
      const LiveSum got = SetOf(family, found).Sum(found->state.last_seq + 1);
      if (got == wanted) continue;
      return StrCat("there should be ", wanted.count, " ", NameOf(family), " and there are ",
                    got.count == wanted.count ? "others" : StrCat(got.count));
    }
    if (found->state.changes < mark_->required()) {
      return StrCat("the last ", mark_->required() - found->state.changes,
                    " acknowledged changes are missing");
    }
    if (mark_->damaged()) return "MARK is damaged, so nothing says where the end was";
    if (!mark_->was_there()) return "MARK is gone, so nothing says where the end was";
    return "";
  }

  // A new database of all that can be read in `before`, in the place of `db`.
  absl::StatusOr<RecoveredJournal> Salvage() {
    At("before_salvage");
    // The repaired one comes first: it knows of erasures behind the damage.
    std::vector<std::unique_ptr<JournalDb>> sources(1);
    ASSIGN_OR_RETURN(sources[0], OpenSource("repaired", /*repair=*/true));
    if (sources[0] == nullptr || HasTables(Work("repaired") + "/lost")) {
      ASSIGN_OR_RETURN(sources.emplace_back(), OpenSource("unrepaired", /*repair=*/false));
    }
    RecoveredJournal found;
    RETURN_IF_ERROR(MakeNew(sources, &found));
    At("salvaged");
    if (FolderExists(Db())) RETURN_IF_ERROR(RenameFolder(Db(), Work("old")));
    RETURN_IF_ERROR(RenameFolder(Work("new"), Db()));
    sources.clear();
    RETURN_IF_ERROR(Tidy());
    ASSIGN_OR_RETURN(found.db, JournalDb::Open(Db(), JournalDb::Mode::kOpen, hooks_));
    return found;
  }

  // A copy of `before`; null: it cannot be opened.
  absl::StatusOr<std::unique_ptr<JournalDb>> OpenSource(const char* name, bool repair) {
    RETURN_IF_ERROR(LinkFolder(Before(), Work(name)));
    const absl::Status repaired = repair ? JournalDb::Repair(Work(name)) : absl::OkStatus();
    if (absl::IsDataLoss(repaired)) return nullptr;
    RETURN_IF_ERROR(repaired);
    auto db = JournalDb::Open(Work(name), JournalDb::Mode::kSource, {});
    if (absl::IsDataLoss(db.status())) return nullptr;
    return db;
  }

  // Makes the database `work-new`, safe on disk, with all that can be read in one of `sources`, of
  // which some may be null, and sets the state and the sets of `found`.
  absl::Status MakeNew(const std::vector<std::unique_ptr<JournalDb>>& sources,
                       RecoveredJournal* found) {
    ASSIGN_OR_RETURN(const auto made,
                     JournalDb::Open(Work("new"), JournalDb::Mode::kMake, JournalDb::Hooks()));
    JournalDbState state;
    for (const auto& source : sources) {
      if (source == nullptr) continue;
      const auto old = source->ReadState();
      if (old.ok() && old->has_value() && (*old)->changes > state.changes) state = **old;
    }
    const auto wanted = Wanted(state);
    lost_ = 0;
    for (const Family family : {Family::kRecords, Family::kLetters}) {
      uint64_t got = 0;
      for (const auto& source : sources) {
        if (source == nullptr) continue;
        RETURN_IF_ERROR(Copy(family, SumOf(family, wanted).first, source.get(), made.get(), &state,
                             found, &got));
      }
      lost_ += SumOf(family, wanted).count - std::min(SumOf(family, wanted).count, got);
    }
    state.changes = std::max(state.changes, mark_->facts().written) + 1;
    state.last_seq = std::max(state.last_seq, mark_->facts().last_seq);
    state.records = found->records.Sum(state.last_seq + 1);
    state.letters = found->letters.Sum(state.last_seq + 1);
    JournalDb::Batch last;
    last.state = state;
    RETURN_IF_ERROR(made->Write(last));
    RETURN_IF_ERROR(made->Flush());
    RETURN_IF_ERROR(made->Close());
    found->state = state;
    return absl::OkStatus();
  }

  // What should be there, by the later of the two that know.
  JournalDbState Wanted(const JournalDbState& state) const {
    const JournalMark::Facts& facts = mark_->facts();
    if (state.changes > facts.written) return state;
    JournalDbState wanted;
    wanted.records = {.count = facts.records, .sum = 0, .first = facts.first_record};
    wanted.letters = {.count = facts.letters, .sum = 0, .first = facts.first_letter};
    return wanted;
  }

  // Copies what is not there yet, and counts what is not below `first`: what is below had been
  // erased, and is back.
  static absl::Status Copy(Family family, uint64_t first, JournalDb* source, JournalDb* made,
                           JournalDbState* state, RecoveredJournal* found, uint64_t* got) {
    JournalDb::Batch batch;
    auto& puts = family == Family::kRecords ? batch.put_records : batch.put_letters;
    size_t bytes_waiting = 0;
    absl::Status status;
    const auto write = [&] {
      batch.state = *state;
      if (status.ok()) status = made->Write(batch);
      puts.clear();
      bytes_waiting = 0;
    };
    const absl::Status walked =
        source->WalkReadable(family, [&](uint64_t number, std::string_view bytes) {
          if (!IsReadable(family, number, bytes) || !SetOf(family, found).Add(number)) return;
          state->last_seq = std::max(state->last_seq, number);
          if (number >= first) {
            ++*got;
            puts.emplace_back(number, bytes);
          } else {
            puts.emplace_back(number, AsPutBack(family, number, bytes));
          }
          bytes_waiting += bytes.size();
          if (bytes_waiting >= kCopyBytes) write();
        });
    RETURN_IF_ERROR(walked);
    write();
    return status;
  }

  // Not before: with an older MARK, a recovery that is cut off finds the same damage again.
  absl::Status Mark(const RecoveredJournal& found) {
    return mark_->SetSynced({.synced = found.state.changes,
                             .written = found.state.changes,
                             .last_seq = std::max(found.state.last_seq, mark_->facts().last_seq),
                             .records = found.state.records.count,
                             .first_record = found.state.records.first,
                             .letters = found.state.letters.count,
                             .first_letter = found.state.letters.first});
  }

  const std::string path_;
  JournalMark* const mark_;
  const JournalDb::Hooks hooks_;
  JournalDamage* const damage_;
  uint64_t lost_ = 0;  // by the salvage
};

}  // namespace

absl::StatusOr<RecoveredJournal> RecoverJournal(const std::string& path, JournalMark* mark,
                                                const std::string& suspicion,
                                                const JournalDb::Hooks& hooks,
                                                JournalDamage* damage) {
  return Recovery(path, mark, hooks, damage).Run(suspicion);
}

absl::StatusOr<RecoveredJournal> OpenJournalToRead(const std::string& path) {
  RecoveredJournal found;
  const std::string before = path + "/before";
  ASSIGN_OR_RETURN(found.db, JournalDb::Open(FolderExists(before) ? before : JournalDbPath(path),
                                             JournalDb::Mode::kReadOnly, {}));
  ASSIGN_OR_RETURN(const auto state, found.db->ReadState());
  if (state.has_value()) found.state = *state;
  return found;
}

std::string JournalDbPath(const std::string& path) { return path + "/db"; }

}  // namespace larder
