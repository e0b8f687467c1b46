// How log lines name keys: by the first half of their SHA-256 sum in hexadecimal digits, so that
// logs hold no data of users, and whoever knows a key finds its lines; or by the key. Thread
// safety: any function, any thread.

#ifndef LARDER_RPC_LOG_KEY_H_
#define LARDER_RPC_LOG_KEY_H_

#include <string_view>

#include "base/log.h"

namespace larder {

// Holds for the whole process; they are hashed until it is called.
void HashKeysInLog(bool hash);

// `key_hash`, empty for an empty key, or `key`.
LogField KeyForLog(std::string_view key);

}  // namespace larder

#endif  // LARDER_RPC_LOG_KEY_H_
