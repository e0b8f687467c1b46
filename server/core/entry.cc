#include "core/entry.h"

namespace larder {

void Entry::DropRare() {
  shared = SharedBytes();
  tags.clear();
  depends_on.clear();
  validator.clear();
  loaded = false;
}

}  // namespace larder
