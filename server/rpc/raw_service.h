// A generated service with every method registered raw: messages arrive and leave as buffers, and this
// project's own parser reads them. (In gRPC 1.51 a generated callback method answers a message it cannot
// parse with an empty UNIMPLEMENTED, decisions 16.) The list of methods comes from the proto; a method that a
// service does not override answers UNIMPLEMENTED.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "stepback/v1/admin.grpc.pb.h"
#include "stepback/v1/model.grpc.pb.h"
#include "stepback/v1/training.grpc.pb.h"

namespace stepback {

template <typename Base, template <typename> typename... With>
struct RawChain {
  using Type = Base;
};
template <typename Base, template <typename> typename First, template <typename> typename... Rest>
struct RawChain<Base, First, Rest...> {
  using Type = First<typename RawChain<Base, Rest...>::Type>;
};

// The generated list names all services' methods; each alias below keeps its own.
#define STEPBACK_METHOD(service, method, type) STEPBACK_OF_##service(service, method)

#define STEPBACK_OF_ModelService(service, method) , v1::service::WithRawCallbackMethod_##method
#define STEPBACK_OF_TrainingService(service, method)
#define STEPBACK_OF_AdminService(service, method)
using RawModelService = RawChain<v1::ModelService::Service
#include "stepback/v1/methods.inc"
                                 >::Type;

#undef STEPBACK_OF_ModelService
#undef STEPBACK_OF_TrainingService
#define STEPBACK_OF_ModelService(service, method)
#define STEPBACK_OF_TrainingService(service, method) , v1::service::WithRawCallbackMethod_##method
using RawTrainingService = RawChain<v1::TrainingService::Service
#include "stepback/v1/methods.inc"
                                    >::Type;

#undef STEPBACK_OF_TrainingService
#undef STEPBACK_OF_AdminService
#define STEPBACK_OF_TrainingService(service, method)
#define STEPBACK_OF_AdminService(service, method) , v1::service::WithRawCallbackMethod_##method
using RawAdminService = RawChain<v1::AdminService::Service
#include "stepback/v1/methods.inc"
                                 >::Type;

#undef STEPBACK_OF_ModelService
#undef STEPBACK_OF_TrainingService
#undef STEPBACK_OF_AdminService
#undef STEPBACK_METHOD

// Short names for the signatures of handlers.
using CallContext = grpc::CallbackServerContext;
using Bytes = grpc::ByteBuffer;

}  // namespace stepback
