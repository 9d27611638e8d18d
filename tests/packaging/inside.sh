#!/bin/sh
# SPDX-FileCopyrightText: the pockd authors
# SPDX-License-Identifier: Apache-2.0

# Runs as root in the container that boot.sh boots: installs the packages and
# is a newcomer, then somebody who means ill. TAP on standard output.

set -u

count=0
failed=0

# ok NAME COMMAND...: the command must succeed.
ok()
{
    name=$1
    shift
    count=$((count + 1))
    echo "# $name: $*" >&2
    if "$@" >&2; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name ($?: $*)"
        failed=1
    fi
}

# exits STATUS COMMAND...
exits()
{
    want=$1
    shift
    "$@"
    got=$?
    echo "exit status $got" >&2
    [ $got = "$want" ]
}

prints()
{
    pattern=$1
    shift
    text=$("$@" 2>&1)
    echo "$text" >&2
    echo "$text" | grep -Eq -e "$pattern"
}

anna()
{
    runuser -u anna -- env HOME=/home/anna "$@"
}

ben()
{
    runuser -u ben -- env HOME=/home/ben "$@"
}

# until SECONDS COMMAND...
within()
{
    end=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $end ] || return 1
        sleep 0.2
    done
}

job_is()
{
    "$1" pockctl --json train history --limit 1 | grep -q "\"state\":\"$2\""
}

steps()
{
    "$1" pockctl --json train status | grep -Eq '"step":[1-9]'
}

main_pid()
{
    systemctl show -P MainPID "$1"
}

user_of()
{
    ps -o uid= -p "$1" | tr -d ' '
}

unit_user()
{
    ps -o user:20= -p "$(main_pid "$1")" | tr -d ' '
}

# The newest worker of a unit: worker KIND
worker()
{
    for p in $(pgrep -x pock-worker); do
        grep -q "pock-worker-$1@" "/proc/$p/cgroup" && echo "$p"
    done | tail -n 1
}

works()
{
    [ -n "$(worker "$1")" ]
}

# The scheduling classes of a process's threads, on one line.
classes()
{
    ps -L -o cls= -p "$1" | tr -d ' ' | sort -u | tr '\n' ' '
}

useradd -m -u 1000 anna
useradd -m -u 1001 ben
for who in anna ben; do
    cp /share/*.gguf /home/$who/
    head -n 60 /share/messages.jsonl >/home/$who/messages.jsonl
    chown $who /home/$who/*
    chmod 700 /home/$who
done
model=$(basename /share/*.gguf)

# A newcomer.

ok "the packages install" dpkg -i /share/libpock0_*.deb /share/pockd_*.deb
ok "nothing runs that nobody asked for" exits 1 pgrep -x pockd
ok "a client says that no daemon runs, and what to do" \
    prints 'enable --now pockd@1000.socket' anna pockctl status
ok "and exits with 3" exits 3 anna pockctl status
ok "a socket is enabled" systemctl enable --now pockd@1000.socket
ok "it belongs to its owner alone" \
    prints '^1000:600$' stat -c %u:%a /run/pockd/1000/pockd.sock
ok "status starts the daemon" anna pockctl status
ok "it runs as a user of its own" prints '^pockd-1000$' unit_user pockd@1000
ok "why tells the gates" exits 10 anna pockctl why
ok "a model is added from where the daemon cannot look" \
    anna pockctl model add "/home/anna/$model" --name demo
ok "records are imported" anna pockctl data import /home/anna/messages.jsonl
ok "doctor finds nothing that fails" anna pockctl doctor
ok "the model answers" anna pockctl gen --max-tokens 4 Hello

anna pockctl train now --name night --recipe epochs=1 >&2
ok "training begins when its owner asks" within 60 job_is anna running
ok "it ends with a version" within 120 job_is anna done
ok "which is listed" prints 'night' anna pockctl adapter list

ok "and exported into the owner's home" \
    anna pockctl adapter export night -o /home/anna/mine.gguf
ok "as the owner's file" prints '^1000$' stat -c %u /home/anna/mine.gguf

# Units, as doctor sees them.

ok "doctor knows the units" prints 'ok +units +pockd@1000.socket is enabled' \
    anna pockctl doctor
ok "they are as they came" prints 'ok +unit files +9, as they came' anna pockctl doctor
ok "they score as they should" prints 'ok +sandbox score +exposure' anna pockctl doctor
mkdir -p /etc/systemd/system/pockd@.service.d
printf '[Service]\nNice=1\n' >/etc/systemd/system/pockd@.service.d/mine.conf
ok "systemd was not told of a change" prints 'daemon-reload' anna pockctl doctor
ok "it exits with 0 for a warning" anna pockctl doctor -q
systemctl daemon-reload
ok "an owner's own change is a note" \
    prints 'note +unit files .*changed by .*mine.conf' anna pockctl doctor
rm -r /etc/systemd/system/pockd@.service.d
cp /usr/lib/systemd/system/pock-worker-train@.service /etc/systemd/system/
sed -i s/PrivateNetwork=yes/PrivateNetwork=no/ /etc/systemd/system/pock-worker-train@.service
systemctl daemon-reload
ok "a unit that was replaced is named" \
    prints 'warn +unit files .*/etc/systemd/system/pock-worker-train@.service' \
    anna pockctl doctor
