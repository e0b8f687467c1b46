// Threads runs one body on several threads at once, for tests of what threads do to each other.
//   Threads(8, [&](int i) { block.Add(i); }).Join();

#ifndef LARDER_TESTS_BASE_THREADS_H_
#define LARDER_TESTS_BASE_THREADS_H_

#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace larder {

class Threads {
 public:
  // Begins `count` threads. Each calls `body` once, with its number, from 0 up.
  Threads(int count, std::function<void(int)> body) : body_(std::move(body)) {
    threads_.reserve(count);
    for (int i = 0; i < count; ++i) threads_.emplace_back([this, i] { body_(i); });
  }
  ~Threads() { Join(); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  // Waits for the end of all of them.
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  const std::function<void(int)> body_;
  std::vector<std::thread> threads_;
};

}  // namespace larder

#endif  // LARDER_TESTS_BASE_THREADS_H_
