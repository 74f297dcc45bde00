#include "server/rpc/model_service.h"

#include <utility>

#include <fmt/format.h>

#include "server/rpc/create_stream.h"
#include "server/rpc/export_stream.h"
#include "server/rpc/find_model.h"
#include "server/rpc/import_stream.h"
#include "server/rpc/reply_convert.h"

namespace stepback {
namespace {

constexpr uint32_t kPageSizeDefault = 100;
constexpr uint32_t kPageSizeMax = 1000;

// Info with the state hash added, once it is computed.
void ReplyWithHash(const std::shared_ptr<Handle>& model, v1::GetModelResponse response,
                   const Reply<v1::GetModelResponse>& reply) {
  model->StateHash([reply, response](const absl::StatusOr<std::string>& hash) mutable {
    if (!hash.ok()) return reply(hash.status());
    response.mutable_model()->set_state_hash(*hash);
    reply(response);
  });
}

// A page is the models after the one that the token names, in order of their names.
v1::ListModelsResponse PageOf(const std::vector<std::shared_ptr<Handle>>& models, const std::string& after,
                              uint32_t page_size) {
  v1::ListModelsResponse page;
  for (const std::shared_ptr<Handle>& model : models) {
    if (model->name() <= after) continue;
    if (page.models_size() == static_cast<int>(page_size)) {
      page.set_next_page_token(page.models(page.models_size() - 1).spec().name());
      break;
    }
    *page.add_models() = ModelToProto(model->Info(), false);
  }
  return page;
}

// The settings are the current version's successor's.
v1::UpdateModelResponse Updated(const ModelInfo& info) {
  v1::UpdateModelResponse response;
  *response.mutable_model() = ModelToProto(info, true);
  const Version& version = info.version->version;
  *response.mutable_effective_version() = VersionToProto({version.term, version.counter + 1});
  return response;
}

}  // namespace

grpc::ServerReadReactor<Bytes>* ModelService::CreateModel(CallContext* context, Bytes* response) {
  return StartStream<CreateStream>(context_.guard->Admit(Method::kCreateModel, context), context_, response);
}

grpc::ServerWriteReactor<Bytes>* ModelService::ExportModel(CallContext* context, const Bytes* request) {
  return StartStream<ExportStream>(context_.guard->Admit(Method::kExportModel, context), context_, context,
                                   request);
}

grpc::ServerReadReactor<Bytes>* ModelService::ImportModel(CallContext* context, Bytes* response) {
  return StartStream<ImportStream>(context_.guard->Admit(Method::kImportModel, context), context_, response);
}

grpc::ServerUnaryReactor* ModelService::GetModel(CallContext* context, const Bytes* request,
                                                 Bytes* response) {
  return Unary<v1::GetModelRequest, v1::GetModelResponse>(
      On(Method::kGetModel, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.name(), "name");
        if (!model.ok()) return reply(model.status());
        v1::GetModelResponse found;
        *found.mutable_model() = ModelToProto((*model)->Info(), !request.omit_tensors());
        request.state_hash() ? ReplyWithHash(*model, std::move(found), reply) : reply(found);
      });
}

grpc::ServerUnaryReactor* ModelService::ListModels(CallContext* context, const Bytes* request,
                                                   Bytes* response) {
  return Unary<v1::ListModelsRequest, v1::ListModelsResponse>(
      On(Method::kListModels, context, request, response), [this](const auto& request, const auto& reply) {
        const uint32_t size = request.page_size() == 0 ? kPageSizeDefault : request.page_size();
        if (size > kPageSizeMax) {
          return reply(InvalidField("page_size", fmt::format("is {}, at most {}", size, kPageSizeMax)));
        }
        reply(PageOf(context_.engine->List(), request.page_token(), size));
      });
}

