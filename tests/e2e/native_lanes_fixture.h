// Two servers of the same configuration, to which the same is done: to one over its reference lane,
// to the other over its native lane. What came back is compared as it stands on the wire, but for
// what time and chance put into it. Thread safety: none, but for Call and ReadStream of
// NativeLanesTest, which any thread may use.

#ifndef LARDER_TESTS_E2E_NATIVE_LANES_FIXTURE_H_
#define LARDER_TESTS_E2E_NATIVE_LANES_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "tests/e2e/server_process.h"

namespace larder {

// What the answer of one lane comes down to.
struct Outcome {
  int code = 0;
  std::string message;
  // As they are: of `details`, the bytes of grpc-status-details-bin.
  std::string details;
  std::string initial_metadata;
  std::string trailing_metadata;
  // See ShapeOf.
  std::vector<std::string> messages;
};
// What differs first, for people; empty when nothing does.
std::string DifferenceOf(const Outcome& reference, const Outcome& native);

// The fields of a serialized message in the order in which they are on the wire, those that it has
// twice or that nobody knows included: number and value of each, and of what differs between two
// runs of the same calls only that it is there.
std::string ShapeOf(const std::string& bytes, const google::protobuf::Descriptor* type);

// Random requests of any type, most of them nearly right.
class RandomRequests {
 public:
  explicit RandomRequests(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t end) { return random_() % end; }
  void Fill(google::protobuf::Message* message);
  // A request of that type, serialized; sometimes with a byte that is wrong, or cut. Where it asks
  // to wait for others, it is for no longer than some milliseconds.
  std::string Bytes(const google::protobuf::Descriptor* type);

 private:
  std::string TextFor(const std::string& name);
  void FillDuration(const std::string& name, google::protobuf::Message* duration);
  void Set(google::protobuf::Message* message, const google::protobuf::FieldDescriptor* field);

  std::mt19937_64 random_;
};

// A call before it is made.
struct LaneCall {
  std::string path;
  std::string request;
  const google::protobuf::Descriptor* answer = nullptr;  // null: `messages` tells sizes
  std::map<std::string, std::string> metadata = {};
};

LaneCall CallOf(const google::protobuf::MethodDescriptor* method, std::string request);
// Of "Cache.Get", say.
LaneCall CallOf(const std::string& method, const google::protobuf::Message& request);
// Of both services, in the order of their declaration.
std::vector<const google::protobuf::MethodDescriptor*> MethodsOf(bool streams);

class NativeLanesTest : public testing::Test {
 protected:
  struct Lane {
    std::string name;
    ServerProcess server;
    std::shared_ptr<grpc::Channel> channel;

    Lane(std::string lane, const std::vector<std::string>& args);
    int port() const;
  };

  explicit NativeLanesTest(const std::vector<std::string>& reference_args = {},
                           const std::vector<std::string>& native_args = {});
  void SetUp() override;

  static std::unique_ptr<grpc::ClientContext> NewContext(const LaneCall& call);
  // Unary. The bytes of the answer in `raw`, unless null.
  static Outcome Call(const Lane& lane, const LaneCall& call, std::string* raw = nullptr);
  // Reads at most `most` messages, then gives the call up, of which code -1 tells.
  static Outcome ReadStream(const Lane& lane, const LaneCall& call, size_t most);
  // Fills in what is told when a call is over.
  static void Conclude(const grpc::Status& status, const grpc::ClientContext& context,
                       Outcome* outcome);

  // Makes the call on both lanes, which has to come to the same. What came of it.
  Outcome Compare(const LaneCall& call);
  Outcome CompareStreams(const LaneCall& call, size_t most);
  // With requests that differ; the same has to come of them. The bytes of the answers in `raw`.
  Outcome Compare(const LaneCall& to_reference, const LaneCall& to_native,
                  std::string* raw_reference, std::string* raw_native);

  Lane reference_;
  Lane native_;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_NATIVE_LANES_FIXTURE_H_
