// Node is a configuration as it was written, before anything is known about its meaning: the YAML
// file with the overrides put over it. Every part knows where it stands.

#ifndef LARDER_CONFIG_TREE_H_
#define LARDER_CONFIG_TREE_H_

#include <string>
#include <utility>
#include <vector>

#include "config/problem.h"

namespace larder {

struct Node {
  struct Member;
  // kBroken: a problem has been reported, and nothing more is to be said about the value.
  enum class Kind { kNull, kScalar, kList, kMap, kBroken };

  Node();
  Node(Kind kind_of, const Source& where, std::string text_of = "", bool in_quotes = false);

  Kind kind = Kind::kNull;
  Source at;
  // For kScalar: the text, and whether it stood in quotes and so is no word of the language.
  std::string text;
  bool quoted = false;
  std::vector<Node> items;      // of kList
  std::vector<Member> members;  // of kMap, in order; a name may occur twice
};

struct Node::Member {
  std::string name;
  Source at;  // of the name
  Node value;
};

// Here, because a Node can be made only where a Member is known.
inline Node::Node() = default;
inline Node::Node(Kind kind_of, const Source& where, std::string text_of, bool in_quotes)
    : kind(kind_of), at(where), text(std::move(text_of)), quoted(in_quotes) {}

}  // namespace larder

#endif  // LARDER_CONFIG_TREE_H_
