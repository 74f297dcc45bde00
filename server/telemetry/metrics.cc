#include "server/telemetry/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/statvfs.h>

#include <cmath>
#include <sstream>

#include <fmt/format.h>
#include "server/telemetry/certificate_expiry.h"
#include "server/telemetry/log.h"

namespace stepback::telemetry {
Metrics::Metrics(Options options)
    : limits_(std::move(options.limits)),
      process_(&store_),
      ready_(store_.Gauges("stepback_ready")),
      draining_(store_.Gauges("stepback_draining")),
      models_(store_.Gauges("stepback_models")),
      inflight_(store_.Gauges("stepback_inflight_bytes")),
      inflight_limit_(store_.Gauges("stepback_inflight_limit_bytes")),
      log_messages_(store_.Gauges("stepback_log_messages_total")),
      rejected_(store_.Counters("stepback_rejected_total")) {
  const BuildInfo& build = options.build;
  store_.Gauges("stepback_build_info", {build.version, build.revision, build.cuda, build.grpc})().Set(1);
}

std::shared_ptr<ModelMetrics> Metrics::ForModel(std::string_view name) {
  MutexLock lock(&mu_);
  if (const auto it = by_model_.find(name); it != by_model_.end()) return it->second;
  if (name != kOtherLabel && by_model_.size() < limits_.max_models) {
    auto model =
        std::make_shared<ModelMetrics>(&store_, std::string(name), limits_, MetricStore::Export::kYes);
    return by_model_.emplace(name, std::move(model)).first->second;
  }
  if (other_ == nullptr) {
    other_ = std::make_shared<ModelMetrics>(&store_, kOtherLabel, limits_, MetricStore::Export::kNo);
  }
  return other_;
}

void Metrics::RemoveModel(std::string_view name) {
  MutexLock lock(&mu_);
  const auto it = by_model_.find(name);
  if (it == by_model_.end()) return;
  it->second->Detach();
  by_model_.erase(it);
}

RpcMetrics* Metrics::ForMethod(RpcType type, std::string_view service, std::string_view method) {
  MutexLock lock(&mu_);
  std::unique_ptr<RpcMetrics>& metrics = by_method_[fmt::format("{}/{}", service, method)];
  if (metrics == nullptr) metrics = std::make_unique<RpcMetrics>(&store_, type, service, method);
  return metrics.get();
}

void Metrics::WatchDisk(std::string path) {
  MutexLock lock(&mu_);
  if (disks_.contains(path)) return;
  Disk disk{store_.Gauges("stepback_disk_free_bytes", {path}),
            store_.Gauges("stepback_disk_size_bytes", {path})};
  disks_.emplace(std::move(path), std::move(disk));
}

void Metrics::WatchCertificate(std::string pem_file) {
  MutexLock lock(&mu_);
  if (certificates_.contains(pem_file)) return;
  auto gauge = store_.Gauges("stepback_tls_certificate_not_after_timestamp_seconds", {pem_file});
  certificates_.emplace(std::move(pem_file), std::move(gauge));
}

// A path that cannot be read shows NaN: 0 would look like a full disk, the last value like a healthy one.
void Metrics::ReadDisks() {
  for (auto& [path, disk] : disks_) {
    struct statvfs stats {};
    const bool ok = statvfs(path.c_str(), &stats) == 0;
    const auto block_bytes = static_cast<double>(stats.f_frsize);
    disk.free_bytes().Set(ok ? static_cast<double>(stats.f_bavail) * block_bytes : NAN);
    disk.size_bytes().Set(ok ? static_cast<double>(stats.f_blocks) * block_bytes : NAN);
  }
}

void Metrics::ReadCertificates() {
  for (auto& [file, gauge] : certificates_) {
    const absl::StatusOr<int64_t> end = CertificateNotAfter(file);
    gauge().Set(end.ok() ? static_cast<double>(*end) : NAN);
  }
}

void Metrics::ReadLogCounts() {
  const auto counts = LogMessageCounts();
  for (size_t i = 0; i < counts.size(); ++i) log_messages_(i).Set(static_cast<double>(counts[i]));
}

std::string Metrics::Scrape() {
  process_.Update(ReadProcessStats());
  ReadLogCounts();
  {
    MutexLock lock(&mu_);
    ReadDisks();
    ReadCertificates();
  }
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, store_.Collect());
  return std::move(text).str();
}

}  // namespace stepback::telemetry
