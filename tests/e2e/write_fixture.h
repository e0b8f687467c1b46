// Databases whose rows tests of writes look at, and what else these need beside a larderd. Thread
// safety: Documents' methods from any thread, the rest none.

#ifndef LARDER_TESTS_E2E_WRITE_FIXTURE_H_
#define LARDER_TESTS_E2E_WRITE_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/e2e/fleet_fixture.h"

namespace larder {

// A table of documents with a version guard, and a table of each effect that a write had on it, in
// their order. The database refuses the body `poison`, and a removed row stays with its version.
class Documents {
 public:
  struct Row {
    std::string body;
    bool removed = false;
    uint64_t version = 0;
  };

  virtual ~Documents() = default;

  // YAML of the field `origins.db`, and of a type's `sql`.
  virtual std::string Origin() const = 0;
  virtual std::string Sql() const = 0;

  virtual void Run(const std::string& sql) const = 0;
  // The first column of the first row; empty when there is none.
  virtual std::string Ask(const std::string& sql) const = 0;
  int64_t Count(const std::string& sql) const;

  std::optional<Row> Of(const std::string& key) const;
  // The body; `-` where the row is removed, empty where there is none.
  std::string Body(const std::string& key) const;
  // Effects on the key.
  int64_t Effects(const std::string& key) const;
  // Effects of a version that had one before, or that came after one of a newer version.
  int64_t WrongEffects() const;
};

// In the PostgreSQL server that the tests of this binary share; its tables are made anew. While the
// row `on` is in the table `busy`, it answers that the body `later` has to wait.
std::unique_ptr<Documents> NewPostgresDocuments();
// In a file of its own.
std::unique_ptr<Documents> NewSqliteDocuments();

// YAML of an origin that is that server; the password goes into a file in `folder`.
std::string SharedPostgresOrigin(const std::string& folder);

// A configuration with the types `through`, `invalidate`, `around` and `behind`, whose keys begin
// with their names and a colon. `behind` is YAML of fields of the last one's `write`; `more` that
// of further sections.
std::string WritesConfig(const Documents& documents, const std::string& data,
                         const std::string& behind = "", const std::string& more = "");

// Calls of one replica, with what they answer in a word or two: `ok`, or the reason of the error,
// or of why it was not stored.
class Writer {
 public:
  explicit Writer(Replica* replica) : replica_(replica) {}

  std::string Set(const std::string& key, const std::string& value, double seconds = 5);
  // The same with all that a request can say; the version that it was stored with in `version`.
  std::string Set(const v1::SetRequest& request, uint64_t* version, double seconds = 5);
  std::string Delete(const std::string& key, double seconds = 5);
  // Waits until the origin has all that was written before.
  std::string Flush(double seconds = 15, const std::string& type = "");
  std::string Pause();
  std::string Resume();
  v1::JournalStats Journal();
  // Of the error that came last.
  const grpc::Status& status() const { return status_; }

 private:
  std::string Shown(const grpc::Status& status);

  Replica* const replica_;
  grpc::Status status_;
};

// Runs the program `larder` against the replica; what it printed, and how it ended.
struct CliEnded {
  int exit_code = -1;
  std::string out;
};
CliEnded RunLarder(const Replica& replica, const std::string& arguments);

}  // namespace larder

#endif  // LARDER_TESTS_E2E_WRITE_FIXTURE_H_
