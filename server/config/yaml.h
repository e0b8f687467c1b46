// ParseYaml reads the part of YAML that configurations need: maps, lists and scalars, in block and
// flow form, one document. It refuses, with a position, what makes files mean other things than
// they seem to: tabs as indentation, anchors, aliases, merge keys, tags, a second document, text
// that is not UTF-8. Thread safety: pure. Bounds: 4 MiB of text, 32 levels; time and memory grow
// with the text only.

#ifndef LARDER_CONFIG_YAML_H_
#define LARDER_CONFIG_YAML_H_

#include <string>

#include "config/problem.h"
#include "config/tree.h"

namespace larder {

inline constexpr size_t kYamlBytesMax = 4 << 20;
inline constexpr size_t kYamlDepthMax = 32;

// Positions are lines and columns of `text` where `where` is a file; else `where` itself. Adds what
// is wrong to `problems`, and then the tree is what could be understood. An empty text is kNull.
Node ParseYaml(const std::string& text, const Source& where, Problems* problems);

// True for well-formed UTF-8 without control characters other than those in `allowed`.
bool IsCleanText(std::string_view text, std::string_view allowed = "");

}  // namespace larder

#endif  // LARDER_CONFIG_YAML_H_
