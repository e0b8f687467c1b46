// yaml-cpp gives two interfaces: nodes, which silently keep one of two equal keys, expand aliases
// and forget where the document ended, and events, which tell everything with its position. This
// file builds the tree from the events.
//
// yaml-cpp also guesses encodings and repairs bad UTF-8, so the text is checked before yaml-cpp
// sees it. It throws what it cannot parse; nothing is thrown beyond this file.

#include "config/yaml.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace larder {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The length of the character that `text` starts with; 0 when it is malformed.
size_t Utf8Length(std::string_view text) {
  const Rune rune = DecodeRune(text);
  return rune.valid ? rune.bytes : 0;
}

bool IsControl(std::string_view character) {
  const unsigned char c = character[0];
  if (character.size() == 1) return c < 0x20 || c == 0x7F;
  return c == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

// Reports one problem per line at most: the first byte that is wrong in a line usually spoils the
// rest.
class TextCheck {
 public:
  TextCheck(const Source& where, Problems* problems) : at_(where), problems_(problems) {}

  bool Run(std::string_view text) {
    for (at_.line = 1; !text.empty(); ++at_.line) {
      const size_t end = text.find('\n');
      CheckLine(text.substr(0, end));
      if (end == std::string_view::npos) break;
      text.remove_prefix(end + 1);
    }
    return clean_;
  }

 private:
  void CheckLine(std::string_view line) {
    const size_t indentation = std::min(line.find_first_not_of(" \t\r"), line.size());
    const size_t tab = line.find('\t');
    if (tab < indentation && indentation < line.size() && line[indentation] != '#') {
      return Report(tab, "a tab indents the line; use spaces");
    }
    for (size_t i = 0; i < line.size();) {
      const size_t length = Utf8Length(line.substr(i));
      if (length == 0) return Report(i, "the text is not UTF-8");
      const std::string_view character = line.substr(i, length);
      const bool allowed = character == "\t" || (character == "\r" && i + 1 == line.size());
      if (IsControl(character) && !allowed) return Report(i, "control characters are not allowed");
      i += length;
    }
  }

  void Report(size_t offset, std::string message) {
    at_.column = static_cast<int>(offset) + 1;
    problems_->Add(at_, std::move(message));
    clean_ = false;
  }

  Source at_;
  Problems* const problems_;
  bool clean_ = true;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const Source& where, Problems* problems) : where_(where), problems_(problems) {}

  Node TakeRoot() { return std::move(root_); }

  // Where the innermost list or map begins that has not ended; `otherwise` when there is none.
  Source Unfinished(const Source& otherwise) const {
    return frames_.empty() ? otherwise : frames_.back().node.at;
  }
  // Where the last value in quotes begins.
  const std::optional<Source>& last_quoted() const { return last_quoted_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (skipped_ > 0) return;
    CheckMarks(mark, "?", anchor);
    if (WantsName()) return TakeName(mark, "", "a field name is missing");
    // yaml-cpp gives a value that is not there the position of whatever comes next.
    const bool named = !frames_.empty() && frames_.back().node.kind == Node::Kind::kMap;
    Attach(Node(Node::Kind::kNull, named ? frames_.back().next.at : At(mark)));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    if (skipped_ > 0) return;
    constexpr char kMessage[] = "aliases (*name) are not supported; write the value out";
    if (WantsName()) return TakeName(mark, "", kMessage);
    problems_->Add(At(mark), kMessage);
    Attach(Node(Node::Kind::kBroken, At(mark)));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (skipped_ > 0) return;
    CheckMarks(mark, tag, anchor);
    if (WantsName()) {
      const bool merge = value == "<<" && tag == "?";
      return TakeName(mark, value,
                      merge ? "merge keys (<<) are not supported; write the fields out" : "");
    }
    if (tag == "!") last_quoted_ = At(mark);
    Attach(Node(Node::Kind::kScalar, At(mark), value, tag == "!"));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(Node::Kind::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(Node::Kind::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  // A list or map that has begun and not ended.
  struct Frame {
    Node node;
    bool is_name = false;    // it stands where a map has a name, and is dropped
    bool wants_name = true;  // of a map: the next event is a name
    bool name_broken = false;
    Node::Member next = {};  // of a map: the member whose value comes next
  };

  Source At(const YAML::Mark& mark) const {
    Source at = where_;
    if (at.kind == Source::Kind::kFile) {
      at.line = mark.line + 1;
      at.column = mark.column + 1;
    }
    return at;
  }

  bool WantsName() const {
    return !frames_.empty() && frames_.back().node.kind == Node::Kind::kMap &&
           frames_.back().wants_name;
  }

  void CheckMarks(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      problems_->Add(At(mark),
                     "anchors (&name) are not supported; write the value where it is needed");
    }
    if (!tag.empty() && tag != "?" && tag != "!")
      problems_->Add(At(mark), "tags (!name) are not supported");
  }

  // A name with a problem is reported here, and its value is dropped.
  void TakeName(const YAML::Mark& mark, std::string name, std::string problem) {
    Frame& frame = frames_.back();
    frame.wants_name = false;
    frame.name_broken = !problem.empty();
    frame.next = {std::move(name), At(mark), {}};
    if (frame.name_broken) problems_->Add(At(mark), std::move(problem));
  }

  void Attach(Node node) {
    if (frames_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.kind == Node::Kind::kList) {
      frame.node.items.push_back(std::move(node));
      return;
    }
    frame.wants_name = true;
    if (frame.name_broken) return;
    frame.next.value = std::move(node);
    frame.node.members.push_back(std::move(frame.next));
  }

  void Begin(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
             YAML::anchor_t anchor) {
    if (skipped_ > 0) {
      ++skipped_;
      return;
    }
    CheckMarks(mark, tag, anchor);
    const bool is_name = WantsName();
    if (is_name) TakeName(mark, "", "a field name must be a single word");
    if (frames_.size() == kYamlDepthMax) {
      problems_->Add(At(mark), absl::StrCat("nested deeper than ", kYamlDepthMax, " levels"));
      if (!is_name) Attach(Node(Node::Kind::kBroken, At(mark)));
      skipped_ = 1;
      return;
    }
    frames_.push_back({.node = Node(kind, At(mark)), .is_name = is_name});
  }

  void End() {
    if (skipped_ > 0) {
      --skipped_;
      return;
    }
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (!frame.is_name) Attach(std::move(frame.node));
  }

  const Source where_;
  Problems* const problems_;
  Node root_;
  std::vector<Frame> frames_;
  std::optional<Source> last_quoted_;
  // Lists and maps that have begun inside one that was too deep.
  size_t skipped_ = 0;
};

// False when the quoted value that begins at `at` runs to the end of the text, which yaml-cpp takes
// for its end. Only the last one can.
bool IsClosed(std::string_view text, const Source& at) {
  for (int line = 1; line < at.line; ++line) text.remove_prefix(text.find('\n') + 1);
  text.remove_prefix(std::min<size_t>(std::max(at.column - 1, 0), text.size()));
  if (!text.starts_with('"') && !text.starts_with('\'')) return true;  // a block of text
  const char quote = text.front();
  for (size_t i = 1; i < text.size(); ++i) {
    const bool escape = quote == '"' ? text[i] == '\\' : text.substr(i, 2) == "''";
    if (escape) {
      ++i;
    } else if (text[i] == quote) {
      return true;
    }
  }
  return false;
}

// Tells where a second document begins.
class SecondDocument : public TreeBuilder {
 public:
  SecondDocument(const Source& where, Problems* ignored) : TreeBuilder(where, ignored) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    line = mark.line + 1;
    column = mark.column + 1;
  }

  int line = 0;
  int column = 0;
};

}  // namespace

