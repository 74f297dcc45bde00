// Pushes behind which their client has no room for more that are not on disk (durability ROUND,
// PushHeader.save_soon): a snapshot is due as soon as a version contains one of them. One per client, the
// newest. Only on the model's strand.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "server/core/client_table.h"

namespace stepback {

class SaveWishes {
 public:
  void Add(const std::string& client_id, uint64_t sequence);
  // Of a client that has left, or has nothing to wait for any more.
  void Forget(const std::string& client_id) { newest_.erase(client_id); }
  // Whether the version with these clients contains one.
  bool MetBy(const ClientTable& clients) const;
  // Those that this version contains: it is being saved.
  void Drop(const ClientTable& clients);

 private:
  std::map<std::string, uint64_t> newest_;  // sequence by client id
};

}  // namespace stepback
