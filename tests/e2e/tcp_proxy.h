// TcpProxy stands between a client and a server on 127.0.0.1 and does to their bytes what a bad
// network does: holds them back, delays them, cuts connections. One thread of its own, at most
// kConnectionsMax connections and kBytesMax bytes held each way of each; a sender beyond that
// waits, as TCP has it. Thread safety: any method, any thread. Nothing but the constructor and the
// destructor blocks.

#ifndef LARDER_TESTS_E2E_TCP_PROXY_H_
#define LARDER_TESTS_E2E_TCP_PROXY_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace larder {

class TcpProxy {
 public:
  static constexpr size_t kConnectionsMax = 200;
  static constexpr size_t kBytesMax = 1 << 20;

  // To `port` of 127.0.0.1, which hears `first` at the begin of every connection.
  explicit TcpProxy(int port, std::string first = "");
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }

  // A partition: no byte passes, new connections are taken and hear nothing. Release lets through
  // what was held, late.
  void Hold();
  // Half of one: what the client says passes, and no answer to it does. Release ends this, too.
  void HoldAnswers();
  void Release();
  // Every byte arrives this much later.
  void Delay(std::chrono::milliseconds delay);
  // Ends all connections; what is held of them is lost. New ones are taken.
  void Cut();

 private:
  using Clock = std::chrono::steady_clock;
  struct Piece {
    Clock::time_point due;
    std::string bytes;
  };
  struct Way {
    int from = -1;
    int to = -1;
    bool ended = false;  // `from` says no more
    size_t held = 0;
    std::deque<Piece> pieces;
  };
  struct Connection {
    Way up;
    Way down;
    bool dead = false;
  };

  void Run();
  void Accept();
  // How long until something is due, answers included or not; -1: nothing is.
  int Wait(bool answers);
  static void Read(Way* way, Clock::time_point due, bool* dead);
  static void Write(Way* way, Clock::time_point now, bool* dead);
  void Wake() const;

  const int target_port_;
  const std::string first_;
  int port_ = 0;
  int listener_ = -1;
  int wake_[2] = {-1, -1};
  // The thread's own.
  std::list<Connection> connections_;

  std::mutex mu_;
  bool holding_ = false;
  bool holding_answers_ = false;
  bool cut_ = false;
  bool stop_ = false;
  std::chrono::milliseconds delay_{0};
  std::thread thread_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_TCP_PROXY_H_
