#!/usr/bin/env bash
# Looks on a host at what could not be looked at where the packages were made: dnf, SELinux enforcing, fapolicyd, FIPS mode,
# crypto policy, and post-quantum key agreement with OpenSSL 3.5. For RHEL 9 and 10 and their relatives.
#
#   packaging/tests/on-rhel.sh [--rpm FILE]... [--key FILE] [--programs FOLDER]
#
# --rpm       a package to install, and to remove again at the end; without it the installed one is looked at. A second
#             --rpm is tunnel-client-selinux
# --key       the publisher's key, imported into a database of its own: the signatures of the packages are looked at
# --programs  a folder with tunnel-client, in the place of packages: what needs no unit is looked at
#
# Prints what kind of host it is, then a line a finding: PASS, FAIL, or SKIPPED with the reason. Exits 1 after a FAIL.
#
# As root for everything. It may be run again, also after a run that was cut off. It adds to the host: the packages,
# /etc/tunnel-client/on-rhel-test.yaml, .key and .pem, an instance of the unit of that name, and servers on loopback; all
# of it is taken away at the end. A package that was installed before stays. It changes no mode, policy or setting of the
# host, and speaks with nobody but itself. Needs openssl and python3, which are on every such host.
set -uo pipefail

readonly INSTANCE=on-rhel-test TUNNEL=tunnel_0123456789abcdefghijklmnopqrstuv UNIT=tunnel-client@on-rhel-test.service
readonly ETC=/etc/tunnel-client KERNEL=/proc/sys/crypto/fips_enabled
had_folder=$([[ -d $ETC ]] && echo yes) failures=0 servers=() installed=() began=$(date '+%m/%d/%Y %H:%M:%S')

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

pass() { printf 'PASS     %s\n' "$*"; }
skipped() { printf 'SKIPPED  %s: %s\n' "$1" "$2"; }
fail() {
    printf 'FAIL     %s\n' "$1"
    [[ -z ${2:-} ]] || printf '%s\n' "$2" | tail -n 15 | sed 's/^/         | /'
    failures=$((failures + 1))
}

# check TEXT COMMAND...: the command has to succeed; what it said is shown when it does not.
check() {
    local text=$1 said
    shift
    if said=$("$@" 2>&1); then pass "$text"; else fail "$text" "$said"; fi
}

# holds TEXT WORD SEEN: what was seen has to hold the word.
holds() {
    if [[ $3 == *"$2"* ]]; then pass "$1"; else fail "$1: no '$2'" "$3"; fi
}

has() { command -v "$1" >/dev/null 2>&1; }

# in_fips: whether the host is in FIPS mode.
in_fips() { [[ $(cat "$KERNEL" 2>/dev/null) == 1 ]]; }

