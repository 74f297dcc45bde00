#include "tests/fakes/training_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/little_endian.h"
#include "server/base/sha256.h"
#include "server/base/status_macros.h"

namespace stepback::fakes {
namespace {

using absl::StatusCode;

constexpr std::chrono::milliseconds kLook{
    5};  // how often a blocked handler looks whether its caller is still there

bool Newer(const v1::Version& a, const v1::Version& b) {
  return a.term() != b.term() ? a.term() > b.term() : a.counter() > b.counter();
}

// Models of this outer rule get the workers' weights instead of deltas, and take them over.
bool TakesWeights(const v1::ModelSpec& spec) { return spec.outer().name() == "fed_async"; }

uint64_t Elements(const v1::Tensor& tensor) {
  uint64_t product = 1;
  for (uint64_t d : tensor.shape()) product *= d;
  return product;
}

uint64_t RawSize(v1::DataType type) {
  switch (type) {
    case v1::DATA_TYPE_I64:
    case v1::DATA_TYPE_F64:
      return 8;
    case v1::DATA_TYPE_I8:
    case v1::DATA_TYPE_U8:
    case v1::DATA_TYPE_BOOL:
      return 1;
    case v1::DATA_TYPE_I16:
    case v1::DATA_TYPE_F16:
    case v1::DATA_TYPE_BF16:
      return 2;
    default:
      return 4;
  }
}

bool IsCarried(const v1::Tensor& tensor) { return tensor.role() == v1::TENSOR_ROLE_CARRIED; }

// One element (or carried tensor's element) of the model, in wire order.
struct Slot {
  int tensor;
  uint64_t index;
};

// Every element that `ranges` ask for, one by one: slow and plainly right.
std::vector<Slot> Slots(const v1::ModelSpec& spec,
                        const google::protobuf::RepeatedPtrField<v1::Range>& ranges,
                        const std::string& present, bool push) {
  std::vector<Slot> slots;
  uint64_t element = 0;
  for (int t = 0; t < spec.tensors_size(); ++t) {
    const bool there = present.empty() || (present[t / 8] >> (t % 8) & 1);
    const bool frozen = spec.tensors(t).role() == v1::TENSOR_ROLE_FROZEN;
    for (uint64_t i = 0; i < Elements(spec.tensors(t)); ++i, ++element) {
      const bool inside =
          ranges.empty() || std::any_of(ranges.begin(), ranges.end(), [&](const v1::Range& r) {
            return element >= r.begin() && element < r.begin() + r.count();
          });
      if (inside && there && !(push && frozen)) slots.push_back({t, i});
    }
  }
  return slots;
}

float FloatAt(const std::string& bytes, uint64_t index) {
  float x;
  std::memcpy(&x, bytes.data() + 4 * index, 4);
  return x;
}

void SetFloat(std::string* bytes, uint64_t index, float x) { std::memcpy(bytes->data() + 4 * index, &x, 4); }

// Truncating bfloat16: tests use numbers that it holds exactly.
std::string ToWire(float x, const std::string& codec) {
  std::string out(4, '\0');
  std::memcpy(out.data(), &x, 4);
  return codec == "bf16" ? out.substr(2) : out;
}

uint64_t WireSize(const v1::Tensor& tensor, const std::string& codec) {
  if (IsCarried(tensor)) return RawSize(tensor.dtype());
  return codec == "bf16" ? 2 : 4;
}

float FromWire(const char* at, const std::string& codec) {
  char bytes[4] = {0, 0, 0, 0};
  if (codec == "bf16") {
    std::memcpy(bytes + 2, at, 2);
  } else {
    std::memcpy(bytes, at, 4);
  }
  float x;
  std::memcpy(&x, bytes, 4);
  return x;
}

absl::Status Gone() { return absl::UnavailableError("connection reset by peer"); }

}  // namespace

struct TrainingServer::Part {
  std::string payload;
  bool complete = false;
  v1::PushHeader header;
};

struct TrainingServer::Contribution {
  v1::PushHeader header;
  std::map<int, std::map<uint64_t, float>> values;  // tensor -> index -> decoded
  std::map<int, std::string> raw;
};

struct TrainingServer::Client {
  uint64_t epoch = 0;
  bool live = false;
  bool trainer = true;
  std::string ended;  // reason for calls of an ended session
  uint64_t last_sequence = 0;
  uint64_t durable_sequence = 0;
  std::map<uint64_t, v1::PushResponse> answers;
  std::map<uint64_t, absl::Status> refusals;
  std::map<std::pair<uint64_t, uint32_t>, Part> parts;  // (sequence, part)
  std::map<uint64_t, Part> ready;                       // whole pushes whose turn has not come
  std::vector<uint64_t> applied;
};

struct TrainingServer::Model {
  v1::ModelSpec spec;
  std::vector<std::string> weights;
  v1::Version version;
  v1::Version durable;
  uint64_t settings_version = 1;
  uint64_t samples = 0;
  std::string fingerprint;
  std::map<std::string, Client> clients;
  std::vector<Contribution> round;
  uint64_t dropped_rounds = 0;
  std::vector<v1::Snapshot> snapshots;
};

TrainingServer::TrainingServer() = default;
TrainingServer::~TrainingServer() = default;

void TrainingServer::Inject(const std::function<void(Faults*)>& change) {
  MutexLock lock(&mu_);
  change(&faults_);
  changed_.NotifyAll();
}

bool TrainingServer::Strikes(int Faults::*fault) {
  MutexLock lock(&mu_);
  if (faults_.*fault <= 0) return false;
  --(faults_.*fault);
  return true;
}

absl::Status TrainingServer::CheckUp() const {
  MutexLock lock(&mu_);
  return faults_.down ? Gone() : absl::OkStatus();
}

void TrainingServer::Restart() {
  MutexLock lock(&mu_);
  ++generation_;
  const uint64_t term = model_->version.term() + 1;
  model_ = std::make_unique<Model>(*snapshot_);
  model_->version.set_term(term);
  for (auto& [id, client] : model_->clients) {
    client.live = false;
    client.ended = "NO_SESSION";
    client.parts.clear();
    client.ready.clear();
  }
  model_->round.clear();
  changed_.NotifyAll();
}

void TrainingServer::Clear() {
  MutexLock lock(&mu_);
  model_.reset();
  snapshot_.reset();
  faults_ = {};
  counts_.clear();
}

void TrainingServer::RollBack() {
  MutexLock lock(&mu_);
  model_->version.set_term(model_->version.term() + 1);
  model_->version.set_counter(model_->version.counter() + 1);
  for (auto& [id, client] : model_->clients) {
    client.live = false;
    client.ended = "ROLLED_BACK";
    client.ready.clear();
  }
  changed_.NotifyAll();
}

void TrainingServer::Evict(const std::string& client_id) {
  MutexLock lock(&mu_);
  Client& client = model_->clients[client_id];
  client.live = false;
  client.ended = "FENCED";
  client.ready.clear();
  if (RoundIsFull()) CloseRound();
  DecideReady();
  changed_.NotifyAll();
}

void TrainingServer::BreakConnections() {
  MutexLock lock(&mu_);
  ++connection_;
  changed_.NotifyAll();
}

void TrainingServer::SetHasDisk(bool has_disk) {
  MutexLock lock(&mu_);
  has_disk_ = has_disk;
  if (model_ != nullptr && !has_disk) model_->durable.Clear();
}

void TrainingServer::HeedSaveSoon() {
  MutexLock lock(&mu_);
  heeds_save_soon_ = true;
}

std::vector<std::string> TrainingServer::weights() const {
  MutexLock lock(&mu_);
  return model_->weights;
}

std::vector<float> TrainingServer::floats(size_t tensor) const {
  MutexLock lock(&mu_);
  const std::string& bytes = model_->weights[tensor];
  std::vector<float> out(bytes.size() / 4);
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

v1::Version TrainingServer::version() const {
  MutexLock lock(&mu_);
  return model_->version;
}

uint64_t TrainingServer::Count(const std::string& what) const {
  MutexLock lock(&mu_);
  const auto found = counts_.find(what);
  return found == counts_.end() ? 0 : found->second;
}

v1::PushHeader TrainingServer::last_push() const {
  MutexLock lock(&mu_);
  return last_push_;
}

std::vector<uint64_t> TrainingServer::applied(const std::string& client_id) const {
  MutexLock lock(&mu_);
  const auto found = model_->clients.find(client_id);
  return found == model_->clients.end() ? std::vector<uint64_t>() : found->second.applied;
}

absl::Status TrainingServer::Create(const Read<v1::CreateModelRequest>& read,
                                    v1::CreateModelResponse* response) {
  RETURN_IF_ERROR(CheckUp());
  v1::CreateModelRequest message;
  if (!read(&message)) return Gone();
  const v1::CreateModelRequest::Header header = message.header();
  const v1::ModelSpec& spec = header.spec();
  std::string payload;
  while (read(&message)) {
    const v1::Chunk& chunk = message.chunk();
    if (chunk.offset() != payload.size() ||
        Crc32c(chunk.data().data(), chunk.data().size()) != chunk.crc32c()) {
      return Error(StatusCode::kInvalidArgument, "BAD_CRC", "create: bad chunk");
    }
    payload += chunk.data();
  }
  if (payload.size() != header.total_bytes())
    return Error(StatusCode::kInvalidArgument, "SIZE_MISMATCH", "create");
  MutexLock lock(&mu_);
  if (model_ != nullptr && model_->spec.name() == spec.name()) {
    if (model_->spec.SerializeAsString() != spec.SerializeAsString()) {
      return Error(StatusCode::kAlreadyExists, "MODEL_EXISTS", fmt::format("model '{}' exists", spec.name()));
    }
    FillModel(response->mutable_model(), true);
    return absl::OkStatus();
  }
  model_ = std::make_unique<Model>();
  model_->spec = spec;
  model_->version.set_term(1);
  model_->fingerprint = Sha256Of(spec.SerializeAsString());
  const char* at = payload.data();
  for (const v1::Tensor& tensor : spec.tensors()) {
    std::string bytes(Elements(tensor) * (IsCarried(tensor) ? RawSize(tensor.dtype()) : 4), '\0');
    if (header.init() == v1::INITIALIZATION_CHUNKS) {
      const uint64_t size = WireSize(tensor, header.codec());
      for (uint64_t i = 0; i < Elements(tensor); ++i, at += size) {
        if (IsCarried(tensor)) {
          std::memcpy(bytes.data() + i * size, at, size);
        } else {
          SetFloat(&bytes, i, FromWire(at, header.codec()));
        }
      }
    }
    model_->weights.push_back(std::move(bytes));
  }
  MakeDurable();
  FillModel(response->mutable_model(), true);
  response->set_created(true);
  return absl::OkStatus();
}

absl::Status TrainingServer::Import(const Read<v1::ImportModelRequest>& read,
                                    v1::ImportModelResponse* response) {
  v1::ImportModelRequest message;
  if (!read(&message)) return Gone();
  const uint64_t total = message.header().total_bytes();
  std::string payload;
  while (read(&message)) payload += message.chunk().data();
  MutexLock lock(&mu_);
  if (payload.size() != total) return Error(StatusCode::kInvalidArgument, "SIZE_MISMATCH", "import");
  counts_["imported_bytes"] = payload.size();
  FillModel(response->mutable_model(), true);
  return absl::OkStatus();
}

absl::Status TrainingServer::Export(const v1::ExportModelRequest&,
                                    const Write<v1::ExportModelResponse>& write) {
  std::string all;
  v1::Version version;
  {
    MutexLock lock(&mu_);
    for (const std::string& bytes : model_->weights) all += bytes;
    version = model_->version;
  }
  constexpr size_t kPiece = 100;
  for (size_t at = 0; at < all.size(); at += kPiece) {
    v1::ExportModelResponse response;
    const std::string piece = all.substr(at, kPiece);
    response.mutable_chunk()->set_offset(at);
    response.mutable_chunk()->set_data(piece);
    response.mutable_chunk()->set_crc32c(Crc32c(piece.data(), piece.size()));
    response.set_total_bytes(all.size());
    if (at + kPiece >= all.size()) *response.mutable_version() = version;
    if (!write(response)) return Gone();
  }
  return absl::OkStatus();
}

absl::Status TrainingServer::Unary(const std::string& method, const std::string& request,
                                   std::string* response) {
  RETURN_IF_ERROR(CheckUp());
  MutexLock lock(&mu_);
  return Dispatch(method.substr(method.rfind('/') + 1), request, response);
}

namespace {

template <typename Request, typename Handle>
absl::Status Parsed(const std::string& bytes, Handle handle) {
  Request request;
  if (!request.ParseFromString(bytes)) return absl::InvalidArgumentError("malformed");
  return handle(request);
}

}  // namespace

absl::Status TrainingServer::Dispatch(const std::string& method, const std::string& request,
                                      std::string* response) {
  if (method == "Check") {
    *response = std::string("\x08\x01", 2);  // HealthCheckResponse{status: SERVING}
    return absl::OkStatus();
  }
  if (method == "GetServerInfo") {
    v1::GetServerInfoResponse info;
    info.set_version("fake");
    info.set_protocol_version(1);
    *response = info.SerializeAsString();
    return absl::OkStatus();
  }
  if (model_ == nullptr) return Error(StatusCode::kNotFound, "MODEL_NOT_FOUND", "there is no model");
  if (method == "GetModel") {
    v1::GetModelResponse out;
    FillModel(out.mutable_model(), true);
    *response = out.SerializeAsString();
    return absl::OkStatus();
  }
  if (method == "ListModels") {
    v1::ListModelsResponse out;
    FillModel(out.add_models(), false);
    *response = out.SerializeAsString();
    return absl::OkStatus();
  }
  if (method == "OpenSession") {
    return Parsed<v1::OpenSessionRequest>(request, [&](const v1::OpenSessionRequest& r) REQUIRES(mu_) {
      v1::OpenSessionResponse out;
      RETURN_IF_ERROR(OpenSession(r, &out));
      *response = out.SerializeAsString();
      return absl::OkStatus();
    });
  }
  if (method == "CloseSession") {
    return Parsed<v1::CloseSessionRequest>(request, [&](const v1::CloseSessionRequest& r) REQUIRES(mu_) {
      RETURN_IF_ERROR(CheckSession(r.client_id(), r.epoch()));
      ++counts_["close"];
      model_->clients[r.client_id()].live = false;
      model_->clients[r.client_id()].ended = "NO_SESSION";
      model_->clients[r.client_id()].ready.clear();
      if (RoundIsFull()) CloseRound();
      DecideReady();
      changed_.NotifyAll();
      return absl::OkStatus();
    });
  }
  if (method == "Heartbeat") {
    return Parsed<v1::HeartbeatRequest>(request, [&](const v1::HeartbeatRequest& r) REQUIRES(mu_) {
      RETURN_IF_ERROR(CheckSession(r.client_id(), r.epoch()));
      ++counts_["heartbeat"];
      if (faults_.stale_fences > 0) {
        --faults_.stale_fences;
        ++counts_["stale_fence"];
        return Error(StatusCode::kFailedPrecondition, "FENCED", "an earlier epoch");
      }
      if (r.has_health()) counts_["health_loss"] = static_cast<uint64_t>(r.health().train_loss());
      changed_.NotifyAll();
      v1::HeartbeatResponse out;
      *out.mutable_version() = model_->version;
      out.set_durable_sequence(model_->clients[r.client_id()].durable_sequence);
      *response = out.SerializeAsString();
      return absl::OkStatus();
    });
  }
  if (method == "Flush" || method == "SaveSnapshot") {
    ++counts_["flush"];
    if (method == "SaveSnapshot" && !has_disk_) {
      return Error(StatusCode::kFailedPrecondition, "NO_DATA_DIR", "nothing is kept on disk");
    }
    MakeDurable();
    v1::FlushResponse out;
    *out.mutable_durable_version() = model_->durable;
    *response = out.SerializeAsString();
    return absl::OkStatus();
  }
  return absl::UnimplementedError(fmt::format("the fake has no {}", method));
}

absl::Status TrainingServer::OpenSession(const v1::OpenSessionRequest& request,
                                         v1::OpenSessionResponse* response) {
  Client& client = model_->clients[request.client_id()];
  if (!request.fingerprint().empty() && request.fingerprint() != model_->fingerprint) {
    return Error(StatusCode::kFailedPrecondition, "FINGERPRINT_MISMATCH", "another table");
  }
  if (request.attach() && !client.live)
    return Error(StatusCode::kNotFound, "NO_SESSION", "no session to attach to");
  if (!request.attach()) {
    ++client.epoch;
    client.live = true;
    client.ready.clear();  // undecided pushes of the session before
    client.trainer = request.role() != v1::SESSION_ROLE_READER;
  }
  ++counts_[request.attach() ? "attach" : "open"];
  response->set_epoch(client.epoch);
  response->set_last_sequence(client.last_sequence);
  response->set_durable_sequence(client.durable_sequence);
  for (const auto& [key, part] : client.parts) {
    v1::OpenSessionResponse::Partial* partial = response->add_partial_uploads();
    partial->set_sequence(key.first);
    partial->set_part(key.second);
    partial->set_bytes_received(part.payload.size());
  }
  *response->mutable_settings() = SettingsNow();
  *response->mutable_version() = model_->version;
  response->set_lease_seconds(60);
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status TrainingServer::CheckSession(const std::string& client_id, uint64_t epoch) {
  Client& client = model_->clients[client_id];
  if (faults_.forget_sessions > 0) {
    --faults_.forget_sessions;
    client.live = false;
    client.ended = "NO_SESSION";
  }
  if (epoch < client.epoch) return Error(StatusCode::kFailedPrecondition, "FENCED", "an older epoch");
  if (client.live) return absl::OkStatus();
  if (client.ended == "ROLLED_BACK")
    return Error(StatusCode::kAborted, "ROLLED_BACK", "the model was restored");
  if (client.ended == "FENCED") return Error(StatusCode::kFailedPrecondition, "FENCED", "evicted");
  return Error(StatusCode::kNotFound, "NO_SESSION", "there is no session");
}

template <typename Message>
absl::Status TrainingServer::ReceivePart(const v1::PushHeader& header, const Read<Message>& read,
                                         const Alive& alive) {
  const auto key = std::make_pair(header.sequence(), header.part());
  uint64_t generation = 0, connection = 0;
  bool breaks = false;
  {
    MutexLock lock(&mu_);
    breaks = faults_.break_uploads > 0 &&
             (faults_.break_sequence == 0 || faults_.break_sequence == header.sequence());
    faults_.break_uploads -= breaks;
    generation = generation_;
    connection = connection_;
    last_push_ = header;
    ++counts_["push"];
    if (faults_.staging_full > 0) {
      --faults_.staging_full;
      return WithRetryAfter(Error(StatusCode::kResourceExhausted, "STAGING_FULL", "no room"), 0.001);
    }
    RETURN_IF_ERROR(CheckSession(header.client_id(), header.epoch()));
    Client& client = model_->clients[header.client_id()];
    if (header.sequence() <= client.last_sequence) return absl::OkStatus();
    if (client.ready.contains(header.sequence())) return absl::OkStatus();
    constexpr uint64_t kAheadMax = 5;
    if (header.sequence() > client.last_sequence + 1 + kAheadMax) {
      return Error(StatusCode::kFailedPrecondition, "SEQUENCE_GAP",
                   fmt::format("expected {}", client.last_sequence + 1));
    }
    if (faults_.refuse_sequence > 0 && static_cast<uint64_t>(faults_.refuse_sequence) == header.sequence()) {
      faults_.refuse_sequence = 0;
      return Error(StatusCode::kInvalidArgument, "PUSH_TOO_LARGE", "refused");
    }
    Part& part = client.parts[key];
    if (header.resume_offset() != part.payload.size() && header.resume_offset() != 0) {
      return Error(StatusCode::kInvalidArgument, "BAD_OFFSET", "resumes elsewhere");
    }
    part.payload.resize(header.resume_offset());
    part.header = header;
    counts_["resumed_bytes"] += header.resume_offset();
  }
  Message message;
  for (int chunks = 0; read(&message); ++chunks) {
    int break_after = 0;
    MutexLock lock(&mu_);
    break_after = faults_.break_after_chunks;
    if (faults_.hold_sequence == header.sequence() && chunks == break_after) ++counts_["held"];
    while (faults_.hold_sequence == header.sequence() && chunks == break_after && connection == connection_ &&
           generation == generation_ && alive()) {
      changed_.WaitFor(&mu_, kLook);
    }
    if (generation != generation_ || connection != connection_ || (breaks && chunks == break_after)) return Gone();
    if (header.epoch() != model_->clients[header.client_id()].epoch) {
      return CheckSession(header.client_id(), header.epoch());
    }
    ++counts_["chunk"];
    Part& part = model_->clients[header.client_id()].parts[key];
    const v1::Chunk& chunk = message.chunk();
    if (chunk.offset() != part.payload.size() ||
        Crc32c(chunk.data().data(), chunk.data().size()) != chunk.crc32c()) {
      return Error(StatusCode::kInvalidArgument, "BAD_CRC", fmt::format("chunk at {}", chunk.offset()));
    }
    part.payload += chunk.data();
  }
  MutexLock lock(&mu_);
  if (generation != generation_) return Gone();
  Client& client = model_->clients[header.client_id()];
  Part& part = client.parts[key];
  // A caller that goes away leaves its prefix.
  if (part.payload.size() != header.total_bytes()) return Gone();
  part.complete = true;
  std::string whole;
  for (uint32_t p = 0; p < header.part_count(); ++p) {
    const auto found = client.parts.find({header.sequence(), p});
    if (found == client.parts.end() || !found->second.complete) return absl::OkStatus();
  }
  for (uint32_t p = 0; p < header.part_count(); ++p) {
    whole += client.parts[{header.sequence(), p}].payload;
    client.parts.erase({header.sequence(), p});
  }
  ++counts_["whole"];
  client.ready[header.sequence()] = {.payload = std::move(whole), .complete = true, .header = header};
  DecideReady();
  changed_.NotifyAll();
  return absl::OkStatus();
}

bool TrainingServer::HasContributed(const std::string& client_id) const {
  const v1::RoundPolicy policy = model_->spec.rounds().policy();
  if (policy != v1::ROUND_POLICY_SYNC && policy != v1::ROUND_POLICY_UNSPECIFIED) return false;
  return std::any_of(model_->round.begin(), model_->round.end(),
                     [&](const Contribution& c) { return c.header.client_id() == client_id; });
}

void TrainingServer::DecideReady() {
  for (bool again = true; again;) {
    again = false;
    for (auto& [id, client] : model_->clients) {
      const auto head = client.ready.begin();
      if (head == client.ready.end() || head->first != client.last_sequence + 1 || HasContributed(id)) continue;
      const Part push = std::move(head->second);
      client.ready.erase(head);
      Decide(push.header, push.payload);
      again = true;
    }
  }
}

void TrainingServer::Decide(const v1::PushHeader& header, std::string payload) {
  Client& client = model_->clients[header.client_id()];
  client.last_sequence = header.sequence();
  const uint64_t staleness =
      model_->version.counter() - std::min(header.base().counter(), model_->version.counter());
  const auto& rounds = model_->spec.rounds();
  const uint64_t limit = rounds.has_max_staleness() ? rounds.max_staleness() : 1000;
  if (staleness > limit) {
    client.refusals[header.sequence()] =
        Error(StatusCode::kAborted, "STALE_BASE", fmt::format("staleness {}, at most {}", staleness, limit));
    return;
  }
  Contribution contribution{.header = header};
  const char* at = payload.data();
  for (const Slot& slot : Slots(model_->spec, {}, header.present(), true)) {
    const v1::Tensor& tensor = model_->spec.tensors(slot.tensor);
    const uint64_t size = WireSize(tensor, header.codec());
    if (IsCarried(tensor)) {
      contribution.raw[slot.tensor].append(at, size);
    } else {
      contribution.values[slot.tensor][slot.index] = FromWire(at, header.codec());
    }
    at += size;
  }
  model_->round.push_back(std::move(contribution));
  v1::PushResponse& answer = client.answers[header.sequence()];
  answer.set_outcome(v1::PUSH_OUTCOME_BUFFERED);
  answer.set_reason("in the open round");
  *answer.mutable_version() = model_->version;
  const uint64_t before = model_->version.counter();
  if (rounds.policy() == v1::ROUND_POLICY_ASYNC || RoundIsFull()) CloseRound();
  if (model_->version.counter() > before) {  // the push that completes a round is in its version
    answer.set_outcome(v1::PUSH_OUTCOME_APPLIED);
    answer.set_reason("applied");
    *answer.mutable_version() = model_->version;
  }
  answer.set_sequence(header.sequence());
  answer.set_samples(model_->samples);
  answer.set_staleness(staleness);
}

bool TrainingServer::RoundIsFull() const {
  if (model_->round.empty() || model_->round.size() < model_->spec.rounds().quorum()) return false;
  for (const auto& [id, client] : model_->clients) {
    if (!client.live || !client.trainer) continue;
    const auto mine = [&id = id](const Contribution& c) { return c.header.client_id() == id; };
    if (std::none_of(model_->round.begin(), model_->round.end(), mine)) return false;
  }
  return true;
}

void TrainingServer::CloseRound() {
  std::vector<Contribution> round = std::move(model_->round);
  model_->round.clear();
  if (faults_.drop_rounds > 0) {
    --faults_.drop_rounds;
    ++model_->dropped_rounds;
  } else {
    Apply(round);
  }
  changed_.NotifyAll();
}

void TrainingServer::Apply(const std::vector<Contribution>& contributions) {
  const float rate = model_->spec.mode() == v1::TRAINING_MODE_GRADIENT ? 0.1f : 1.0f;
  for (int t = 0; t < model_->spec.tensors_size(); ++t) {
    const bool averaged = model_->spec.tensors(t).role() == v1::TENSOR_ROLE_AVERAGED;
    std::map<uint64_t, std::pair<double, int>> sums;
    for (const Contribution& c : contributions) {
      if (c.raw.count(t)) model_->weights[t] = c.raw.at(t);
      if (!c.values.count(t)) continue;
      for (const auto& [index, value] : c.values.at(t)) {
        sums[index].first += value / c.header.loss_scale();
        ++sums[index].second;
      }
    }
    for (const auto& [index, sum] : sums) {
      const float mean = static_cast<float>(sum.first / sum.second);
      const float delta = TakesWeights(model_->spec) ? FloatAt(model_->weights[t], index) - mean : mean;
      SetFloat(&model_->weights[t], index,
               FloatAt(model_->weights[t], index) - (averaged ? 1.0f : rate) * delta);
    }
  }
  for (const Contribution& c : contributions) {
    model_->clients[c.header.client_id()].applied.push_back(c.header.sequence());
    model_->samples += c.header.samples();
  }
  model_->version.set_counter(model_->version.counter() + 1);
}

absl::Status TrainingServer::Await(const v1::PushHeader& header, const Alive& alive,
                                   v1::PushResponse* response) {
  MutexLock lock(&mu_);
  const uint64_t generation = generation_, connection = connection_;
  for (;;) {
    if (generation != generation_ || connection != connection_ || faults_.down) return Gone();
    Client& client = model_->clients[header.client_id()];
    const auto answer = client.answers.find(header.sequence());
    if (answer != client.answers.end()) {
      if (header.save_soon()) ++counts_["save_soon"];
      if (header.save_soon() && heeds_save_soon_) MakeDurable();
      *response = answer->second;
      response->set_durable_sequence(client.durable_sequence);
      break;
    }
    if (client.refusals.count(header.sequence())) return client.refusals[header.sequence()];
    // Undecided, and its session is over: so it never will be.
    if (header.epoch() != client.epoch || !client.live) return CheckSession(header.client_id(), header.epoch());
    if (!alive()) return Gone();
    changed_.WaitFor(&mu_, kLook);
  }
  if (faults_.lose_answers > 0) {
    --faults_.lose_answers;
    return Gone();
  }
  if (faults_.cancel_answers > 0) {
    --faults_.cancel_answers;
    return absl::CancelledError("the server stops");
  }
  return absl::OkStatus();
}

absl::Status TrainingServer::Push(const Read<v1::PushRequest>& read, const Alive& alive,
                                  v1::PushResponse* response) {
  RETURN_IF_ERROR(CheckUp());
  v1::PushRequest message;
  if (!read(&message)) return Gone();
  const v1::PushHeader header = message.header();
  bool known = false;
  {
    MutexLock lock(&mu_);
    known = header.sequence() <= model_->clients[header.client_id()].last_sequence;
  }
  RETURN_IF_ERROR(ReceivePart<v1::PushRequest>(header, read, alive));
  RETURN_IF_ERROR(Await(header, alive, response));
  if (known) {
    response->set_first_outcome(response->outcome());
    response->set_outcome(v1::PUSH_OUTCOME_DUPLICATE);
  }
  return absl::OkStatus();
}

uint64_t TrainingServer::Generation() const {
  MutexLock lock(&mu_);
  return generation_;
}

absl::Status TrainingServer::WaitNewer(const v1::Version& since, uint64_t generation, const Alive& alive) {
  MutexLock lock(&mu_);
  const uint64_t dropped = model_->dropped_rounds;
  for (;;) {
    // Before the version: a restart raises the term, which makes any version newer.
    if (generation != generation_ || faults_.down) return Gone();
    if (Newer(model_->version, since)) return absl::OkStatus();
    if (dropped != model_->dropped_rounds)
      return Error(StatusCode::kAborted, "ROUND_DROPPED", "the round was dropped");
    if (!alive()) return Gone();
    changed_.WaitFor(&mu_, kLook);
  }
}

std::string TrainingServer::Encode(const v1::PullRequest& request) const {
  std::string out;
  for (const Slot& slot : Slots(model_->spec, request.ranges(), "", false)) {
    const v1::Tensor& tensor = model_->spec.tensors(slot.tensor);
    if (IsCarried(tensor)) {
      const uint64_t size = RawSize(tensor.dtype());
      out += model_->weights[slot.tensor].substr(slot.index * size, size);
    } else {
      out += ToWire(FloatAt(model_->weights[slot.tensor], slot.index), request.codec());
    }
  }
  return out;
}

template <typename Message>
absl::Status TrainingServer::SendVersion(const v1::PullRequest& request, uint64_t generation,
                                         const Write<Message>& write) {
  std::string payload;
  v1::Version version;
  Message header;
  {
    MutexLock lock(&mu_);
    if (generation != generation_) return Gone();
    ++counts_["pull"];
    payload = Encode(request);
    version = model_->version;
    *header.mutable_header()->mutable_version() = version;
    header.mutable_header()->set_total_bytes(payload.size());
    header.mutable_header()->set_codec(request.codec());
    *header.mutable_header()->mutable_settings() = SettingsNow();
    header.mutable_header()->set_fingerprint(model_->fingerprint);
    header.mutable_header()->set_samples(model_->samples);
    if (request.has_since() && !Newer(version, request.since()))
      header.mutable_header()->set_not_modified(true);
  }
  if (!write(header)) return Gone();
  if (header.header().not_modified()) return absl::OkStatus();
  const bool breaks = Strikes(&Faults::break_downloads);
  const bool corrupts = Strikes(&Faults::corrupt_downloads);
  std::string crcs;
  int chunks = 0;
  const size_t chunk_bytes = request.chunk_bytes() == 0 ? 1 << 20 : request.chunk_bytes();
  for (size_t at = 0; at < payload.size(); at += chunk_bytes, ++chunks) {
    int break_after = 0;
    {
      MutexLock lock(&mu_);
      break_after = faults_.break_after_chunks;
    }
    if (breaks && chunks == break_after) return Gone();
    Message message;
    v1::Chunk* chunk = message.mutable_chunk();
    chunk->set_offset(at);
    chunk->set_data(payload.substr(at, chunk_bytes));
    const uint32_t crc32c = Crc32c(chunk->data().data(), chunk->data().size());
    chunk->set_crc32c(corrupts ? crc32c + 1 : crc32c);
    char bytes[4];
    StoreLittle32(crc32c, bytes);
    crcs.append(bytes, 4);
    if (!write(message)) return Gone();
  }
  if (Strikes(&Faults::skip_commits)) return absl::OkStatus();
  Message commit;
  *commit.mutable_commit()->mutable_version() = version;
  commit.mutable_commit()->set_crc32c(Crc32c(crcs.data(), crcs.size()));
  return write(commit) ? absl::OkStatus() : Gone();
}

absl::Status TrainingServer::Pull(const v1::PullRequest& request, const Alive& alive,
                                  const Write<v1::PullResponse>& write) {
  RETURN_IF_ERROR(CheckUp());
  const uint64_t generation = Generation();
  if (request.wait()) {
    v1::PullResponse waiting;
    waiting.mutable_waiting()->set_reason("waits for a newer version");
    if (!write(waiting)) return Gone();
    RETURN_IF_ERROR(WaitNewer(request.since(), generation, alive));
  }
  return SendVersion(request, generation, write);
}

absl::Status TrainingServer::Step(const Read<v1::StepRequest>& read, const Alive& alive,
                                  const Write<v1::StepResponse>& write) {
  RETURN_IF_ERROR(CheckUp());
  const uint64_t generation = Generation();  // no stream outlives the server that it began on
  v1::StepRequest message;
  if (!read(&message)) return Gone();
  const v1::StepRequest::Header header = message.header();
  RETURN_IF_ERROR(ReceivePart<v1::StepRequest>(header.push(), read, alive));
  v1::StepResponse accepted;
  RETURN_IF_ERROR(Await(header.push(), alive, accepted.mutable_accepted()));
  if (!write(accepted)) return Gone();
  if (accepted.accepted().outcome() == v1::PUSH_OUTCOME_BUFFERED) {
    v1::StepResponse waiting;
    waiting.mutable_waiting()->set_reason("waits for other workers");
    if (!write(waiting)) return Gone();
    RETURN_IF_ERROR(WaitNewer(accepted.accepted().version(), generation, alive));
  }
  return SendVersion(header.pull(), generation, write);
}

absl::Status TrainingServer::Watch(const v1::WatchVersionsRequest&, const Alive& alive,
                                   const Write<v1::WatchVersionsResponse>& write) {
  v1::Version sent;
  for (;;) {
    v1::WatchVersionsResponse response;
    {
      MutexLock lock(&mu_);
      while (!Newer(model_->version, sent)) {
        if (!alive()) return Gone();
        changed_.WaitFor(&mu_, kLook);
      }
      *response.mutable_version() = sent = model_->version;
    }
    if (!write(response)) return absl::OkStatus();
  }
}

void TrainingServer::FillModel(v1::Model* out, bool tensors) const {
  *out->mutable_spec() = model_->spec;
  if (!tensors) out->mutable_spec()->clear_tensors();
  *out->mutable_version() = model_->version;
  *out->mutable_durable_version() = model_->durable;
  out->set_settings_version(model_->settings_version);
  out->set_fingerprint(model_->fingerprint);
  uint64_t parameters = 0;
  for (const v1::Tensor& tensor : model_->spec.tensors()) parameters += Elements(tensor);
  out->set_parameters(parameters);
}

v1::Settings TrainingServer::SettingsNow() const {
  v1::Settings settings;
  settings.set_settings_version(model_->settings_version);
  settings.set_mode(model_->spec.mode());
  settings.set_sync_period(model_->spec.sync_period());
  *settings.mutable_rounds() = model_->spec.rounds();
  if (TakesWeights(model_->spec)) settings.set_push_kind(v1::PUSH_KIND_WEIGHTS);
  return settings;
}

void TrainingServer::MakeDurable() {
  if (!has_disk_) return;
  model_->durable = model_->version;
  for (auto& [id, client] : model_->clients) {
    // Pushes of the open round are in no version yet.
    client.durable_sequence = client.applied.empty() ? 0 : client.applied.back();
  }
  snapshot_ = std::make_unique<Model>(*model_);
  for (auto& [id, client] : snapshot_->clients) {
    client.last_sequence = client.durable_sequence;
    client.answers.erase(client.answers.upper_bound(client.durable_sequence), client.answers.end());
  }
}

}  // namespace stepback::fakes
