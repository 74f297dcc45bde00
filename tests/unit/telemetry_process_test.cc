#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <thread>
#include <vector>

#include "server/telemetry/certificate_expiry.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/process_metrics.h"
#include "tests/unit/telemetry_scrape.h"

namespace stepback::telemetry {
namespace {

TEST(ProcessStats, AnOpenFileIsOneDescriptorMore) {
  const double before = ReadProcessStats().open_fds;
  const int fd = open("/dev/null", O_RDONLY);
  EXPECT_EQ(ReadProcessStats().open_fds, before + 1);
  close(fd);
  EXPECT_EQ(ReadProcessStats().open_fds, before);
}

TEST(ProcessStats, TouchedMemoryIsResident) {
  const double before = ReadProcessStats().resident_bytes;
  const std::vector<char> block(64 << 20, 1);
  const ProcessStats after = ReadProcessStats();
  EXPECT_GT(after.resident_bytes, before + (60 << 20));
  EXPECT_GT(after.virtual_bytes, after.resident_bytes);
  EXPECT_EQ(block.back(), 1);
}

TEST(ProcessStats, CpuTimeGoesUpWithWork) {
  const double before = ReadProcessStats().cpu_seconds;
  const std::clock_t start = std::clock();
  while (std::clock() - start < CLOCKS_PER_SEC / 5) {
  }
  EXPECT_GE(ReadProcessStats().cpu_seconds, before + 0.1);
}

TEST(ProcessStats, StartedInThePastFewHoursAndHasThreadsAndALimit) {
  const ProcessStats stats = ReadProcessStats();
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_LE(stats.start_time_seconds, now + 2);
  EXPECT_GT(stats.start_time_seconds, now - 3600);
  EXPECT_GE(stats.threads, 1);
  EXPECT_GT(stats.max_fds, stats.open_fds);
}

TEST(Metrics, ProcessSeriesAreReadAtTheScrape) {
  Metrics metrics;
  const Scraped scraped = ParseScrape(metrics.Scrape());
  EXPECT_GT(scraped.at("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(scraped.at("process_open_fds"), 2);
  EXPECT_EQ(scraped.types.at("process_cpu_seconds_total"), "counter");
}

TEST(Metrics, AWatchedDiskShowsItsSpaceAndAMissingOneNoNumber) {
  Metrics metrics;
  metrics.WatchDisk("/tmp");
  metrics.WatchDisk("/tmp");
  metrics.WatchDisk("/no/such/folder");
  const Scraped s = ParseScrape(metrics.Scrape());
  EXPECT_GT(s.at(R"(stepback_disk_size_bytes{path="/tmp"})"),
            s.at(R"(stepback_disk_free_bytes{path="/tmp"})"));
  EXPECT_TRUE(std::isnan(s.at(R"(stepback_disk_free_bytes{path="/no/such/folder"})")));
  EXPECT_EQ(s.Count("stepback_disk_size_bytes"), 2);
}

// A self-signed certificate that ends at `not_after`.
void WriteCertificate(const std::string& path, int64_t not_after) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  ASN1_TIME_set(X509_getm_notAfter(certificate), not_after);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  FILE* file = std::fopen(path.c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

TEST(CertificateExpiry, IsTheEndOfTheFirstCertificateAndFollowsARotation) {
  const std::string path = ::testing::TempDir() + "/expiry.pem";
  const std::string series = "stepback_tls_certificate_not_after_timestamp_seconds{file=\"" + path + "\"}";
  Metrics metrics;
  metrics.WatchCertificate(path);
  for (const int64_t not_after : {1900000000, 2000000000}) {
    WriteCertificate(path, not_after);
    EXPECT_EQ(*CertificateNotAfter(path), not_after);
    EXPECT_EQ(ParseScrape(metrics.Scrape()).at(series), static_cast<double>(not_after));
  }
}

TEST(CertificateExpiry, NamesTheFileThatIsMissingOrHoldsNoCertificate) {
  const absl::Status missing = CertificateNotAfter("/no/such.pem").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.message().find("/no/such.pem"), absl::string_view::npos);
  const std::string path = ::testing::TempDir() + "/not_a_certificate.pem";
  std::ofstream(path) << "hello\n";
  EXPECT_EQ(CertificateNotAfter(path).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stepback::telemetry
