// The known name that a misspelt one was most likely meant to be: least edit distance, the first on a tie.
// Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace stepback {

// "" when there are no names. Only the first 64 characters count, so a hostile name costs nothing.
std::string NearestName(std::string_view name, std::span<const std::string_view> names);

}  // namespace stepback
