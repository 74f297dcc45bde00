// Nothing wrong gets in: every kind of bad input gets its documented status, the state hash stays what it
// was, and memory does not grow with what was sent.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/codec_info.h"
#include "tests/integration/test_server.h"
#include "tests/support/grpc_reason.h"
#include "tests/support/raw_call.h"

namespace stepback {
namespace {

constexpr uint64_t kHuge = uint64_t{1} << 63;

class BadInput : public ::testing::Test {
 protected:
  BadInput() {
    v1::ModelSpec spec = DeltaSpec("m", {3, 5});
    spec.mutable_quarantine()->set_after(0);  // or the clients of these tests were thrown out
    EXPECT_EQ(server_.Create(spec, Floats(8, 1.0f)), "OK");
    epoch_ = server_.Open("m", "worker-0").epoch();
    EXPECT_EQ(server_.Push(Header(1), Floats(8, 0.5f)).told, "OK");
    hash_ = server_.StateHash("m");
  }
  ~BadInput() override { EXPECT_EQ(server_.StateHash("m"), hash_) << "something got in"; }

  v1::PushHeader Header(uint64_t sequence) {
    v1::PushHeader header = server_.Header("m", "worker-0", sequence, v1::PUSH_KIND_DELTA);
    header.set_epoch(epoch_);
    header.set_total_bytes(32);
    return header;
  }
  std::string PushWith(const std::function<void(v1::PushHeader*)>& change, size_t floats = 8) {
    v1::PushHeader header = Header(2);
    change(&header);
    return server_.PushBytes(header, BytesOf(Floats(floats, 0.25f))).told;
  }
  std::string StepWith(const std::function<void(v1::PushHeader*)>& change) {
    v1::PushHeader header = Header(2);
    change(&header);
    return server_.Step(header, Floats(8, 0.25f)).pull.told;
  }
  std::string CreateWith(const std::function<void(v1::ModelSpec*)>& change) {
    v1::ModelSpec spec = DeltaSpec("other", {4});
    change(&spec);
    return server_.Create(spec, Floats(4, 1.0f));
  }
  std::string Fingerprint() { return server_.Model("m").fingerprint(); }

