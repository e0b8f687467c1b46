// Oldest first, at the price of nearly nothing: a line through all versions, the cutoff. Whatever
// compaction meets below it is dropped on the way. Under a steady stream of writes the files of the
// last level are written anew again and again anyway, so most of what falls below the line is gone
// without any I/O of its own. Where compaction does not come by itself, the file with the most dead
// bytes is compacted alone: this also clears up ended entries of a store that nobody writes to.
//
// How far the line has to rise is read off the samples that the files carry (rocksdb_filter.cc):
// the heads of all files, oldest first, each standing for its share of its file, until together
// they are what is too much, and a tenth of all more: ages are mixed in every file, and to write
// one anew for the twentieth of it that is dead would be twenty writes for one. Entries that were
// replaced, but still lie in an older file, are counted like others; they are garbage as well.
//
// Three sizes. Above `target` the line rises. At `limit`
// puts are skipped: this is what holds when writes come faster than compaction makes room, to the
// byte, because what was written since the last measurement is added to it. What is above, a
// twentieth and what one compaction takes, is for files that are being written while those they
// replace are still there. A disk that fills up from elsewhere makes all three smaller; when that
// is why puts are skipped, the store says so.
//
// Rejected: deleting whole files, which cover ranges of keys and not of ages, and take young
// tombstones with them; deleting single keys, each of which is a write, and frees nothing before
// compaction comes; the order of last use, which would make every read a write.

#include "tier/rocksdb_sweep.h"

#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/options.h>
#include <rocksdb/table_properties.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/strings.h"
#include "base/thread_name.h"

