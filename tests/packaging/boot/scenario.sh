#!/usr/bin/env bash
# What happens to a host that installs the package, from the installation to the purge. Runs as root inside the
# container that tests/packaging/boot.sh boots, with the files of this folder and the packages in /check.
#
#   scenario.sh deb|rpm RELEASE_1_PACKAGE RELEASE_2_PACKAGE
#
# Each line that begins with "ok" is something that was seen. The first that is not so ends it.
set -euo pipefail

kind=$1 first=$2 second=$3
unit='tunnel-client@prod.service'
stdio='tunnel-client-stdio@stdio.service'
tunnel=tunnel_0123456789abcdefghijklmnopqrstuv
key=sk-boot-$(cat /proc/sys/kernel/random/uuid)

# ok TEXT COMMAND...: the command has to succeed.
ok() {
    local text=$1
    shift
    if "$@" >/check/last 2>&1; then
        echo "ok    $text"
    else
        echo "FAIL  $text: $*"
        sed 's/^/      /' /check/last
        exit 1
    fi
}

# no TEXT COMMAND...: the command has to fail.
no() {
    local text=$1
    shift
    if "$@" >/check/last 2>&1; then
        echo "FAIL  $text: $*"
        sed 's/^/      /' /check/last
        exit 1
    fi
    echo "ok    $text"
}

# same TEXT WANTED SEEN
same() {
    ok "$1: $2" test "$2" = "$3"
}

# shellcheck disable=SC2317 # called by the trap
ended() {
    local status=$?
    if ((status)); then
        echo "-- the journal's end:"
        journalctl --no-pager --output=short-monotonic --unit="tunnel-client*" --lines=60 | sed 's/^/      /'
    fi
    exit "$status"
}
trap ended EXIT

install_package() {
    case $kind in
        deb) apt-get --quiet --yes install "$1" ;;
        rpm) rpm "${rpm_words[@]}" --upgrade "$1" ;;
    esac
}

remove_package() {
    case $kind in
        deb) apt-get --quiet --yes remove tunnel-client ;;
        rpm) rpm "${rpm_words[@]}" --erase tunnel-client ;;
    esac
}

# Debian's rpm wants to be told that it is meant; its database knows no /bin/sh.
rpm_words=(--force-debian --nodeps)

property() {
    systemctl show --value --property "$2" "$1"
}

# The names of instances in this state, on one line.
instances() {
    systemctl list-units --all --plain --no-legend --state="$1" 'tunnel-client@*' 'tunnel-client-stdio@*' |
        awk '{ print $1 }' | xargs
}

links() {
    find /etc/systemd/system -name 'tunnel-client*' | sort | xargs
}

call() {
    python3 /check/plane.py call "$plane" "$@"
}

profile() {
    cat > "/etc/tunnel-client/$1.yaml"
    install -m 0600 /dev/null "/etc/tunnel-client/$1.key"
    echo "$key" > "/etc/tunnel-client/$1.key"
}

peers() {
    echo "$key" > /run/check.key
    mkdir -p /run/check
    systemd-run --quiet --unit=check-plane python3 /check/plane.py serve /run/check.key /run/check
    local waited
    for ((waited = 0; waited < 100; waited++)); do
        [[ -s /run/check/plane.url && -s /run/check/mcp.url ]] && break
        sleep 0.1
    done
    plane=$(cat /run/check/plane.url)
    mcp=$(cat /run/check/mcp.url)
}

installation() {
    ok "the package installs" install_package "$first"
    same "instances that run" "" "$(instances active,activating,failed)"
    same "links that enabling would make" "" "$(links)"
    same "processes" "" "$(pgrep --exact 'tunnel-clientd?' || true)"
    ok "the static user exists" id tunnel-client
    case $kind in
        deb) same "what dpkg finds changed" "" "$(dpkg --verify tunnel-client 2>&1)" ;;
        rpm) same "what rpm finds changed" "" "$(rpm --verify --nodeps tunnel-client 2>&1)" ;;
    esac
    same "files of that user" "" "$(find / -xdev -user tunnel-client 2>/dev/null)"
    same "mode of /etc/tunnel-client" "755 root root" "$(stat -c '%a %U %G' /etc/tunnel-client)"
    same "the binary says its version" "$(sed -n 1p /check/version)" "$(tunnel-client --version | cut -d' ' -f1)"
    ok "the example profile is valid once it has a key" env CONTROL_PLANE_API_KEY="$key" \
        tunnel-client doctor --offline --profile-file /etc/tunnel-client/example.yaml
}

