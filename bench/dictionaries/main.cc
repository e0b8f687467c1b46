// larder_dictionaries_bench looks at what a trained dictionary does to small JSON values. Run by
// bench/dictionaries/run, which judges.
//
//   larder_dictionaries_bench            measures
//   larder_dictionaries_bench show N     prints N of the measured profiles, one a line
//
// Everything goes through Compressor with the default policy of a type, as in the server: a type is
// fed profiles until its training is due, the training runs, and then other profiles, which it has
// never seen, are encoded and decoded. Ratios are plain bytes to stored bytes over all measured
// values, those that stay plain included. The comparison is a type with the same level and no
// dictionaries. Speeds are plain bytes by processor time of the one thread, the median of several
// rounds over all measured values; each call decodes one value into a string that is used again.
// The first round compares every value with what went in.

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bench/dictionaries/profiles.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "policy/compressor.h"

namespace larder::bench {
namespace {

constexpr uint64_t kTrainingSeed = 1, kMeasuredSeed = 2;
constexpr int kTrainingMost = 100'000;
constexpr int kMeasured = 20'000;
constexpr int kRounds = 11;

constexpr uint16_t kTrained = 0, kBare = 1;

std::vector<std::string> MeasuredProfiles(int count) {
  Profiles profiles(kMeasuredSeed);
  std::vector<std::string> made(count);
  for (std::string& profile : made) profile = profiles.Next();
  return made;
}

// Feeds profiles until a training is due, and trains.
void Train(Compressor* compressor) {
  Profiles profiles(kTrainingSeed);
  int fed = 0;
  for (; !compressor->TrainingDue(); ++fed) {
    if (fed == kTrainingMost) Broken("no training is due");
    compressor->Encode(kTrained, profiles.Next());
  }
  double total = 0, longest = 0;
  while (compressor->TrainingDue()) {
    const double began = ThreadSeconds();
    compressor->TrainingStep();
    const double took = ThreadSeconds() - began;
    total += took;
    longest = std::max(longest, took);
  }
  const CompressionStats stats = compressor->Stats()[kTrained];
  if (stats.dictionary_version != 1) Broken("the training gave no dictionary");
  Report("training_profiles", fed, "profiles");
  Report("training", total * 1e3, "ms");
  Report("training_longest_step", longest * 1e3, "ms");
  Report("dictionary", static_cast<double>(stats.dictionary_bytes), "bytes");
  Report("dictionary_memory", static_cast<double>(stats.dictionary_memory_bytes), "bytes");
}

struct Form {
  Compressor::Encoded encoded;
  std::string_view plain;

  std::string_view stored() const {
    return encoded.encoding == kPlain ? plain : std::string_view(encoded.bytes);
  }
};

struct EncodedAll {
  std::vector<Form> forms;
  double ratio = 0;
  double mb_per_second = 0;
};

EncodedAll EncodeAll(const std::vector<std::string>& profiles, uint16_t type,
                     Compressor* compressor) {
  EncodedAll all;
  double plain_bytes = 0, stored_bytes = 0;
  const double began = ThreadSeconds();
  for (const std::string& profile : profiles) {
    all.forms.push_back({compressor->Encode(type, profile), profile});
    plain_bytes += static_cast<double>(profile.size());
    stored_bytes += static_cast<double>(all.forms.back().stored().size());
  }
  all.mb_per_second = plain_bytes / (ThreadSeconds() - began) / 1e6;
  all.ratio = plain_bytes / stored_bytes;
  return all;
}

double DecodeMbPerSecond(const std::vector<Form>& forms, uint16_t type, Compressor* compressor) {
  std::vector<double> rounds;
  std::string out;
  for (int round = 0; round < kRounds; ++round) {
    double bytes = 0;
    const double began = ThreadSeconds();
    for (const Form& form : forms) {
      const absl::Status status =
          compressor->Decode(type, form.encoded.encoding, form.stored(), form.plain.size(), &out);
      if (!status.ok()) Broken("a value does not decode");
      if (round == 0 && out != form.plain) Broken("a value decodes to another one");
      bytes += static_cast<double>(out.size());
    }
    if (round > 0) rounds.push_back(bytes / (ThreadSeconds() - began) / 1e6);
  }
  return Median(rounds);
}

void Measure() {
  CompressPolicy bare;
  bare.codec = CodecChoice::kZstd;
  bare.dictionary = false;
  const auto compressor = Compressor::New({.types = {CompressPolicy(), bare}});
  Train(compressor.get());

  const std::vector<std::string> profiles = MeasuredProfiles(kMeasured);
  double plain_bytes = 0;
  for (const std::string& profile : profiles) plain_bytes += static_cast<double>(profile.size());
  const EncodedAll trained = EncodeAll(profiles, kTrained, compressor.get());
  const EncodedAll without = EncodeAll(profiles, kBare, compressor.get());
  Report("profile_mean", plain_bytes / kMeasured, "bytes");
  Report("stored_mean", plain_bytes / kMeasured / trained.ratio, "bytes");
  Report("ratio", trained.ratio, "plain/stored");
  Report("ratio_without", without.ratio, "plain/stored");
  Report("gain_over_zstd", trained.ratio / without.ratio, "x");
  Report("decode", DecodeMbPerSecond(trained.forms, kTrained, compressor.get()), "MB/s");
  Report("decode_without", DecodeMbPerSecond(without.forms, kBare, compressor.get()), "MB/s");
  Report("encode", trained.mb_per_second, "MB/s");
  Report("encode_without", without.mb_per_second, "MB/s");
}

int Main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (argc == 1) {
    Measure();
    return 0;
  }
  int count = 0;
  if (argc == 3 && mode == "show") {
    const std::string_view text = argv[2];
    std::from_chars(text.data(), text.data() + text.size(), count);
  }
  if (count < 1) {
    std::fputs("usage: larder_dictionaries_bench [show N]\n", stderr);
    return 2;
  }
  for (const std::string& profile : MeasuredProfiles(count)) std::puts(profile.c_str());
  return 0;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main(argc, argv); }
