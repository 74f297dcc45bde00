// What a model remembers of its clients for exactly-once (decisions 1): an ordered map from client id to
// record whose copies share everything that did not change. Every version holds a copy, so a commit among
// thousands of clients costs microseconds. A value: copies never see each other's changes; reading one from
// many threads is safe.
//
//   ClientTable table = *version->clients;          // cheap
//   table.insert_or_assign("worker-0", record);
//   for (const auto& [id, record] : table) ...      // ascending ids
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/core/push.h"

namespace stepback {

// Survives sessions, restarts and restores.
struct ClientRecord {
  uint64_t epoch = 0;
  uint64_t last_sequence = 0;       // highest decided
  std::vector<PushAnswer> answers;  // the last 8 decided, ascending sequence
  uint64_t pushes = 0;              // decided ones
  // Models of fragments: ascending numbers up to last_sequence whose pushes are not in the version that this
  // table belongs to, because the rounds that held them were open. Decided, until a recovery from the version
  // has lost them; then they are decided anew.
  std::vector<uint64_t> missing;

  // The highest number whose push, and every one before it, is decided in the version of this table.
  uint64_t contained_through() const { return missing.empty() ? last_sequence : missing.front() - 1; }
};

class ClientTable {
 public:
  using mapped_type = std::shared_ptr<const ClientRecord>;
  using value_type = std::pair<std::string, mapped_type>;

 private:
  // Never empty, ascending, at most kChunkEntries; immutable once a table holds it.
  using Chunk = std::vector<value_type>;
  using Chunks = std::vector<std::shared_ptr<const Chunk>>;
  static constexpr size_t kChunkEntries = 64;

 public:
  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = ClientTable::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = const value_type&;

    const_iterator() = default;
    reference operator*() const { return (**chunk_)[entry_]; }
    pointer operator->() const { return &**this; }
    const_iterator& operator++() {
      if (++entry_ == (*chunk_)->size()) ++chunk_, entry_ = 0;
      return *this;
    }
    const_iterator operator++(int) { return std::exchange(*this, std::next(*this)); }
    friend bool operator==(const const_iterator&, const const_iterator&) = default;

   private:
    friend class ClientTable;
    const_iterator(Chunks::const_iterator chunk, size_t entry) : chunk_(chunk), entry_(entry) {}
    Chunks::const_iterator chunk_;
    size_t entry_ = 0;
  };

  const_iterator begin() const { return {chunks_.begin(), 0}; }
  const_iterator end() const { return {chunks_.end(), 0}; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const_iterator find(std::string_view id) const;
  bool contains(std::string_view id) const { return find(id) != end(); }
  // nullptr when there is no such client.
  const ClientRecord* Find(std::string_view id) const;

  void insert_or_assign(const std::string& id, mapped_type record);
  // As a map's: leaves an entry that is there.
  bool emplace(const std::string& id, mapped_type record);
  bool erase(std::string_view id);

 private:
  // The chunk that holds `id` or would take it; chunks_ is not empty.
  size_t ChunkOf(std::string_view id) const;
  void Replace(size_t chunk, Chunk entries);

  Chunks chunks_;
  size_t size_ = 0;
};

}  // namespace stepback
