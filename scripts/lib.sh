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
