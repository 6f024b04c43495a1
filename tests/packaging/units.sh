#!/usr/bin/env bash
# Checks the systemd units, their drop-ins and the example profile, without starting any of them.
#
#   tests/packaging/units.sh [--binary PATH]
#
# 1. Each unit, alone and with every drop-in that is meant for it, is loaded without a word of complaint
#    (systemd-analyze verify), and its exposure stays at or below what the units promise (systemd-analyze security).
# 2. What moves no score but stops real things is there, and the unit for servers over stdio differs from the other in
#    nothing but what it says to relax.
# 3. The sums that stand in the comments above TasksMax=, MemoryMax= and the time-outs add up to those settings, and
#    use the number of commands, workers and seconds that the program has.
# 4. The user's line is one that systemd-sysusers takes.
# 5. The example profile is valid as shipped, and with everything that is commented out taken in (doctor --offline).
#    For this the program is built unless --binary names one.
#
# Needs systemd-analyze 252 or later and systemd-sysusers (Debian: systemd), openssl and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

# Exposure in tenths, as systemd 252 counts it: what the comments of the units promise, what is left with a list of
# addresses, and what a server's own unit has, which has no network.
readonly TUNNEL_MAX=11 STDIO_MAX=11 EGRESS_MAX=10 SERVER_MAX=4

readonly UNITS=packaging/systemd EXAMPLES=packaging/systemd/examples
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

need() {
    local tool package
    for tool in "$@"; do
        package=${tool#*:} tool=${tool%%:*}
        command -v "$tool" >/dev/null || { echo "$tool is missing (Debian package: $package)" >&2; exit 1; }
    done
}

# A root directory that holds the units, what they order themselves by, and files for what they execute: nothing of
# this machine's set-up may decide the outcome.
make_root() {
    local root=$1 name
    mkdir -p "$root"/usr/lib/systemd/system "$root"/usr/bin "$root"/etc
    cp "$UNITS"/*.service "$EXAMPLES"/*.service "$EXAMPLES"/*.socket "$root"/usr/lib/systemd/system
    for name in sysinit basic shutdown sockets multi-user network-online nss-lookup; do
        printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$name" >"$root/usr/lib/systemd/system/$name.target"
    done
    ln -s usr/bin "$root/bin"
    for name in tunnel-clientd python3 kill; do
        printf '#!/bin/sh\n' >"$root/usr/bin/$name"
        chmod +x "$root/usr/bin/$name"
    done
}

# verify UNIT LABEL ROOT: it loads, and nothing is said. Unknown names and bad values are only said, not failed.
verify() {
    local said
    said=$(systemd-analyze verify --man=no --root="$3" "$1" 2>&1) || complain "$2: verify exits with $?"
    test -z "$said" || complain "$2: $said"
}

# score UNIT LABEL ROOT TENTHS: prints the exposure, which must not be above the bound.
score() {
    local report exposure
    if report=$(systemd-analyze security --no-pager --root="$3" --offline=true --threshold="$4" "$1" 2>&1); then
        exposure=$(sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p' <<<"$report")
        printf '%-52s %s\n' "$2" "${exposure:?no exposure in the report}"
    else
        complain "$2: exposure above $4 tenths: $(tail -1 <<<"$report")"
    fi
}

# combination UNIT TENTHS DROP-IN...: the unit with these drop-ins, in a root of its own.
combination() {
    local unit=$1 bound=$2 root label dropin
    shift 2
    root=$(mktemp -d -p "$scratch")
    make_root "$root"
    label=$unit
    for dropin in "$@"; do
        # Of the instance, as an administrator would do it.
        install -D -m 0644 "$EXAMPLES/$dropin" "$root/etc/systemd/system/$unit.d/$dropin"
        label+=" + $dropin"
    done
    verify "$unit" "$label" "$root"
    score "$unit" "$label" "$root" "$bound"
}

check_units() {
    local unit dropin bound version
    version=$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    for unit in tunnel-client@prod.service tunnel-client-stdio@prod.service; do
        bound=$TUNNEL_MAX
        [[ $unit == *stdio* ]] && bound=$STDIO_MAX
        combination "$unit" "$bound"
        for dropin in "$EXAMPLES"/*.conf; do
            dropin=${dropin##*/}
            if [[ $dropin == egress.conf ]]; then
                combination "$unit" "$EGRESS_MAX" "$dropin"
            elif [[ $dropin == notify-reload.conf ]] && ((version < 253)); then
                echo "SKIPPED: $unit + $dropin, which systemd $version does not know"
            else
                combination "$unit" "$bound" "$dropin"
            fi
        done
    done
    # The common set of a hardened site.
    combination tunnel-client@prod.service "$EGRESS_MAX" egress.conf encrypted-key.conf tcp-health.conf
    combination mcp-server@tickets.service "$SERVER_MAX"
}

