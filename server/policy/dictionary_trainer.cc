// zdict's fastCover picks the segments of the samples that cover most of what repeats; how well
// depends on the length of the segments (k) and of the pieces that it counts (d), and on the data.
// zdict can search for the best k by itself, but in one call of a second or more. Here a step is
// one candidate: a training (20 ms for a MiB) and a measurement. Three candidates, from short
// fields to long boilerplate, come within a per cent or two of a fine search on JSON, HTML and
// protobuf.
//
// A fifth of the samples is held back for the measurement. A dictionary always looks good on what
// it was made from; what decides is what it does to values that it has not seen, against zstd
// without a dictionary and against the dictionary in use, all at the type's level.

#include "policy/dictionary_trainer.h"

#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>

#include <algorithm>
#include <utility>

#include "policy/codec_chooser.h"

namespace larder {
namespace {

struct Candidate {
  unsigned segment_bytes, piece_bytes;
};
constexpr Candidate kCandidates[] = {{1024, 8}, {256, 6}, {64, 8}};

// A full pool takes one value of this many.
constexpr uint64_t kTakeOneOf = 8;
// Part of the samples that is held back: one of so many.
constexpr size_t kHoldBackOneOf = 5;
// log2 of the pieces that fastCover tells apart; it takes six times as many bytes.
constexpr unsigned kPiecesLog = 18;

}  // namespace

void SamplePool::Offer(std::string_view value, uint64_t bytes_max, Random* random) {
  if (bytes_ + value.size() <= bytes_max) {
    values_.emplace_back(value);
    bytes_ += value.size();
    return;
  }
  const uint64_t draw = random->Next();
  if (values_.empty() || draw % kTakeOneOf != 0) return;
  std::string& victim = values_[draw / kTakeOneOf % values_.size()];
  if (bytes_ - victim.size() + value.size() > bytes_max) return;
  bytes_ += value.size() - victim.size();
  // Not assigned: a small value would keep a large one's memory.
  victim = std::string(value);
}

std::vector<std::string> SamplePool::Take() {
  bytes_ = 0;
  return std::exchange(values_, {});
}

bool DictionaryTrainer::Result::Accepted() const {
  return dictionary != nullptr && new_bytes * 10 <= bare_bytes * 9 &&
         new_bytes * 10 <= plain_bytes * 9 && new_bytes * 100 <= current_bytes * 95;
}

DictionaryTrainer::DictionaryTrainer(std::vector<std::string> samples, size_t dictionary_bytes_max,
                                     int level, std::shared_ptr<const Dictionary> current,
                                     Random* random)
    : dictionary_bytes_max_(dictionary_bytes_max), level_(level), current_(std::move(current)) {
  for (size_t i = samples.size(); i > 1; --i)
    std::swap(samples[i - 1], samples[random->Next() % i]);
  const size_t held_back = samples.size() / kHoldBackOneOf;
  for (std::string& sample : samples) {
    if (held_back_.size() < held_back) {
      held_back_.push_back(std::move(sample));
    } else {
      learned_ += sample;
      learned_sizes_.push_back(sample.size());
    }
  }
}

template <typename Compress>
uint64_t DictionaryTrainer::StoredBytes(const Compress& compress) const {
  uint64_t total = 0;
  for (const std::string& sample : held_back_) {
    const auto stored = compress(sample, StoredBytesMax(sample.size()));
    total += stored ? stored->size() : sample.size();
  }
  return total;
}

std::unique_ptr<const Dictionary> DictionaryTrainer::Train(size_t candidate) const {
  ZDICT_fastCover_params_t parameters = {};
  parameters.k = kCandidates[candidate].segment_bytes;
  parameters.d = kCandidates[candidate].piece_bytes;
  parameters.f = kPiecesLog;
  parameters.accel = 1;
  parameters.zParams.compressionLevel = level_;
  std::string content(dictionary_bytes_max_, '\0');
  const size_t bytes = ZDICT_trainFromBuffer_fastCover(
      content.data(), content.size(), learned_.data(), learned_sizes_.data(),
      static_cast<unsigned>(learned_sizes_.size()), parameters);
  if (ZDICT_isError(bytes) != 0) return nullptr;
  content.resize(bytes);
  content.shrink_to_fit();
  return Dictionary::New(std::move(content), level_);
}

bool DictionaryTrainer::Step() {
  if (next_candidate_ == std::size(kCandidates)) {
    for (const std::string& sample : held_back_) result_.plain_bytes += sample.size();
    result_.bare_bytes = StoredBytes([this](std::string_view plain, size_t bytes_max) {
      return ZstdCompress(plain, level_, bytes_max);
    });
    result_.current_bytes = result_.bare_bytes;
    if (current_ != nullptr) {
      result_.current_bytes = StoredBytes([this](std::string_view plain, size_t bytes_max) {
        return ZstdCompress(plain, *current_, bytes_max);
      });
    }
    return true;
  }
  std::unique_ptr<const Dictionary> made = Train(next_candidate_++);
  if (made == nullptr) return false;
  const uint64_t bytes = StoredBytes([&made](std::string_view plain, size_t bytes_max) {
    return ZstdCompress(plain, *made, bytes_max);
  });
  if (result_.dictionary == nullptr || bytes < result_.new_bytes) {
    result_.dictionary = std::move(made);
    result_.new_bytes = bytes;
  }
  return false;
}

}  // namespace larder
