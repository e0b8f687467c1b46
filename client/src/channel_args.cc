#include "client/src/channel_args.h"

#include "client/src/keepalive.h"

namespace larder::internal {

grpc::ChannelArguments ChannelArgs(const ClientOptions& options) {
  grpc::ChannelArguments args;
  const int message_bytes = static_cast<int>(options.message_bytes_max);
  args.SetMaxReceiveMessageSize(message_bytes);
  args.SetMaxSendMessageSize(message_bytes);
  args.SetUserAgentPrefix(options.user_agent.empty() ? "larder-cpp/" LARDER_VERSION
                                                     : options.user_agent);
  if (!options.tls.server_name.empty()) args.SetSslTargetNameOverride(options.tls.server_name);
  // The CallRunner repeats calls; gRPC doing it too would multiply the attempts.
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // gRPC's defaults let a client wait up to two minutes before it tries to connect again.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Finds out in half a minute that a peer has vanished without a word, while calls are under way.
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
              static_cast<int>(absl::ToInt64Milliseconds(kKeepaliveTime)));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
              static_cast<int>(absl::ToInt64Milliseconds(kKeepaliveTimeout)));
  // Clients in one process do not share a connection and its state of backing off.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A service config from DNS must not change what the options say.
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  return args;
}

}  // namespace larder::internal
