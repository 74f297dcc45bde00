// Every codec against tests/golden/codecs, whose bytes another language made in exact arithmetic from the
// definitions (make_codec_goldens.py); decoded again by hand.
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/cpu/dispatch.h"
#include "tests/conformance/codec_reference.h"
#include "tests/conformance/json.h"

namespace stepback::kernels::testing {
namespace {

struct CodecCase {
  std::string name;
  Floats input;
  Bytes bytes;
  Draw draw;
};

Bytes FromHex(const std::string& hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Whose numbers a codec draws: the key is derived here from the names, as it was in the other language.
Draw DrawOf(const Json& golden) {
  const auto number = [&](const char* field) { return static_cast<uint64_t>(golden[field].number()); };
  return {DrawKey(golden["model"].string(), golden["client"].string(), number("term"), number("counter")),
          static_cast<uint32_t>(number("tensor")), number("first")};
}

std::vector<CodecCase> CasesOf(const CodecInfo& codec) {
  const std::filesystem::path path =
      std::filesystem::path(STEPBACK_GOLDEN_DIR) / "codecs" / (std::string(codec.name) + ".json");
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  const Json golden = JsonReader(text.str()).Read();
  EXPECT_EQ(golden["codec"].string(), codec.name);
  EXPECT_EQ(golden["block"].number(), static_cast<double>(codec.block_elements));
  std::vector<CodecCase> cases;
  for (const Json& each : golden["cases"].array()) {
    CodecCase one{each["case"].string(), {}, FromHex(each["bytes"].string()), {}};
    if (each.object().contains("draw")) one.draw = DrawOf(each["draw"]);
    for (const Json& bits : each["input"].array()) {
      one.input.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits.number())));
    }
    cases.push_back(std::move(one));
  }
  return cases;
}

TEST(CodecGoldens, AreTheBytesOfEveryInstructionSet) {
  for (const CodecInfo& codec : Codecs()) {
    for (const CodecCase& golden : CasesOf(codec)) {
      ASSERT_EQ(codec.encoded_bytes(golden.input.size()), golden.bytes.size()) << codec.name << golden.name;
      for (const cpu::Target& target : cpu::Targets()) {
        Bytes bytes(golden.bytes.size());
        target.loops->codecs[codec.id].encode(golden.input.data(), golden.input.size(), golden.draw,
                                              bytes.data());
        EXPECT_EQ(bytes, golden.bytes) << codec.name << " " << golden.name << " " << target.name;
      }
    }
  }
}

TEST(CodecGoldens, DecodeToWhatTheDefinitionSays) {
  for (const CodecInfo& codec : Codecs()) {
    for (const CodecCase& golden : CasesOf(codec)) {
      const uint64_t count = golden.input.size();
      for (const cpu::Target& target : cpu::Targets()) {
        Floats decoded(count);
        target.loops->codecs[codec.id].decode({golden.bytes.data(), count, 0, count}, decoded.data());
        for (uint64_t i = 0; i < count; ++i) {
          const float expected = DecodeByHand(codec.name, golden.bytes, count, i);
          ASSERT_TRUE(std::bit_cast<uint32_t>(decoded[i]) == std::bit_cast<uint32_t>(expected) ||
                      (decoded[i] != decoded[i] && expected != expected))
              << codec.name << " " << golden.name << " " << target.name << " element " << i << ": "
              << decoded[i] << ", expected " << expected;
        }
      }
    }
  }
}

TEST(CodecGoldens, SayWhatIsNotFinite) {
  for (const CodecInfo& codec : Codecs()) {
    for (const CodecCase& golden : CasesOf(codec)) {
      const bool overflows = codec.name == "f16" && (golden.name == "wide" || golden.name == "largest");
      const bool bf16_overflows =
          (codec.name == "bf16" || codec.name == "topk_bf16") && golden.name == "largest";
      const bool finite = golden.name != "nan" && golden.name != "infinity" && !overflows && !bf16_overflows;
      EXPECT_EQ(codec.all_finite(golden.bytes.data(), golden.input.size()), finite)
          << codec.name << " " << golden.name;
    }
  }
}

}  // namespace
}  // namespace stepback::kernels::testing
