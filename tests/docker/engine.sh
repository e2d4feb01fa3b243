#!/usr/bin/env bash
# Runs a command with a Docker engine at hand: tests/docker/engine.sh COMMAND [ARGUMENT...]
#
# An engine that answers already is used and left as it is. Otherwise, as root on Debian, this script
# installs what is missing, starts an engine of its own, runs the command and stops that engine again.
# Each step is skipped where its result is there already, so a second run takes seconds.
#
# The engine of its own has its own socket, data directory and pid file, and touches neither firewall
# nor forwarding: containers reach each other and the ports published on this machine, nothing else.
# It therefore pulls no images. The base image is made from Debian's packages and carries the name the
# Dockerfile asks for; being in the private data directory it is never taken for the real one.
#
# Where no engine can be had, one line says why and the command runs all the same: the tests that need
# an engine skip themselves, or fail where they may not skip (tests/docker/conftest.py).
set -euo pipefail

readonly packages=(docker.io iptables docker-compose mmdebstrap)
readonly state=/var/lib/cqueue-docker-tests
readonly run=/run/cqueue-docker-tests
readonly install_s=600 base_s=600 start_s=60 stop_s=30 lock_s=3600 command_s=3600

say() { echo "engine.sh: $*" >&2; }

run_without_engine() {
    say "no Docker engine: $1"
    [ -z "${started:-}" ] || stop_engine
    exec "${command[@]}" 9>&-
}

answers() { timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

install_packages() {
    local denied=""
    # Debian starts a service as it is installed unless this file says no; the packaged engine would
    # set up the firewall.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        denied=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$denied"
        chmod 755 "$denied"
    fi
    say "installing ${packages[*]} ..."
    local failed=0
    {
        # One package source that does not answer need not be the one that is needed.
        timeout "$install_s" apt-get -q update || true
        DEBIAN_FRONTEND=noninteractive timeout "$install_s" \
            apt-get -q install -y --no-install-recommends "${packages[@]}"
    } >"$state/install.log" 2>&1 </dev/null || failed=1
    [ -z "$denied" ] || rm -f "$denied"
    return "$failed"
}

# The process that the pid file names, unless it is gone or the number now belongs to another program.
engine_pid() {
    local pid
    pid=$(cat "$run/docker.pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 1
    echo "$pid"
}

start_engine() {
    if ! engine_pid >/dev/null; then
        # What a killed engine left behind would stop the next one from starting.
        rm -f "$run/docker.pid" "$run/docker.sock"
        umount --lazy "$run"/exec/netns/* "$state/data" 2>/dev/null || true
        # The label tells the tests that a build has a network only with --network=host.
        setsid dockerd --host "$DOCKER_HOST" --pidfile "$run/docker.pid" --data-root "$state/data" \
            --exec-root "$run/exec" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
            --ip-masq=false --label cqueue.build-network=host \
            >"$state/dockerd.log" 2>&1 </dev/null 9>&- &
    fi
    local deadline=$((SECONDS + start_s))
    until answers; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# What an interrupted run left behind, and images that later builds have replaced a week ago.
remove_leftovers() {
    docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes
    docker network prune --force
    docker volume ls --quiet | xargs --no-run-if-empty docker volume rm --force
    docker image prune --force --filter until=168h
} >/dev/null 2>&1

stop_engine() {
    local pid
    pid=$(engine_pid) || return 0
    remove_leftovers || true
    kill -TERM "$pid" 2>/dev/null || return 0
    local deadline=$((SECONDS + stop_s))
    while engine_pid >/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "the engine did not stop in $stop_s s and was killed"
            kill -KILL "$pid" 2>/dev/null || true
            return 0
        fi
        sleep 0.1
    done
}

make_base_image() {
    local base=$1
    if docker image inspect "$base" >/dev/null 2>&1; then return 0; fi
    say "making the base image $base from Debian's packages ..."
    # pip trusts what this machine trusts: its certificates may be a private authority's.
    # shellcheck disable=SC2016 # mmdebstrap's shell expands $1
    if ! timeout "$base_s" mmdebstrap --quiet --variant=minbase --mode=root \
        --include=python3,python3-venv,python3-pip,ca-certificates \
        --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
        --customize-hook='printf "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n" >"$1/etc/pip.conf"' \
        --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
        --customize-hook='ln -s python3 "$1/usr/bin/python"' \
        bookworm - 2>"$state/base.log" |
        docker import --change 'CMD ["python3"]' - "$base" >>"$state/base.log" 2>&1; then
        # Half an image must not be taken for a whole one next time.
        docker image rm --force "$base" >/dev/null 2>&1 || true
        return 1
    fi
}

if [ $# -eq 0 ]; then
    echo "usage: $0 COMMAND [ARGUMENT...]" >&2
    exit 2
fi
readonly command=("$@")
root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

if [ "${CQUEUE_NO_DOCKER:-}" = 1 ]; then run_without_engine "CQUEUE_NO_DOCKER=1"; fi
if answers; then
    # The Docker SDK knows DOCKER_HOST but not the contexts of the command line.
    DOCKER_HOST=${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}')}
    export DOCKER_HOST
    exec "${command[@]}"
fi
if [ -n "${DOCKER_HOST:-}" ]; then run_without_engine "DOCKER_HOST=$DOCKER_HOST does not answer"; fi
if [ "$(id -u)" != 0 ]; then run_without_engine "none answers, and only root can start one"; fi
if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
    run_without_engine "none answers, and this script can install one on Debian only"
fi

mkdir -p "$state" "$run"
# One run at a time: whoever started the engine stops it, and nobody else may be using it then.
exec 9>"$run/lock"
flock --wait "$lock_s" 9 || run_without_engine "another run has held the engine for $lock_s s"
unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
export DOCKER_HOST=unix://$run/docker.sock

for program in docker dockerd iptables docker-compose mmdebstrap; do
    if ! command -v "$program" >/dev/null; then
        install_packages || run_without_engine "${packages[*]} cannot be installed; see $state/install.log"
        break
    fi
done
started=1
trap stop_engine EXIT
trap 'exit 143' TERM HUP
start_engine || run_without_engine "dockerd did not answer in $start_s s; see $state/dockerd.log"
remove_leftovers || true
base=$(sed -n 's/^FROM \([^ ]*\).*/\1/p;T;q' "$root_dir/Dockerfile")
make_base_image "$base" || run_without_engine "the base image cannot be made; see $state/base.log"

status=0
timeout --foreground --kill-after=60 "$command_s" "${command[@]}" 9>&- || status=$?
exit "$status"