clean_up() {
    local pid
    if has systemctl && [[ -d /run/systemd/system ]]; then systemctl stop "$UNIT" 2>/dev/null; fi
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
    ((EUID)) || rm -f "$ETC/$INSTANCE".{yaml,key,pem}
    [[ -n $had_folder ]] || rmdir "$ETC" 2>/dev/null
    if ((${#installed[@]})); then dnf --quiet --assumeyes remove "${installed[@]}" >/dev/null 2>&1; fi
    rm -rf "$work"
}

read_options() {
    rpms=() key='' programs=''
    while (($#)); do
        (($# > 1)) || usage
        case $1 in
        --rpm) rpms+=("$(realpath "$2")") ;;
        --key) key=$(realpath "$2") ;;
        --programs) programs=$(realpath "$2") ;;
        *) usage ;;
        esac
        shift 2
    done
}

host() {
    echo "# host     $(. /etc/os-release && echo "$PRETTY_NAME"), $(uname -rm), systemd $(systemctl --version 2>/dev/null | awk 'NR == 1 { print $2 }')"
    echo "# openssl  $(openssl version)"
    echo "# fips     $KERNEL is $(cat "$KERNEL" 2>/dev/null || echo 'not there')"
    echo "# policy   $(update-crypto-policies --show 2>/dev/null || echo 'no crypto policies')"
    echo "# selinux  $(getenforce 2>/dev/null || echo 'not there')"
    echo "# fapolicyd $(systemctl is-active fapolicyd 2>/dev/null || echo 'not there')"
}

# The packages: signatures, installation, and that what is installed is what the package says.
packages() {
    local file name
    if [[ -n $key ]] && ((${#rpms[@]})) && has rpmkeys; then
        mkdir "$work/keys"
        rpmkeys --dbpath "$work/keys" --import "$key"
        for file in "${rpms[@]}"; do
            check "the signature of ${file##*/}" rpmkeys --dbpath "$work/keys" --define '_pkgverify_level all' \
                --checksig "$file"
        done
    else
        skipped "signatures" "no --key, no --rpm, or no rpmkeys"
    fi
    if ! has dnf || ((EUID)); then
        skipped "dnf installs the package" "no dnf, or not root"
        return
    fi
    for file in "${rpms[@]}"; do
        name=$(rpm -qp --qf '%{NAME}' "$file" 2>/dev/null)
        if rpm -q "$name" >/dev/null 2>&1; then
            skipped "dnf installs ${file##*/}" "$(rpm -q "$name") is installed, and is looked at in its place"
        else
            installed+=("$name")
            check "dnf installs ${file##*/}" dnf --quiet --assumeyes --nogpgcheck install "$file"
            check "the installation of $name starts and enables nothing" test -z "$(systemctl list-units --plain \
                --no-legend 'tunnel-client@*'; find /etc/systemd/system -name 'tunnel-client@*.service')"
        fi
    done
    if rpm -q tunnel-client >/dev/null 2>&1; then
        check "$(rpm -q tunnel-client): files are those of the package" rpm --verify tunnel-client
    fi
}

# doctor WORDS...: the report of a tunnel to $1 whose certificate is the one made here.
doctor() {
    CONTROL_PLANE_API_KEY=on-rhel-test "$tool" doctor --json --ca-bundle "$work/peer.pem" --tls.roots none \
        --control-plane.tunnel-id "$TUNNEL" --mcp.server-url http://127.0.0.1:9/mcp "$@" 2>&1
}

# serve WORDS...: a TLS server of the host's OpenSSL on a port that is set; fails where that cannot serve so.
serve() {
    local pid
    for _ in 1 2 3; do
        port=$((20000 + RANDOM % 20000))
        openssl s_server -accept "127.0.0.1:$port" -cert "$work/peer.pem" -key "$work/peer.key" -www -quiet "$@" \
            >"$work/server.log" 2>&1 &
        pid=$!
        for _ in {1..50}; do
            kill -0 "$pid" 2>/dev/null || break
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                servers+=("$pid")
                return 0
            fi
            sleep 0.1
        done
        kill "$pid" 2>/dev/null
    done
    return 1
}

# Which library computes, and what it agrees on with the host's OpenSSL.
cryptography() {
    local report is_openssl=''
    holds "the program runs" "(tunnel-client-rs, " "$("$tool" --version 2>&1)"
    [[ $("$tool" --version 2>&1) == *openssl* ]] && is_openssl=yes
    report=$(doctor --offline)
    if [[ -z $is_openssl ]]; then
        holds "doctor names ring" '"ring, not in FIPS mode' "$report"
        holds "tls.require_fips is refused by a build with ring" "ring is no FIPS module" \
            "$(doctor --offline --tls.require-fips)"
    elif in_fips; then
        holds "OpenSSL is in FIPS mode" ", in FIPS mode ($KERNEL: 1)" "$report"
        report=$(doctor --offline --tls.require-fips)
        if [[ $report == *"tls.require_fips is set, but"* ]]; then
            fail "tls.require_fips is met" "$report"
        else
            pass "tls.require_fips is met"
        fi
    else
        holds "doctor names the host's library" "$(openssl version | cut -d' ' -f1,2)" "$report"
        holds "tls.require_fips is refused outside of FIPS mode" "tls.require_fips is set, but cryptography is OpenSSL" \
            "$(doctor --offline --tls.require-fips)"
    fi
    agreement TLSv1_3 -tls1_3
    agreement TLSv1_2 -tls1_2
    agreement secp256r1 -tls1_3 -groups P-256
    if [[ -n $is_openssl ]] && in_fips; then
        agreement AES -tls1_3
    else
        skipped "FIPS mode" "$([[ -n $is_openssl ]] && echo "the host is not in it" || echo "the program was built with ring")"
    fi
    if [[ -z $is_openssl ]]; then
        skipped "X25519MLKEM768 is agreed on" "the program was built with ring"
    elif ! openssl list -kem-algorithms 2>/dev/null | grep -qi mlkem; then
        skipped "X25519MLKEM768 is agreed on" "$(openssl version | cut -d' ' -f1,2) has no ML-KEM, or not in this mode"
    else
        agreement X25519MLKEM768 -tls1_3 -groups X25519MLKEM768
    fi
}

# agreement WORD OPTIONS...: doctor agrees on it with a server of the host's OpenSSL.
agreement() {
    local word=$1
    shift
    if serve "$@"; then
        holds "$word is agreed on with openssl s_server $*" "$word" \
            "$(doctor --control-plane.base-url "https://127.0.0.1:$port" | grep -o 'directly, because[^"]*TLS[^"]*')"
    else
        skipped "$word is agreed on" "openssl s_server $* does not start: $(tail -n 1 "$work/server.log")"
    fi
}

# A control plane that has nothing to do: the unit must be able to reach it. Says its port.
plane() {
    cat >"$work/plane.py" <<'END'
import http.server, ssl, sys, time
class Plane(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        poll = "/poll" in self.path
        time.sleep(1 if poll else 0)
        body = b"" if poll else b'{"id":"%s","name":"on-rhel"}' % sys.argv[2].encode()
        self.send_response(204 if poll else 200)
        if not poll:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plane)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/peer.pem", sys.argv[1] + "/peer.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
END
    python3 "$work/plane.py" "$work" "$TUNNEL" >"$work/plane.port" 2>"$work/plane.log" &
    servers+=($!)
    for _ in {1..100}; do
        port=$(cat "$work/plane.port")
        [[ -z $port ]] || return 0
        sleep 0.1
    done
    return 1
}

# profile LINE...: writes the profile of the instance, with these lines more.
profile() {
    {
        printf '%s\n' "$@"
        printf 'ca_bundle: %s\ncontrol_plane:\n  base_url: https://127.0.0.1:%s\n  tunnel_id: %s\n' "$ETC/$INSTANCE.pem" \
            "$port" "$TUNNEL"
        printf 'mcp:\n  server_urls:\n    - url: http://127.0.0.1:9/mcp\n'
    } >"$ETC/$INSTANCE.yaml"
    chmod 0644 "$ETC/$INSTANCE.yaml"
}

# The unit: with and without a key, what it is allowed, and its end.
unit() {
    local pid journal
    if ((EUID)) || [[ ! -d /run/systemd/system || ! -e /usr/lib/systemd/system/tunnel-client@.service ]]; then
        skipped "the unit" "not root, no systemd, or no package"
        return
    fi
    check "systemd knows every directive of the unit" test -z "$(systemd-analyze verify "$UNIT" 2>&1 | grep -F tunnel-client)"
    if ! plane; then
        fail "a control plane on loopback" "$(cat "$work/plane.log")"
        return
    fi
    install -m 0644 "$work/peer.pem" "$ETC/$INSTANCE.pem"
    profile
    rm -f "$ETC/$INSTANCE.key"
    if systemctl start "$UNIT" 2>/dev/null; then fail "a start without a key is refused"; else pass "a start without a key is refused"; fi
    echo on-rhel-test-key >"$ETC/$INSTANCE.key"
    chmod 0600 "$ETC/$INSTANCE.key"
    check "the unit starts" systemctl start "$UNIT"
    pid=$(systemctl show --property MainPID --value "$UNIT")
    journal=$(journalctl --no-pager --output=cat "_PID=$pid" 2>/dev/null)
    holds "the journal says what TLS agreed on" "tunnel metadata fetched" "$(grep TLSv1_ <<<"$journal")"
    if in_fips && [[ $(tunnel-client --version) == *openssl* ]]; then
        holds "OpenSSL is in FIPS mode within the unit" ", in FIPS mode ($KERNEL: 1)" "$journal"
    else
        skipped "OpenSSL is in FIPS mode within the unit" "the host is not in FIPS mode, or the program was built with ring"
    fi
    check "the environment holds no key" test -z "$(tr '\0' '\n' <"/proc/$pid/environ" | grep -F on-rhel-test-key)"
    check "it listens on no port" test -z "$(ss -Hltnp 2>/dev/null | grep -F "pid=$pid,")"
    check "a reload comes back" systemctl reload "$UNIT"
    confined "$pid"
    check "the unit stops" systemctl stop "$UNIT"
    check "it ended well" test "$(systemctl show --property ExecMainStatus --value "$UNIT")" = 0
    profile "tls:" "  require_fips: true"
    if in_fips && [[ $(tunnel-client --version) == *openssl* ]]; then
        check "the unit starts with tls.require_fips" systemctl start "$UNIT"
        systemctl stop "$UNIT"
    elif systemctl start "$UNIT" 2>/dev/null; then
        fail "the unit does not start with tls.require_fips"
        systemctl stop "$UNIT"
    else
        pass "the unit does not start with tls.require_fips"
        systemctl reset-failed "$UNIT" 2>/dev/null
    fi
}

# confined PID: what SELinux and fapolicyd say of the running service.
confined() {
    local label
    if [[ $(getenforce 2>/dev/null) != Enforcing ]]; then
        skipped "SELinux" "it does not enforce"
    else
        label=$(ps -o label= -p "$1")
        if semodule -l 2>/dev/null | grep -q '^tunnel-client'; then
            holds "the service has a domain of its own" ":tunnel_client_t:" "$label"
        else
            skipped "the service has a domain of its own" "the policy is not loaded; it runs as $label"
        fi
        # shellcheck disable=SC2086 # date and time are two words
        check "SELinux denied nothing" test -z "$(ausearch --message AVC --start $began 2>/dev/null | grep -F tunnel-client)"
    fi
    if [[ $(systemctl is-active fapolicyd 2>/dev/null) != active ]]; then
        skipped "fapolicyd" "it does not run"
    else
        # shellcheck disable=SC2086 # date and time are two words
        check "fapolicyd denied nothing" \
            test -z "$(ausearch --message FANOTIFY --start $began 2>/dev/null | grep -F tunnel-client)"
    fi
}

# Removal leaves what is the operator's.
removal() {
    if ((${#installed[@]} == 0)); then
        skipped "dnf removes the package" "this run did not install it"
        return
    fi
    check "dnf removes ${installed[*]}" dnf --quiet --assumeyes remove "${installed[@]}"
    installed=()
    check "profile and key stay" test -e "$ETC/$INSTANCE.yaml" -a -e "$ETC/$INSTANCE.key"
    check "nothing runs" test -z "$(pgrep -x tunnel-clientd)"
}

read_options "$@"
has openssl || { echo "openssl is missing" >&2; exit 2; }
work=$(mktemp -d)
chmod 0755 "$work"
trap clean_up EXIT
trap 'exit 130' INT TERM
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=on-rhel-test \
    -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout "$work/peer.key" \
    -out "$work/peer.pem" 2>/dev/null || { echo "openssl makes no certificate" >&2; exit 2; }
host
packages
tool=${programs:+$programs/tunnel-client}
tool=${tool:-$(command -v tunnel-client)}
if [[ -x $tool ]]; then
    cryptography
    unit
else
    skipped "everything else" "there is no tunnel-client: name a package or a folder"
fi
removal
echo "# $failures failed"
((failures == 0))
