// What rules between the values of a configuration are written with: it knows which values somebody
// chose and which are broken already, and reports a rule where the file says what breaks it.
// Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_CHECKER_H_
#define LARDER_CONFIG_CHECKER_H_

#include <initializer_list>
#include <string>

#include "absl/time/time.h"
#include "config/problem.h"
#include "config/reader.h"

namespace larder {

class Checker {
 public:
  Checker(const Reading& reading, Problems* problems) : reading_(reading), problems_(problems) {}

  static absl::Duration D(const google::protobuf::Duration& d) {
    return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
  }

  void NotAbove(const std::string& low_path, absl::Duration low, const std::string& high_path,
                absl::Duration high);

  // Reports every value that somebody chose at `path`, or below it where it ends in a dot.
  void NoEffect(const std::string& path, const std::string& why);

  // Reports a rule between `paths` at the first of them that is written. Says nothing when one of
  // them is broken.
  void Add(std::initializer_list<std::string> paths, std::string message);

  // The field, or a part of it, has a problem.
  bool Broken(const std::string& path) const;

  // Somebody gave the field a value other than its default.
  bool Chosen(const std::string& path) const;

 private:
  const Reading& reading_;
  Problems* const problems_;
};

}  // namespace larder

#endif  // LARDER_CONFIG_CHECKER_H_