  TestServer server_;
  uint64_t epoch_ = 0;
  std::string hash_;
};

TEST_F(BadInput, PushesThatNameTheWrongThing) {
  EXPECT_EQ(PushWith([](auto* h) { h->set_model("unknown"); }), "NOT_FOUND MODEL_NOT_FOUND");
  EXPECT_EQ(PushWith([](auto* h) { h->set_model("no/name"); }), "INVALID_ARGUMENT INVALID_NAME");
  EXPECT_EQ(PushWith([](auto* h) { h->set_model(std::string(100'000, 'm')); }),
            "INVALID_ARGUMENT INVALID_NAME");
  EXPECT_EQ(PushWith([](auto* h) { h->set_client_id("stranger"); }), "NOT_FOUND NO_SESSION");
  EXPECT_EQ(PushWith([](auto* h) { h->clear_client_id(); }), "INVALID_ARGUMENT INVALID_NAME");
  EXPECT_EQ(PushWith([](auto* h) { h->set_codec("zip"); }), "INVALID_ARGUMENT CODEC_UNKNOWN");
  EXPECT_EQ(PushWith([](auto* h) { h->set_kind(v1::PUSH_KIND_GRADIENT); }),
            "INVALID_ARGUMENT KIND_NOT_ACCEPTED");
  EXPECT_EQ(PushWith([](auto* h) { h->set_kind(v1::PUSH_KIND_WEIGHTS); }),
            "INVALID_ARGUMENT KIND_NOT_ACCEPTED");
  EXPECT_EQ(PushWith([](auto* h) { h->clear_kind(); }), "INVALID_ARGUMENT INVALID_FIELD");
  EXPECT_EQ(PushWith([](auto* h) { h->set_fingerprint(std::string(32, 'x')); }),
            "FAILED_PRECONDITION FINGERPRINT_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_fingerprint("short"); }), "INVALID_ARGUMENT INVALID_FIELD");
  EXPECT_EQ(StepWith([](auto* h) { h->set_fingerprint(std::string(32, 'x')); }),
            "FAILED_PRECONDITION FINGERPRINT_MISMATCH");
}

// Of the right size, but with a scale, code or index that no encoder writes (all bits set is one in every
// codec).
TEST_F(BadInput, PayloadsThatNoEncoderWrites) {
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    const std::string client = "worker-" + std::string(codec.name);
    server_.Open("m", client);
    v1::PushHeader header = server_.Header("m", client, 1, v1::PUSH_KIND_DELTA);
    header.set_codec(std::string(codec.name));
    header.set_total_bytes(codec.encoded_bytes(3) + codec.encoded_bytes(5));
    const std::string ones(header.total_bytes(), '\xff');
    EXPECT_EQ(server_.PushBytes(header, ones).told, "INVALID_ARGUMENT NONFINITE") << codec.name;
    EXPECT_EQ(server_.StateHash("m"), hash_) << codec.name;
  }
}

TEST_F(BadInput, WeightsInACodecForDifferences) {
  for (const std::string codec : {"sign", "topk_bf16", "topk_2bit", "random_k"}) {
    v1::PullRequest pull;
    pull.set_model("m");
    pull.set_codec(codec);
    EXPECT_EQ(server_.Pull(pull).told, "INVALID_ARGUMENT CODEC_FOR_DIFFERENCES");
    v1::CreateModelRequest::Header header;
    *header.mutable_spec() = DeltaSpec("other", {4});
    header.set_codec(codec);
    header.set_total_bytes(8);
    EXPECT_EQ(server_.CreateRaw(header, std::string(8, 'x')), "INVALID_ARGUMENT CODEC_FOR_DIFFERENCES");
  }
}

TEST_F(BadInput, PushesOfAnotherSequenceOrEpoch) {
  EXPECT_EQ(PushWith([](auto* h) { h->set_sequence(0); }), "INVALID_ARGUMENT SEQUENCE_INVALID");
  EXPECT_EQ(PushWith([](auto* h) { h->set_sequence(100); }), "FAILED_PRECONDITION SEQUENCE_GAP");
  EXPECT_EQ(PushWith([](auto* h) { h->set_sequence(std::numeric_limits<uint64_t>::max()); }),
            "FAILED_PRECONDITION SEQUENCE_GAP");
  EXPECT_EQ(PushWith([](auto* h) { h->set_epoch(h->epoch() - 1); }), "FAILED_PRECONDITION FENCED");
  EXPECT_EQ(PushWith([](auto* h) { h->set_epoch(kHuge); }), "NOT_FOUND NO_SESSION");
  EXPECT_EQ(PushWith([](auto* h) { h->mutable_base()->set_counter(kHuge); }), "ABORTED RESYNC");
}

TEST_F(BadInput, PushesWhoseLengthsLie) {
  EXPECT_EQ(PushWith([](auto* h) { h->set_total_bytes(kHuge); }), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_total_bytes(std::numeric_limits<uint64_t>::max()); }),
            "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_total_bytes(0); }), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_total_bytes(28); }), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(PushWith([](auto*) {}, 7), "INVALID_ARGUMENT SIZE_MISMATCH") << "ends early";
  EXPECT_EQ(PushWith([](auto*) {}, 9), "INVALID_ARGUMENT TOO_MANY_BYTES") << "goes on after its end";
  EXPECT_EQ(PushWith([](auto* h) { h->set_resume_offset(16); }), "INVALID_ARGUMENT BAD_OFFSET");
  EXPECT_EQ(PushWith([](auto* h) { h->set_resume_offset(kHuge); }), "INVALID_ARGUMENT BAD_OFFSET");
  EXPECT_EQ(PushWith([](auto* h) { h->set_part(1); }), "INVALID_ARGUMENT PART_INVALID");
  EXPECT_EQ(PushWith([](auto* h) { h->set_part_count(std::numeric_limits<uint32_t>::max()); }),
            "INVALID_ARGUMENT PART_INVALID");
  EXPECT_EQ(PushWith([](auto* h) { h->set_samples(kHuge); }), "INVALID_ARGUMENT SAMPLES_INVALID");
  for (const double scale : {0.5, -1.0, std::nan(""), double{INFINITY}}) {
    EXPECT_EQ(PushWith([scale](auto* h) { h->set_loss_scale(scale); }), "INVALID_ARGUMENT LOSS_SCALE_INVALID")
        << scale;
  }
}

TEST_F(BadInput, PushesOfRangesAndTensorsThatAreNotThere) {
  const auto ranges = [](std::vector<std::pair<uint64_t, uint64_t>> list) {
    return [list](v1::PushHeader* h) {
      for (const auto& [begin, count] : list) {
        h->add_ranges()->set_begin(begin);
        h->mutable_ranges(h->ranges_size() - 1)->set_count(count);
      }
    };
  };
  EXPECT_EQ(PushWith(ranges({{0, 9}})), "INVALID_ARGUMENT LAYOUT_MISMATCH");
  EXPECT_EQ(PushWith(ranges({{kHuge, kHuge}})), "INVALID_ARGUMENT LAYOUT_MISMATCH") << "the sum wraps to 0";
  EXPECT_EQ(PushWith(ranges({{4, 4}, {0, 4}})), "INVALID_ARGUMENT LAYOUT_MISMATCH");
  EXPECT_EQ(PushWith(ranges({{0, 5}, {4, 4}})), "INVALID_ARGUMENT LAYOUT_MISMATCH");
  EXPECT_EQ(PushWith(ranges({{0, 4}})), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_present("\x01"); }), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_present(std::string("\x03\x00", 2)); }),
            "INVALID_ARGUMENT LAYOUT_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_present(std::string(1000, '\xff')); }),
            "INVALID_ARGUMENT LAYOUT_MISMATCH");
  EXPECT_EQ(PushWith([](auto* h) { h->set_present("\x07"); }), "INVALID_ARGUMENT LAYOUT_MISMATCH");
}

TEST_F(BadInput, ChunksThatAreDamagedOrOutOfPlace) {
  const std::string data = BytesOf(Floats(8, 0.25f));
  const auto push = [&](const std::function<void(std::vector<v1::PushRequest>*)>& change) {
    std::vector<v1::PushRequest> requests = ChunksOf<v1::PushRequest>(data, 16);
    change(&requests);
    RawCall call(server_.channel(), "/stepback.v1.TrainingService/Push");
    v1::PushRequest first;
    *first.mutable_header() = Header(2);
    call.Write(first);
    for (const v1::PushRequest& request : requests) {
      if (!call.Write(request)) break;
    }
    call.WritesDone();
    return Told(call.Finish());
  };
  EXPECT_EQ(push([](auto* r) { (*r)[1].mutable_chunk()->set_crc32c(1); }), "INVALID_ARGUMENT BAD_CRC");
  EXPECT_EQ(push([](auto* r) { (*r)[1].mutable_chunk()->mutable_data()->at(3) ^= 1; }),
            "INVALID_ARGUMENT BAD_CRC");
  EXPECT_EQ(push([](auto* r) { std::swap((*r)[0], (*r)[1]); }), "INVALID_ARGUMENT BAD_OFFSET");
  EXPECT_EQ(push([](auto* r) { (*r)[1].mutable_chunk()->set_offset(kHuge); }), "INVALID_ARGUMENT BAD_OFFSET");
  EXPECT_EQ(push([](auto* r) { r->push_back((*r)[1]); }), "INVALID_ARGUMENT BAD_OFFSET") << "a chunk twice";
  EXPECT_EQ(push([](auto* r) { r->pop_back(); }), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(push([](auto* r) { r->clear(); }), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(push([](auto* r) { (*r)[0].mutable_chunk()->clear_data(); }), "INVALID_ARGUMENT BAD_CHUNK");
  EXPECT_EQ(push([&](auto* r) { r->push_back(ChunksOf<v1::PushRequest>("after the end!!!", 16, 32)[0]); }),
            "INVALID_ARGUMENT TOO_MANY_BYTES");
  EXPECT_EQ(push([](auto* r) { (*r)[1].mutable_header(); }), "INVALID_ARGUMENT HEADER_REPEATED");
  EXPECT_EQ(push([](auto* r) { (*r)[0].clear_chunk(); }), "INVALID_ARGUMENT CHUNK_EXPECTED");
}

// A decided push: it uses its number up and is remembered, but changes no weight.
TEST_F(BadInput, NumbersThatAreNotFiniteInEveryPlace) {
  uint64_t sequence = 2;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (size_t place = 0; place < 8; ++place) {
      Floats values(8, 0.25f);
      values[place] = bad;
      const v1::PushHeader header = Header(sequence++);
      EXPECT_EQ(server_.Push(header, values).told, "INVALID_ARGUMENT NONFINITE") << place;
      EXPECT_EQ(server_.Push(header, values).told, "INVALID_ARGUMENT NONFINITE") << "the same answer again";
    }
  }
}

TEST_F(BadInput, ModelsThatCannotBe) {
  EXPECT_EQ(CreateWith([](auto* s) { s->set_name(""); }), "INVALID_ARGUMENT INVALID_NAME");
  EXPECT_EQ(CreateWith([](auto* s) { s->clear_tensors(); }), "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->mutable_outer()->set_name("unheard_of"); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { (*s->mutable_outer()->mutable_values())["speed"] = 1; }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { (*s->mutable_outer()->mutable_values())["lr"] = std::nan(""); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->mutable_tensors(0)->set_shape(0, kHuge); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) {
              s->mutable_tensors(0)->set_shape(0, uint64_t{1} << 33);
              s->mutable_tensors(0)->add_shape(uint64_t{1} << 33);  // the product wraps to 4
            }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->mutable_tensors(0)->clear_dtype(); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->mutable_tensors(0)->set_dtype(v1::DATA_TYPE_I32); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { *s->add_tensors() = s->tensors(0); }), "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->set_mode(static_cast<v1::TrainingMode>(9)); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->mutable_inner()->set_name("sgd"); }),
            "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->set_durability(v1::DURABILITY_REPLICATED); }),
            "UNIMPLEMENTED DURABILITY_NOT_SUPPORTED");
  EXPECT_EQ(CreateWith([](auto* s) { s->set_staging_bytes(1); }), "INVALID_ARGUMENT INVALID_SPEC");
  EXPECT_EQ(CreateWith([](auto* s) { s->set_lease_seconds(std::nan("")); }), "INVALID_ARGUMENT INVALID_SPEC");

