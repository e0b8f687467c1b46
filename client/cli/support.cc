// `support`: one file with what somebody needs who is to find out from elsewhere what is wrong: no
// values, no secrets, keys only as hashes. What could not be had is said in it, and why.

#include <fmt/format.h>
#include <openssl/rand.h>
#include <sys/utsname.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/cli/admin_port.h"
#include "client/cli/commands.h"
#include "client/cli/doctor.h"
#include "client/cli/exit_code.h"
#include "client/cli/http.h"
#include "client/cli/info_json.h"
#include "client/cli/redact.h"
#include "client/cli/stats_json.h"
#include "client/cli/tarball.h"

namespace larder::cli {
namespace {

struct Flags {
  std::string out;
  bool with_keys = false;
  std::string ca_file;
  std::string admin;
};

constexpr uint32_t kHotKeys = 100;

std::string Salt() {
  unsigned char bytes[32];
  // Without chance there is no salt, and then no hash says anything: better none than a weak one.
  if (RAND_bytes(bytes, sizeof bytes) != 1) return "";
  return std::string(reinterpret_cast<const char*>(bytes), sizeof bytes);
}

class Support {
 public:
  Support(Session* session, const Flags& flags, std::string salt)
      : session_(session),
        flags_(flags),
        redactor_(flags.with_keys, std::move(salt)),
        now_(absl::Now()) {}

  ExitCode Run() {
    std::vector<std::string> addresses = absl::StrSplit(session_->server, ',');
    for (size_t i = 0; i < addresses.size(); ++i) {
      absl::StripAsciiWhitespace(&addresses[i]);
      Replica(addresses[i], absl::StrCat("replica-", i, "/"), i == 0 ? flags_.admin : "");
    }
    Doctor();
    Client();
    Manifest();
    const absl::StatusOr<std::string> bundle = TarGz(files_, now_);
    if (!bundle.ok()) return session_->Fail(bundle.status());
    return Write(*bundle);
  }

 private:
  struct Part {
    std::string name;
    std::string error;  // empty: it is there
  };

  void Put(const std::string& name, std::string content) {
    files_.push_back({absl::StrCat("larder-support/", name), std::move(content)});
    parts_.push_back({name, ""});
  }
  void Missing(const std::string& name, const absl::Status& status) {
    parts_.push_back({name, redactor_.Text(Told(status))});
  }

  // What one replica tells, as far as it does.
  void Replica(const std::string& address, const std::string& folder, const std::string& admin) {
    const absl::StatusOr<std::unique_ptr<larder::Client>> client =
        Connect(session_->OptionsFor(address, session_->deadline));
    if (!client.ok()) {
      Missing(folder + "info.json", client.status());
      return;
    }
    const absl::StatusOr<ServerInfoResult> info = (*client)->ServerInfo();
    if (!info.ok()) {
      Missing(folder + "info.json", info.status());
      return;
    }
    answered_ = true;
    if (node_.empty()) node_ = info->node;
    Put(folder + "info.json", InfoJson(*info).Text() + "\n");
    if (absl::StatusOr<StatsResult> stats = (*client)->Stats(); stats.ok()) {
      redactor_.Redact(&*stats);
      Put(folder + "stats.json", StatsJson(*stats).Text() + "\n");
    } else {
      Missing(folder + "stats.json", stats.status());
    }
    HotKeysOptions hottest;
    hottest.limit = kHotKeys;
    if (absl::StatusOr<HotKeysResult> hot = (*client)->HotKeys(hottest); hot.ok()) {
      redactor_.Redact(&*hot);
      Put(folder + "hotkeys.json", HotKeysJson(*hot).Text() + "\n");
    } else {
      Missing(folder + "hotkeys.json", hot.status());
    }
    AdminPages(admin.empty() ? DefaultAdmin(address) : admin, folder, *info);
  }

  void AdminPages(const std::string& admin, const std::string& folder,
                  const ServerInfoResult& info) {
    if (absl::Status its_own = CheckAdminOf(admin, info, session_->AdminCall()); !its_own.ok()) {
      Missing(folder + "config.json", its_own);
      Missing(folder + "metrics.txt", its_own);
      return;
    }
    if (const auto config = ReadAdminConfig(admin, session_->AdminCall()); config.ok()) {
      Json json;
      json.Field("version", config->version);
      json.Field("node", config->node);
      json.Array("settings", config->settings, [this](const Setting& setting, Json* object) {
        object->Field("path", setting.path);
        object->Field("value", redactor_.Value(setting));
        object->Field("source", setting.source);
      });
      Put(folder + "config.json", json.Text() + "\n");
    } else {
      Missing(folder + "config.json", config.status());
    }
    if (auto metrics = HttpGet(admin, "/metrics", session_->AdminCall()); metrics.ok()) {
      Put(folder + "metrics.txt", *std::move(metrics));
    } else {
      Missing(folder + "metrics.txt", metrics.status());
    }
  }

