#include "server/core/client_table.h"

#include <algorithm>

namespace stepback {
namespace {

constexpr auto kIdBefore = [](const ClientTable::value_type& entry, std::string_view id) {
  return entry.first < id;
};

}  // namespace

size_t ClientTable::ChunkOf(std::string_view id) const {
  const auto after = std::upper_bound(chunks_.begin(), chunks_.end(), id,
                                      [](std::string_view id, const std::shared_ptr<const Chunk>& chunk) {
                                        return id < chunk->front().first;
                                      });
  return after == chunks_.begin() ? 0 : after - chunks_.begin() - 1;
}

ClientTable::const_iterator ClientTable::find(std::string_view id) const {
  if (chunks_.empty()) return end();
  const auto chunk = chunks_.begin() + ChunkOf(id);
  const auto entry = std::lower_bound((*chunk)->begin(), (*chunk)->end(), id, kIdBefore);
  if (entry == (*chunk)->end() || entry->first != id) return end();
  return {chunk, static_cast<size_t>(entry - (*chunk)->begin())};
}

const ClientRecord* ClientTable::Find(std::string_view id) const {
  const const_iterator found = find(id);
  return found == end() ? nullptr : found->second.get();
}

void ClientTable::insert_or_assign(const std::string& id, mapped_type record) {
  const size_t at = chunks_.empty() ? 0 : ChunkOf(id);
  if (chunks_.empty()) chunks_.push_back(std::make_shared<const Chunk>());
  Chunk entries = *chunks_[at];
  const auto entry = std::lower_bound(entries.begin(), entries.end(), std::string_view(id), kIdBefore);
  if (entry != entries.end() && entry->first == id) {
    entry->second = std::move(record);
  } else {
    entries.emplace(entry, id, std::move(record));
    ++size_;
  }
  Replace(at, std::move(entries));
}

bool ClientTable::emplace(const std::string& id, mapped_type record) {
  if (contains(id)) return false;
  insert_or_assign(id, std::move(record));
  return true;
}

bool ClientTable::erase(std::string_view id) {
  if (!contains(id)) return false;
  const size_t at = ChunkOf(id);
  Chunk entries = *chunks_[at];
  entries.erase(std::lower_bound(entries.begin(), entries.end(), id, kIdBefore));
  --size_;
  Replace(at, std::move(entries));
  return true;
}

void ClientTable::Replace(size_t chunk, Chunk entries) {
  const auto at = chunks_.begin() + chunk;
  if (entries.empty()) {
    chunks_.erase(at);
  } else if (entries.size() <= kChunkEntries) {
    *at = std::make_shared<const Chunk>(std::move(entries));
  } else {
    const auto middle = entries.begin() + entries.size() / 2;
    auto upper = std::make_shared<const Chunk>(std::make_move_iterator(middle),
                                               std::make_move_iterator(entries.end()));
    entries.erase(middle, entries.end());
    *at = std::make_shared<const Chunk>(std::move(entries));
    chunks_.insert(chunks_.begin() + chunk + 1, std::move(upper));
  }
}

}  // namespace stepback