  v1::CreateModelRequest::Header header;
  *header.mutable_spec() = DeltaSpec("other", {4});
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{15}, kHuge}) {
    header.set_total_bytes(bytes);
    EXPECT_EQ(server_.CreateRaw(header, std::string(16, 'x')), "INVALID_ARGUMENT SIZE_MISMATCH") << bytes;
  }
  header.set_total_bytes(16);
  EXPECT_EQ(server_.CreateRaw(header, std::string(8, 'x')), "INVALID_ARGUMENT SIZE_MISMATCH");
  EXPECT_EQ(server_.CreateRaw(header, std::string(24, 'x')), "INVALID_ARGUMENT TOO_MANY_BYTES");
  EXPECT_EQ(server_.CreateRaw(header, BytesOf({1, 2, NAN, 4})), "INVALID_ARGUMENT NONFINITE");
  header.set_codec("zip");
  EXPECT_EQ(server_.CreateRaw(header, std::string(16, 'x')), "INVALID_ARGUMENT CODEC_UNKNOWN");
  header.clear_codec();
  header.set_init(static_cast<v1::Initialization>(7));
  EXPECT_EQ(server_.CreateRaw(header, std::string(16, 'x')), "INVALID_ARGUMENT INVALID_FIELD");
}

TEST_F(BadInput, SessionsOfAnotherLayoutOrProtocol) {
  const auto open = [this](const std::function<void(v1::OpenSessionRequest*)>& change) {
    v1::OpenSessionRequest request;
    request.set_model("m");
    request.set_client_id("worker-1");
    request.set_protocol_version(1);
    change(&request);
    grpc::ClientContext context;
    v1::OpenSessionResponse response;
    return Told(server_.training().OpenSession(&context, request, &response));
  };
  EXPECT_EQ(open([](auto* r) { r->set_fingerprint(std::string(32, 'x')); }),
            "FAILED_PRECONDITION FINGERPRINT_MISMATCH");
  EXPECT_EQ(open([](auto* r) { r->set_protocol_version(2); }), "FAILED_PRECONDITION PROTOCOL_VERSION");
  EXPECT_EQ(open([](auto* r) { r->set_attach(true); }), "NOT_FOUND NO_SESSION");
  EXPECT_EQ(open([](auto* r) { r->set_role(static_cast<v1::SessionRole>(9)); }),
            "INVALID_ARGUMENT INVALID_FIELD");
  EXPECT_EQ(open([this](auto* r) { r->set_fingerprint(Fingerprint()); }), "OK");
}