# Drop-ins that set something anew have to take back what the unit says. Verify does not print what comes of merging,
# so the lines that do it are looked for.
check_resets() {
    local file=$EXAMPLES/encrypted-key.conf pair
    for pair in AssertPathExists LoadCredential; do
        grep -qx "$pair=" "$file" || complain "$file does not take back $pair of the unit"
    done
    grep -qx LoadCredential= "$EXAMPLES/rotating-files.conf" || complain "rotating-files.conf leaves the copy of the key in place"
    grep -qx ExecReload= "$EXAMPLES/notify-reload.conf" || complain "notify-reload.conf leaves the signal of the unit in place"
    grep -q '^UnsetEnvironment=HEALTH_UNIX_SOCKET$' "$EXAMPLES/tcp-health.conf" ||
        complain "tcp-health.conf leaves the socket in place, which wins over the port"
}

# The score is the same without these.
check_cage() {
    local tunnel=$UNITS/tunnel-client@.service stdio=$UNITS/tunnel-client-stdio@.service line differing
    while read -r line; do
        grep -qxF -- "$line" "$tunnel" || complain "$tunnel: $line is missing"
    done <<'LINES'
Type=notify
NotifyAccess=main
ExecReload=+/bin/kill -HUP $MAINPID
RestartPreventExitStatus=78
LoadCredential=api-key:/etc/tunnel-client/%i.key
Environment=CONTROL_PLANE_API_KEY=file:%d/api-key
ReadOnlyPaths=/run -/run/lock
NoExecPaths=/ /run -/run/lock /tmp /var/tmp /dev/shm %t/tunnel-client/%i
ExecPaths=/usr/bin/tunnel-clientd
MemoryDenyWriteExecute=yes
SocketBindDeny=any
SocketBindAllow=udp
TemporaryFileSystem=%t/tunnel-client:ro,mode=0755
BindPaths=%t/tunnel-client/%i
SystemCallErrorNumber=EPERM
LINES
    # From the user's name on: what stands in one of the two and not in the other, by the names of the settings.
    differing=$(diff <(sed -n '/^User=/,/^\[Install/p' "$tunnel" | grep '^[A-Z]' | sort) \
        <(sed -n '/^User=/,/^\[Install/p' "$stdio" | grep '^[A-Z]' | sort) |
        sed -n 's/^[<>] \([A-Za-z]*\)=.*/\1/p' | sort -u | xargs) || true
    test "$differing" = "ExecPaths MemoryDenyWriteExecute NoExecPaths ProcSubset" ||
        complain "$stdio differs from the other unit in: $differing"
    # NoExecPaths= and ExecPaths= share a reason; the cache is the fourth.
    line=$(grep -c '^# Relaxed: ' "$stdio") || true
    test "$line" = 4 || complain "$stdio gives $line reasons for what it relaxes"
}

