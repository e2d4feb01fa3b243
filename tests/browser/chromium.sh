#!/usr/bin/env bash
# Sees to it that `chromium` is there: as root on Debian it is installed, elsewhere one line says what is missing.
set -euo pipefail

readonly install_s=600

fail() {
    echo "chromium.sh: $1" >&2
    exit 1
}

if command -v chromium >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    fail "no chromium: install it (Debian: apt-get install chromium) so that \`chromium\` is found in PATH"
fi

log=$(mktemp -t cqueue-chromium.XXXXXX)
echo "chromium.sh: installing chromium ..." >&2
{
    # One package source that does not answer need not be the one that is needed.
    timeout "$install_s" apt-get -q update || true
    DEBIAN_FRONTEND=noninteractive timeout "$install_s" \
        apt-get -q -o DPkg::Lock::Timeout="$install_s" install -y chromium
} >"$log" 2>&1 </dev/null || fail "chromium cannot be installed; see $log"
rm -f "$log"
command -v chromium >/dev/null || fail "chromium was installed and is not in PATH"
