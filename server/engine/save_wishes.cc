#include "server/engine/save_wishes.h"

#include <algorithm>

namespace stepback {
namespace {

bool Contains(const ClientTable& clients, const std::pair<const std::string, uint64_t>& wish) {
  const ClientRecord* const record = clients.Find(wish.first);
  return record != nullptr && record->contained_through() >= wish.second;
}

}  // namespace

void SaveWishes::Add(const std::string& client_id, uint64_t sequence) {
  uint64_t& newest = newest_[client_id];
  newest = std::max(newest, sequence);
}

bool SaveWishes::MetBy(const ClientTable& clients) const {
  return std::any_of(newest_.begin(), newest_.end(),
                     [&](const auto& wish) { return Contains(clients, wish); });
}

void SaveWishes::Drop(const ClientTable& clients) {
  std::erase_if(newest_, [&](const auto& wish) { return Contains(clients, wish); });
}

}  // namespace stepback
