// The versions that readers may see: the newest one, and older ones that somebody still holds, at most
// `max_live_versions` in all. One more, and the readers of the oldest are told that it is gone (decisions 5).
// Also how far durability has come, which every answer to a worker carries.
//
// The model's strand publishes; anybody reads, without waiting for it. One mutex, held for a pointer's copy.
//
//   published->Publish(version);
//   std::shared_ptr<Pin> pin = published->PinNewest();
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/differences.h"
#include "server/engine/engine.h"
#include "server/engine/live_version.h"

namespace stepback {

class Published;

// A reader's hold on one version.
class Pin final : public PinnedVersion {
 public:
  Pin(std::shared_ptr<Published> published, std::shared_ptr<LiveVersion> live);
  ~Pin() override;

  const ModelVersion& version() const override { return *live_->version(); }
  bool revoked() const override { return revoked_.load(std::memory_order_acquire); }
  bool durable() const override;
  void OnRevoked(std::function<void()> callback) override;

  const std::shared_ptr<LiveVersion>& live() const { return live_; }
  absl::Status Gone() const;  // ABORTED(VERSION_GONE)

 private:
  friend class Published;
  void Revoke();

  const std::shared_ptr<Published> published_;
  const std::shared_ptr<LiveVersion> live_;
  std::atomic<bool> revoked_{false};
  Mutex mu_;
  std::function<void()> on_revoked_ GUARDED_BY(mu_);
};

class Published : public std::enable_shared_from_this<Published> {
 public:
  Published(FormMemory memory, uint32_t max_live_versions)
      : memory_(std::move(memory)), max_live_versions_(max_live_versions), differences_(memory_) {}

  void Publish(std::shared_ptr<const ModelVersion> version);
  std::shared_ptr<Pin> PinNewest();
  std::shared_ptr<LiveVersion> newest() const;
  size_t live_count() const;

  Differences& differences() { return differences_; }

  // `version`, with the client table `clients`, is on disk.
  void SetDurable(Version version, std::shared_ptr<const ClientTable> clients);
  Version durable() const;
  uint64_t DurableSequence(const std::string& client_id) const;

 private:
  friend class Pin;
  struct Entry {
    std::weak_ptr<LiveVersion> live;
    std::map<const Pin*, std::weak_ptr<Pin>> pins;
  };
  void Forget(const Pin* pin);
  // The pins of the oldest versions beyond the bound; those versions are not listed any more.
  std::vector<std::shared_ptr<Pin>> TakeExcess() REQUIRES(mu_);

  const FormMemory memory_;
  const uint32_t max_live_versions_;
  Differences differences_;
  mutable Mutex mu_;
  std::shared_ptr<LiveVersion> newest_ GUARDED_BY(mu_);
  std::list<Entry> live_ GUARDED_BY(mu_);  // oldest first; the last one is the newest
  Version durable_ GUARDED_BY(mu_);
  std::shared_ptr<const ClientTable> durable_clients_ GUARDED_BY(mu_);
};

}  // namespace stepback
