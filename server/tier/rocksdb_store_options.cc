// Memory. A part of `memory_bytes`, a sixteenth or 4 MiB, is for what waits to be written. One
// block cache of the rest is charged for everything else: blocks, filters and indexes, the readers
// of open files, filters under construction, and the memtables through the write buffer manager,
// which get a quarter. So the figure that an operator sets is the figure that it takes; filters and
// indexes are cut into pieces of 4 KiB that come and go like any block, because whole ones would be
// 5 bytes an entry whether anybody reads it or not.
//
// Leveled compaction. With sizes chosen from the top level down, nine tenths of the data lie in one
// sorted run, so a read looks at one block after one filter, and dead versions take a tenth of the
// room. Rejected: FIFO compaction, which keeps every file in level 0 and makes a read ask hundreds
// of filters; universal compaction, which needs as much free space again for its largest merge,
// under a cap the worst of all.
//
// No compression. Values that pay off were compressed by the engine, before they came here. For
// those that were not, and half of which compresses, LZ4 would take 38% off the files and slow
// writes down by a third, for reads that are as fast as without (db_bench, a million entries of 243
// bytes).

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

#include "base/log.h"
#include "tier/rocksdb_store.h"

namespace larder {
namespace {

// Bounds of what one compaction takes at a time, and so of the room that it needs: files, and files
// of level 0, each a memtable. Writes wait when there are more of those.
constexpr int kFilesACompaction = 8;
constexpr int kLevelZeroFilesMax = 12;

// RocksDB's own log, a file beside the database, ends the process when a line follows one that a
// full disk did not take, where assertions are on, as in Debian's library.
class InfoLog : public rocksdb::Logger {
 public:
  InfoLog() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    std::array<char, 512> line;
    const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
    if (size > 0) LogDebug("l2_rocksdb", {{"line", line.data()}});
  }
};

uint64_t FloorPowerOfTwo(uint64_t value) {
  uint64_t power = 1;
  while (power <= value / 2) power *= 2;
  return power;
}

}  // namespace

uint64_t RocksStore::write_buffer_bytes() const {
  const uint64_t most = std::min(options_.memory_bytes / 8, options_.max_bytes / 128);
  return std::clamp<uint64_t>(FloorPowerOfTwo(most), 256 << 10, 128 << 20);
}

uint64_t RocksStore::file_bytes() const {
  return std::clamp<uint64_t>(FloorPowerOfTwo(options_.max_bytes / 128), 256 << 10, 64 << 20);
}

rocksdb::Options RocksStore::DbOptions() {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache_;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.cache_index_and_filter_blocks = true;
  table.pin_top_level_index_and_filter = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  table.optimize_filters_for_memory = true;
  table.format_version = 5;
  for (const auto role :
       {rocksdb::CacheEntryRole::kBlockBasedTableReader,
        rocksdb::CacheEntryRole::kFilterConstruction, rocksdb::CacheEntryRole::kFileMetadata}) {
    table.cache_usage_options.options_overrides[role].charged =
        rocksdb::CacheEntryRoleOptions::Decision::kEnabled;
  }

  rocksdb::Options options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (options_.env != nullptr) options.env = options_.env;
  options.create_if_missing = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_background_jobs = 2;
  options.max_bgerror_resume_count = 0;
  options.listeners = {listener_};
  options.compaction_filter = filter_.get();
  options.table_properties_collector_factories = {NewSampleCollectorFactory()};
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_manager = memtables_;
  options.write_buffer_size = write_buffer_bytes();
  options.max_write_buffer_number = 3;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_bytes_for_level_base = 4 * write_buffer_bytes();
  options.target_file_size_base = file_bytes();
  options.max_compaction_bytes = kFilesACompaction * file_bytes();
  options.level0_slowdown_writes_trigger = kLevelZeroFilesMax * 2 / 3;
  options.level0_stop_writes_trigger = kLevelZeroFilesMax;
  options.avoid_unnecessary_blocking_io = true;
  options.bytes_per_sync = 1 << 20;
  options.info_log = std::make_shared<InfoLog>();
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

uint64_t RocksStore::compaction_bytes_max() const {
  // What it reads of level 0 and of the level below, and the log and the memtables meanwhile.
  return 2 * kLevelZeroFilesMax * write_buffer_bytes() + kFilesACompaction * file_bytes();
}

}  // namespace larder
