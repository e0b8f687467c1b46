// Loads a gRPC server over plain HTTP/2 with what h2load cannot send. One thread, which costs as
// little as redis-benchmark does.
//
//   larder_raw_load HOST:PORT fill KEYS
//   larder_raw_load HOST:PORT get KEYS CONNECTIONS STREAMS SECONDS
//   larder_raw_load HOST:PORT set KEYS CONNECTIONS RATE SECONDS WARMUP
//   larder_raw_load HOST:PORT load KEYS CONNECTIONS RATE SECONDS WARMUP
//   larder_raw_load HOST:PORT write KEYS CONNECTIONS SECONDS
//   larder_raw_load HOST:PORT[,HOST:PORT...] crowd KEY CALLERS BYTES
//
// `fill` stores the keys 0 to KEYS - 1 with values of 100 bytes. `get` keeps CONNECTIONS x STREAMS
// calls of 100 keys each, drawn anew, under way and reports calls and keys a second. Every answer
// has to be OK and long enough for 100 values. `set` sends RATE Sets a second, whether or not they
// are answered, and reports what is done and what is refused, and how long each took from when it
// should have been sent, but for those of the first WARMUP seconds. `load` does the same with
// GetOrLoad. `write` is CONNECTIONS callers that Set 200 bytes, wait for the answer, and Set again.
// `crowd` makes CALLERS calls of GetOrLoad for one key as fast as they can be sent, 100 on a
// connection, and reports how many were answered with BYTES at least and how long they waited.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/raw_client.h"
#include "bench/report.h"
#include "larder/v1/cache.pb.h"

