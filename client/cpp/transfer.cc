// Whole models over the wire: create, export, import.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "client/cpp/caller_memory.h"
#include "client/cpp/convert.h"
#include "client/cpp/data_calls.h"
#include "client/cpp/methods.h"
#include "client/cpp/model_impl.h"
#include "client/cpp/retry.h"
#include "client/cpp/tensor_source.h"
#include "kernels/draw.h"
#include "server/base/crc32c.h"
#include "server/base/status_macros.h"
#include "stepback/server.h"

namespace stepback::client {
namespace {

// No bytes: a model of zeros.
class NoSource final : public ChunkSource {
 public:
  uint64_t total_bytes() const override { return 0; }
  absl::StatusOr<Payload> Read(uint64_t, uint64_t) override { return Payload(); }
};

// Bytes as the caller's function gives them, in order and once.
class FunctionSource final : public ChunkSource {
 public:
  FunctionSource(uint64_t total_bytes, const Server::ByteSource* give, std::shared_ptr<BufferPool> pool)
      : total_bytes_(total_bytes), give_(give), pool_(std::move(pool)) {}

  uint64_t total_bytes() const override { return total_bytes_; }
  absl::StatusOr<Payload> Read(uint64_t offset, uint64_t bytes) override {
    std::byte* memory = pool_->Allocate(bytes);
    if (memory == nullptr)
      return absl::ResourceExhaustedError(fmt::format("no memory for a chunk of {} bytes", bytes));
    std::shared_ptr<std::byte> buffer(memory, [pool = pool_, bytes](std::byte* p) { pool->Free(p, bytes); });
    for (uint64_t filled = 0; filled < bytes;) {
      ASSIGN_OR_RETURN(const size_t given, (*give_)({memory + filled, bytes - filled}));
      if (given == 0) {
        return absl::InvalidArgumentError(
            fmt::format("the source ended after {} of {} bytes", offset + filled, total_bytes_));
      }
      filled += given;
    }
    Payload out;
    out.Append({memory, bytes}, std::move(buffer));
    return out;
  }

 private:
  const uint64_t total_bytes_;
  const Server::ByteSource* const give_;
  const std::shared_ptr<BufferPool> pool_;
};

StreamOptions Streams(const ConnectOptions& options, const Retry& retry) {
  return {.timeout = retry.TimeLeft(), .idle = options.idle_timeout, .chunk_bytes = options.chunk_bytes};
}

// Checks the pieces of an export and hands them on.
class ExportReceiver {
 public:
  explicit ExportReceiver(const Server::ByteSink* sink) : sink_(sink) {}

  absl::Status Accept(const v1::ExportModelResponse& message) {
    if (message.total_bytes() != 0) total_bytes_ = message.total_bytes();
    if (message.has_version()) exported_.version = FromProto(message.version());
    if (!message.has_chunk()) return absl::OkStatus();
    const v1::Chunk& chunk = message.chunk();
    const uint32_t crc32c = Crc32c(chunk.data().data(), chunk.data().size());
    if (chunk.offset() != exported_.bytes || crc32c != chunk.crc32c()) {
      return absl::DataLossError(
          fmt::format("export: chunk at offset {} with CRC32C {:08x}, expected offset {} and {:08x}",
                      chunk.offset(), crc32c, exported_.bytes, chunk.crc32c()));
    }
    exported_.bytes += chunk.data().size();
    return (*sink_)(std::as_bytes(std::span(chunk.data())));
  }

  absl::StatusOr<Server::Exported> Finish() const {
    if (exported_.version && (total_bytes_ == 0 || total_bytes_ == exported_.bytes)) return exported_;
    return absl::DataLossError(
        fmt::format("export: ended after {} of {} bytes", exported_.bytes, total_bytes_));
  }

