// Redactor takes out of texts what must not leave the house: secrets, values, and keys. What it is
// not sure of it takes out. Thread safety: none needed after the construction.

#ifndef LARDER_CLIENT_CLI_REDACT_H_
#define LARDER_CLIENT_CLI_REDACT_H_

#include <string>
#include <vector>

#include "client/cli/admin_port.h"
#include "client/cli/doctor_checks.h"
#include "larder/stats.h"

namespace larder::cli {

class Redactor {
 public:
  // `with_keys`: keys stay as they are. `salt` goes into the hashes of keys: the same key has the
  // same hash within a bundle, and nobody can find the key by trying, since the salt is not told.
  Redactor(bool with_keys, std::string salt) : with_keys_(with_keys), salt_(std::move(salt)) {}

  // `key#` and 16 hexadecimal digits.
  std::string Key(const std::string& key) const;
  // A sentence of a server: passwords in URLs, what stands in quotation marks, and what databases
  // tell of rows.
  std::string Text(const std::string& text) const;
  // A setting's value.
  std::string Value(const Setting& setting) const;

  void Redact(StatsResult* stats) const;
  void Redact(HotKeysResult* hot) const;
  void Redact(Findings* findings) const;

 private:
  const bool with_keys_;
  const std::string salt_;
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_REDACT_H_
