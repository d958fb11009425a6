#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: tools/packages.sh GROUP...
# Sees to it that the packages of these groups of tools/packages.txt are installed. Installs what is
# missing if it may (root, or sudo that asks no password); else names it and exits 1.
set -eu

list=$(dirname "$0")/packages.txt

wanted() {
    awk -v groups=" $* " '
        /^\[/ { group = substr($0, 2, length($0) - 2); next }
        /^#/ || NF == 0 { next }
        index(groups, " " group " ") { print $1 }' "$list"
}

missing() {
    for package in $(wanted "$@"); do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

if ! command -v dpkg-query >/dev/null; then
    echo "packages: not a Debian system; needed are the programs of these Debian packages:" >&2
    wanted "$@" >&2
    exit 0
fi

# make asks for several groups at once, and apt works for one at a time.
exec 9<"$list"
flock 9

need=$(missing "$@")
[ -n "$need" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    become=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    become="sudo -n"
else
    echo "packages: missing: $need" >&2
    echo "packages: install them as root:  apt-get install --no-install-recommends $need" >&2
    exit 1
fi

echo "packages: installing $need"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { $become env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1; }
# shellcheck disable=SC2086 # one word a package
if ! { apt update && apt install --no-install-recommends $need; }; then
    cat "$log" >&2
    echo "packages: could not install $need" >&2
    exit 1
fi
