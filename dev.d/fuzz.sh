# shellcheck shell=bash
# `./dev fuzz`: runs the fuzzers of tests/fuzz for a while, each with a corpus that grows from run to run.
: "${root:?is set by dev, which sources this file}"

# At most a day: a run that nobody watches has to end.
fuzz_seconds_max=86400

fuzz_names() {
  local source
  for source in tests/fuzz/*_fuzz.cc; do
    basename "$source" _fuzz.cc
  done
}

# fuzz_one NAME SECONDS BIN. What it finds, and all it has to say, is in build/fuzz/found and build/fuzz/NAME.log.
fuzz_one() {
  local name=$1 seconds=$2 bin=$3 corpus=build/fuzz/corpus/$1 found=build/fuzz/found log=build/fuzz/$1.log code=0 input
  mkdir -p "$corpus" "$found"
  say "$name: $seconds s"
  ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1} \
    "$bin/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/$name-" "$corpus" >"$log" 2>&1 </dev/null || code=$?
  if [[ $code -eq 0 ]]; then
    echo "$name: nothing found; $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, $(
      find "$corpus" -type f | wc -l) inputs in $corpus"
    return 0
  fi
  tail -n 40 "$log" >&2
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  if [[ -n $input ]]; then
    say "$name found $root/$input; again: $bin/fuzz_$name $root/$input"
  else
    say "$name ended with exit code $code; see $root/$log"
  fi
  return 1
}

fuzz() {
  local name seconds=60 failed=0 names=()
  mapfile -t names < <(fuzz_names)
  if [[ $# -gt 0 && ! $1 =~ ^[0-9]+$ ]]; then
    printf '%s\n' "${names[@]}" | grep -xF -e "$1" >/dev/null || usage_error fuzz "no fuzzer $1; there are: ${names[*]}"
    names=("$1")
    shift
  fi
  if [[ $# -gt 0 ]]; then
    seconds=$1
    shift
  fi
  [[ $# -eq 0 && $seconds =~ ^[1-9][0-9]{0,4}$ && $seconds -le $fuzz_seconds_max ]] ||
    usage_error fuzz "SECONDS is a number from 1 to $fuzz_seconds_max"
  install_for build fuzz
  configure fuzz
  compile fuzz "${names[@]/#/fuzz_}" >&2
  for name in "${names[@]}"; do
    fuzz_one "$name" "$seconds" "$root/build/fuzz/bin" || failed=1
  done
  return "$failed"
}
