// absl's durations and times <-> protobuf's.
// Thread safety: any function, any thread.

#ifndef LARDER_CLIENT_SRC_TIME_H_
#define LARDER_CLIENT_SRC_TIME_H_

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace larder::internal {

// Cuts to the range of the message, about 10,000 years either way: the server says what is wrong
// with such a duration.
void ToProto(absl::Duration duration, google::protobuf::Duration* proto);
absl::Duration FromProto(const google::protobuf::Duration& proto);
absl::Time FromProto(const google::protobuf::Timestamp& proto);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_TIME_H_
