// The list of codecs: THE registration point. A codec is one header, its include and its name here, and
// golden bytes (docs/howto/add_a_codec.md).
#pragma once

#include "kernels/codecs/bf16.h"
#include "kernels/codecs/bf16_sr.h"
#include "kernels/codecs/e2m1.h"
#include "kernels/codecs/e3m0.h"
#include "kernels/codecs/f16.h"
#include "kernels/codecs/f32.h"
#include "kernels/codecs/fp8_e4m3.h"
#include "kernels/codecs/fp8_e5m2.h"
#include "kernels/codecs/int8.h"
#include "kernels/codecs/nf4.h"
#include "kernels/codecs/random_k.h"
#include "kernels/codecs/sign.h"
#include "kernels/codecs/topk_2bit.h"
#include "kernels/codecs/topk_bf16.h"

namespace stepback::kernels {

using AllCodecs = CodecList<F32, Bf16, F16, Fp8E4m3, Fp8E5m2, Int8, E2m1, Nf4, E3m0, Sign, TopkBf16, Topk2bit,
                            Bf16Sr, RandomK>;

}  // namespace stepback::kernels