rm /etc/systemd/system/pock-worker-train@.service
systemctl stop pock-worker-tool.socket
systemctl daemon-reload
ok "a worker's socket that is down fails" exits 12 anna pockctl doctor
systemctl start pock-worker-tool.socket
ok "and is well again" anna pockctl doctor -q

# The walls.

ok "another user cannot connect" \
    exits 4 ben pockctl --socket /run/pockd/1000/pockd.sock status
ok "nor read the store" exits 2 ben ls /var/lib/pockd/1000/
ok "nor can its owner, but by asking" exits 2 anna ls /var/lib/pockd/1000/
ok "only the daemons start workers" \
    prints ':660$' stat -c %G:%a /run/pockd/worker/train.sock

anna pockctl train now --recipe epochs=1000 >&2
ok "a long training runs" within 60 steps anna
pid=$(worker serve)
ok "its process is a third user's" exits 1 \
    test "$(user_of "$pid")" = "$(user_of "$(main_pid pockd@1000)")"
ok "it sees no store" exits 2 nsenter -t "$pid" -m ls /var/lib/pockd/1000/
ok "no bus" exits 1 nsenter -t "$pid" -m test -e /run/dbus/system_bus_socket
ok "no network but its own" exits 1 grep -q eth "/proc/$pid/net/dev"
ok "and has no privileges" prints '^CapEff:.0+$' grep CapEff "/proc/$pid/status"

# Two owners, one machine.

ok "a second owner" systemctl enable --now pockd@1001.socket
ok "has a store without records" exits 1 \
    sh -c 'runuser -u ben -- pockctl --json data list | grep -q notebook'
ok "of another user" prints '^pockd-1001$' unit_user pockd@1001
ok "and a model" ben pockctl model add "/home/ben/$model" --name demo
ok "and records" ben pockctl data import /home/ben/messages.jsonl
ben pockctl policy set respect_idle=false psi_cpu_some=100 psi_io_some=100 \
    psi_mem_some=100 >&2
ben pockctl train start --recipe epochs=1000 >&2
ok "waits while the first one trains" prints "another owner's training" ben pockctl why
ok "and does not train" exits 1 job_is ben running
ok "the first one gives up" anna pockctl train cancel
ok "whose worker goes" within 10 test ! -e "/proc/$pid"
ok "then it is the second one's turn" within 60 works train
pid=$(worker train)
ok "in the slice of what is in nobody's way" \
    prints background.slice cat "/proc/$pid/cgroup"
ok "in the idle class, but for who listens for a stop" within 20 \
    prints 'IDL TS|TS IDL' classes "$pid"
ok "it gives up as well" ben pockctl train cancel
ok "and its worker goes" within 10 test ! -e "/proc/$pid"

# What happens.

ok "the daemon hears of sessions" exits 1 \
    sh -c 'journalctl -b -u "pockd@*" | grep bus_lost'
ok "and says so in why" prints dbus anna pockctl why

old=$(main_pid pockd@1000)
kill -9 "$old"
ok "a daemon that was killed comes back" within 20 anna pockctl status
ok "as another process" exits 1 test "$old" = "$(main_pid pockd@1000)"
ok "with what it knew" prints 'night' anna pockctl adapter list
ok "the units score as they should" prints '(0|1)\.[0-9] (SAFE|OK)' \
    systemd-analyze security --no-pager pockd@1000.service
ok "the packages are updated" dpkg -i /share/libpock0_*.deb /share/pockd_*.deb
ok "and the daemon runs again" anna pockctl status
ok "the packages go" dpkg -r pockd
ok "and the daemons with them" exits 1 pgrep -x pockd
ok "the store stays" test -e /var/lib/pockd/1000/data.db
ok "until it is purged" dpkg -P pockd
ok "and nothing is left" exits 1 test -e /var/lib/pockd

echo "1..$count"
exit $failed
