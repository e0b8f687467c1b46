// PeerTable counts the connections of each address; the empty one is nobody's and may have any
// number. Thread safety: any method, any thread. Memory:
// by the addresses that have connections.

#ifndef LARDER_RPC_PEER_TABLE_H_
#define LARDER_RPC_PEER_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"

namespace larder {

class PeerTable {
 public:
  // False when the host has `most` connections already.
  bool TryAdd(const std::string& host, uint32_t most) {
    if (host.empty()) return true;
    MutexLock lock(&mu_);
    uint32_t& connections = connections_[host];
    if (connections >= most) return false;
    ++connections;
    return true;
  }
  // REQUIRES: it was added.
  void Remove(const std::string& host) {
    if (host.empty()) return;
    MutexLock lock(&mu_);
    const auto it = connections_.find(host);
    if (--it->second == 0) connections_.erase(it);
  }

 private:
  Mutex mu_;
  absl::flat_hash_map<std::string, uint32_t> connections_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_RPC_PEER_TABLE_H_
