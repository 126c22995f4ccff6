# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the scripts here share. Sourced, never run.
# shellcheck disable=SC2034 # used by those who source it

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
SUITE=${TRESOR_SUITE:-trixie}
CACHE=${TRESOR_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tresor}

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Ends the script before anything was changed: one sentence, with what to do.
refuse() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

# true if version $1 is at least version $2
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# own_namespaces [UNSHARE OPTION ...] COMMAND ...
own_namespaces() { unshare --mount --pid --fork --kill-child --mount-proc "$@"; }

# Runs a command in the tree $TREE, with a clean environment.
in_tree() {
    own_namespaces --root="$TREE" -- env -i PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C \
        DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} \
        ${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} "$@"
}

# The files that Kbuild reads, relative to the checkout; not what a build there may have left.
module_sources() {
    local part parts=()
    for part in Kbuild kmod tests/kmod; do
        [[ ! -e $ROOT/$part ]] || parts+=("$part")
    done
    (cd "$ROOT" && find "${parts[@]}" -type f ! -name '.*' ! -name '*.o' ! -name '*.ko' \
        ! -name '*.mod' ! -name '*.mod.c' ! -name '*.rmeta' ! -name '*_generated.rs' | LC_ALL=C sort)
}

# Copies what differs, and gives it the time of the copy: make then rebuilds just that, whichever
# checkout it came from and however old the files there are.
copy_module_sources() {
    local into=$1 file
    mkdir -p -- "$into"
    touch "$into/.sources"
    module_sources >"$into/.sources.new"
    LC_ALL=C comm -13 "$into/.sources.new" "$into/.sources" |
        while IFS= read -r file; do rm -f -- "$into/$file"; done
    mv "$into/.sources.new" "$into/.sources"
    while IFS= read -r file; do
        cmp -s -- "$ROOT/$file" "$into/$file" || install -D -m 644 -- "$ROOT/$file" "$into/$file"
    done <"$into/.sources"
}
