// Encoding with random numbers of one's own, for whatever leaves the process: CodecInfo::encode takes the
// numbers of Draw{}, the same for everybody.
#pragma once

#include "kernels/codec_info.h"
#include "kernels/draw.h"

namespace stepback::kernels {

// As codec.encode, with the numbers of `draw` where the codec draws any.
void EncodeWith(const CodecInfo& codec, const float* in, uint64_t elements, const Draw& draw, std::byte* out);

}  // namespace stepback::kernels
