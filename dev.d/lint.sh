# shellcheck shell=bash
# `./dev lint`: every check that does not run larder. Goes on after a finding, so that one run shows them all.
: "${root:?is set by dev, which sources this file}"

# Set by lint from its arguments.
lint_changed=
lint_fix=

# The C++ files of ours, or those that differ from $lint_changed, relative to the root.
lint_sources() {
  local folders=(server client tests bench examples)
  if [[ -n $lint_changed ]]; then
    {
      git diff --name-only --diff-filter=d "$lint_changed" -- "${folders[@]}"
      git ls-files --others --exclude-standard -- "${folders[@]}"
    } | grep -E '\.(h|cc)$' | sort -u
  else
    find "${folders[@]}" -name build -prune -o \( -name '*.h' -o -name '*.cc' \) -print 2>/dev/null | sort
  fi
}

lint_format() {
  local mode=(--dry-run -Werror)
  [[ -z $lint_fix ]] || mode=(-i)
  [[ $# -eq 0 ]] || clang-format-19 "${mode[@]}" "$@"
}

# clang-tidy compiles each file with the flags of the clang preset, -Wall -Wextra -Wthread-safety -Werror, and reports what
# the compiler says beside its own checks. Without precompiled headers, so that a file that forgets an include is found too.
lint_tidy() {
  configure clang -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
  # Only the generated sources are built: whatever else compiles is compiled by clang-tidy.
  ninja -C build/clang -t targets rule CUSTOM_COMMAND | grep '\.pb\.' | xargs ninja -C build/clang >build/lint-proto.log || {
    cat build/lint-proto.log
    return 1
  }
  dev.d/lint-tidy build/clang "$(jobs)" "$@"
}

lint_scripts() {
  local script scripts=()
  while IFS= read -r script; do
    head -n 1 "$script" | grep -qE '^#!.*(bash|/sh)$' && scripts+=("$script")
  done < <(find dev dev.d .ci tests bench k8s client -type f -executable -not -path '*/node_modules/*' 2>/dev/null)
  shellcheck -x "${scripts[@]}" dev.d/*.sh
}

lint_api() { LARDER_SOURCE_DIR=$root tests/proto_lint/run; }

lint() {
  local failed=0 files=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --changed)
        lint_changed=HEAD
        if [[ -n ${2:-} && $2 != -* ]]; then
          lint_changed=$2
          shift
        fi
        ;;
      --fix) lint_fix=1 ;;
      *) usage_error lint "no argument $1" ;;
    esac
    shift
  done
  install_for build test bench lint
  mapfile -t files < <(lint_sources)
  say "format"
  lint_format "${files[@]}" || failed=1
  say "clang and clang-tidy"
  lint_tidy "${files[@]}" || failed=1
  say "scripts"
  lint_scripts || failed=1
  say "API"
  lint_api || failed=1
  [[ $failed -eq 0 ]] || die "lint found something"
  say "lint is clean"
}
