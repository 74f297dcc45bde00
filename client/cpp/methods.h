// Full names of the RPCs.
#pragma once

namespace stepback::client::methods {

inline constexpr char kOpenSession[] = "/stepback.v1.TrainingService/OpenSession";
inline constexpr char kCloseSession[] = "/stepback.v1.TrainingService/CloseSession";
inline constexpr char kHeartbeat[] = "/stepback.v1.TrainingService/Heartbeat";
inline constexpr char kPush[] = "/stepback.v1.TrainingService/Push";
inline constexpr char kPull[] = "/stepback.v1.TrainingService/Pull";
inline constexpr char kStep[] = "/stepback.v1.TrainingService/Step";
inline constexpr char kWatchVersions[] = "/stepback.v1.TrainingService/WatchVersions";
inline constexpr char kReportMetrics[] = "/stepback.v1.TrainingService/ReportMetrics";

inline constexpr char kCreateModel[] = "/stepback.v1.ModelService/CreateModel";
inline constexpr char kGetModel[] = "/stepback.v1.ModelService/GetModel";
inline constexpr char kListModels[] = "/stepback.v1.ModelService/ListModels";
inline constexpr char kUpdateModel[] = "/stepback.v1.ModelService/UpdateModel";
inline constexpr char kDeleteModel[] = "/stepback.v1.ModelService/DeleteModel";
inline constexpr char kSaveSnapshot[] = "/stepback.v1.ModelService/SaveSnapshot";
inline constexpr char kListSnapshots[] = "/stepback.v1.ModelService/ListSnapshots";
inline constexpr char kRestoreSnapshot[] = "/stepback.v1.ModelService/RestoreSnapshot";
inline constexpr char kExportModel[] = "/stepback.v1.ModelService/ExportModel";
inline constexpr char kImportModel[] = "/stepback.v1.ModelService/ImportModel";
inline constexpr char kFlush[] = "/stepback.v1.ModelService/Flush";

inline constexpr char kGetServerInfo[] = "/stepback.v1.AdminService/GetServerInfo";
inline constexpr char kListRules[] = "/stepback.v1.AdminService/ListRules";
inline constexpr char kListSessions[] = "/stepback.v1.AdminService/ListSessions";
inline constexpr char kEvictSession[] = "/stepback.v1.AdminService/EvictSession";
inline constexpr char kSetLogLevel[] = "/stepback.v1.AdminService/SetLogLevel";
inline constexpr char kDrain[] = "/stepback.v1.AdminService/Drain";

inline constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";

}  // namespace stepback::client::methods
