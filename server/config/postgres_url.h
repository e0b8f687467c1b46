// What can be told of a PostgreSQL connection string without libpq. Thread safety: pure functions.

#ifndef LARDER_CONFIG_POSTGRES_URL_H_
#define LARDER_CONFIG_POSTGRES_URL_H_

#include <string>

namespace larder {

// Whether a url (postgresql://user:password@host/database) or a list of keywords (host=a
// password=b) has a password in it, that of a key included.
bool HoldsPassword(const std::string& url);

}  // namespace larder

#endif  // LARDER_CONFIG_POSTGRES_URL_H_
