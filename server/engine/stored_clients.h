// The dedup table on disk (model_image.proto): which pushes of which client were decided, and how. Pure.
#pragma once

#include "server/core/model_version.h"
#include "stepback/v1/model_image.pb.h"

namespace stepback {

using StoredClients = google::protobuf::RepeatedPtrField<v1::StoredClient>;

void StoreClients(const ClientTable& clients, StoredClients* stored);
absl::StatusOr<std::shared_ptr<const ClientTable>> LoadClients(const StoredClients& stored);

}  // namespace stepback
