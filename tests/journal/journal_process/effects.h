// What journal_process writes, so that a test can say what must be there: which key a version is
// of, and the lines of its origin, one for each write that had an effect.

#ifndef LARDER_TESTS_JOURNAL_JOURNAL_PROCESS_EFFECTS_H_
#define LARDER_TESTS_JOURNAL_JOURNAL_PROCESS_EFFECTS_H_

#include <fstream>
#include <string>
#include <vector>

#include "core/version.h"

namespace larder {

struct Effect {
  std::string key;
  Version version = kNoVersion;
};

inline std::string KeyOfVersion(Version version) { return "k" + std::to_string(version % 7); }

inline std::string LineOf(const Effect& effect) {
  return effect.key + " " + std::to_string(effect.version) + "\n";
}

inline std::vector<Effect> EffectsIn(const std::string& path) {
  std::vector<Effect> effects;
  std::ifstream file(path);
  for (Effect effect; file >> effect.key >> effect.version;) effects.push_back(effect);
  return effects;
}

}  // namespace larder

#endif  // LARDER_TESTS_JOURNAL_JOURNAL_PROCESS_EFFECTS_H_
