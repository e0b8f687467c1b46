// A value is encoded twice as often as it need be at most: the choice between codecs is made by
// trying (codec_chooser.cc). All that takes long happens outside of locks; what a type knows is
// behind a lock of its own that is held for a decision before and for the books after.
//
// Decoding is on the path of every hit and takes no lock at all: the dictionary comes from a table
// that epochs guard (dictionary_set.cc), the books are counters of the thread's own, and the clock
// is read for every 16th call only.
//
// Training runs in steps so that the engine can run it between other work of an executor's thread.
// One training at a time is under way; which thread makes the next step does not matter.

#include "policy/compressor.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "base/epoch.h"
#include "base/strings.h"
#include "core/error.h"
#include "policy/codec.h"
#include "policy/codec_chooser.h"
#include "policy/dictionary_set.h"
#include "policy/dictionary_trainer.h"
#include "policy/type_compression.h"

namespace larder {
namespace {

using Chosen = CodecChooser::Plan;

constexpr uint32_t kTimeOneOf = 16;
// What a dictionary takes beside its content, and for each byte of it; about.
constexpr uint64_t kDictionaryMemory = 48 << 10;
constexpr uint64_t kMemoryPerContent = 8;
// Smaller ones are not worth that.
constexpr uint64_t kContentMin = 1 << 10;

// True for one of kTimeOneOf calls of the thread.
bool TimeThisOne() {
  static thread_local uint32_t calls = 0;
  return calls++ % kTimeOneOf == 0;
}

class CompressorImpl : public Compressor {
 public:
  explicit CompressorImpl(Options options)
      : options_(std::move(options)),
        dictionaries_(
            std::min<size_t>(options_.types.size() * options_.dictionaries_per_type_max, 30'000),
            options_.clock) {
    for (const CompressPolicy& policy : options_.types) {
      types_.push_back(std::make_unique<TypeCompression>(policy, &options_, &sample_bytes_));
    }
  }

  Encoded Encode(uint16_t type_id, std::string_view plain) override {
    if (type_id >= types_.size()) return {};
    TypeCompression& type = *types_[type_id];
    if (type.policy().codec == CodecChoice::kNone) return {};
    if (plain.size() < type.policy().min_bytes || plain.empty()) {
      type.counters().Add(TypeCompression::kSmallValues);
      return {};
    }
    if (plain.size() > options_.value_bytes_max) return {};
    const MonoNanos began = options_.clock->Mono();
    bool ready = false;
    const TypeCompression::Plan plan = type.Begin(plain, began, &ready);
    if (ready) trainings_ready_.fetch_add(1, std::memory_order_release);
    if (plan.codecs == Chosen::kNone) {
      type.counters().Add(TypeCompression::kRestingValues);
      return {};
    }
    return EncodeAs(plan, plain, began, &type);
  }

  absl::Status Decode(uint16_t type_id, Encoding encoding, std::string_view stored,
                      uint64_t plain_bytes, std::string* out) override {
    const MonoNanos began = TimeThisOne() ? options_.clock->Mono() : 0;
    const bool ok = DecodeTo(encoding, stored, plain_bytes, out);
    if (type_id < types_.size()) {
      CounterBlock& counters = types_[type_id]->counters();
      counters.Add(TypeCompression::kDecodes);
      if (!ok) counters.Add(TypeCompression::kDecodesFailed);
      if (began != 0) {
        const MonoNanos took = options_.clock->Mono() - began;
        counters.Add(TypeCompression::kDecodeNanos, static_cast<uint64_t>(took) * kTimeOneOf);
      }
    }
    if (ok) return absl::OkStatus();
    out->clear();
    return Error(Reason::kVALUE_CORRUPT,
                 StrCat(stored.size(), " bytes stored in encoding ", encoding, " do not decode to ",
                        plain_bytes, " bytes"));
  }

  bool TrainingDue() const override { return trainings_ready_.load(std::memory_order_acquire) > 0; }

  bool TrainingStep() override {
    if (!TrainingDue() || training_.exchange(true, std::memory_order_acquire)) return false;
    if (trainer_ != nullptr) {
      if (trainer_->Step()) FinishTraining();
    } else {
      StartTraining();
    }
    training_.store(false, std::memory_order_release);
    return TrainingDue();
  }

  size_t Retire(const std::function<uint64_t(Encoding)>& users_of) override {
    return dictionaries_.Retire(options_.retire_after, users_of);
  }

  std::vector<CompressionStats> Stats() const override {
    const std::vector<DictionarySet::Held> held = dictionaries_.HeldByType(types_.size());
    std::vector<CompressionStats> stats;
    for (size_t id = 0; id < types_.size(); ++id) {
      stats.push_back(types_[id]->Stats());
      stats.back().dictionaries = held[id].count;
      stats.back().dictionary_memory_bytes = held[id].bytes;
    }
    return stats;
  }

  uint64_t bytes() const override {
    return dictionaries_.HeldInAll().bytes + sample_bytes_.load(std::memory_order_relaxed);
  }

 private:
  Encoded EncodeAs(const TypeCompression::Plan& plan, std::string_view plain, MonoNanos began,
                   TypeCompression* type);
  bool DecodeTo(Encoding encoding, std::string_view stored, uint64_t plain_bytes,
                std::string* out) const;
  // Content of a further dictionary for which there is memory.
  uint64_t ContentRoom() const;
  void StartTraining();
  void FinishTraining();
  void EndTraining(std::shared_ptr<const TypeDictionary> accepted);

  const Options options_;
  std::atomic<uint64_t> sample_bytes_{0};
  DictionarySet dictionaries_;
  std::vector<std::unique_ptr<TypeCompression>> types_;

  // Types whose training is ready or under way.
  std::atomic<int> trainings_ready_{0};
  // A thread is in TrainingStep; what follows is its own.
  std::atomic<bool> training_{false};
  std::unique_ptr<DictionaryTrainer> trainer_;
  TypeCompression::Training trained_;  // without its samples
  uint16_t trained_type_ = 0;
  uint16_t next_type_ = 0;
};

Compressor::Encoded CompressorImpl::EncodeAs(const TypeCompression::Plan& plan,
                                             std::string_view plain, MonoNanos began,
                                             TypeCompression* type) {
  CodecChooser::Outcome outcome{plan.codecs, plain.size(), plain.size(), plain.size()};
  const size_t bytes_max = StoredBytesMax(plain.size());
  Encoded lz4{kLz4, {}}, zstd{kZstd, {}};
  if (plan.codecs != Chosen::kZstd) {
    if (const auto stored = Lz4Compress(plain, bytes_max)) {
      lz4.bytes.assign(*stored);
      outcome.lz4_bytes = stored->size();
    }
  }
  if (plan.codecs != Chosen::kLz4) {
    const auto stored = plan.dictionary != nullptr
                            ? ZstdCompress(plain, *plan.dictionary->dictionary, bytes_max)
                            : ZstdCompress(plain, type->policy().level, bytes_max);
    if (plan.dictionary != nullptr) zstd.encoding = plan.dictionary->number;
    if (stored) {
      zstd.bytes.assign(*stored);
      outcome.zstd_bytes = stored->size();
    }
  }
  const MonoNanos ended = options_.clock->Mono();
  const Chosen kept = type->End(plan, outcome, ended);

  CounterBlock& counters = type->counters();
  counters.Add(TypeCompression::kEncodeNanos, static_cast<uint64_t>(ended - began));
  if (kept == Chosen::kNone) {
    counters.Add(TypeCompression::kGainlessValues);
    return {};
  }
  Encoded& chosen = kept == Chosen::kLz4 ? lz4 : zstd;
  counters.Add(chosen.encoding == kLz4    ? TypeCompression::kLz4Values
               : chosen.encoding == kZstd ? TypeCompression::kZstdValues
                                          : TypeCompression::kDictionaryValues);
  counters.Add(TypeCompression::kPlainBytes, plain.size());
  counters.Add(TypeCompression::kStoredBytes, chosen.bytes.size());
  return std::move(chosen);
}

bool CompressorImpl::DecodeTo(Encoding encoding, std::string_view stored, uint64_t plain_bytes,
                              std::string* out) const {
  if (encoding == kPlain) {
    if (stored.size() > options_.value_bytes_max) return false;
    out->assign(stored);
    return true;
  }
  // No value is encoded that is empty, or larger than allowed.
  if (plain_bytes == 0 || plain_bytes > options_.value_bytes_max) return false;
  if (encoding != kLz4 && encoding != kZstd && encoding < kDictionaryFirst) return false;
  if (encoding < kDictionaryFirst) {
    out->resize(plain_bytes);
    return encoding == kLz4 ? Lz4Decompress(stored, out->data(), plain_bytes)
                            : ZstdDecompress(stored, out->data(), plain_bytes);
  }
  const Epoch::Reader reader;
  const TypeDictionary* const dictionary = dictionaries_.Find(encoding);
  if (dictionary == nullptr || plain_bytes > options_.dictionary_value_bytes_max) return false;
  if (dictionary->outdated.load(std::memory_order_relaxed)) {
    dictionary->last_used.store(options_.clock->Mono(), std::memory_order_relaxed);
  }
  out->resize(plain_bytes);
  return ZstdDecompress(stored, *dictionary->dictionary, out->data(), plain_bytes);
}

uint64_t CompressorImpl::ContentRoom() const {
  const uint64_t taken = dictionaries_.HeldInAll().bytes + kDictionaryMemory;
  const uint64_t most = options_.dictionaries_bytes_max;
  return taken >= most ? 0 : (most - taken) / kMemoryPerContent;
}

// Begins with the next type that is ready, in turns.
void CompressorImpl::StartTraining() {
  for (size_t i = 0; i < types_.size() && trainer_ == nullptr; ++i) {
    trained_type_ = next_type_;
    next_type_ = static_cast<uint16_t>((next_type_ + 1) % types_.size());
    TypeCompression& type = *types_[trained_type_];
    if (!type.TrainingReady()) continue;
    trained_ = type.TakeTraining();
    const uint64_t content_max =
        std::min({options_.dictionary_bytes_max, trained_.population_bytes / 100, ContentRoom()});
    const bool type_full = dictionaries_.HeldByType(types_.size())[trained_type_].count >=
                           options_.dictionaries_per_type_max;
    if (type_full || content_max < kContentMin) {
      EndTraining(nullptr);
      return;
    }
    trainer_ = std::make_unique<DictionaryTrainer>(
        std::exchange(trained_.samples, {}), content_max, type.policy().level,
        trained_.current == nullptr ? nullptr : trained_.current->dictionary, options_.random);
  }
}

void CompressorImpl::FinishTraining() {
  DictionaryTrainer::Result result = trainer_->Take();
  trainer_.reset();
  if (!result.Accepted() || dictionaries_.HeldInAll().bytes + result.dictionary->bytes() >
                                options_.dictionaries_bytes_max) {
    EndTraining(nullptr);
    return;
  }
  auto made = std::make_unique<TypeDictionary>();
  made->dictionary = std::move(result.dictionary);
  made->type_id = trained_type_;
  made->version = trained_.next_version;
  made->trained = options_.clock->Now();
  made->ratio = static_cast<double>(result.plain_bytes) /
                static_cast<double>(std::max<uint64_t>(result.new_bytes, 1));
  EndTraining(dictionaries_.Add(std::move(made)));
}

void CompressorImpl::EndTraining(std::shared_ptr<const TypeDictionary> accepted) {
  const std::shared_ptr<const TypeDictionary> before = std::exchange(trained_.current, nullptr);
  trained_ = {};
  const bool swapped = accepted != nullptr;
  types_[trained_type_]->EndTraining(std::move(accepted), options_.clock->Mono());
  // Only now: until then new values were encoded with it.
  if (swapped && before != nullptr) dictionaries_.Outdate(*before);
  trainings_ready_.fetch_sub(1, std::memory_order_release);
}

}  // namespace

std::unique_ptr<Compressor> Compressor::New(Options options) {
  options.value_bytes_max = std::min<uint64_t>(options.value_bytes_max, kCodecBytesMax);
  return std::make_unique<CompressorImpl>(std::move(options));
}

}  // namespace larder