namespace larder::bench {
namespace {

constexpr int kBatch = 100;
constexpr int kFillBatch = 500;
constexpr size_t kValueBytes = 100;
constexpr size_t kWrittenBytes = 200;
constexpr int kCallersOnOne = 100;
constexpr auto kPatience = std::chrono::seconds(10);

std::string KeyOf(uint64_t id) {
  char text[32];
  std::snprintf(text, sizeof text, "key:%016lx", static_cast<unsigned long>(id));
  return text;
}

// Asks until there are no questions left.
void Run(const std::vector<Address>& to, int connections, int streams, Questions questions) {
  bool answered = false;
  const auto tell = std::move(questions.answered);
  questions.answered = [&](const Call& call) {
    tell(call);
    answered = true;
  };
  Connections all(to, connections, &questions);
  for (int i = 0; i < connections * streams; ++i) all.Next().Ask();
  auto give_up = Clock::now() + kPatience;
  while (all.Turn(give_up) > 0) {
    if (std::exchange(answered, false)) give_up = Clock::now() + kPatience;
    if (Clock::now() > give_up) Broken("no answer in ten seconds");
  }
}

// The same; the calls that were answered, all of them OK and with so many bytes.
uint64_t RunAll(const std::vector<Address>& to, int connections, int streams, Questions questions,
                size_t answer_bytes_min) {
  uint64_t done = 0;
  questions.answered = [&](const Call& call) {
    if (call.status != 0 || call.received < answer_bytes_min) {
      Broken("a call was not answered as it should be");
    }
    ++done;
  };
  Run(to, connections, streams, std::move(questions));
  return done;
}

void Fill(const std::vector<Address>& to, uint64_t keys) {
  uint64_t next = 0;
  Questions questions{"/larder.v1.Cache/BatchSet", [&]() -> std::string {
                        v1::BatchSetRequest request;
                        for (int i = 0; i < kFillBatch && next < keys; ++i, ++next) {
                          v1::BatchSetItem& item = *request.add_items();
                          item.set_key(KeyOf(next));
                          item.set_value(std::string(kValueBytes, 'v'));
                          item.mutable_ttl()->set_seconds(3600);
                        }
                        return request.items().empty() ? std::string() : Framed(request);
                      }};
  const uint64_t done = RunAll(to, 1, 4, std::move(questions), 0);
  if (done != (keys + kFillBatch - 1) / kFillBatch) Broken("not all is stored");
}

void Get(const std::vector<Address>& to, uint64_t keys, int connections, int streams,
         double seconds) {
  std::mt19937_64 random(1);
  const auto begun = Clock::now();
  uint64_t asked = 0;
  bool over = false;
  v1::BatchGetRequest request;
  for (int i = 0; i < kBatch; ++i) request.add_keys();
  Questions questions{"/larder.v1.Cache/BatchGet", [&]() -> std::string {
                        if (++asked % 64 == 0)
                          over = Seconds(Clock::now() - begun).count() > seconds;
                        if (over) return {};
                        for (std::string& key : *request.mutable_keys()) {
                          key = KeyOf(random() % keys);
                        }
                        return Framed(request);
                      }};
  const uint64_t done =
      RunAll(to, connections, streams, std::move(questions), kBatch * kValueBytes);
  const double took = Seconds(Clock::now() - begun).count();
  Report("calls", static_cast<double>(done) / took, "calls/s");
  Report("keys", static_cast<double>(done * kBatch) / took, "keys/s");
}

double Percentile(std::vector<double> millis, size_t percent) {
  if (millis.empty()) return 0;
  std::sort(millis.begin(), millis.end());
  return millis[millis.size() * percent / 100];
}

void Write(const std::vector<Address>& to, uint64_t keys, int connections, double seconds) {
  std::mt19937_64 random(1);
  std::vector<double> millis;
  uint64_t failed = 0;
  v1::SetRequest request;
  request.set_value(std::string(kWrittenBytes, 'v'));
  const auto begun = Clock::now();
  Questions questions{"/larder.v1.Cache/Set",
                      [&]() -> std::string {
                        if (Seconds(Clock::now() - begun).count() > seconds) return {};
                        request.set_key("item:" + std::to_string(random() % keys));
                        return Framed(request);
                      },
                      [&](const Call& call) {
                        millis.push_back(1e3 * Seconds(Clock::now() - call.due).count());
                        failed += call.status == 0 ? 0 : 1;
                      }};
  Run(to, connections, 1, std::move(questions));
  const double took = Seconds(Clock::now() - begun).count();
  Report("sets", static_cast<double>(millis.size()) / took, "sets/s");
  Report("sets_failed", static_cast<double>(failed), "calls");
  Report("sets_p50", Percentile(millis, 50), "ms");
  Report("sets_p99", Percentile(millis, 99), "ms");
}

// Asks at that rate, whatever becomes of the calls.
void Flood(const std::vector<Address>& to, const std::string& path,
           const std::function<std::string()>& next, int connections, double rate, double seconds,
           double warmup) {
  constexpr int kResourceExhausted = 8;
  const auto count = static_cast<uint64_t>(rate * (warmup + seconds));
  const auto begun = Clock::now();
  const auto due = [&](uint64_t i) {
    return begun +
           std::chrono::duration_cast<Clock::duration>(Seconds(static_cast<double>(i) / rate));
  };
  const auto counts = due(static_cast<uint64_t>(rate * warmup));
  std::vector<double> done;
  std::vector<double> refused;
  uint64_t answered = 0;
  uint64_t failed = 0;
  Questions questions{path, next,
                      [&](const Call& call) {
                        const auto now = Clock::now();
                        const double millis = 1e3 * Seconds(now - call.due).count();
                        ++answered;
                        if (call.status == 0) {
                          if (call.due >= counts) done.push_back(millis);
                        } else if (call.status == kResourceExhausted) {
                          if (call.due >= counts) refused.push_back(millis);
                        } else {
                          ++failed;
                        }
                      },
                      /*asks_again=*/false};
  Connections all(to, connections, &questions);
  for (uint64_t i = 0; i < count;) {
    for (; i < count && due(i) <= Clock::now(); ++i) all.Next().Ask(due(i));
    all.Turn(i < count ? due(i) : Clock::now());
  }
  const double took = Seconds(Clock::now() - counts).count();
  const auto give_up = Clock::now() + kPatience;
  while (all.Turn(give_up) > 0 && Clock::now() < give_up) {
  }
  Report("done", static_cast<double>(done.size()) / took, "calls/s");
  Report("refused", static_cast<double>(refused.size()) / took, "calls/s");
  Report("failed", static_cast<double>(failed), "calls");
  Report("unanswered", static_cast<double>(count - answered), "calls");
  Report("done_p50", Percentile(done, 50), "ms");
  Report("done_p99", Percentile(done, 99), "ms");
  Report("refused_p50", Percentile(refused, 50), "ms");
  Report("refused_p99", Percentile(refused, 99), "ms");
}

void Set(const std::vector<Address>& to, uint64_t keys, int connections, double rate,
         double seconds, double warmup) {
  std::mt19937_64 random(1);
  v1::SetRequest request;
  request.set_value(std::string(kValueBytes, 'v'));
  request.mutable_ttl()->set_seconds(3600);
  const auto next = [&] {
    request.set_key(KeyOf(random() % keys));
    return Framed(request);
  };
  Flood(to, "/larder.v1.Cache/Set", next, connections, rate, seconds, warmup);
}

void Load(const std::vector<Address>& to, uint64_t keys, int connections, double rate,
          double seconds, double warmup) {
  std::mt19937_64 random(std::random_device{}());
  v1::GetOrLoadRequest request;
  const auto next = [&] {
    request.set_key("item:" + std::to_string(random() % keys));
    return Framed(request);
  };
  Flood(to, "/larder.v1.Cache/GetOrLoad", next, connections, rate, seconds, warmup);
}

void Crowd(const std::vector<Address>& to, const std::string& key, int callers, size_t bytes) {
  std::vector<double> millis;
  uint64_t failed = 0;
  v1::GetOrLoadRequest request;
  request.set_key(key);
  const std::string body = Framed(request);
  Questions questions{"/larder.v1.Cache/GetOrLoad", [&] { return body; },
                      [&](const Call& call) {
                        millis.push_back(1e3 * Seconds(Clock::now() - call.due).count());
                        failed += call.status == 0 && call.received >= bytes ? 0 : 1;
                      },
                      /*asks_again=*/false};
  Connections all(to, (callers + kCallersOnOne - 1) / kCallersOnOne, &questions);
  for (int asked = 0; asked < callers;) {
    Connection& one = all.Next();
    for (int i = 0; i < kCallersOnOne && asked < callers; ++i, ++asked) one.Ask();
    one.Write();
  }
  const auto give_up = Clock::now() + kPatience;
  while (all.Turn(give_up) > 0 && Clock::now() < give_up) {
  }
  Report("answered", static_cast<double>(millis.size() - failed), "calls");
  Report("p1", Percentile(millis, 1), "ms");
  Report("p50", Percentile(millis, 50), "ms");
  Report("p99", Percentile(millis, 99), "ms");
}

int Main(const std::vector<std::string>& args) {
  if (args.size() < 3) Broken("see the head of raw_load.cc");
  const std::vector<Address> to = AddressesOf(args[0]);
  if (args[1] == "crowd" && args.size() == 5) {
    Crowd(to, args[2], std::atoi(args[3].c_str()), std::strtoull(args[4].c_str(), nullptr, 10));
    return 0;
  }
  const uint64_t keys = std::strtoull(args[2].c_str(), nullptr, 10);
  if (keys == 0) Broken("no keys");
  if (args[1] == "fill" && args.size() == 3) {
    Fill(to, keys);
  } else if (args[1] == "get" && args.size() == 6) {
    Get(to, keys, std::atoi(args[3].c_str()), std::atoi(args[4].c_str()),
        std::atof(args[5].c_str()));
  } else if (args[1] == "set" && args.size() == 7) {
    Set(to, keys, std::atoi(args[3].c_str()), std::atof(args[4].c_str()),
        std::atof(args[5].c_str()), std::atof(args[6].c_str()));
  } else if (args[1] == "load" && args.size() == 7) {
    Load(to, keys, std::atoi(args[3].c_str()), std::atof(args[4].c_str()),
         std::atof(args[5].c_str()), std::atof(args[6].c_str()));
  } else if (args[1] == "write" && args.size() == 5) {
    Write(to, keys, std::atoi(args[3].c_str()), std::atof(args[4].c_str()));
  } else {
    Broken("see the head of raw_load.cc");
  }
  return 0;
}

}  // namespace
}  // namespace larder::bench

int main(int argc, char** argv) { return larder::bench::Main({argv + 1, argv + argc}); }
