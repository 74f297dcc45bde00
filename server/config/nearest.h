// "did you mean": the known name closest to a misspelt one. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stepback {

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b);

// The closest of `names` if it is close enough to be what was meant (a third of its length), or else one that
// ends in the same ".name" (right setting, wrong section); empty: none.
std::string Nearest(std::string_view name, const std::vector<std::string>& names);

// " (did you mean 'x'?)" or nothing.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& names);

}  // namespace stepback