check_sums() {
    python3 - "$UNITS"/*.service "$EXAMPLES"/{more-connections,small-host}.conf <<'PYTHON' || complain "sums in comments"
import pathlib, re, sys

failed = 0
for name in sys.argv[1:]:
    total, sums = None, 0
    for number, line in enumerate(pathlib.Path(name).read_text().splitlines(), 1):
        if match := re.fullmatch(r"#\s+([\d+* ]+) = (\d+)", line):
            # Digits, plus and times only: the pattern lets nothing else through.
            total, sums = int(match[2]), sums + 1
            if eval(match[1]) != total:
                print(f"{name}:{number}: {match[1]} is {eval(match[1])}, not {total}")
                failed = 1
        elif total is not None and (match := re.fullmatch(r"\w+=(\d+)M?", line)):
            if int(match[1]) != total:
                print(f"{name}:{number}: {line} does not follow from the sum {total}")
                failed = 1
            total = None
    if sums < 2:
        print(f"{name}: no sums found")
        failed = 1

# What the sums begin with is what the program has.
settings = pathlib.Path("src/config/settings.rs").read_text()
default = lambda flag: re.search(rf'new\("{flag}".*"(\d+)s?"\)', settings)[1]
unit = pathlib.Path(sys.argv[1]).parent / "tunnel-client@.service"
text = unit.read_text()
said = [("workers {}", "mcp.max-concurrent-requests"), ("process.drain_timeout, {} s", "process.drain-timeout")]
for words, flag in said:
    if words.format(default(flag)) not in text:
        print(f"{unit}: says nothing like \"{words.format(default(flag))}\", the default of {flag}")
        failed = 1

# Whoever adds a thread adds it to the sums, then here.
known = ["main", "poller", "worker", "quick", "listen", "deadlines", "courier", "prober", "keeper",
         "stdio-writer, -reader, -stderr, -clock", "metadata", "health-listener", "health-calls", "proxy-health", "pins",
         "doctor, stdio-probe", "audit", "drain"]
table = pathlib.Path("src/lib.rs").read_text().split("//! # Threads")[1].split("//! # ")[0]
rows = [row for row in re.findall(r"^//! \| ([^|]+) \|", table, re.M) if row not in ("thread", "---")]
if rows != known:
    print(f"src/lib.rs: the sums know the threads {known}, the table has {rows}")
    failed = 1
sys.exit(failed)
PYTHON
}

check_sysusers() {
    local root=$scratch/sysusers said
    mkdir -p "$root/etc"
    said=$(systemd-sysusers --root="$root" - <"$UNITS/tunnel-client.sysusers" 2>&1) || complain "sysusers: $said"
    grep -q '^tunnel-client:[^:]*:[0-9]*:[0-9]*:[^:]*:/:/usr/sbin/nologin$' "$root/etc/passwd" ||
        complain "tunnel-client.sysusers makes no user without home and shell: $said"
}

# doctor BINARY PROFILE: the checks that failed, separated by commas. Credentials are those of the example.
doctor() {
    local report
    report=$(CREDENTIALS_DIRECTORY=$scratch/credentials CONTROL_PLANE_API_KEY=file:api-key \
        NO_PROXY=.example.internal "$1" doctor --json --offline --config "$2") || true
    python3 -c 'import json, sys
report = json.load(sys.stdin)
print(",".join(report.get("failed_checks", [])))
for check in report["checks"]:
    if check["status"] == "FAIL": print(check["id"], check["summary"], file=sys.stderr)' <<<"$report"
}

# What the full profile names: credentials of the service, certificates, and the server that is started.
make_files() {
    local name
    mkdir -p "$scratch/credentials" "$scratch/files"
    for name in api-key database-password mcp-authorization erp-authorization; do
        echo not-a-secret >"$scratch/credentials/$name"
    done
    echo http://user:password@127.0.0.1:9 >"$scratch/credentials/proxy-url"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=example \
        -keyout "$scratch/credentials/client-key" -out "$scratch/files/client.pem" 2>/dev/null
    # Not a server: it ends at once.
    touch "$scratch/files/server.py"
    echo '{"version": 1, "channels": []}' >"$scratch/files/pins.json"
    cp "$scratch/files/client.pem" "$scratch/files/company-ca.pem"
    chmod 0600 "$scratch"/credentials/*
}

check_profile() {
    local binary=$1 example=packaging/etc/example.yaml full=$scratch/full.yaml failed
    make_files
    failed=$(doctor "$binary" "$example")
    test -z "$failed" || complain "$example as shipped: $failed"
    # A comment has a blank after its sign, a setting has none. Of the two ways to give the proxy the second stays.
    sed -E -e 's/^( *)#([^ #])/\1\2/' "$example" | awk '!/^http_proxy: "http:/' |
        sed -e "s,/etc/tunnel-client/client.pem,$scratch/files/client.pem," \
            -e "s,/etc/tunnel-client/prod.pins.json,$scratch/files/pins.json," \
            -e "s,/etc/pki/tls/certs,$scratch/files," -e "s,/opt/mcp-files,$scratch/files,g" >"$full"
    cmp -s "$example" "$full" && complain "$example has nothing to take in"
    # There is no such server here; that it was tried shows that everything before it is in order.
    failed=$(doctor "$binary" "$full" 2>"$scratch/said")
    test "$failed" = mcp_handshake:files || complain "$example with everything taken in: $failed: $(cat "$scratch/said")"
    # The checks would not notice a profile that they cannot read: a wrong key must fail.
    sed 's/^mcp:/mpc:/' "$example" >"$scratch/wrong.yaml"
    failed=$(doctor "$binary" "$scratch/wrong.yaml" 2>/dev/null)
    test -n "$failed" || complain "doctor takes a profile with a wrong key"
}

# Every example that a comment names is there.
check_names() {
    local dropin
    while read -r dropin; do
        test -e "packaging/systemd/$dropin" || complain "$dropin is named in a comment, and is not there"
    done < <(grep -rhoE 'examples/[a-z0-9@.-]+\.(conf|service|socket)' "$UNITS" packaging/etc | sort -u)
}

main() {
    local binary=
    if [[ ${1-} == --binary && -n ${2-} ]]; then
        binary=$2
    elif (($#)); then
        echo "usage: $0 [--binary PATH]" >&2
        exit 1
    fi
    need systemd-analyze:systemd systemd-sysusers:systemd openssl:openssl python3:python3
    if [[ -z $binary ]]; then
        cargo build --locked --quiet
        binary=target/debug/tunnel-client
    fi
    echo "Exposure by systemd-analyze security, 0 to 10:"
    check_units
    check_resets
    check_cage
    check_sums
    check_sysusers
    check_names
    check_profile "$binary"
    ((failures == 0)) || { echo "$failures of the checks on units failed" >&2; exit 1; }
    echo "Units, drop-ins and example profile are in order."
}

main "$@"