TEST_F(BadInput, AReaderCannotPush) {
  const uint64_t epoch = server_.Open("m", "reader", v1::SESSION_ROLE_READER).epoch();
  EXPECT_EQ(PushWith([epoch](auto* h) {
              h->set_client_id("reader");
              h->set_epoch(epoch);
              h->set_sequence(1);
            }),
            "FAILED_PRECONDITION READER_SESSION");
}

TEST_F(BadInput, APushAfterItsModelIsDeleted) {
  ASSERT_EQ(server_.Create(DeltaSpec("gone", {8}), Floats(8, 1.0f)), "OK");
  server_.Open("gone", "worker-0");
  v1::PushHeader header = server_.Header("gone", "worker-0", 1, v1::PUSH_KIND_DELTA);
  grpc::ClientContext context;
  v1::DeleteModelRequest request;
  request.set_name("gone");
  v1::DeleteModelResponse response;
  ASSERT_TRUE(server_.models().DeleteModel(&context, request, &response).ok());
  EXPECT_EQ(server_.Push(header, Floats(8, 1.0f)).told, "NOT_FOUND MODEL_NOT_FOUND");
  EXPECT_EQ(server_.Pull("gone").told, "NOT_FOUND MODEL_NOT_FOUND");
}

TEST_F(BadInput, PullsOfWhatIsNotThere) {
  const auto pull = [this](const std::function<void(v1::PullRequest*)>& change) {
    v1::PullRequest request;
    request.set_model("m");
    change(&request);
    return server_.Pull(request).told;
  };
  EXPECT_EQ(pull([](auto* r) { r->set_model("unknown"); }), "NOT_FOUND MODEL_NOT_FOUND");
  EXPECT_EQ(pull([](auto* r) { r->set_view("sideways"); }), "INVALID_ARGUMENT VIEW_UNKNOWN");
  EXPECT_EQ(pull([](auto* r) { r->set_codec("zip"); }), "INVALID_ARGUMENT CODEC_UNKNOWN");
  EXPECT_EQ(pull([](auto* r) { r->set_chunk_bytes(5 << 20); }), "INVALID_ARGUMENT INVALID_FIELD");
  EXPECT_EQ(pull([](auto* r) {
              r->add_ranges()->set_begin(kHuge);
              r->mutable_ranges(0)->set_count(kHuge);
            }),
            "INVALID_ARGUMENT LAYOUT_MISMATCH");
}

