#include "tests/unit/core_session_machine.h"

#include <fmt/format.h>

#include <algorithm>

namespace stepback::core_test {

void SessionMachine::Say(const Arrival& push, const std::string& word,
                         std::vector<std::string>* answers) const {
  answers->push_back(fmt::format("{}:{} {}", push.client, push.sequence, word));
}

void SessionMachine::Decide(Client* client, const Arrival& push, const std::string& word,
                            std::vector<std::string>* answers) {
  client->last = push.sequence;
  client->decided[push.sequence] = word;
  Say(push, word, answers);
}

std::string SessionMachine::Touch(const std::string& id, uint64_t epoch, int64_t now) {
  const auto found = clients_.find(id);
  if (found == clients_.end() || epoch > found->second.epoch) return "NO_SESSION";
  Client& client = found->second;
  if (epoch < client.epoch) return "FENCED";
  if (!client.live) return client.ended;
  if (client.lease_end <= now) return "SESSION_EXPIRED";
  client.lease_end = now + lease_;
  return "";
}

std::vector<std::string> SessionMachine::Apply(const Arrival& push, int64_t now) {
  std::vector<std::string> answers = std::exchange(outbox_, {});
  const std::string refusal = Touch(push.client, push.epoch, now);
  Client* client = clients_.contains(push.client) ? &clients_[push.client] : nullptr;
  if (!refusal.empty()) {
    Say(push, refusal, &answers);
  } else if (client->reader) {
    Say(push, "READER_SESSION", &answers);
  } else if (push.sequence == 0) {
    Say(push, "SEQUENCE_INVALID", &answers);
  } else if (push.sequence <= client->last) {
    const bool remembered = client->last - push.sequence < 8;
    Say(push, "duplicate of " + (remembered ? client->decided[push.sequence] : std::string("forgotten")),
        &answers);
  } else if (push.sequence > client->last + 6) {
    Say(push, "SEQUENCE_GAP", &answers);
  } else if (client->held.contains(push.sequence)) {
    // repeated while it waits
  } else if (!push.right_kind) {
    Say(push, "KIND_NOT_ACCEPTED", &answers);
  } else {
    client->held[push.sequence] = push;
    client->held[push.sequence].arrived = now;
    ready_.insert(push.client);
  }
  Settle(now, &answers);
  return answers;
}

std::vector<std::string> SessionMachine::Tick(int64_t now) {
  std::vector<std::string> answers = std::exchange(outbox_, {});
  for (auto& [id, client] : clients_) {
    if (client.live && client.lease_end <= now) End(id, "SESSION_EXPIRED", &answers);
  }
  for (auto& [id, client] : clients_) {
    if (!client.held.empty()) ready_.insert(id);
  }
  Settle(now, &answers);
  return answers;
}

std::optional<uint64_t> SessionMachine::Open(const std::string& id, bool reader, bool attach, int64_t now,
                                             std::string* reason) {
  if (attach) {
    const uint64_t epoch = clients_.contains(id) ? clients_[id].epoch : 0;
    *reason = Touch(id, epoch, now);
    if (!reason->empty()) return std::nullopt;
    return epoch;
  }
  Client& client = clients_[id];
  if (client.quarantined_since && now < *client.quarantined_since + static_cast<int64_t>(quarantine_.seconds)) {
    *reason = "QUARANTINED";
    return std::nullopt;
  }
  if (client.quarantined_since) client.nonfinite = 0;
  client.quarantined_since.reset();
  for (const auto& [sequence, push] : client.held) Say(push, "FENCED", &outbox_);
  client.held.clear();
  client.live = true;
  client.reader = reader;
  client.excused = false;
  client.lease_end = now + lease_;
  return ++client.epoch;
}

void SessionMachine::End(const std::string& id, const std::string& reason,
                         std::vector<std::string>* answers) {
  Client& client = clients_[id];
  client.live = false;
  client.ended = reason;
  for (const auto& [sequence, push] : client.held) Say(push, reason, answers);
  client.held.clear();
}

std::string SessionMachine::Close(const std::string& id, uint64_t epoch, int64_t now,
                                  std::vector<std::string>* answers) {
  const std::string refusal = Touch(id, epoch, now);
  if (!refusal.empty()) return refusal;
  *answers = std::exchange(outbox_, {});
  End(id, "NO_SESSION", answers);
  Settle(now, answers);
  return "";
}

std::string SessionMachine::Evict(const std::string& id, int64_t now, std::vector<std::string>* answers) {
  if (!clients_.contains(id) || !clients_[id].live) return "NO_SESSION";
  *answers = std::exchange(outbox_, {});
  End(id, "FENCED", answers);
  Settle(now, answers);
  return "";
}

void SessionMachine::CountNonfinite(const std::string& id, int64_t now, std::vector<std::string>* answers) {
  Client& client = clients_[id];
  if (++client.nonfinite < quarantine_.after) return;
  client.quarantined_since = now;
  End(id, "QUARANTINED", answers);
}

void SessionMachine::Settle(int64_t now, std::vector<std::string>* answers) {
  for (bool moved = true; moved;) {
    moved = false;
    while (!ready_.empty()) {
      const std::string id = *ready_.begin();
      ready_.erase(id);
      DecideHeads(id, now, answers);
    }
    if (in_round_ > 0 && Complete(now)) {
      EndRound(effective_ > 0);
      moved = true;
    }
  }
}

void SessionMachine::DecideHeads(const std::string& id, int64_t now, std::vector<std::string>* answers) {
  Client& client = clients_[id];
  const bool sync = rounds_.policy == RoundPolicy::kSync;
  while (!client.held.empty()) {
    const Arrival push = client.held.begin()->second;
    client.excused = false;
    if (push.sequence != client.last + 1) return;
    if (sync && Contributed(id)) return;
    const bool earlier_term = push.base.term < 1;
    const int64_t since = client.base_wait.value_or(push.arrived);
    if (push.base.counter > counter_ && earlier_term && now < since + lease_) {
      client.base_wait = since;
      client.excused = true;
      return;
    }
    if (push.base.counter <= counter_ && earlier_term) client.base_wait.reset();
    client.held.erase(client.held.begin());
    const uint64_t bound = *rounds_.max_staleness;
    if (push.base.counter > counter_) {
      Say(push, "RESYNC", answers);
    } else if (!push.finite && push.loss_scale == 1) {
      Decide(&client, push, "NONFINITE", answers);
      CountNonfinite(id, now, answers);
    } else if (!push.finite) {
      Decide(&client, push, "skipped", answers);
      if (!sync) continue;
      if (in_round_++ == 0) first_at_ = now;
      ++round_[id];
    } else if (counter_ - push.base.counter > bound) {
      Decide(&client, push, "STALE_BASE", answers);
    } else {
      client.nonfinite = 0;
      if (in_round_++ == 0) first_at_ = now;
      ++round_[id];
      ++effective_;
      const bool complete = Complete(now);
      Decide(&client, push, complete ? "applied" : "buffered", answers);
      if (complete) EndRound(true);
    }
  }
}

bool SessionMachine::Complete(int64_t now) const {
  if (rounds_.policy == RoundPolicy::kAsync) return true;
  if (rounds_.policy == RoundPolicy::kBuffered) return in_round_ >= rounds_.buffer_pushes;
  if (in_round_ < rounds_.quorum) return false;
  if (waiting_for().empty()) return true;
  return rounds_.deadline_seconds > 0 && now >= first_at_ + static_cast<int64_t>(rounds_.deadline_seconds);
}

void SessionMachine::EndRound(bool commit) {
  if (commit) {
    ++counter_;
    folded_ += effective_;
  }
  round_.clear();
  in_round_ = effective_ = 0;
  for (auto& [id, client] : clients_) {
    if (!client.held.empty()) ready_.insert(id);
  }
}

uint32_t SessionMachine::live_trainers() const {
  return static_cast<uint32_t>(std::count_if(
      clients_.begin(), clients_.end(), [](const auto& c) { return c.second.live && !c.second.reader; }));
}

std::vector<std::string> SessionMachine::waiting_for() const {
  std::vector<std::string> ids;
  for (const auto& [id, client] : clients_) {
    if (client.live && !client.reader && !client.excused && !Contributed(id)) ids.push_back(id);
  }
  return ids;
}

uint64_t SessionMachine::last_sequence(const std::string& id) const {
  const auto found = clients_.find(id);
  return found == clients_.end() ? 0 : found->second.last;
}

}  // namespace stepback::core_test
