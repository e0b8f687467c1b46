// Certificates for tests, made with the openssl program.

#ifndef LARDER_TESTS_BASE_CERTIFICATES_H_
#define LARDER_TESTS_BASE_CERTIFICATES_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace larder {

// Certificates and keys, NAME.pem and NAME.key, in a directory of their own. `ca` and `other` sign
// for nobody but themselves. `ca`'s are: `server` (lane.test), `second` (second.test), `client`
// (spiffe://test/client), `named`, which has its name alone, and `both` (dns.test and
// spiffe://test/both).
class Certificates {
 public:
  Certificates() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-lane-tls-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    directory_ = name;
    for (const char* authority : {"ca", "other"}) Make(authority, "");
    const std::string by = ByCa();
    Make("server", by + " -addext subjectAltName=DNS:lane.test");
    Make("named", by);
    Make("both", by + " -addext subjectAltName=DNS:dns.test,URI:spiffe://test/both");
    Make("second", by + " -addext subjectAltName=DNS:second.test");
    Make("client", by + " -addext subjectAltName=URI:spiffe://test/client");
  }
  ~Certificates() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string Path(const std::string& file) const { return directory_ + "/" + file; }
  std::string Text(const std::string& file) const {
    std::ifstream in(Path(file));
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  void Replace(const std::string& file, const std::string& by) const {
    std::filesystem::copy_file(Path(by), Path(file),
                               std::filesystem::copy_options::overwrite_existing);
  }

  // One more; `more` are arguments of `openssl req -x509`.
  void Make(const std::string& name, const std::string& more) const {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
        name + " -keyout " + Path(name + ".key") + " -out " + Path(name + ".pem") + more + " >" +
        Path("log") + " 2>&1";
    if (std::system(command.c_str()) != 0) {  // NOLINT(cert-env33-c): paths of our own
      ADD_FAILURE() << "openssl: " << Text("log");
      std::abort();
    }
  }

  // For Make: signed by `ca`.
  std::string ByCa() const { return " -CA " + Path("ca.pem") + " -CAkey " + Path("ca.key"); }

 private:
  std::string directory_;
};

}  // namespace larder

#endif  // LARDER_TESTS_BASE_CERTIFICATES_H_