refusal() {
    install -m 0644 /dev/stdin /etc/tunnel-client/prod.yaml <<END
config_version: 1
control_plane:
  tunnel_id: "$tunnel"
  base_url: "$plane"
mcp:
  server_urls:
    - channel: main
      url: "$mcp/mcp"
END
    no "without a key it does not start" systemctl enable --now "$unit"
    systemctl status "$unit" > /check/status || true
    sed 's/^/      /' /check/status
    ok "and systemctl status says which file is missing" grep -q '/etc/tunnel-client/prod\.key' /check/status
    install -m 0600 /dev/null /etc/tunnel-client/prod.key
    no "with an empty key it does not start" systemctl start "$unit"
    ok "and the journal says why" grep -qi 'api.key' <(journalctl --unit "$unit")
    systemctl stop "$unit"
    systemctl reset-failed
}

start() {
    echo "$key" > /etc/tunnel-client/prod.key
    local began=${EPOCHREALTIME/./}
    ok "with a key it starts, and systemctl returns when it is ready" systemctl start "$unit"
    echo "      $(((${EPOCHREALTIME/./} - began) / 1000)) ms"
    same "state" "active running" "$(property "$unit" ActiveState) $(property "$unit" SubState)"
    echo "      status text: $(property "$unit" StatusText)"
    ok "the status text is there" test -n "$(property "$unit" StatusText)"
    ok "the watchdog is armed" test "$(property "$unit" WatchdogTimestampMonotonic)" -gt 0
    pid=$(property "$unit" MainPID)
    echo "      WatchdogUSec $(property "$unit" WatchdogUSec), $(field Threads) threads, $(field VmRSS) resident"
}

# Field of /proc/PID/status.
field() {
    sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"
}

# listens UID: whether a process of that user holds a TCP port open.
listens() {
    awk -v uid="$1" '$4 == "0A" && $8 == uid { found = 1 } END { exit !found }' /proc/net/tcp /proc/net/tcp6
}

cage() {
    same "user inside" tunnel-client "$(stat -c %U "/proc/$pid")"
    local none=0000000000000000
    same "capabilities" "$none $none $none" "$(field CapEff) $(field CapBnd) $(field CapAmb)"
    same "NoNewPrivs" 1 "$(field NoNewPrivs)"
    same "Seccomp (2 is a filter)" 2 "$(field Seccomp)"
    local variables credential
    variables=$(tr '\0' '\n' < "/proc/$pid/environ")
    no "no key in its environment" grep -qF "$key" <<< "$variables"
    credential=$(sed -n 's/^CONTROL_PLANE_API_KEY=file://p' <<< "$variables")
    same "a path in its environment" "/run/credentials/$unit/api-key" "$credential"
    # Another mount namespace than ours, so the file is looked at through the process.
    same "mode and owner of the credential" "400 tunnel-client" "$(stat -c '%a %U' "/proc/$pid/root$credential")"
    no "no key in what systemctl shows" grep -qF "$key" <(systemctl show "$unit")
    no "no key in its arguments" grep -qF "$key" "/proc/$pid/cmdline"
    no "/etc cannot be written" touch "/proc/$pid/root/etc/written"
    no "/usr cannot be written" touch "/proc/$pid/root/usr/written"
    no "/var cannot be written" touch "/proc/$pid/root/var/written"
    no "/usr/bin/true cannot be executed" "/proc/$pid/root/usr/bin/true"
    # Whose user is the same.
    mkdir /run/tunnel-client/other
    same "instances whose directories it sees" prod "$(ls "/proc/$pid/root/run/tunnel-client")"
    rmdir /run/tunnel-client/other
    local folder
    for folder in /tmp /var/tmp /dev/shm /run/tunnel-client/prod; do
        printf '#!/bin/sh\n' > "/proc/$pid/root$folder/program"
        chmod 0755 "/proc/$pid/root$folder/program"
        no "what is written to $folder cannot be executed" "/proc/$pid/root$folder/program"
        rm "/proc/$pid/root$folder/program"
    done
    ok "the cage that it shuts itself is on" grep -q 'cage: files: Landlock, version .*; system calls: seccomp' \
        <(journalctl --unit "$unit")
    no "no port is open" listens "$(id -u tunnel-client)"
    ok "(and an open one is seen: the control plane's)" listens 0
}