 private:
  const Server::ByteSink* const sink_;
  uint64_t total_bytes_ = 0;
  Server::Exported exported_;
};

absl::Status FileError(const char* what, const std::string& path) {
  return absl::UnknownError(fmt::format("cannot {} '{}'", what, path));
}

}  // namespace

absl::StatusOr<Model> CreateModelOnce(const std::shared_ptr<ServerImpl>& server, Transport* transport,
                                      const v1::CreateModelRequest& first, ChunkSource* source,
                                      const Retry& retry) {
  UploadCall call{.method = methods::kCreateModel,
                  .header = first.SerializeAsString(),
                  .chunk_field = v1::CreateModelRequest::kChunkFieldNumber,
                  .source = source};
  v1::CreateModelResponse response;
  ByteCounts bytes;
  RETURN_IF_ERROR(UploadOnce(transport, std::move(call), Streams(server->options(), retry),
                             server->interrupt(), &bytes, &response));
  return Model(
      std::make_shared<ModelImpl>(ModelImpl{server, FromProto(response.model()), response.created()}));
}

absl::StatusOr<Model> Server::CreateModel(const ModelDefinition& definition,
                                          std::span<const TensorData> weights, const CreateOptions& options) {
  v1::CreateModelRequest first;
  v1::CreateModelRequest::Header* header = first.mutable_header();
  *header->mutable_spec() = ToProto(definition);
  const std::shared_ptr<Transport> transport = impl_->connector()->Bulk();
  const CallerMemory lent(transport.get());
  ASSIGN_OR_RETURN(const kernels::CodecInfo* codec, CodecNamed(options.codec));
  ASSIGN_OR_RETURN(const PayloadLayout layout,
                   PayloadLayout::Make(definition.tensors, *codec, Direction::kPull, {}, {}));
  std::unique_ptr<ChunkSource> source = std::make_unique<NoSource>();
  header->set_init(v1::INITIALIZATION_ZEROS);
  if (!weights.empty()) {
    RETURN_IF_ERROR(CheckTensors(layout, definition.tensors, weights));
    header->set_init(v1::INITIALIZATION_CHUNKS);
    header->set_codec(std::string(codec->name));
    header->set_total_bytes(layout.total_bytes());
    source = std::make_unique<TensorSource>(
        &layout, weights, impl_->pool(),
        TensorSource::Options{.draw_key = kernels::DrawKey(definition.name, "", 0, 0),
                              .caller_memory = lent.Share()});
  }
  Retry retry(impl_->options().retry, impl_->interrupt());
  for (;;) {
    absl::StatusOr<Model> model = CreateModelOnce(impl_, transport.get(), first, source.get(), retry);
    if (model.ok()) return model;
    RETURN_IF_ERROR(retry.Wait(model.status()));
  }
}

absl::StatusOr<Server::Exported> Server::ExportModel(const std::string& model, const ByteSink& sink,
                                                     const std::string& view) {
  v1::ExportModelRequest request;
  request.set_model(model);
  request.set_view(view);
  ExportReceiver receiver(&sink);
  const std::shared_ptr<Transport> transport = impl_->connector()->Bulk();
  const CallLimits limits{.idle = impl_->options().idle_timeout};
  std::unique_ptr<Stream> stream = transport->Open(methods::kExportModel, limits, impl_->interrupt());
  stream->Write({.head = request.SerializeAsString()}, /*last=*/true);
  for (;;) {
    Event event = stream->Next();
    if (event.kind == Event::Kind::kEnd) {
      RETURN_IF_ERROR(event.status);
      return receiver.Finish();
    }
    if (event.kind == Event::Kind::kMessage) {
      v1::ExportModelResponse message;
      RETURN_IF_ERROR(ParseMessage(event.message, &message));
      RETURN_IF_ERROR(receiver.Accept(message));
    }
  }
}

absl::StatusOr<Server::Exported> Server::ExportModelToFile(const std::string& model, const std::string& path,
                                                           const std::string& view) {
  const std::string aside = path + ".part";
  std::ofstream file(aside, std::ios::binary | std::ios::trunc);
  if (!file) return FileError("write", aside);
  const ByteSink sink = [&](std::span<const std::byte> bytes) -> absl::Status {
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return file ? absl::OkStatus() : FileError("write", aside);
  };
  absl::StatusOr<Exported> exported = ExportModel(model, sink, view);
  file.close();
  if (exported.ok() && (!file || std::rename(aside.c_str(), path.c_str()) != 0))
    exported = FileError("write", path);
  if (!exported.ok()) std::remove(aside.c_str());
  return exported;
}

absl::StatusOr<ModelInfo> Server::ImportModel(const std::string& model, uint64_t total_bytes,
                                              const ByteSource& source) {
  v1::ImportModelRequest first;
  first.mutable_header()->set_model(model);
  first.mutable_header()->set_total_bytes(total_bytes);
  FunctionSource bytes(total_bytes, &source, impl_->pool());
  UploadCall call{.method = methods::kImportModel,
                  .header = first.SerializeAsString(),
                  .chunk_field = v1::ImportModelRequest::kChunkFieldNumber,
                  .source = &bytes};
  // Once: a source cannot be rewound.
  const StreamOptions streams{.idle = impl_->options().idle_timeout,
                              .chunk_bytes = impl_->options().chunk_bytes};
  const std::shared_ptr<Transport> transport = impl_->connector()->Bulk();
  v1::ImportModelResponse response;
  ByteCounts counts;
  RETURN_IF_ERROR(
      UploadOnce(transport.get(), std::move(call), streams, impl_->interrupt(), &counts, &response));
  return FromProto(response.model());
}

absl::StatusOr<ModelInfo> Server::ImportModelFromFile(const std::string& model, const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return absl::NotFoundError(fmt::format("cannot read '{}'", path));
  const auto total_bytes = static_cast<uint64_t>(file.tellg());
  file.seekg(0);
  return ImportModel(model, total_bytes, [&](std::span<std::byte> room) -> absl::StatusOr<size_t> {
    file.read(reinterpret_cast<char*>(room.data()), static_cast<std::streamsize>(room.size()));
    if (file.bad()) return FileError("read", path);
    return static_cast<size_t>(file.gcount());
  });
}

}  // namespace stepback::client
