#include "client/src/time.h"

#include <algorithm>

namespace larder::internal {

void ToProto(absl::Duration duration, google::protobuf::Duration* proto) {
  const absl::Duration most = absl::Seconds(int64_t{315'576'000'000});
  duration = std::clamp(duration, -most, most);
  proto->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  proto->set_nanos(
      static_cast<int32_t>(absl::IDivDuration(duration, absl::Nanoseconds(1), &duration)));
}

absl::Duration FromProto(const google::protobuf::Duration& proto) {
  return absl::Seconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

absl::Time FromProto(const google::protobuf::Timestamp& proto) {
  return absl::FromUnixSeconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

}  // namespace larder::internal
