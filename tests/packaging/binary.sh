#!/usr/bin/env bash
# What must hold of the files that packaging/build.sh makes:
#
#   tests/packaging/binary.sh [FOLDER]     target/package/<this machine> unless given
#
# Needs readelf (Debian: binutils), python3, ip (iproute2), unshare (util-linux), and either root or user namespaces.
# Programs of another architecture are looked at but not run.
set -euo pipefail
cd "$(dirname "$0")/../.."
. packaging/common.sh

failures=0

# Runs the rest of the words as a check called $1; in it, `set -e` does not work, so each says what it expects.
check() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok: $what"
    else
        echo "FAILED: $what" >&2
        printf '%s\n' "$said" | tail -n 20 | sed 's/^/    /' >&2
        failures=$((failures + 1))
    fi
}

lacks() {
    ! grep -E -- "$1"
}

no_interpreter() {
    readelf --program-headers --wide "$binary" | lacks INTERP && readelf --dynamic --wide "$binary" | lacks NEEDED
}

static_pie() {
    readelf --file-header "$binary" | grep -E 'Type: +DYN' && readelf --dynamic --wide "$binary" | grep -E 'FLAGS_1.*PIE'
}

# The loader part of musl has done every relocation before the pages become read-only, so there is nothing lazy.
relro() {
    readelf --program-headers --wide "$binary" | grep GNU_RELRO && readelf --dynamic --wide "$binary" | lacks JMPREL
}

stack_not_executable() {
    readelf --program-headers --wide "$binary" | grep -E 'GNU_STACK.* RW +(0x)?[0-9a-f]+$'
}

nothing_writable_and_executable() {
    readelf --program-headers --wide "$binary" | lacks ' (RWE|WE) '
}

stripped() {
    readelf --sections --wide "$binary" | lacks '\.(symtab|debug_|gnu_debug)'
}

# Folders of builders: of this one, and the usual ones.
no_builder_path() {
    local folder
    for folder in "$PWD" "$HOME/" "${CARGO_HOME:-$HOME/.cargo}" .cargo/registry package-build /usr/src/ \
        lib/rustlib /home/ /root/; do
        if grep --text --only-matching --fixed-strings --max-count 1 -- "$folder" "$binary"; then
            return 1
        fi
    done
}

# The service may get smaller. The bound is for x86_64 and follows every step down.
readonly SERVICE_BYTES_MAX=4530000
small() {
    local size
    size=$(stat --format %s "$binary")
    echo "$size bytes, at most $SERVICE_BYTES_MAX"
    ! readelf --file-header "$binary" | grep -q X86-64 || test "$size" -le $SERVICE_BYTES_MAX
}

# What the tool alone knows: its commands, the editor, the admin client's paths. A left-out feature is compiled out.
# The program's own sentence for a command that it lacks names none of these.
holds_no_tool() {
    local word
    for word in VISUAL EDITOR '/v1/tunnels?' 'profiles add' 'profiles edit' 'admin tunnels' 'OPENAI_ADMIN_KEY must be' 'CHECK '; do
        if grep --text --quiet --fixed-strings -- "$word" "$binary"; then
            echo "holds the text '$word'"
            return 1
        fi
    done
    # The words are those of the program that has them.
    for word in VISUAL 'profiles add' 'admin tunnels'; do
        grep --text --quiet --fixed-strings -- "$word" "$folder/tunnel-client" || { echo "the tool lacks '$word'"; return 1; }
    done
}

# Runs the words as root of an empty folder that holds the programs alone, without a network.
in_empty_root() {
    "${cage[@]}" chroot "$root" "/$program" "$@"
}

runs_in_empty_root() {
    test "$(in_empty_root --version | cut -d' ' -f1)" = "$(package_version <Cargo.toml)"
}

