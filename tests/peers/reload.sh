#!/usr/bin/env bash
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# The reload hook against a real llama-server: it runs with an adapter loaded,
# of scale 0; pockd activates the same adapter, and the server must say that
# its scale is 1 now and answer otherwise than before; and after going back to
# the base model 0 and as before. By TCP, then by a Unix socket. ROOT is what
# peer_root.sh makes; needs root. Half a minute.
#
# usage: sudo tests/peers/reload.sh BUILD_DIR ROOT

set -eu
build=$(realpath "$1")
root=$(realpath "$2")
here=$(dirname "$0")
if ! [ -x "$root/usr/bin/llama-server" ]; then
    echo "reload: $root has no llama-server: make it with peer_root.sh"
    exit 77
fi
mkdir -p "$root/data"
dir=$(mktemp -d "$root/data/pockd-reload.XXXXXX")
inside=/data/${dir##*/}
daemon=
server=
cleanup()
{
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    wait
    rm -rf "$dir"
}
trap cleanup EXIT

fail()
{
    echo "reload: $*" >&2
    tail -n 5 "$dir"/*.log >&2
    exit 1
}
# until WHAT COMMAND...: for half a minute
until_true()
{
    local what=$1
    shift
    for _ in $(seq 300); do
        "$@" && return 0
        sleep 0.1
    done
    fail "$what"
}
pockctl() { "$build/clients/pockctl/pockctl" -q "$@"; }

export POCKD_SOCKET=$dir/sock
"$build/daemon/pockd" --user --dir "$dir/state" --socket "$POCKD_SOCKET" 2>"$dir/daemon.log" &
daemon=$!
until_true "pockd does not listen" test -S "$POCKD_SOCKET"
"$build/tests/parity/parity_arch" --write "$dir"
pockctl model add "$dir/llama.gguf" >/dev/null
pockctl adapter import "$dir/llama-lora.gguf" --name mine >/dev/null

start_server() # ARGUMENT...
{
    "$here/peer_root.sh" run "$root" llama-server -m "$inside/llama.gguf" --lora "$inside/llama-lora.gguf" \
        -c 64 -t 1 "$@" >"$dir/server.log" 2>&1 &
    server=$!
}
ask() { python3 "$here/reload_ask.py" "$url" "$@"; }
is_off() { ask off 2>/dev/null && is_scale 0; }
is_scale() { [ "$(ask scale 2>/dev/null)" = "$1" ]; }
check()
{
    pockctl policy set "reload_url=$url" reload_id=0 >/dev/null
    until_true "the server at $url does not answer" is_off
    base=$(ask answer)
    pockctl adapter activate mine:1 --force >/dev/null
    until_true "the server was not told of mine:1" is_scale 1
    with=$(ask answer)
    [ "$base" != "$with" ] || fail "the adapter changes nothing"
    pockctl adapter rollback mine >/dev/null
    until_true "the server was not told of the base model" is_scale 0
    [ "$base" = "$(ask answer)" ] || fail "the base model answers otherwise than before"
    echo "$url: scale 0, 1 and 0, and the answers are those of the model with it and without"
    kill "$server"
    wait "$server" || true
    server=
}

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
start_server --host 127.0.0.1 --port "$port"
check
url=unix:$dir/llama.sock
start_server --host "$inside/llama.sock"
check
