// Whether bytes are well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). Pure.
#pragma once

#include <string_view>

namespace stepback {

bool IsUtf8(std::string_view bytes);

}  // namespace stepback
