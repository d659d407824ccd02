#!/bin/sh
# lint.sh PAGE…: what mandoc and groff, by man(1), have to say against these pages. Nothing: status 0.
complaints=$(
  mandoc -T lint -W warning "$@" 2>&1 || echo "mandoc: status $?"
  for page; do
    LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null || echo "man: status $?"
  done
)
[ -z "$complaints" ] || {
  printf '%s\n' "$complaints"
  exit 1
}