service() {
    same "a call through the tunnel" '{"text": "over http: hello"}' \
        "$(call tools/call '{"text":"hello"}')"
    local socket=/run/tunnel-client/prod/health.sock
    same "mode and owner of the health socket" "600 tunnel-client" "$(stat -c '%a %U' "$socket")"
    ok "tunnel-client health asks it" tunnel-client health --url-file "${socket%.sock}.url" --require-control-plane-poll
    no "another user cannot" setpriv --reuid=nobody --regid=nogroup --clear-groups \
        tunnel-client health --url "$(cat "${socket%.sock}.url")"
    no "the key is nowhere in the journal" grep -qF "$key" <(journalctl)
}

# A key that is replaced while the service runs: by the drop-in of the package, since a credential would stay the same.
reload() {
    local dropins=/etc/systemd/system/$unit.d before waited
    install -D -m 0644 -t "$dropins" /usr/share/doc/tunnel-client/examples/rotating-files.conf
    chown root:tunnel-client /etc/tunnel-client/prod.key
    chmod 0640 /etc/tunnel-client/prod.key
    systemctl daemon-reload
    ok "with rotating-files.conf it starts again" systemctl restart "$unit"
    before=$(property "$unit" MainPID)
    key=sk-boot-$(cat /proc/sys/kernel/random/uuid)
    install -m 0640 -g tunnel-client /dev/stdin /etc/tunnel-client/prod.key.new <<< "$key"
    mv /etc/tunnel-client/prod.key.new /etc/tunnel-client/prod.key
    ok "systemctl reload reaches it out of the cage" systemctl reload "$unit"
    for ((waited = 0; waited < 100; waited++)); do
        grep -q 'taken over: /etc/tunnel-client/prod.key' <(journalctl --unit "$unit") && break
        sleep 0.1
    done
    ok "and the journal names the key's file" test "$waited" -lt 100
    same "state" active "$(property "$unit" ActiveState)"
    # From here on the new key alone is accepted.
    echo "$key" > /run/check.new
    mv /run/check.new /run/check.key
    same "a call with the new key" '{"text": "over http: renewed"}' "$(call tools/call '{"text":"renewed"}')"
    same "process that runs" "$before" "$(property "$unit" MainPID)"
    no "the new key is nowhere in the journal" grep -qF "$key" <(journalctl)
    rm -r "$dropins"
    chown root:root /etc/tunnel-client/prod.key
    chmod 0600 /etc/tunnel-client/prod.key
    systemctl daemon-reload
    ok "with a credential it starts again" systemctl restart "$unit"
}

