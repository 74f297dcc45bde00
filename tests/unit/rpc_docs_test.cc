// docs/errors.md lists every reason that the server can answer and no other; docs/wire.md shows vectors that
// hold.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"
#include "server/base/crc32c.h"
#include "server/core/layout.h"
#include "stepback/v1/training.pb.h"

namespace stepback {
namespace {

const std::filesystem::path kSource = STEPBACK_SOURCE_DIR;

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool IsReasonText(const std::string& text) {
  return text.size() >= 5 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
         });
}

// Literals of a source file that are reasons: in capitals, and either compound or behind a status code or the
// like.
void CollectReasons(const std::string& code, const std::string& file,
                    std::map<std::string, std::string>* reasons) {
  static const std::regex kLiteral(R"re(("[A-Z0-9_]+"))re");
  for (std::sregex_iterator it(code.begin(), code.end(), kLiteral), end; it != end; ++it) {
    const std::string text = it->str(1).substr(1, it->length(1) - 2);
    if (!IsReasonText(text) || text.rfind("STEPBACK_", 0) == 0) continue;
    if (file == "safetensors_dtype.cc") continue;  // names of element types
    const std::string before =
        code.substr(std::max<ptrdiff_t>(0, it->position() - 60), std::min<ptrdiff_t>(60, it->position()));
    const bool behind_code = before.find("StatusCode::k") != std::string::npos;
    if (text.find('_') != std::string::npos || behind_code) (*reasons)[text] = file;
  }
}

std::map<std::string, std::string> ReasonsInCode() {
  std::map<std::string, std::string> reasons;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kSource / "server")) {
    const std::string extension = entry.path().extension();
    if (extension != ".cc" && extension != ".h") continue;
    CollectReasons(ReadFile(entry.path()), entry.path().filename(), &reasons);
  }
  return reasons;
}

std::set<std::string> ReasonsInDocs() {
  static const std::regex kRow(R"re(\n\| `([A-Z0-9_]+)` \| )re");
  const std::string page = ReadFile(kSource / "docs/errors.md");
  std::set<std::string> reasons;
  for (std::sregex_iterator it(page.begin(), page.end(), kRow), end; it != end; ++it) {
    EXPECT_TRUE(reasons.insert(it->str(1)).second || IsReasonText(it->str(1)))
        << it->str(1) << " is there twice";
  }
  return reasons;
}

TEST(ErrorsPage, ListsEveryReason) {
  const std::map<std::string, std::string> in_code = ReasonsInCode();
  const std::set<std::string> in_docs = ReasonsInDocs();
  EXPECT_GT(in_code.size(), 60u);
  for (const auto& [reason, file] : in_code) EXPECT_TRUE(in_docs.count(reason)) << reason << " of " << file;
}

TEST(ErrorsPage, ListsNoReasonThatNobodyGives) {
  const std::map<std::string, std::string> in_code = ReasonsInCode();
  static const std::set<std::string> kCodes = {"INVALID_ARGUMENT", "ABORTED",           "FAILED_PRECONDITION",
                                               "UNAVAILABLE",      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
                                               "UNIMPLEMENTED"};
  for (const std::string& reason : ReasonsInDocs()) {
    EXPECT_TRUE(in_code.count(reason) || kCodes.count(reason)) << reason;
  }
}

// The bytes shown in a block of the page, whatever their grouping.
bool Shows(const std::string& page, const std::string& bytes) {
  std::string hex;
  for (const char c : page) {
    if (std::isxdigit(static_cast<unsigned char>(c))) hex += c;
  }
  return hex.find(absl::BytesToHexString(bytes)) != std::string::npos;
}

TEST(WirePage, ShowsTheFingerprintOfItsTable) {
  const std::vector<TensorSpec> tensors = {
      {.name = "layer.weight", .shape = {2, 3}},
      {.name = "layer.bias", .shape = {3}, .dtype = DataType::kBf16},
      {.name = "num_batches", .dtype = DataType::kI64, .role = Role::kCarried}};
  const auto layout = Layout::Make(tensors);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ((*layout)->fingerprint_hex(), "f1510fb044946c439fcfabf450a08e3c109867d8e30ca5ea3be602be513c8309");
  EXPECT_NE(ReadFile(kSource / "docs/wire.md").find((*layout)->fingerprint_hex()), std::string::npos);
}

TEST(WirePage, ShowsAPushAsItIsSent) {
  v1::PushRequest header;
  v1::PushHeader& push = *header.mutable_header();
  push.set_model("m");
  push.set_client_id("w");
  push.set_epoch(1);
  push.set_sequence(1);
  push.set_kind(v1::PUSH_KIND_DELTA);
  push.mutable_base()->set_term(1);
  push.set_total_bytes(8);
  const float values[] = {0.5f, -1.0f};
  v1::PushRequest chunk;
  chunk.mutable_chunk()->set_crc32c(Crc32c(values, sizeof values));
  chunk.mutable_chunk()->set_data(std::string(reinterpret_cast<const char*>(values), sizeof values));
  const std::string page = ReadFile(kSource / "docs/wire.md");
  EXPECT_TRUE(Shows(page, header.SerializeAsString())) << absl::BytesToHexString(header.SerializeAsString());
  EXPECT_TRUE(Shows(page, chunk.SerializeAsString())) << absl::BytesToHexString(chunk.SerializeAsString());
  const uint32_t crc = chunk.chunk().crc32c();
  std::stringstream commit;
  commit << std::hex << Crc32c(&crc, sizeof crc);
  EXPECT_NE(page.find(commit.str()), std::string::npos) << commit.str();
}

}  // namespace
}  // namespace stepback
