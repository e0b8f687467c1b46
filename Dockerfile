# larderd on Debian 12: built in one stage, run in another that holds no compiler, as user 65532 on a read-only root.
# Build it with `./dev image`; BASE may be any image of Debian 12, such as a registry's mirror of this one.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      cmake g++ ninja-build pkgconf protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libgrpc++-dev libabsl-dev \
      libyaml-cpp-dev libcli11-dev libfmt-dev libjemalloc-dev libzstd-dev liblz4-dev librocksdb-dev libhiredis-dev \
      libpq-dev libsqlite3-dev libnghttp2-dev libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY proto proto
COPY server server
COPY client client
RUN cmake --preset release -DLARDER_TESTS=OFF -DLARDER_BENCH=OFF \
 && cmake --build build/release --target larderd larder \
 && strip build/release/bin/larderd build/release/bin/larder

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="larder" \
      org.opencontainers.image.description="A cache service that speaks gRPC" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The shared libraries of larderd and larder; tests/devtool compares this list with what they link.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libgrpc++1.51 libprotobuf32 libabsl20220623 libyaml-cpp0.7 libfmt9 libjemalloc2 libzstd1 liblz4-1 librocksdb7.8 \
      libhiredis0.14 libpq5 libsqlite3-0 libnghttp2-14 libssl3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && mkdir /etc/larder \
 && install -d -o 65532 -g 65532 /var/lib/larder
COPY --from=build /src/build/release/bin/larderd /src/build/release/bin/larder /usr/bin/
# By number: Kubernetes' runAsNonRoot cannot tell what a name stands for.
USER 65532:65532
# Journal and L2. Not a VOLUME: where a volume belongs the one who runs the image mounts it, and an anonymous volume that
# nobody asked for keeps data that nobody finds.
WORKDIR /var/lib/larder
EXPOSE 50051 50052
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["larderd", "healthcheck"]
ENTRYPOINT ["larderd"]