  void Doctor() {
    DoctorOptions options;
    options.ca_file = flags_.ca_file;
    options.admin = flags_.admin;
    Findings findings = Examine(*session_, options).findings;
    redactor_.Redact(&findings);
    Put("doctor.json", FindingsJson(findings).Text() + "\n");
    Put("doctor.txt", absl::StrJoin(FindingLines(findings, Level::kOk), "\n") + "\n");
  }

  void Client() {
    utsname machine = {};
    uname(&machine);
    Json json;
    json.Field("larder", LARDER_VERSION);
    json.Field("server", redactor_.Text(session_->server));
    json.Field("system",
               fmt::format("{} {} {}", machine.sysname, machine.release, machine.machine));
    json.Field("time", now_);
    Put("client.json", json.Text() + "\n");
  }

  void Manifest() {
    Json json;
    json.Field("created", now_);
    json.Field("keys", flags_.with_keys ? "as they are" : "hashed, with a salt that is not kept");
    json.Array("parts", parts_, [](const Part& part, Json* object) {
      object->Field("name", part.name);
      object->Field("there", part.error.empty());
      if (!part.error.empty()) object->Field("why_not", part.error);
    });
    files_.insert(files_.begin(), {"larder-support/manifest.json", json.Text() + "\n"});
  }

  ExitCode Write(const std::string& bundle) {
    std::string path = flags_.out;
    if (path == "-") {
      session_->out.Bytes(bundle);
      return answered_ ? kOk : kUnavailable;
    }
    if (path.empty()) {
      // A node may be called anything; a file may not.
      std::string node = node_.empty() ? "unreached" : node_;
      for (char& c : node) {
        if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
      }
      path = absl::StrCat("larder-support-", node.substr(0, 64), "-",
                          absl::FormatTime("%Y%m%dT%H%M%SZ", now_, absl::UTCTimeZone()), ".tar.gz");
    }
    if (absl::Status status = WriteFile(path, bundle); !status.ok()) return session_->Fail(status);
    if (session_->json) {
      Json answer;
      answer.Field("file", path);
      answer.Field("bytes", bundle.size());
      answer.Array("parts", parts_, [](const Part& part, Json* object) {
        object->Field("name", part.name);
        object->Field("there", part.error.empty());
        if (!part.error.empty()) object->Field("why_not", part.error);
      });
      session_->out.Print(answer);
    } else {
      for (const Part& part : parts_) {
        session_->out.Line(part.error.empty()
                               ? absl::StrCat("with    ", part.name)
                               : absl::StrCat("without ", part.name, ": ", Shown(part.error)));
      }
      session_->out.Line(fmt::format("{}: {}; keys {}", path, ShownBytes(bundle.size()),
                                     flags_.with_keys ? "as they are" : "hashed"));
    }
    return answered_ ? kOk : kUnavailable;
  }

  Session* const session_;
  const Flags& flags_;
  const Redactor redactor_;
  const absl::Time now_;
  bool answered_ = false;
  std::string node_;
  std::vector<BundleFile> files_;
  std::vector<Part> parts_;
};

ExitCode RunSupport(Session* session, const Flags& flags) {
  std::string salt = Salt();
  if (salt.empty() && !flags.with_keys)
    return session->Fail(absl::InternalError("there is no randomness to hash keys with"));
  return Support(session, flags, std::move(salt)).Run();
}

}  // namespace

void AddSupport(CLI::App* app, Session* session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = AddCommand(app, session, "support",
                                 "Pack what others need to help, without values or secrets",
                                 [session, flags] { return RunSupport(session, *flags); });
  command
      ->add_option("--out", flags->out,
                   "The file; `-` is stdout; default: larder-support-NODE-TIME.tar.gz")
      ->type_name("FILE");
  command->add_flag("--with-keys", flags->with_keys, "Keys as they are, in place of their hashes");
  command->add_option("--ca", flags->ca_file, "As of doctor")->type_name("FILE");
  AddAdmin(command, &flags->admin);
  // It connects to each server by itself.
  command->parse_complete_callback([session] { session->offline = true; });
}

}  // namespace larder::cli