# Settings are read, the key too, and what is missing is the MCP server alone.
doctor_runs_in_empty_root() {
    local report
    report=$(CONTROL_PLANE_API_KEY=none in_empty_root doctor --offline --control-plane.tunnel-id "$tunnel" \
        --mcp.server-url http://127.0.0.1:9/mcp)
    echo "$report"
    grep -E '^CHECK resolver +PASS built in \(musl\)' <<<"$report" && grep -E '^CHECK tls_roots +PASS' <<<"$report"
}

refuses_to_run_without_settings() {
    local said
    # shellcheck disable=SC2086  # no word for the service
    said=$(in_empty_root $run 2>&1) && return 1
    echo "$said"
    grep -F 'tunnel ID is required' <<<"$said"
}

no_development_commands() {
    local command
    for command in 'dev proxy' 'dev mcp-stub' demo; do
        # shellcheck disable=SC2086  # two words
        in_empty_root $command --help && return 1
    done
    in_empty_root help | lacks '^ +(dev |demo)'
}

# Runs doctor with both peers named by name, beside our name server with the options in $1 and this very cage.
ask_by_name() {
    # shellcheck disable=SC2016  # expanded inside
    CONTROL_PLANE_API_KEY=none "${cage[@]}" bash -euc 'ip link set lo up && exec "$@"' - \
        python3 tests/packaging/name_server.py ${1:+"$1"} chroot "$root" "/$program" ${2:+"$2"} \
        --control-plane.base-url 'http://plane.example:{port}' --control-plane.allow-plaintext-http \
        --control-plane.tunnel-id "$tunnel" --mcp.server-url 'http://server.example:{port}/mcp' 2>&1
}

# Both names are asked over TCP after a cut answer, and what they lead to is called.
resolves_what_udp_cuts() {
    local seen
    seen=$(ask_by_name '' doctor || true)
    echo "$seen"
    for name in plane server; do
        grep -qx "udp $name.example" <<<"$seen" && grep -qx "tcp $name.example" <<<"$seen" || return 1
    done
    grep -q '^http POST /mcp ' <<<"$seen" && grep -q "^http GET /v1/" <<<"$seen"
}

# That the check above shows what it says: without TCP there is no address.
needs_tcp_for_that() {
    local seen
    seen=$(ask_by_name --refuse-tcp doctor || true)
    echo "$seen"
    grep -qx 'udp server.example' <<<"$seen" && grep -qE 'FAIL resolve server\.example' <<<"$seen" &&
        lacks '^(tcp|http) ' <<<"$seen"
}

# A real poll from an empty root, and a clean end at SIGTERM.
polls_by_name() {
    local seen
    seen=$(ask_by_name --stop-at-poll "$run") || { echo "$seen"; return 1; }
    echo "$seen"
    grep -qE '^http (GET|POST) /v1/.*poll' <<<"$seen"
}

# Namespaces to run in, as root or as anybody where users may have their own.
choose_cage() {
    local user=()
    test "$(id -u)" = 0 || user=(--map-root-user)
    cage=(unshare "${user[@]}" --net)
    "${cage[@]}" true 2>/dev/null
}

# looks PROGRAM: in $folder.
looks() {
    binary=$folder/$1
    echo "$1:"
    check 'no interpreter, no library' no_interpreter
    check 'static-pie' static_pie
    check 'relocations read-only, none lazy' relro
    check 'stack not executable' stack_not_executable
    check 'nothing both writable and executable' nothing_writable_and_executable
    check 'stripped' stripped
    check 'no path of the builder in it' no_builder_path
}

runs() {
    mkdir -p "$root/etc"
    install -m 0755 "$folder/tunnel-client" "$folder/tunnel-clientd" "$root"
    program=tunnel-client run=run
    check 'says its version in an empty root' runs_in_empty_root
    check 'no dev and demo commands' no_development_commands
    check 'refuses to run without settings, and says so' refuses_to_run_without_settings
    check 'doctor in an empty root' doctor_runs_in_empty_root
    # The only file beside the program from here on.
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
    check 'resolves names whose UDP answers are cut' resolves_what_udp_cuts
    check 'does not resolve them where TCP is refused' needs_tcp_for_that
    check 'run polls a plane found that way and ends at SIGTERM' polls_by_name
    program=tunnel-clientd run=''
    check 'the service says its version in an empty root' runs_in_empty_root
    check 'it refuses to run without settings, and says so' refuses_to_run_without_settings
    check 'it polls a plane found by name and ends at SIGTERM' polls_by_name
}

main() {
    local machine
    machine=$(uname -m)
    folder=${1:-target/package/$machine}
    test -f "$folder/tunnel-clientd" || fail "no $folder/tunnel-clientd; packaging/build.sh makes it"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    root=$scratch/root tunnel=tunnel_0123456789abcdef0123456789abcdef
    looks tunnel-client
    looks tunnel-clientd
    check 'no larger than its bound' small
    check 'nothing of the tool in it' holds_no_tool
    looks bare/tunnel-clientd
    check 'nothing of the tool in it' holds_no_tool
    if ! readelf --file-header "$binary" | grep -qi "machine:.*${machine//_/-}"; then
        echo "SKIPPED: running $binary, because it is not for $machine"
    elif ! choose_cage; then
        echo "SKIPPED: running $binary, because this user may not make a network namespace (unshare --net)"
    else
        runs
    fi
    test $failures = 0
}

main "$@"
