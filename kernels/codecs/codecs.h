// The list of codecs: THE registration point. A codec is one header, its include and its name here, and
// golden bytes.
#pragma once

#include "kernels/codecs/bf16.h"
#include "kernels/codecs/f32.h"

namespace stepback::kernels {

using AllCodecs = CodecList<F32, Bf16>;

}  // namespace stepback::kernels