# The servers of tunnel-client-stdio@ run in its cage, so one of them looks at it.
stdio_service() {
    profile stdio <<END
config_version: 1
control_plane:
  tunnel_id: "$tunnel"
  base_url: "$plane"
mcp:
  commands:
    - channel: main
      command: "/usr/bin/python3 -I /opt/check/stdio_server.py"
END
    install -D -m 0644 /check/stdio_server.py /opt/check/stdio_server.py
    # One tunnel at a time has this plane.
    systemctl stop "$unit"
    mkdir /run/tunnel-client/other
    systemd-run --quiet --unit=check-other --property=User=tunnel-client \
        --property=LoadCredential=other:/etc/tunnel-client/prod.key sleep infinity
    ok "tunnel-client-stdio@ starts" systemctl start "$stdio"
    local answer
    answer=$(call tools/call)
    echo "      $answer"
    seen() { python3 -c 'import json,sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$answer" "$1"; }
    no "its server is not root" test "$(seen uid)" = 0
    no "its server sees no variable with the key or its path" \
        grep -qE "CONTROL_PLANE|CREDENTIALS_DIRECTORY" <<< "$(seen variables)"
    same "its server writes its cache" yes "$(seen "write to its cache")"
    same "its server executes what is installed" yes "$(seen "execute from /usr")"
    local what
    for what in "write to /etc" "write to /usr" "execute from /tmp" "execute from /dev/shm" "execute from its cache" \
        "read the key" "list /root" "open a raw socket" "open a netlink socket" "become root" "change its root"; do
        ok "its server cannot $what" grep -q '^no: ' <<< "$(seen "$what")"
    done
    same "credentials that its server sees" "['$stdio']" "$(seen credentials)"
    same "instances whose directories its server sees" "['stdio']" "$(seen instances)"
    same "other processes that its server sees" 0 "$(seen "processes of others")"
    systemctl stop check-other.service
    rmdir /run/tunnel-client/other
    ok "tunnel-client-stdio@ stops" systemctl stop "$stdio"
    same "how it ended" "success 0" "$(property "$stdio" Result) $(property "$stdio" ExecMainStatus)"
    same "processes that it leaves" "" "$(pgrep --full stdio_server || true)"
    ok "tunnel-client@ starts again" systemctl start "$unit"
}

upgrade() {
    # One that is enabled and does not run, and one that failed.
    cp -p /etc/tunnel-client/prod.yaml /etc/tunnel-client/spare.yaml
    cp -p /etc/tunnel-client/prod.key /etc/tunnel-client/spare.key
    systemctl --quiet enable tunnel-client@spare.service
    local before after
    before=$(property "$unit" MainPID)
    ok "the next package installs over it" install_package "$second"
    after=$(property "$unit" MainPID)
    no "the running instance was started again" test "$before" = "$after"
    same "the only one that runs" "$unit" "$(instances active)"
    local wants=/etc/systemd/system/multi-user.target.wants
    same "links to enabled instances" "$wants/tunnel-client@prod.service $wants/tunnel-client@spare.service" "$(links)"
    same "a call after the upgrade" '{"text": "over http: again"}' \
        "$(call tools/call '{"text":"again"}')"
}

# A program that stands still is noticed: systemd is told nothing and starts it again.
watchdog() {
    mkdir -p /run/systemd/system/$unit.d
    printf '[Service]\nWatchdogSec=2\nRestartSec=0\n' > /run/systemd/system/$unit.d/check.conf
    systemctl daemon-reload
    systemctl restart "$unit"
    local before first_stamp
    before=$(property "$unit" MainPID)
    first_stamp=$(property "$unit" WatchdogTimestampMonotonic)
    sleep 3
    same "process after three seconds with a watchdog of two" "$before" "$(property "$unit" MainPID)"
    ok "the watchdog is fed" test "$(property "$unit" WatchdogTimestampMonotonic)" -gt "$first_stamp"
    kill -STOP "$before"
    local waited
    for ((waited = 0; waited < 100; waited++)); do
        [[ $(property "$unit" MainPID) != "$before" && $(property "$unit" ActiveState) == active ]] && break
        sleep 0.1
    done
    ok "a process that stands still is replaced" test "$waited" -lt 100
    ok "and the journal says so" grep -q 'Watchdog timeout' <(journalctl --unit "$unit")
    rm -r /run/systemd/system/$unit.d
    systemctl daemon-reload
}

stop() {
    local began=${EPOCHREALTIME/./}
    ok "it stops" systemctl stop "$unit"
    echo "      $(((${EPOCHREALTIME/./} - began) / 1000)) ms"
    same "how it ended" "inactive success 0" \
        "$(property "$unit" ActiveState) $(property "$unit" Result) $(property "$unit" ExecMainStatus)"
    no "the socket is gone" test -e /run/tunnel-client/prod
}

removal() {
    systemctl start "$unit"
    ok "the package is removed while an instance runs" remove_package
    same "processes" "" "$(pgrep --exact 'tunnel-clientd?' || true)"
    no "the program is gone" test -e /usr/bin/tunnel-client
    local left=(/etc/tunnel-client/{prod,spare,stdio}.{yaml,key})
    ok "profiles and keys are left" ls "${left[@]}"
    same "mode of the key" "600 root" "$(stat -c '%a %U' /etc/tunnel-client/prod.key)"
    case $kind in
        deb)
            ok "purge" apt-get --quiet --yes purge tunnel-client
            no "purge takes profiles and keys" test -e /etc/tunnel-client
            no "purge takes caches" test -e /var/cache/private/tunnel-client -o -e /var/cache/tunnel-client
            same "links that purge leaves" "" "$(links)"
            no "dpkg knows no more of it" dpkg --status tunnel-client
            ;;
        rpm)
            same "links that the removal leaves" "" "$(links)"
            no "an untouched example is gone" test -e /etc/tunnel-client/example.yaml
            ;;
    esac
}

peers
installation
refusal
start
cage
service
reload
stdio_service
upgrade
watchdog
stop
removal
echo "all of it holds"