grpc::ServerUnaryReactor* ModelService::UpdateModel(CallContext* context, const Bytes* request,
                                                    Bytes* response) {
  return Unary<v1::UpdateModelRequest, v1::UpdateModelResponse>(
      On(Method::kUpdateModel, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.name(), "name");
        if (!model.ok()) return reply(model.status());
        (*model)->Update({request.values().begin(), request.values().end()},
                         request.expected_settings_version(), [reply](const absl::StatusOr<ModelInfo>& info) {
                           info.ok() ? reply(Updated(*info)) : reply(info.status());
                         });
      });
}

grpc::ServerUnaryReactor* ModelService::DeleteModel(CallContext* context, const Bytes* request,
                                                    Bytes* response) {
  return Unary<v1::DeleteModelRequest, v1::DeleteModelResponse>(
      On(Method::kDeleteModel, context, request, response), [this](const auto& request, const auto& reply) {
        const absl::Status name = CheckModelName(request.name(), "name");
        if (!name.ok()) return reply(name);
        context_.engine->Delete(request.name(), [reply](const absl::Status& status) {
          status.ok() ? reply(v1::DeleteModelResponse()) : reply(status);
        });
      });
}

grpc::ServerUnaryReactor* ModelService::SaveSnapshot(CallContext* context, const Bytes* request,
                                                     Bytes* response) {
  return Unary<v1::SaveSnapshotRequest, v1::SaveSnapshotResponse>(
      On(Method::kSaveSnapshot, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        const absl::Status label = CheckLabel(request.label(), "label");
        if (!model.ok() || !label.ok()) return reply(model.ok() ? label : model.status());
        (*model)->SaveSnapshot(request.label(),
                               [reply, name = request.model()](const absl::StatusOr<SnapshotInfo>& info) {
                                 if (!info.ok()) return reply(info.status());
                                 v1::SaveSnapshotResponse saved;
                                 *saved.mutable_snapshot() = SnapshotToProto(name, *info);
                                 reply(saved);
                               });
      });
}

grpc::ServerUnaryReactor* ModelService::ListSnapshots(CallContext* context, const Bytes* request,
                                                      Bytes* response) {
  return Unary<v1::ListSnapshotsRequest, v1::ListSnapshotsResponse>(
      On(Method::kListSnapshots, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        if (!model.ok()) return reply(model.status());
        (*model)->ListSnapshots(
            [reply, name = request.model()](const absl::StatusOr<std::vector<SnapshotInfo>>& infos) {
              if (!infos.ok()) return reply(infos.status());
              v1::ListSnapshotsResponse list;
              for (const SnapshotInfo& info : *infos) *list.add_snapshots() = SnapshotToProto(name, info);
              reply(list);
            });
      });
}

grpc::ServerUnaryReactor* ModelService::RestoreSnapshot(CallContext* context, const Bytes* request,
                                                        Bytes* response) {
  return Unary<v1::RestoreSnapshotRequest, v1::RestoreSnapshotResponse>(
      On(Method::kRestoreSnapshot, context, request, response),
      [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        const absl::Status label = CheckLabel(request.label(), "label");
        if (!model.ok() || !label.ok()) return reply(model.ok() ? label : model.status());
        (*model)->RestoreSnapshot(request.label(), request.generation(),
                                  [reply](const absl::StatusOr<ModelInfo>& info) {
                                    if (!info.ok()) return reply(info.status());
                                    v1::RestoreSnapshotResponse restored;
                                    *restored.mutable_model() = ModelToProto(*info, true);
                                    reply(restored);
                                  });
      });
}

grpc::ServerUnaryReactor* ModelService::Flush(CallContext* context, const Bytes* request, Bytes* response) {
  return Unary<v1::FlushRequest, v1::FlushResponse>(
      On(Method::kFlush, context, request, response), [this](const auto& request, const auto& reply) {
        const auto model = FindModel(context_.engine, request.model());
        if (!model.ok()) return reply(model.status());
        (*model)->Flush([reply](const absl::StatusOr<Version>& version) {
          if (!version.ok()) return reply(version.status());
          v1::FlushResponse flushed;
          *flushed.mutable_durable_version() = VersionToProto(*version);
          reply(flushed);
        });
      });
}

}  // namespace stepback
