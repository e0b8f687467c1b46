// Suggest finds the known name that was most likely meant by a wrong one: the "did you mean" of
// error messages. Pure. Thread safety: any thread. Time is bounded whatever the length of `wrong`,
// because names of very different lengths are not compared.

#ifndef LARDER_CORE_SUGGEST_H_
#define LARDER_CORE_SUGGEST_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace larder {

// The known name that takes the fewest edits (insert, delete or replace a byte, swap two
// neighbours; case and the difference between '-' and '_' are free) from `wrong`, the first of
// equals. Nothing when all take more than one edit for names of up to four bytes, two for up to
// eight, three beyond.
std::optional<std::string> Suggest(std::string_view wrong,
                                   const std::vector<std::string_view>& known);

}  // namespace larder

#endif  // LARDER_CORE_SUGGEST_H_
