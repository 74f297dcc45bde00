#include "server/core/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/errors.h"
#include "tests/unit/core_support.h"

namespace stepback {
namespace {

using testing::HasSubstr;

TensorSpec Tensor(const std::string& name, std::vector<uint64_t> shape, DataType dtype = DataType::kF32,
                  Role role = Role::kTrained) {
  return {name, std::move(shape), dtype, role};
}

std::string Refusal(const std::vector<TensorSpec>& tensors) {
  const absl::Status status = Layout::Make(tensors).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), "INVALID_SPEC");
  return std::string(status.message());
}

TEST(Layout, AlignsEveryTensorInTheArenaAndPacksElementsDensely) {
  const auto layout = *Layout::Make({Tensor("a", {3}), Tensor("b", {2, 5}), Tensor("scalar", {}),
                                     Tensor("empty", {4, 0}), Tensor("c", {17})});
  ASSERT_EQ(layout->tensors().size(), 5u);
  EXPECT_EQ(layout->elements(), 3u + 10 + 1 + 0 + 17);
  const std::vector<uint64_t> elements = {3, 10, 1, 0, 17}, begins = {0, 3, 13, 14, 14},
                              arena = {0, 16, 32, 48, 48};
  for (size_t t = 0; t < 5; ++t) {
    EXPECT_EQ(layout->tensors()[t].elements, elements[t]) << t;
    EXPECT_EQ(layout->tensors()[t].element_begin, begins[t]) << t;
    EXPECT_EQ(layout->tensors()[t].arena_begin, arena[t]) << t;
    EXPECT_EQ(layout->tensors()[t].arena_floats, elements[t]) << t;
  }
  EXPECT_EQ(layout->arena_floats(), 80u);
}

TEST(Layout, CountsCarriedTensorsInFloatsThatHoldTheirBytes) {
  const auto layout = *Layout::Make({Tensor("steps", {3}, DataType::kI64, Role::kCarried),
                                     Tensor("flags", {5}, DataType::kBool, Role::kCarried),
                                     Tensor("half", {3}, DataType::kF16, Role::kCarried)});
  EXPECT_EQ(layout->tensors()[0].raw_bytes, 24u);
  EXPECT_EQ(layout->tensors()[0].arena_floats, 6u);
  EXPECT_EQ(layout->tensors()[1].raw_bytes, 5u);
  EXPECT_EQ(layout->tensors()[1].arena_floats, 2u);
  EXPECT_EQ(layout->tensors()[2].arena_floats, 2u);
  EXPECT_EQ(layout->tensors()[2].elements, 3u);
}

// The digest was computed with Python's hashlib and struct from the words of decisions 13.
TEST(Layout, FingerprintMatchesThePublishedVector) {
  const auto layout =
      *Layout::Make({Tensor("w", {2, 3}), Tensor("bn.mean", {4}, DataType::kF32, Role::kAveraged),
                     Tensor("steps", {}, DataType::kI64, Role::kCarried),
                     Tensor("mask", {1}, DataType::kF16, Role::kFrozen)});
  EXPECT_EQ(layout->fingerprint_hex(), "f028a8cef8bf2e221a39db205c2d757155f5dc414c9d180461fd002bf72b8445");
}

TEST(Layout, FingerprintChangesWithEveryProperty) {
  const TensorSpec base = Tensor("w", {6});
  std::set<std::string> prints;
  for (const TensorSpec& t :
       {base, Tensor("v", {6}), Tensor("w", {2, 3}), Tensor("w", {3, 2}), Tensor("w", {7}),
        Tensor("w", {6}, DataType::kBf16), Tensor("w", {6}, DataType::kF32, Role::kAveraged)}) {
    prints.insert((*Layout::Make({t}))->fingerprint_hex());
  }
  EXPECT_EQ(prints.size(), 7u);
  EXPECT_NE((*Layout::Make({base, Tensor("x", {1})}))->fingerprint(),
            (*Layout::Make({Tensor("x", {1}), base}))->fingerprint());
}

