// Every RPC with what its caller must be and whether it goes on while the server drains. The list of methods
// is generated from the proto, the rows are written here: an RPC without a row does not compile (decisions
// 17). Thread: any; constants.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/telemetry/rpc_metrics.h"

namespace stepback {

enum class Method : uint8_t {
#define STEPBACK_METHOD(service, method, type) k##method,
#include "stepback/v1/methods.inc"
#undef STEPBACK_METHOD
};

struct MethodInfo {
  std::string_view service;  // "stepback.v1.ModelService"
  std::string_view name;
  telemetry::RpcType type;
};

inline constexpr MethodInfo kMethods[] = {
#define STEPBACK_METHOD(service, method, type) {"stepback.v1." #service, #method, telemetry::RpcType::type},
#include "stepback/v1/methods.inc"
#undef STEPBACK_METHOD
};
inline constexpr size_t kMethodCount = std::size(kMethods);

// Each role may do what the ones before it may.
enum class AccessRole : uint8_t { kReader, kWorker, kAdmin };
inline constexpr std::string_view kAccessRoleNames[] = {"reader", "worker", "admin"};

enum class WhenDraining : uint8_t { kServed, kRefused };

struct AccessRow {
  Method method;
  AccessRole role;
  WhenDraining draining;
};

inline constexpr AccessRow kAccess[] = {
    {Method::kCreateModel, AccessRole::kWorker, WhenDraining::kRefused},
    {Method::kGetModel, AccessRole::kReader, WhenDraining::kServed},
    {Method::kListModels, AccessRole::kReader, WhenDraining::kServed},
    {Method::kUpdateModel, AccessRole::kAdmin, WhenDraining::kRefused},
    {Method::kDeleteModel, AccessRole::kAdmin, WhenDraining::kRefused},
    {Method::kSaveSnapshot, AccessRole::kWorker, WhenDraining::kServed},
    {Method::kListSnapshots, AccessRole::kReader, WhenDraining::kServed},
    {Method::kRestoreSnapshot, AccessRole::kAdmin, WhenDraining::kRefused},
    {Method::kExportModel, AccessRole::kReader, WhenDraining::kServed},
    {Method::kImportModel, AccessRole::kAdmin, WhenDraining::kRefused},
    {Method::kFlush, AccessRole::kWorker, WhenDraining::kServed},
    {Method::kOpenSession, AccessRole::kReader, WhenDraining::kRefused},
    {Method::kCloseSession, AccessRole::kReader, WhenDraining::kServed},
    {Method::kHeartbeat, AccessRole::kReader, WhenDraining::kServed},
    {Method::kPush, AccessRole::kWorker, WhenDraining::kRefused},
    {Method::kPull, AccessRole::kReader, WhenDraining::kServed},
    {Method::kStep, AccessRole::kWorker, WhenDraining::kRefused},
    {Method::kWatchVersions, AccessRole::kReader, WhenDraining::kServed},
    {Method::kReportMetrics, AccessRole::kWorker, WhenDraining::kServed},
    {Method::kGetServerInfo, AccessRole::kReader, WhenDraining::kServed},
    {Method::kListRules, AccessRole::kReader, WhenDraining::kServed},
    {Method::kListSessions, AccessRole::kReader, WhenDraining::kServed},
    {Method::kEvictSession, AccessRole::kAdmin, WhenDraining::kServed},
    {Method::kSetLogLevel, AccessRole::kAdmin, WhenDraining::kServed},
    {Method::kDrain, AccessRole::kAdmin, WhenDraining::kServed},
};

constexpr bool EveryMethodHasItsRow() {
  if (std::size(kAccess) != kMethodCount) return false;
  for (size_t i = 0; i < kMethodCount; ++i) {
    if (kAccess[i].method != static_cast<Method>(i)) return false;
  }
  return true;
}
static_assert(EveryMethodHasItsRow(), "kAccess must list every RPC once, in the order of the proto files");

constexpr const MethodInfo& InfoOf(Method method) { return kMethods[static_cast<size_t>(method)]; }
constexpr const AccessRow& AccessOf(Method method) { return kAccess[static_cast<size_t>(method)]; }

}  // namespace stepback
