// Values for tests of compression: the same for the same generator.

#ifndef LARDER_TESTS_POLICY_VALUES_H_
#define LARDER_TESTS_POLICY_VALUES_H_

#include <cstdint>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "policy/dictionary_trainer.h"

namespace larder {

using Generator = std::mt19937_64;

// Bytes that no codec makes smaller.
inline std::string Noise(size_t bytes, Generator* generator) {
  std::string noise(bytes, '\0');
  for (char& c : noise) c = static_cast<char>((*generator)());
  return noise;
}

// Words in random order: smaller with any codec, smallest with zstd.
inline std::string Prose(size_t bytes, Generator* generator) {
  static constexpr const char* kWords[] = {"cache", "larder",  "segment", "value",  "the",  "of",
                                           "every", "replica", "before",  "memory", "when", "is"};
  std::string prose;
  while (prose.size() < bytes) {
    absl::StrAppend(&prose, kWords[(*generator)() % 12], " ", (*generator)() % 1000, ". ");
  }
  prose.resize(bytes);
  return prose;
}

// About 300 bytes of JSON whose field names begin with `family`: too small for a codec to gain
// much, alike enough for a dictionary.
inline std::string Record(const std::string& family, Generator* generator) {
  auto& random = *generator;
  const auto name = [&](const char* field) {
    return absl::StrCat("\"", family, "_", field, "\":");
  };
  return absl::StrCat("{", name("identifier"), "\"", absl::Hex(random(), absl::kZeroPad16), "\",",
                      name("created_at"), "\"2024-0", 1 + random() % 9, "-1", random() % 10,
                      "T08:00:0", random() % 10, "Z\",", name("shipping_address"), "{\"street\":\"",
                      random() % 900, " Station Road\",\"postcode\":\"", random() % 90000, "\"},",
                      name("newsletter"), random() % 2 == 0 ? "true" : "false", ",",
                      name("amount_in_cents"), random() % 100000, ",", name("comment"),
                      "\"left at ", absl::Hex(random() % 65536), " with the neighbours\"}");
}

// A dictionary for records of `family`.
inline std::shared_ptr<const Dictionary> DictionaryFor(const std::string& family, uint64_t seed) {
  Generator generator(seed);
  SeededRandom random(seed);
  std::vector<std::string> samples;
  for (int i = 0; i < 1000; ++i) samples.push_back(Record(family, &generator));
  DictionaryTrainer trainer(std::move(samples), 8 << 10, 3, nullptr, &random);
  while (!trainer.Step()) {
  }
  return trainer.Take().dictionary;
}

}  // namespace larder

#endif  // LARDER_TESTS_POLICY_VALUES_H_
