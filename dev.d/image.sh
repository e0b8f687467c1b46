# shellcheck shell=bash
# `./dev image`: builds the container image, with docker or buildah, and looks at the result.
: "${root:?is set by dev, which sources this file}"

# The engine that works here: docker if its daemon answers, else buildah, which needs neither daemon nor runtime.
image_engine() {
  if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    echo docker
  else
    echo buildah
  fi
}

# buildah ARGUMENT... as root, because chroot isolation needs it. Overlay storage cannot stand on every file system: where
# it fails the plain copy driver works, slower.
image_buildah() {
  if [[ -z ${STORAGE_DRIVER:-} ]] && ! as_root buildah info >/dev/null 2>&1; then
    STORAGE_DRIVER=vfs
  fi
  as_root env ${STORAGE_DRIVER:+STORAGE_DRIVER="$STORAGE_DRIVER"} BUILDAH_ISOLATION=chroot buildah "$@"
}

# The mirror from which this machine installs Debian 12.
image_mirror() {
  # shellcheck disable=SC2016  # apt fills these in, not the shell
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 == "bookworm" && $3 == "main" { print $1; exit }'
}

# image_base ENGINE makes the base image larder-base:bookworm out of the machine's apt mirror.
image_base() {
  local engine=$1 mirror work container
  install_for debootstrap
  mirror=$(image_mirror)
  [[ -n $mirror ]] || die "apt knows no Debian 12 mirror on this machine"
  say "making the base image from $mirror"
  work=$(mktemp -d)
  if ! as_root debootstrap --variant=minbase bookworm "$work/root" "$mirror" >build/debootstrap.log 2>&1; then
    tail -n 20 build/debootstrap.log >&2
    as_root rm -rf "$work"
    die "debootstrap failed"
  fi
  # What the mirror has beside the release: updates and, from this machine's own sources, security.
  # shellcheck disable=SC2016
  apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    grep -E ' bookworm(-updates|-security)? main$' | sort -u | as_root tee "$work/root/etc/apt/sources.list" >/dev/null
  # What debian:bookworm-slim leaves out too.
  as_root tar -C "$work/root" --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/info/*' \
    --exclude='./usr/share/locale/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/cache/apt/*' \
    --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf "$work/base.tar" .
  as_root rm -rf "$work/root"
  if [[ $engine == docker ]]; then
    docker import "$work/base.tar" larder-base:bookworm >/dev/null
  else
    container=$(image_buildah from scratch)
    image_buildah add -q "$container" "$work/base.tar" / >/dev/null
    image_buildah config --cmd bash "$container"
    image_buildah commit -q --rm "$container" larder-base:bookworm >/dev/null
  fi
  as_root rm -rf "$work"
}

# The proxy that apt uses here, if any, for the apt inside the build.
image_proxy() {
  local APT_PROXY=
  eval "$(apt-config shell APT_PROXY Acquire::http::Proxy)"
  echo "${http_proxy:-$APT_PROXY}"
}

image() {
  local base='' tag='' engine proxy options=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --base)
        [[ -n ${2:-} ]] || usage_error image "--base needs a value"
        base=$2
        shift
        ;;
      -*) usage_error image "no argument $1" ;;
      *)
        [[ -z $tag ]] || usage_error image "one tag only"
        tag=$1
        ;;
    esac
    shift
  done
  tag=${tag:-larder:dev}
  mkdir -p build
  engine=$(image_engine)
  [[ $engine == docker ]] || install_for buildah
  if [[ $base == debootstrap ]]; then
    image_base "$engine"
    base=larder-base:bookworm
    [[ $engine == docker ]] || base=localhost/$base
  fi
  [[ -z $base ]] || options+=(--build-arg "BASE=$base")
  proxy=$(image_proxy)
  [[ -z $proxy ]] || options+=(--build-arg "http_proxy=$proxy")
  options+=(--build-arg "VERSION=$(sed -n 's/^project(larder VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)")
  options+=(--build-arg "REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)")
  say "building $tag with $engine"
  if [[ $engine == docker ]]; then
    docker build "${options[@]}" -t "$tag" .
  else
    # Docker's format, because the other one has no place for HEALTHCHECK.
    image_buildah bud --format docker --layers "${options[@]}" -t "$tag" .
  fi
  image_check "$engine" "$tag"
}

# image_check ENGINE TAG runs the image and tells what it found.
image_check() {
  local engine=$1 tag=$2 container folder=''
  say "checking $tag"
  if [[ $engine == docker ]]; then
    image_check_docker "$tag"
    return
  fi
  container=$(image_buildah from --pull-never "$tag")
  folder=$(image_buildah mount "$container")
  local user
  user=$(image_buildah inspect --format '{{.Docker.Config.User}}' "$container")
  local failed=0
  as_root unshare --mount "$root/dev.d/image-check" "$folder" "$user" || failed=1
  image_buildah umount "$container" >/dev/null
  image_buildah rm "$container" >/dev/null
  return "$failed"
}

image_check_docker() {
  local tag=$1 container failed=0
  [[ $(docker inspect --format '{{.Config.User}}' "$tag") == 65532:65532 ]] || die "the image runs as another user"
  container=$(docker run -d --read-only --tmpfs /tmp --tmpfs /var/lib/larder:uid=65532 --cap-drop ALL "$tag")
  for ((i = 0; i < 50; i++)); do
    docker exec "$container" larderd healthcheck 2>/dev/null && break
    sleep 0.2
  done
  docker exec "$container" larderd healthcheck || failed=1
  ! docker exec "$container" sh -c 'command -v gcc cc g++ c++ clang ld as make' || failed=1
  docker stop "$container" >/dev/null
  [[ $(docker inspect --format '{{.State.ExitCode}}' "$container") == 0 ]] || failed=1
  docker logs "$container" >build/image.log 2>&1
  docker rm "$container" >/dev/null
  [[ $failed -eq 0 ]] || die "the image does not do what it must; its log is build/image.log"
  say "size $(docker inspect --format '{{.Size}}' "$tag") bytes, user 65532:65532, healthy on a read-only root, no compiler"
}
