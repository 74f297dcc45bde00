// Turns the list of kernels/codecs/codecs.h into data; the work goes to the widest loops of this machine.
#include "kernels/codecs/codecs.h"

#include "kernels/codec_info.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/encode_with.h"

namespace stepback::kernels {
namespace {

// A codec's place in the list, for function pointers that carry no state.
template <class Codec>
size_t Id() {
  size_t id = 0, next = 0;
  AllCodecs::ForEach([&]<class Other>() {
    if (Other::kName == Codec::kName) id = next;
    ++next;
  });
  return id;
}

template <class Codec>
const cpu::CodecLoops& LoopsOf() {
  static const cpu::CodecLoops& loops = cpu::BestLoops().codecs[Id<Codec>()];
  return loops;
}

template <class Codec>
constexpr bool ForDifferences() {
  if constexpr (requires { Codec::kForDifferences; }) return Codec::kForDifferences;
  return false;
}

template <class Codec>
CodecInfo MakeInfo() {
  return {Codec::kName,
          static_cast<int>(Id<Codec>()),
          Codec::kBlockElements,
          Codec::kErrorBound,
          ForDifferences<Codec>(),
          EncodedBytes<Codec>,
          [](const float* in, uint64_t elements, std::byte* out) {
            LoopsOf<Codec>().encode(in, elements, {}, out);
          },
          [](const std::byte* in, uint64_t elements, float* out) {
            LoopsOf<Codec>().decode({in, elements, 0, elements}, out);
          },
          [](const std::byte* in, uint64_t elements) { return LoopsOf<Codec>().all_finite(in, elements); }};
}

}  // namespace

std::span<const CodecInfo> Codecs() {
  static const auto kInfos = AllCodecs::Table<CodecInfo>([]<class Codec>() { return MakeInfo<Codec>(); });
  return kInfos;
}

void EncodeWith(const CodecInfo& codec, const float* in, uint64_t elements, const Draw& draw,
                std::byte* out) {
  const CodecInfo* const listed = FindCodec(codec.name);
  if (listed != &codec)
    return codec.encode(in, elements, out);  // a form of a test's own, which draws nothing
  cpu::BestLoops().codecs[codec.id].encode(in, elements, draw, out);
}

const CodecInfo* FindCodec(std::string_view name) {
  for (const CodecInfo& codec : Codecs()) {
    if (codec.name == name) return &codec;
  }
  return nullptr;
}

}  // namespace stepback::kernels