namespace larder {
namespace {

// Files that one round compacts at most; the next one measures again first.
constexpr int kFilesARound = 8;
// A file is worth the write when so much of it is dead: a little when room is short.
constexpr double kDeadShareMin = 0.5;
constexpr double kDeadShareMinWhenFull = 0.1;
// Beyond what is too much, this share of all dies with it, so that there are files worth the write.
constexpr uint64_t kSpareShare = 10;
// Of the free space of the disk that is left to others, this share and at least so much.
constexpr uint64_t kDiskReserveShare = 50;
constexpr uint64_t kDiskReserveMin = 64 << 20;

}  // namespace

RocksSweep::RocksSweep(RocksStore* store)
    : store_(store),
      limit_(store->options().max_bytes),
      bytes_max_(store->options().max_bytes),
      thread_([this] {
        NameThisThread("l2-sweep");
        Loop();
      }) {}

RocksSweep::~RocksSweep() {
  stopping_ = true;
  if (const auto db = store_->db()) db->DisableManualCompaction();
  store_->Ring();
  thread_.join();
}

void RocksSweep::Loop() {
  while (!stopping_) {
    Run();
    store_->WaitForChange(store_->options().sweep_period);
  }
}

void RocksSweep::Run() {
  MutexLock lock(&running_);
  store_->Heal();
  for (int i = 0; i < kFilesARound && !stopping_; ++i) {
    const auto db = store_->db();
    if (db == nullptr) return;
    const uint64_t target = Measure(db.get());
    const std::vector<File> files = Files(db.get());
    // What lies there beside the files in use counts, too: rather a little more of the oldest than
    // new entries that find no room.
    const bool tight = bytes() > target;
    if (tight) RaiseCutoff(files, bytes() - target + bytes() / kSpareShare);
    if (!CompactWorst(db.get(), files, tight ? kDeadShareMinWhenFull : kDeadShareMin)) return;
  }
}

uint64_t RocksSweep::Measure(rocksdb::DB* db) {
  // What is written while this measures counts twice rather than not at all.
  written_ = 0;
  measured_ = BytesUnder(store_->db_path());
  uint64_t keys = 0;
  if (db->GetIntProperty("rocksdb.estimate-num-keys", &keys)) entries_ = keys;

  const uint64_t free = store_->free_on_disk();
  const uint64_t reserve = std::max(kDiskReserveMin, free / kDiskReserveShare);
  const uint64_t most =
      std::min(store_->options().max_bytes, bytes() + (free > reserve ? free - reserve : 0));
  const uint64_t margin = std::min(most / 4, most / 20 + store_->compaction_bytes_max());
  const uint64_t limit = most - margin;
  const uint64_t target = limit - margin / 2;
  limit_ = limit;
  bytes_max_ = most;
  NoteShortage(free, reserve, most < store_->options().max_bytes, limit, target);
  return target;
}

void RocksSweep::NoteShortage(uint64_t free, uint64_t reserve, bool by_disk, uint64_t limit,
                              uint64_t target) {
  // Begins where puts are skipped and ends where room is no longer made, so that it does not come
  // and go with each round. At its own size a store skips puts now and then; that is no trouble.
  short_ = by_disk && bytes() > (short_ ? target : limit);
  std::string why;
  if (short_) {
    why = StrCat("new entries are skipped: ", free >> 20, " MiB of the disk are free, and ",
                 reserve >> 20, " MiB are kept free for others");
  }
  store_->SetShortage(std::move(why));
}

std::vector<RocksSweep::File> RocksSweep::Files(rocksdb::DB* db) {
  rocksdb::TablePropertiesCollection properties;
  // Files without a sample are files of which nothing is known to be dead.
  db->GetPropertiesOfAllTables(&properties).PermitUncheckedError();
  std::unordered_map<std::string, const rocksdb::TableProperties*> by_name;
  for (const auto& [path, of_file] : properties)
    by_name[path.substr(path.rfind('/') + 1)] = of_file.get();

  std::vector<rocksdb::LiveFileMetaData> live;
  db->GetLiveFilesMetaData(&live);
  std::vector<File> files;
  for (const rocksdb::LiveFileMetaData& meta : live) {
    File& file = files.emplace_back();
    file.name = meta.name.substr(meta.name.rfind('/') + 1);
    file.level = meta.level;
    file.bytes = meta.size;
    file.busy = meta.being_compacted;
    const auto found = by_name.find(file.name);
    if (found == by_name.end()) continue;
    const auto& collected = found->second->user_collected_properties;
    const auto sample = collected.find(kSampleProperty);
    if (sample != collected.end()) file.sample = ReadSample(sample->second);
  }
  return files;
}

void RocksSweep::RaiseCutoff(const std::vector<File>& files, uint64_t excess) {
  const int64_t now_ms = store_->cutoff().NowMs();
  const Version line = store_->cutoff().version();
  double dead = 0;
  std::vector<std::pair<Version, double>> alive;
  for (const File& file : files) {
    const double each = static_cast<double>(file.bytes) / static_cast<double>(file.sample.size());
    for (const EnvelopeHead& head : file.sample) {
      if (IsDead(head, now_ms, line)) {
        dead += each;
      } else if (!head.tombstone) {
        alive.emplace_back(head.version, each);
      }
    }
  }
  std::sort(alive.begin(), alive.end());
  for (const auto& [version, bytes] : alive) {
    if (dead >= static_cast<double>(excess)) return;
    dead += bytes;
    store_->cutoff().Raise(version + 1);
  }
}

double RocksSweep::DeadShare(const File& file) const {
  if (file.sample.empty()) return 0;
  const int64_t now_ms = store_->cutoff().NowMs();
  const Version line = store_->cutoff().version();
  const auto dead = std::count_if(file.sample.begin(), file.sample.end(),
                                  [&](const auto& head) { return IsDead(head, now_ms, line); });
  return static_cast<double>(dead) / static_cast<double>(file.sample.size());
}

bool RocksSweep::CompactWorst(rocksdb::DB* db, const std::vector<File>& files,
                              double dead_share_min) {
  const File* worst = nullptr;
  double most = 0;
  for (const File& file : files) {
    // Level 0 goes down by itself, and only as a whole.
    if (file.level == 0 || file.busy) continue;
    const double share = DeadShare(file);
    const double dead = share * static_cast<double>(file.bytes);
    if (share < dead_share_min || dead <= most) continue;
    worst = &file;
    most = dead;
  }
  if (worst == nullptr) return false;
  rocksdb::CompactionOptions options;
  options.compression = rocksdb::kNoCompression;
  options.output_file_size_limit = store_->file_bytes();
  const rocksdb::Status status = db->CompactFiles(options, {worst->name}, worst->level);
  store_->Report(status);
  // Else RocksDB has chosen the file in the meantime, which is as good, or has no space.
  return status.ok();
}

}  // namespace larder