bool IsCleanText(std::string_view text, std::string_view allowed) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    if (IsControl(text.substr(0, length)) && allowed.find(text[0]) == std::string_view::npos)
      return false;
    text.remove_prefix(length);
  }
  return true;
}

Node ParseYaml(const std::string& text, const Source& where, Problems* problems) {
  Node broken(Node::Kind::kBroken, where);
  if (text.size() > kYamlBytesMax) {
    problems->Add(
        where, absl::StrCat("the text is more than ", kYamlBytesMax, " bytes, which is the limit"));
    return broken;
  }
  const std::string_view without_mark =
      std::string_view(text).substr(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
  if (!TextCheck(where, problems).Run(without_mark)) return broken;

  // Of a text that is not YAML only that is reported: yaml-cpp's events before it are guesses.
  Problems found;
  TreeBuilder builder(where, &found);
  const auto place = [&](int line, int column) {
    Source at = where;
    if (at.kind == Source::Kind::kFile) at.line = line, at.column = column;
    return at;
  };
  try {
    std::istringstream in{std::string(without_mark)};
    YAML::Parser parser(in);
    parser.HandleNextDocument(builder);
    Problems ignored;
    SecondDocument second(where, &ignored);
    if (parser.HandleNextDocument(second)) {
      found.Add(place(second.line, second.column),
                "a second document begins here; a configuration is one");
    }
    if (builder.last_quoted() && !IsClosed(without_mark, *builder.last_quoted())) {
      problems->Add(*builder.last_quoted(), "not YAML: the quote is not closed");
      return broken;
    }
    problems->Add(found);
    return builder.TakeRoot();
  } catch (const YAML::Exception& e) {
    // What is missing at the end of the text has no position, but it has a beginning.
    const Source at = place(e.mark.line + 1, e.mark.column + 1);
    const bool at_end = e.mark.line <= 0 && e.mark.column <= 0;
    problems->Add(at_end ? builder.Unfinished(place(1, 1)) : at, absl::StrCat("not YAML: ", e.msg));
  } catch (const std::exception& e) {
    problems->Add(place(1, 1), absl::StrCat("not YAML: ", e.what()));
  }
  return broken;
}

}  // namespace larder