// The first field that the parser meets decides; all of these are documented for every stream and unary call.
bool IsDocumented(const std::string& told) {
  static const std::vector<std::string> kTold = {
      "OK",
      "INVALID_ARGUMENT MALFORMED_MESSAGE",
      "INVALID_ARGUMENT HEADER_EXPECTED",
      "INVALID_ARGUMENT HEADER_REPEATED",
      "INVALID_ARGUMENT CHUNK_EXPECTED",
      "INVALID_ARGUMENT BAD_CHUNK",
      "INVALID_ARGUMENT BAD_CRC",
      "INVALID_ARGUMENT BAD_OFFSET",
      "INVALID_ARGUMENT INVALID_NAME",
      "INVALID_ARGUMENT INVALID_FIELD",
      "INVALID_ARGUMENT INVALID_SPEC",
      "INVALID_ARGUMENT CODEC_UNKNOWN",
      "INVALID_ARGUMENT KIND_NOT_ACCEPTED",
      "INVALID_ARGUMENT LAYOUT_MISMATCH",
      "INVALID_ARGUMENT LOSS_SCALE_INVALID",
      "INVALID_ARGUMENT PART_INVALID",
      "INVALID_ARGUMENT PART_MISMATCH",
      "INVALID_ARGUMENT SAMPLES_INVALID",
      "INVALID_ARGUMENT SEQUENCE_INVALID",
      "INVALID_ARGUMENT SIZE_MISMATCH",
      "INVALID_ARGUMENT TOO_MANY_BYTES",
      "INVALID_ARGUMENT VIEW_UNKNOWN",
      "FAILED_PRECONDITION FENCED",
      "FAILED_PRECONDITION FINGERPRINT_MISMATCH",
      "FAILED_PRECONDITION PROTOCOL_VERSION",
      "FAILED_PRECONDITION SEQUENCE_GAP",
      "ABORTED RESYNC",
      "ABORTED STALE_BASE",
      "ABORTED UPLOAD_REPLACED",
      "NOT_FOUND MODEL_NOT_FOUND",
      "NOT_FOUND NO_SESSION",
      "UNIMPLEMENTED DURABILITY_NOT_SUPPORTED",
  };
  return std::find(kTold.begin(), kTold.end(), told) != kTold.end();
}

