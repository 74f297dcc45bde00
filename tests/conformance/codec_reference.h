// Every wire form decoded by hand: one element at a time, in fp64 from the definition, sharing nothing with
// kernels/codecs.
#pragma once

#include <string_view>

#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {

// Element i of a tensor of `count` elements. A codec without a decoder here ends the program with its name.
float DecodeByHand(std::string_view codec, const Bytes& bytes, uint64_t count, uint64_t i);

// How far |x - decode(encode(x))| may be, as docs/wire.md says: `largest` is the largest magnitude of x's
// block. Finite x only.
double ErrorBound(std::string_view codec, double x, double largest);

}  // namespace stepback::kernels::testing
