# What the commands in this folder share. Sourced by them; runs nothing.
set -euo pipefail

green_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
green_build=$green_top/build
# The system's own, also where another python3 comes first in PATH.
green_python=/usr/bin/python3

# Checkouts in different folders share what ccache knows. In CI also with other debug paths, which nobody
# looks at there.
export CCACHE_BASEDIR=$green_top
if [ "${CI-}" = true ]; then export CCACHE_NOHASHDIR=1; fi

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# Debian packages of the named groups of packages.txt that are not installed.
missing_packages() {
  local group package wanted=() status
  for group in "$@"; do
    while read -r package; do wanted+=("$package"); done < <(
      sed -n "/^\[$group\]/,/^\[/p" "$green_top/tools/packages.txt" | grep -E '^[a-z0-9]'
    )
  done
  command -v dpkg-query >/dev/null || die "green's tools are for Debian: dpkg-query is not here"
  status=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
  for package in "${wanted[@]}"; do
    grep -qxF "$package installed" <<<"$status" || echo "$package"
  done | sort -u
}

install_packages() {
  local missing
  missing=$(missing_packages "$@" | tr '\n' ' ')
  missing=${missing% }
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || die "packages are missing; as root: apt-get install $missing"
  say "installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # one word a package
  {
    apt-get -qq -o DPkg::Lock::Timeout=600 update &&
      apt-get -qq -y -o DPkg::Lock::Timeout=600 --no-install-recommends install $missing
  } </dev/null >"$green_build/apt.log" 2>&1 ||
    die "apt-get could not install $missing: $(grep -E '^E:' "$green_build/apt.log" | head -1) (all of it: build/apt.log)"
}

# ensure_venv DIR REQUIREMENTS: a virtual environment of exactly that. Its stamp is written last, so one
# that an interrupted run left half-made is made again.
ensure_venv() {
  local venv=$1 requirements=$2 wanted
  wanted=$("$green_python" -V; cat "$requirements")
  if [ -e "$venv/stamp" ] && [ "$(cat "$venv/stamp")" = "$wanted" ]; then return 0; fi
  say "making ${venv#"$green_top"/}"
  rm -rf "$venv"
  "$green_python" -m venv "$venv" ||
    die "$green_python can't make a virtual environment in $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" \
    >"$venv/pip.log" 2>&1 ||
    die "pip could not install $requirements: $(grep -E '^ERROR' "$venv/pip.log" | tail -1) (network needed once)"
  printf '%s\n' "$wanted" >"$venv/stamp"
}

# build_preset PRESET [TARGET…]
build_preset() {
  local preset=$1 log=$green_build/$1.log
  shift
  if [ ! -e "$green_build/$preset/build.ninja" ]; then
    (cd "$green_top" && cmake --preset "$preset") >"$log" 2>&1 || {
      cat "$log" >&2
      die "configuring $preset failed"
    }
  fi
  (cd "$green_top" && cmake --build --preset "$preset" ${1:+--target "$@"}) >"$log" 2>&1 || {
    grep -vE '^\[[0-9]+/[0-9]+\] [A-Z][a-z]+ing ' "$log" | tail -60 >&2
    die "building $preset failed (all of it: build/$preset.log)"
  }
}

# Debian's nginx, unpacked into build/nginx where it is not installed: installing it would start it, on port 80.
ensure_nginx() {
  local folder=$green_build/nginx
  if PATH=/usr/sbin:/usr/bin:/sbin:$PATH command -v nginx >/dev/null || [ -x "$folder/usr/sbin/nginx" ]; then return 0; fi
  say "unpacking nginx into build/nginx"
  rm -rf "$folder.new"
  mkdir -p "$folder.new"
  (
    cd "$folder.new"
    apt-get -qq download nginx >../nginx.log 2>&1 || {
      [ "$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq download nginx
    } >>../nginx.log 2>&1
    dpkg -x nginx_*.deb .
    usr/sbin/nginx -v 2>>../nginx.log
  ) || die "nginx can't be had ($(tail -1 "$green_build/nginx.log")); apt-get install nginx"
  rm -rf "$folder"
  mv "$folder.new" "$folder"
}
