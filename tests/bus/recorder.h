// A listener that keeps what it was told, for tests with one thread.

#ifndef LARDER_TESTS_BUS_RECORDER_H_
#define LARDER_TESTS_BUS_RECORDER_H_

#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"

namespace larder {

class Recorder : public BusListener {
 public:
  void OnMessages(const std::vector<BusMessage>& messages) override {
    ++calls;
    for (const BusMessage& message : messages) {
      told.push_back(message);
      keys.insert(keys.end(), message.keys.begin(), message.keys.end());
    }
  }
  void OnGap(std::string_view why) override {
    following = false;
    gaps.emplace_back(why);
  }
  void OnFollowing() override {
    following = true;
    ++followings;
  }

  std::vector<BusMessage> told;
  std::vector<std::string> keys;  // of all messages
  std::vector<std::string> gaps;
  bool following = false;
  int followings = 0;
  int calls = 0;
};

}  // namespace larder

#endif  // LARDER_TESTS_BUS_RECORDER_H_