TEST(Layout, KnowsTheSizeOfEveryType) {
  const std::map<DataType, uint64_t> sizes = {{DataType::kF32, 4},  {DataType::kF64, 8}, {DataType::kF16, 2},
                                              {DataType::kBf16, 2}, {DataType::kI8, 1},  {DataType::kI16, 2},
                                              {DataType::kI32, 4},  {DataType::kI64, 8}, {DataType::kU8, 1},
                                              {DataType::kBool, 1}};
  for (const auto& [type, size] : sizes) EXPECT_EQ(BytesOf(type), size) << static_cast<int>(type);
}

TEST(Layout, RefusesNumbersThatLie) {
  const uint64_t huge = uint64_t{1} << 63, limit = uint64_t{1} << 40;
  EXPECT_THAT(Refusal({Tensor("w", {huge})}), HasSubstr("at most 2^40 elements"));
  EXPECT_THAT(Refusal({Tensor("w", {~uint64_t{0}})}), HasSubstr("18446744073709551615"));
  EXPECT_THAT(Refusal({Tensor("w", {huge, 2})}), HasSubstr("at most 2^40"));  // product wraps to 0
  EXPECT_THAT(Refusal({Tensor("w", {uint64_t{1} << 32, uint64_t{1} << 32})}),
              HasSubstr("2^40"));  // wraps to 0
  EXPECT_THAT(Refusal({Tensor("w", {limit + 1})}), HasSubstr("2^40"));
  EXPECT_THAT(Refusal({Tensor("w", {huge, 0})}), HasSubstr("2^40"));
  EXPECT_THAT(Refusal({Tensor("w", {limit}), Tensor("v", {1})}),
              HasSubstr("tensor 'v' brings the model above"));
  EXPECT_THAT(Refusal({Tensor("w", std::vector<uint64_t>(17, 1))}), HasSubstr("rank 17, at most 16"));
  EXPECT_TRUE(Layout::Make({Tensor("w", {limit})}).ok());
  EXPECT_TRUE(Layout::Make({Tensor("w", std::vector<uint64_t>(16, 1))}).ok());
}

TEST(Layout, RefusesBadNames) {
  EXPECT_THAT(Refusal({}), HasSubstr("0 entries, expected 1..1000000"));
  EXPECT_THAT(Refusal({Tensor("", {1})}), HasSubstr("0 bytes, expected 1..512"));
  EXPECT_THAT(Refusal({Tensor(std::string(513, 'a'), {1})}), HasSubstr("513 bytes"));
  EXPECT_THAT(Refusal({Tensor("w", {1}), Tensor("v", {1}), Tensor("w", {2})}),
              HasSubstr("spec.tensors[2].name 'w' is there twice"));
  for (const char* bad :
       {"\xff", "a\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xf5\x80\x80\x80"}) {
    EXPECT_THAT(Refusal({Tensor(bad, {1})}), HasSubstr("is not UTF-8")) << bad;
  }
  for (const char* good :
       {"layer.0/weight", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(Layout::Make({Tensor(good, {1})}).ok()) << good;
  }
}

TEST(Layout, RefusesIntegersThatAreNotCarriedAndUnknownEnumerators) {
  for (const DataType type :
       {DataType::kI8, DataType::kI16, DataType::kI32, DataType::kI64, DataType::kU8, DataType::kBool}) {
    for (const Role role : {Role::kTrained, Role::kAveraged, Role::kFrozen}) {
      EXPECT_THAT(Refusal({Tensor("w", {1}, type, role)}), HasSubstr("must be CARRIED"));
    }
    EXPECT_TRUE(Layout::Make({Tensor("w", {1}, type, Role::kCarried)}).ok());
  }
  EXPECT_THAT(Refusal({Tensor("w", {1}, static_cast<DataType>(0))}), HasSubstr("dtype is 0"));
  EXPECT_THAT(Refusal({Tensor("w", {1}, static_cast<DataType>(11))}), HasSubstr("dtype is 11"));
  EXPECT_THAT(Refusal({Tensor("w", {1}, DataType::kF32, static_cast<Role>(5))}), HasSubstr("role is 5"));
}

TEST(Layout, NamesTheFieldThatIsWrong) {
  const absl::Status status = Layout::Make({Tensor("ok", {1}), Tensor("w", {uint64_t{1} << 50})}).status();
  EXPECT_EQ(FieldOf(status), "spec.tensors[1].shape");
}

}  // namespace
}  // namespace stepback