class RandomMessages : public BadInput {
 protected:
  std::string RandomBytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random_());
    return bytes;
  }
  std::string Broken(std::string bytes) {
    switch (random_() % 4) {
      case 0:
        return bytes.substr(0, random_() % (bytes.size() + 1));
      case 1:
        if (!bytes.empty()) bytes[random_() % bytes.size()] ^= static_cast<char>(1 << random_() % 8);
        return bytes;
      case 2:
        return bytes.insert(random_() % (bytes.size() + 1), RandomBytes(1 + random_() % 8));
      default:
        return RandomBytes(random_() % 200);
    }
  }
  // A push that would be right, with one message broken; broken pushes must not be decided, so the number is
  // one that leaves a gap.
  std::string OnePush() {
    RawCall call(server_.channel(), "/stepback.v1.TrainingService/Push");
    v1::PushRequest header;
    *header.mutable_header() = header_;
    const std::string chunk = chunk_.SerializeAsString();
    const bool break_header = random_() % 2 == 0;
    if (call.Write(break_header ? Broken(header.SerializeAsString()) : header.SerializeAsString())) {
      call.Write(break_header ? chunk : Broken(chunk));
    }
    call.WritesDone();
    return Told(call.Finish());
  }

  std::mt19937_64 random_{7};
  v1::PushHeader header_;
  v1::PushRequest chunk_;
};

TEST_F(RandomMessages, TenThousandOfThemChangeNothing) {
  header_ = Header(2);
  header_.set_sequence(1000);
  chunk_ = ChunksOf<v1::PushRequest>(BytesOf(Floats(8, 0.25f)), 32)[0];
  const char* const unary[] = {"/stepback.v1.ModelService/GetModel", "/stepback.v1.ModelService/UpdateModel",
                               "/stepback.v1.TrainingService/OpenSession",
                               "/stepback.v1.TrainingService/Heartbeat", "/stepback.v1.TrainingService/Pull"};
  uint64_t resident = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (i == 2000) resident = ResidentBytes();
    const std::string told = i % 2 == 0 ? OnePush()
                                        : Told(CallUnary(server_.channel(), unary[i / 2 % std::size(unary)],
                                                         RandomBytes(random_() % 100)));
    ASSERT_TRUE(IsDocumented(told)) << told << " at message " << i;
  }
  EXPECT_LT(ResidentBytes(), resident + (32u << 20)) << "memory grows with the number of bad messages";
}

TEST_F(RandomMessages, LengthsThatLieTakeNoMemory) {
  const uint64_t before = ResidentBytes();
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(PushWith([](auto* h) { h->set_total_bytes(uint64_t{1} << 40); }),
              "INVALID_ARGUMENT SIZE_MISMATCH");
    v1::CreateModelRequest::Header header;
    *header.mutable_spec() = DeltaSpec("huge", {uint64_t{1} << 36});
    header.set_total_bytes(uint64_t{1} << 38);
    const std::string told = server_.CreateRaw(header, std::string(1024, '\0'));
    EXPECT_TRUE(told == "INVALID_ARGUMENT SIZE_MISMATCH" || told == "RESOURCE_EXHAUSTED MEMORY_FULL") << told;
  }
  EXPECT_LT(ResidentBytes(), before + (64u << 20));
}

}  // namespace
}  // namespace stepback
