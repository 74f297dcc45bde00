#include "server/store/safetensors_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace stepback {
namespace {

using Json = nlohmann::json;

class HeaderEvents final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Unexpected("a number that is no 64-bit integer");
  }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) return AddDimension(value);
    if (place_ == Place::kOffsets) return AddOffset(value);
    return Unexpected("a number");
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) return header_.metadata[key_] = std::move(value), true;
    if (place_ == Place::kDtype) return SetDtype(value);
    return Unexpected("a string");
  }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) return Go(Place::kRoot);
    if (place_ == Place::kMetadataStart) return Go(Place::kMetadata);
    if (place_ != Place::kTensorStart) return Unexpected("an object");
    header_.tensors.push_back({.name = key_});
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return Go(Place::kTensor);
  }

  bool key(string_t& key) override {
    switch (place_) {
      case Place::kRoot:
        return RootKey(key);
      case Place::kMetadata:
        key_ = key;
        return header_.metadata.count(key) == 0 ||
               Fail(absl::StrCat("metadata ", QuotedForMessage(key), " appears twice"));
      case Place::kTensor:
        return TensorKey(key);
      default:
        return Unexpected("a key");
    }
  }

  bool end_object() override {
    if (place_ == Place::kRoot) return Go(Place::kEnd);
    if (place_ == Place::kMetadata) return Go(Place::kRoot);
    if (place_ != Place::kTensor) return Unexpected("the end of an object");
    if (!has_dtype_ || !has_shape_ || !has_offsets_) return Fail("needs dtype, shape and data_offsets");
    return Go(Place::kRoot);
  }

  bool start_array(size_t) override {
    if (place_ == Place::kShapeStart) return Go(Place::kShape);
    if (place_ == Place::kOffsetsStart) return Go(Place::kOffsets);
    return Unexpected("an array");
  }

  bool end_array() override {
    if (place_ == Place::kOffsets && offsets_ != 2)
      return Fail(absl::StrCat("data_offsets has ", offsets_, " numbers, expected 2"));
    return Go(Place::kTensor);
  }

  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return Fail(absl::StrCat("not JSON at byte ", position));
  }

  absl::StatusOr<SafetensorsHeader> Take() {
    if (!error_.empty()) return InvalidSafetensors(error_);
    return std::move(header_);
  }

 private:
  // What comes next.
  enum class Place {
    kStart,
    kRoot,
    kMetadataStart,
    kMetadata,
    kTensorStart,
    kTensor,
    kDtype,
    kShapeStart,
    kShape,
    kOffsetsStart,
    kOffsets,
    kEnd,
  };

  bool Go(Place place) {
    place_ = place;
    return true;
  }

  bool RootKey(const std::string& key) {
    if (!names_.insert(key).second)
      return Fail(absl::StrCat("tensor ", QuotedForMessage(key), " appears twice"));
    key_ = key;
    return Go(key == kSafetensorsMetadataKey ? Place::kMetadataStart : Place::kTensorStart);
  }

  bool TensorKey(const std::string& key) {
    if (key == "dtype" && !std::exchange(has_dtype_, true)) return Go(Place::kDtype);
    if (key == "shape" && !std::exchange(has_shape_, true)) return Go(Place::kShapeStart);
    if (key == "data_offsets" && !std::exchange(has_offsets_, true)) {
      offsets_ = 0;
      return Go(Place::kOffsetsStart);
    }
    return Fail(absl::StrCat("field ", QuotedForMessage(key), " is unknown or appears twice"));
  }

  bool SetDtype(const std::string& name) {
    const std::optional<SafetensorsDtype> dtype = SafetensorsDtypeNamed(name);
    if (!dtype.has_value()) return Fail(absl::StrCat("unknown dtype ", QuotedForMessage(name)));
    header_.tensors.back().dtype = *dtype;
    return Go(Place::kTensor);
  }

  bool AddDimension(uint64_t dimension) {
    std::vector<uint64_t>& shape = header_.tensors.back().shape;
    if (shape.size() == kSafetensorsRankMax)
      return Fail(absl::StrCat("more than ", kSafetensorsRankMax, " dimensions"));
    shape.push_back(dimension);
    return true;
  }

  bool AddOffset(uint64_t offset) {
    SafetensorsTensor& tensor = header_.tensors.back();
    if (offsets_ == 0) tensor.begin = offset;
    if (offsets_ == 1) tensor.end = offset;
    return ++offsets_ <= 2 || Fail("data_offsets has more than 2 numbers");
  }

  bool Unexpected(const char* what) { return Fail(absl::StrCat("did not expect ", what, " here")); }

  bool Fail(const std::string& what) {
    const bool in_tensor = place_ > Place::kTensorStart && place_ < Place::kEnd;
    error_ =
        in_tensor ? absl::StrCat("tensor ", QuotedForMessage(header_.tensors.back().name), ": ", what) : what;
    return false;
  }

  Place place_ = Place::kStart;
  SafetensorsHeader header_;
  std::set<std::string> names_;
  std::string key_;  // the last one read outside a tensor
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int offsets_ = 0;
  std::string error_;
};

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsJson(std::string_view json) {
  HeaderEvents events;
  Json::sax_parse(json.begin(), json.end(), &events);
  return events.Take();
}

bool IsJsonString(std::string_view bytes) {
  // The serializer replaces what is not UTF-8; a longer or other text means that it had to.
  const Json replaced =
      Json::parse(Json(bytes).dump(-1, ' ', false, Json::error_handler_t::replace), nullptr, false);
  return replaced.is_string() && replaced.get_ref<const std::string&>() == bytes;
}

absl::Status InvalidSafetensors(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("safetensors: ", what));
}

std::string QuotedForMessage(std::string_view name) {
  constexpr size_t kShown = 100;
  const std::string_view shown = name.substr(0, kShown);
  return absl::StrCat("'", absl::CHexEscape(absl::string_view(shown.data(), shown.size())),
                      name.size() > kShown ? "..." : "", "'");
}

}  // namespace stepback
