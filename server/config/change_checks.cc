// Whether templates go round in a circle is told by examples: a key of each pattern, with a letter
// in the place of every capture, and what the templates make of it. A circle is refused although an
// invalidation by a template makes no further ones: two types that each make the other out of date
// with every change are a mistake in one of them.

#include "config/change_checks.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "config/checker.h"
#include "config/units.h"
#include "larder/config/v1/config.pb.h"
#include "policy/name_template.h"
#include "policy/pattern.h"

namespace larder {
namespace {

namespace v1 = config::v1;

constexpr char kSample[] = "x";

// A key that the pattern matches.
std::string SampleOf(const Pattern& pattern) {
  std::string sample;
  const std::string& text = pattern.text();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      sample += text[++i];
    } else if (text[i] == '*') {
      sample += kSample;
    } else if (text[i] == '{') {
      sample += kSample;
      i = text.find('}', i);
    } else {
      sample += text[i];
    }
  }
  return sample;
}

class ChangeChecks : private Checker {
 public:
  ChangeChecks(const Reading& reading, Problems* problems)
      : Checker(reading, problems), reading_(reading) {}

  void Run() {
    for (const std::string& name : reading_.type_names) {
      const v1::Type& type = reading_.proto.types().at(name);
      const std::string path = absl::StrCat("types.", name);
      Node node{name, path, {}, {}};
      for (int i = 0; i < type.match_size(); ++i) {
        auto pattern = Pattern::Parse(type.match(i));
        if (pattern.ok()) node.patterns.push_back(*std::move(pattern));
      }
      for (int i = 0; i < type.tags_size(); ++i)
        CheckCaptures(node, type.tags(i), absl::StrCat(path, ".tags[", i, "]"));
      for (int i = 0; i < type.on_change().invalidate_size(); ++i) {
        const std::string& text = type.on_change().invalidate(i);
        const std::string here = absl::StrCat(path, ".on_change.invalidate[", i, "]");
        if (CheckCaptures(node, text, here)) node.templates.emplace_back(text, here);
      }
      nodes_.push_back(std::move(node));
    }
    for (const Node& node : nodes_) {
      for (const auto& [text, here] : node.templates) CheckTarget(node, text, here);
    }
  }

 private:
  struct Node {
    std::string name;
    std::string path;
    std::vector<Pattern> patterns;
    // With the places where they are written.
    std::vector<std::pair<std::string, std::string>> templates;
  };

  // What the template needs has to come from every pattern of the type, or it would not work for
  // the keys of some. False: it is not worth a further look.
  bool CheckCaptures(const Node& node, const std::string& text, const std::string& here) {
    const auto parsed = NameTemplate::Parse(text);
    if (!parsed.ok()) return false;  // reported when it was read
    for (const std::string& name : parsed->Needs()) {
      if (node.patterns.empty()) {
        Add({here}, absl::StrCat(here, ": {", name, "} has no meaning, because ", node.path,
                                 ".match is empty"));
        return false;
      }
      for (const Pattern& pattern : node.patterns) {
        std::vector<std::pair<std::string, std::string_view>> captures;
        const std::string sample = SampleOf(pattern);
        pattern.Match(sample, &captures);
        if (std::any_of(captures.begin(), captures.end(),
                        [&](const auto& capture) { return capture.first == name; })) {
          continue;
        }
        Add({here, node.path + ".match"}, absl::StrCat(here, ": pattern ", Quoted(pattern.text()),
                                                       " of the type captures no ", Quoted(name)));
        return false;
      }
    }
    return true;
  }

  // Whether the template, for some key of `from`, covers a key of `to`.
  static bool Covers(const Node& from, const std::string& text, const Node& to) {
    const auto parsed = NameTemplate::Parse(text);
    for (const Pattern& pattern : from.patterns) {
      std::vector<std::pair<std::string, std::string_view>> captures;
      const std::string sample = SampleOf(pattern);
      pattern.Match(sample, &captures);
      std::string made;
      if (!parsed->Make(captures, &made)) continue;
      for (const Pattern& other : to.patterns) {
        if (!parsed->is_prefix()) {
          if (other.Matches(made)) return true;
        } else if (absl::StartsWith(SampleOf(other), made) || other.Matches(made + kSample)) {
          return true;
        }
      }
    }
    return false;
  }

  void CheckTarget(const Node& node, const std::string& text, const std::string& here) {
    if (Covers(node, text, node)) {
      return Add({here}, absl::StrCat(here, ": ", Quoted(text),
                                      " covers keys of the type itself: what was just written "
                                      "would be removed"));
    }
    for (const Node& other : nodes_) {
      if (other.name <= node.name || !Covers(node, text, other)) continue;
      for (const auto& [back, there] : other.templates) {
        if (!Covers(other, back, node)) continue;
        Add({here, there}, absl::StrCat(here, " and ", there,
                                        " go round in a circle: each makes the other's type out of "
                                        "date"));
      }
    }
  }

  const Reading& reading_;
  std::vector<Node> nodes_;
};

}  // namespace

void CheckChanges(const Reading& reading, Problems* problems) {
  ChangeChecks(reading, problems).Run();
}

}  // namespace larder
