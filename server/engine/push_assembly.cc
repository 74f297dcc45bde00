#include "server/engine/push_assembly.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

struct Piece {
  WireRun run;
  size_t part = 0;
};

// Takes bytes from a part in order: within a part, wire order is the order of its bytes.
class Cursor {
 public:
  explicit Cursor(const std::vector<kernels::ByteSpan>* spans) : spans_(spans) {}

  void Take(uint64_t bytes, const std::shared_ptr<const void>& owner, Payload* to) {
    while (bytes > 0) {
      const kernels::ByteSpan& span = (*spans_)[span_];
      const size_t take = std::min<uint64_t>(bytes, span.size - done_);
      to->Append({span.data + done_, take}, owner);
      bytes -= take;
      done_ += take;
      if (done_ == span.size) ++span_, done_ = 0;
    }
  }

 private:
  const std::vector<kernels::ByteSpan>* spans_;
  size_t span_ = 0;
  size_t done_ = 0;
};

std::vector<Piece> PiecesInWireOrder(const std::vector<AssemblyPart>& parts) {
  std::vector<Piece> pieces;
  for (size_t part = 0; part < parts.size(); ++part) {
    for (const WireRun& run : parts[part].layout->runs()) {
      if (run.count > 0) pieces.push_back({run, part});
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::tie(a.run.tensor, a.run.first) < std::tie(b.run.tensor, b.run.first);
  });
  return pieces;
}

absl::Status Mismatch(uint32_t tensor, uint64_t expected, const char* what, uint64_t got) {
  return Error(
      absl::StatusCode::kInvalidArgument, "PART_MISMATCH",
      fmt::format("the parts of the push do not tile it: in tensor {} element {} was expected, {} {}", tensor,
                  expected, what, got));
}

// Checks that `pieces` cover exactly the runs of `whole`, each element once.
absl::Status CheckTiling(const WireLayout& whole, const std::vector<Piece>& pieces) {
  size_t next = 0;
  for (const WireRun& run : whole.runs()) {
    uint64_t element = run.first;
    while (element < run.first + run.count) {
      if (next == pieces.size() || pieces[next].run.tensor != run.tensor) {
        return Mismatch(run.tensor, element, "but the parts end before element", run.first + run.count);
      }
      const WireRun& piece = pieces[next++].run;
      if (piece.first != element)
        return Mismatch(run.tensor, element, "the next part begins at element", piece.first);
      element += piece.count;
    }
  }
  if (next == pieces.size()) return absl::OkStatus();
  return Mismatch(pieces[next].run.tensor, 0, "a part covers element", pieces[next].run.first);
}

}  // namespace

bool AreConsecutive(const std::vector<AssemblyPart>& parts) {
  std::pair<uint32_t, uint64_t> last = {0, 0};
  for (const AssemblyPart& part : parts) {
    for (const WireRun& run : part.layout->runs()) {
      if (run.count == 0) continue;
      const std::pair<uint32_t, uint64_t> next = {run.tensor, run.first};
      if (next < last) return false;
      last = next;
    }
  }
  return true;
}

absl::StatusOr<Payload> AssemblePush(const WireLayout& whole, const std::vector<AssemblyPart>& parts,
                                     const std::shared_ptr<const void>& owner) {
  const std::vector<Piece> pieces = PiecesInWireOrder(parts);
  RETURN_IF_ERROR(CheckTiling(whole, pieces));
  std::vector<Cursor> cursors;
  for (const AssemblyPart& part : parts) cursors.emplace_back(&part.spans);
  Payload payload;
  for (const Piece& piece : pieces) cursors[piece.part].Take(piece.run.bytes, owner, &payload);
  return payload;
}

}  // namespace stepback
