// Which entry is dead?
//
// A tombstone, when its time is over. An entry, when it has ended; but one of a short life stays
// for as long as a tombstone would, because it too keeps an older write that is late from coming
// back. And an entry below the cutoff, which the sweep raises when room is short. Nothing that is
// newer than a dropped entry but older than the cutoff can come in afterwards, because puts below
// the cutoff are refused: so eviction opens no door for late writes, without a trace of each entry.
//
// An entry that an invalidation covers goes as well, but no sooner than a tombstone of its version
// would: until then it keeps out an older write that is late and is not covered, of other tags,
// say.
//
// Removal by the filter is safe on every level: where something older of the key may lie below,
// RocksDB leaves a marker of its own in the place of what was removed.
//
// The sample of a file is taken by bytes: one head for each `stride` bytes, and whenever there are
// too many, every other one goes and the stride doubles. So at the end each stands for the same
// number of bytes, whatever the size of the file, which nobody knows before it is full.

#include "tier/rocksdb_filter.h"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/table_properties.h>

#include <algorithm>
#include <utility>

namespace larder {
namespace {

constexpr size_t kSampleMax = 128;
constexpr size_t kFirstStride = 1024;

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// As long ago as a tombstone lives.
bool IsGuardOver(const EnvelopeHead& head, int64_t now_ms) {
  static const int64_t kGuardMs = absl::ToInt64Milliseconds(kTombstoneTtl);
  return now_ms - static_cast<int64_t>(VersionMs(head.version)) >= kGuardMs;
}

class Filter : public rocksdb::CompactionFilter {
 public:
  explicit Filter(RocksCutoff* cutoff) : cutoff_(cutoff) {}

  Decision FilterV2(int /*level*/, const rocksdb::Slice& key, ValueType value_type,
                    const rocksdb::Slice& value, std::string* /*new_value*/,
                    std::string* /*skip_until*/) const override {
    if (value_type != ValueType::kValue) return Decision::kKeep;
    const auto head = DecodeEnvelopeHead(View(value));
    if (!head.ok()) return Decision::kRemove;
    const bool own = IsOwn(View(key));
    const Version line = own ? kNoVersion : cutoff_->version();
    const int64_t now_ms = cutoff_->NowMs();
    if (!IsDead(*head, now_ms, line)) {
      return !own && IsCovered(View(key), View(value), *head, now_ms) ? Decision::kRemove
                                                                      : Decision::kKeep;
    }
    const bool evicted = !head->tombstone && head->version < line;
    (evicted ? cutoff_->evicted : cutoff_->expired).fetch_add(1, std::memory_order_relaxed);
    return Decision::kRemove;
  }

  const char* Name() const override { return "larder.dead"; }

 private:
  bool IsCovered(std::string_view full_key, std::string_view envelope, const EnvelopeHead& head,
                 int64_t now_ms) const {
    const TierCover* const cover = cutoff_->cover();
    if (cover == nullptr || head.tombstone || head.version > cover->newest(head.listed) ||
        !IsGuardOver(head, now_ms)) {
      return false;
    }
    const auto read = DecodeEnvelope(full_key, envelope, *cutoff_->clock, /*want_value=*/false);
    return read.ok() && read->kind == TierRead::Kind::kEntry && cover->Covers(full_key, *read);
  }

  RocksCutoff* const cutoff_;
};

class SampleCollector : public rocksdb::TablePropertiesCollector {
 public:
  rocksdb::Status AddUserKey(const rocksdb::Slice& key, const rocksdb::Slice& value,
                             rocksdb::EntryType type, rocksdb::SequenceNumber /*sequence*/,
                             uint64_t /*file_size*/) override {
    if (type != rocksdb::kEntryPut || value.size() < kEnvelopeHeadBytes) return {};
    gathered_ += key.size() + value.size();
    if (gathered_ < stride_ && !heads_.empty()) return {};
    gathered_ = 0;
    if (heads_.size() == kSampleMax) Halve();
    heads_.emplace_back(value.data(), kEnvelopeHeadBytes);
    return {};
  }

  rocksdb::Status Finish(rocksdb::UserCollectedProperties* properties) override {
    std::string& sample = (*properties)[kSampleProperty];
    for (const std::string& head : heads_) sample += head;
    return {};
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override { return {}; }
  const char* Name() const override { return kSampleProperty; }

 private:
  void Halve() {
    for (size_t i = 0; i < kSampleMax / 2; ++i) heads_[i] = std::move(heads_[2 * i]);
    heads_.resize(kSampleMax / 2);
    stride_ *= 2;
  }

  size_t stride_ = kFirstStride;
  uint64_t gathered_ = 0;
  std::vector<std::string> heads_;
};

class SampleCollectorFactory : public rocksdb::TablePropertiesCollectorFactory {
 public:
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(
      rocksdb::TablePropertiesCollectorFactory::Context /*context*/) override {
    return new SampleCollector;
  }
  const char* Name() const override { return kSampleProperty; }
};

}  // namespace

void RocksCutoff::Raise(Version to) {
  Version now = version_.load(std::memory_order_relaxed);
  while (now < to && !version_.compare_exchange_weak(now, to)) {
  }
}

void RocksCutoff::SetCover(std::shared_ptr<const TierCover> cover) {
  MutexLock lock(&mu_);
  cover_.store(cover.get(), std::memory_order_release);
  covers_.push_back(std::move(cover));
}

int64_t RocksCutoff::NowMs() const { return absl::ToUnixMillis(clock->Now()); }

bool IsDead(const EnvelopeHead& head, int64_t now_ms, Version cutoff) {
  const bool ended = now_ms >= head.usable_until_ms;
  if (head.tombstone) return ended;
  if (head.version < cutoff) return true;
  return ended && IsGuardOver(head, now_ms);
}

std::unique_ptr<const rocksdb::CompactionFilter> NewRocksFilter(RocksCutoff* cutoff) {
  return std::make_unique<Filter>(cutoff);
}

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> NewSampleCollectorFactory() {
  return std::make_shared<SampleCollectorFactory>();
}

std::vector<EnvelopeHead> ReadSample(const std::string& property) {
  std::vector<EnvelopeHead> heads;
  const std::string_view bytes = property;
  for (size_t at = 0; at + kEnvelopeHeadBytes <= bytes.size(); at += kEnvelopeHeadBytes) {
    const auto head = DecodeEnvelopeHead(bytes.substr(at, kEnvelopeHeadBytes));
    if (head.ok()) heads.push_back(*head);
  }
  return heads;
}

}  // namespace larder
