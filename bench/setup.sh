# What bench/run, bench/memory and bench/times need: Debian packages, the peers in a virtual environment, green and the
# limit. Sourced by them. What can't be had is told in one line, and only what needs it is left out.
source "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

bench_venv=$green_build/bench-venv
bench_requirements=$green_top/bench/requirements.txt

# The interpreter is a copy: with the system's own, its pages would be shared with whatever else runs
# Python here, and a peer's share of them (PSS) would look smaller than it is.
make_bench_venv() {
  local wanted requirement
  wanted=$("$green_python" -V; cat "$bench_requirements")
  if [ "$(cat "$bench_venv/stamp" 2>/dev/null)" != "$wanted" ]; then
    say "making build/bench-venv (a minute or two)"
    rm -rf "$bench_venv"
    "$green_python" -m venv --copies "$bench_venv" ||
      die "$green_python can't make a virtual environment in $bench_venv"
    printf '%s\n' "$wanted" >"$bench_venv/stamp"
  fi
  if [ -e "$bench_venv/complete" ]; then return 0; fi
  # What could not be had is tried again by the next run.
  local complete=yes
  while read -r requirement; do
    "$bench_venv/bin/python" -m pip install --quiet --disable-pip-version-check "$requirement" \
      </dev/null >>"$bench_venv/pip.log" 2>&1 && continue
    say "pip could not install $requirement: what needs it is left out (build/bench-venv/pip.log)"
    complete=no
  done < <(grep -E '^[A-Za-z]' "$bench_requirements")
  if [ "$complete" = yes ]; then touch "$bench_venv/complete"; fi
}

# prepare_bench ARGUMENT…: those of the command. With --green-bin, green itself is not built.
prepare_bench() {
  local argument green=yes
  for argument in "$@"; do
    case $argument in
      -h | --help) return 0 ;;
      --green-bin | --green-bin=*) green=no ;;
    esac
  done
  "$green_top/tools/setup"
  # The lock of tools/setup: nobody else builds here meanwhile. Nothing started below may keep it.
  exec 9>"$green_build/setup.lock"
  flock 9
  {
    (install_packages bench) || say "going on without"
    command -v wrk >/dev/null || die "wrk puts the load on, and it is not here (Debian package wrk)"
    make_bench_venv
    if [ "$green" = yes ]; then
      say "building green"
      build_preset release greend green-worker
    fi
    (build_preset release green_bench_limit) || say "without the limit: green_bench_limit can't be built"
  } 9>&-
  exec 9>&-
}
