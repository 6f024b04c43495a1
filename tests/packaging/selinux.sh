#!/usr/bin/env bash
# Compiles the SELinux policy and asks the outcome what it allows.
#
# 1. The module compiles as it is, and with the interface that RHEL has for NoNewPrivileges= and Debian has not.
# 2. Linked with every module of Debian's policy and expanded, it allows the changes of domain that the units need,
#    and none of what the policy's comments exclude. What other modules grant to all domains counts too.
# 3. Files get the labels that they should have.
#
# Nothing is loaded into a kernel, and nothing is installed: this says what the rules are, not that a service runs under
# them. That list stands in packaging/selinux/README.
#
# Needs selinux-policy-dev, checkpolicy, semodule-utils, setools, selinux-utils, bzip2, and the modules of
# selinux-policy-default: installed, or fetched by apt-get download.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/common.sh

readonly DEVEL=/usr/share/selinux/devel/Makefile MODULES=/usr/share/selinux/default
sources=$PWD/packaging/selinux
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

need() {
    local pair
    for pair in checkmodule:checkpolicy semodule_package:semodule-utils semodule_link:semodule-utils sesearch:setools \
        seinfo:setools matchpathcon:selinux-utils bunzip2:bzip2 make:make m4:m4; do
        command -v "${pair%%:*}" >/dev/null || { echo "${pair%%:*} is missing (Debian: ${pair#*:})" >&2; exit 1; }
    done
    test -e $DEVEL || { echo "$DEVEL is missing (Debian: selinux-policy-dev)" >&2; exit 1; }
}

# compile FOLDER: the module of the sources there, without a warning.
compile() {
    local said
    said=$(make -C "$1" -f $DEVEL tunnel-client.pp 2>&1) || { complain "it does not compile: $said"; return; }
    ! grep -iE 'warning|error' <<<"$said" || complain "the compiler complains"
}

check_compiles() {
    local folder
    for folder in "$scratch/module" "$scratch/rhel"; do
        mkdir "$folder"
        cp "$sources"/tunnel-client.{te,if,fc} "$folder"
    done
    compile "$scratch/module"
    # An interface of this name stands in for RHEL's. That it was used shows in what nothing else would allow.
    cat >>"$scratch/rhel/tunnel-client.if" <<'IF'
## <summary>Stands in for an interface of RHEL's policy.</summary>
interface(`init_nnp_daemon_domain',`
	gen_require(`
		type init_t;
	')
	allow init_t $1:process2 nnp_transition;
	allow init_t $1:process ptrace;
')
IF
    compile "$scratch/rhel"
}

# Debian's modules, unpacked: installed, or from the package.
base_modules() {
    local from=$MODULES package
    mkdir -p "$scratch/base"
    if ! test -e "$from/base.pp.bz2"; then
        (cd "$scratch" && apt-get -q -o APT::Sandbox::User=root download selinux-policy-default >/dev/null 2>&1) ||
            return 1
        package=$(find "$scratch" -maxdepth 1 -name 'selinux-policy-default_*.deb')
        dpkg-deb -x "$package" "$scratch/package"
        from=$scratch/package$MODULES
    fi
    cp "$from"/*.pp.bz2 "$scratch/base"
    bunzip2 "$scratch"/base/*.bz2
}

# link NAME MODULE...: these modules as one policy, $scratch/NAME.
link() {
    local name=$1
    shift
    semodule_link -o "$scratch/linked" "$scratch/base/base.pp" "$@" >/dev/null 2>&1 ||
        { complain "it cannot be linked with Debian's policy"; return 1; }
    semodule_expand "$scratch/linked" "$scratch/$name" >/dev/null 2>&1 || { complain "it cannot be expanded"; return 1; }
}

# Asks for rules of the policy. A query that finds nothing is none that failed.
rules() {
    sesearch "$@" "$scratch/policy" || { echo "FAILED: sesearch $*" >&2; return 1; }
}

# must WHAT QUERY...: there is such a rule, whether or not a switch has to be on.
must() {
    local what=$1
    shift
    test -n "$(rules "$@")" || complain "$what: nothing like sesearch $*"
}

# must_not WHAT QUERY...: there is none, not even with a switch.
must_not() {
    local what=$1 found
    shift
    found=$(rules "$@")
    test -z "$found" || complain "$what: $found"
}

# only_with SWITCH WHAT QUERY...: there is one, and each of them hangs on the switch.
only_with() {
    local switch=$1 what=$2 found
    shift 2
    found=$(rules "$@")
    test -n "$found" || complain "$what: nothing like sesearch $*"
    ! grep -vF "[ $switch ]:True" <<<"$found" || complain "$what: allowed without $switch"
}

check_tunnel() {
    local tunnel=tunnel_client_t
    must "PID 1 starts the tunnel in its domain" -T -s init_t -t tunnel_client_exec_t -c process -D $tunnel
    must "the change holds under NoNewPrivileges=" -A -s init_t -t $tunnel -c process2 -p nnp_transition
    must "PID 1 reads keys" -A -s init_t -t tunnel_client_key_t -c file -p read
    must "credentials on ramfs" -A -s $tunnel -t ramfs_t -c file -p read
    must "credentials on tmpfs" -A -s $tunnel -t tmpfs_t -c file -p read
    must "READY=1" -A -s $tunnel -t init_t -c unix_dgram_socket -p sendto
    must "the journal" -A -s $tunnel -t init_t -c unix_stream_socket -p write
    must "port 443" -A -s $tunnel -t http_port_t -c tcp_socket -p name_connect
    must "name servers" -A -s $tunnel -t dns_port_t -c tcp_socket -p name_connect
    # musl binds the socket that it asks over UDP with.
    must "name servers over UDP" -A -s $tunnel -t node_t -c udp_socket -p node_bind
    must "the health socket" -A -s $tunnel -t tunnel_client_runtime_t -c sock_file -p create
    must "the mode of the host" -A -s $tunnel -t sysctl_crypto_t -c file -p read
    must "profiles" -A -s $tunnel -t tunnel_client_etc_t -c file -p read
    must_not "writable memory is executed" -A -s $tunnel -p execmem,execstack,execheap
    must_not "a program is executed" -A -s $tunnel -c file -p execute_no_trans
    must_not "another program is executed" -A -s $tunnel -t bin_t -c file -p execute
    must_not "a shell is executed" -A -s $tunnel -t shell_exec_t -c file -p execute
    must_not "passwords are read" -A -s $tunnel -t shadow_t
    must_not "homes are read" -A -s $tunnel -t user_home_t
    must_not "profiles are written" -A -s $tunnel -t tunnel_client_etc_t -c file -p write,append,unlink
    must_not "it asks itself how it is" -A -s $tunnel -t $tunnel -c unix_stream_socket -p connectto
    must_not "others are traced" -A -s $tunnel -c process -p ptrace
    must_not "raw packets" -A -s $tunnel -t $tunnel -c rawip_socket,packet_socket
    must_not "disks are read" -A -s $tunnel -t fixed_disk_device_t -c blk_file -p read
    must_not "memory is read" -A -s $tunnel -t memory_device_t -c chr_file -p read
    only_with tunnel_client_connect_any "any port" -A -s $tunnel -t port_type -c tcp_socket -p name_connect -dt
    only_with tunnel_client_tcp_health "it listens on TCP" -A -s $tunnel -c tcp_socket -p name_bind
    only_with tunnel_client_tcp_health "a capability" -A -s $tunnel -t $tunnel -c capability
    only_with tunnel_client_read_keys "keys are read" -A -s $tunnel -t tunnel_client_key_t
    must "audit records are added to" -A -s $tunnel -t tunnel_client_log_t -c file -p append
    must_not "audit records are removed" -A -s $tunnel -t tunnel_client_log_t -c file -p unlink,rename
    only_with tunnel_client_stdio "it becomes a server" -T -s $tunnel -t tunnel_client_exec_t -c process
    only_with tunnel_client_stdio "under NoNewPrivileges= too" -A -s $tunnel -c process2 -p nnp_transition
}

check_child() {
    local child=tunnel_client_child_t
    must "servers compile while they run" -A -s $child -t $child -c process -p execmem
    must "servers execute what is installed" -A -s $child -t bin_t -c file -p execute_no_trans
    must "servers write to their cache" -A -s $child -t tunnel_client_cache_t -c file -p create
    must_not "the way in is another program" -A -s $child -t bin_t -c file -p entrypoint
    must_not "profiles are read" -A -s $child -t tunnel_client_etc_t
    must_not "keys are read" -A -s $child -t tunnel_client_key_t
    must_not "credentials on ramfs are read" -A -s $child -t ramfs_t -c file -p read
    must_not "credentials on tmpfs are read" -A -s $child -t tmpfs_t -c file -p read
    must_not "what PID 1 keeps in /run is read" -A -s $child -t init_runtime_t -c file -p read
    must_not "the health socket is there" -A -s $child -t tunnel_client_runtime_t
    must_not "audit records are there" -A -s $child -t tunnel_client_log_t -c file -p open,append,write
    must_not "passwords are read" -A -s $child -t shadow_t
    must_not "homes are read" -A -s $child -t user_home_t
    must_not "a capability" -A -s $child -c capability,capability2
    must_not "the tunnel is signalled or traced" -A -s $child -t tunnel_client_t -c process -p ptrace,signal,sigkill
    must_not "what can be written is executed" -A -s $child -t tunnel_client_cache_t -c file -p execute
    must_not "what is in /tmp is executed" -A -s $child -t tunnel_client_child_tmp_t -c file -p execute
    must_not "it listens on TCP" -A -s $child -p name_bind
    only_with tunnel_client_child_connect "the network" -A -s $child -t $child -c tcp_socket
    only_with tunnel_client_child_connect "any port" -A -s $child -c tcp_socket -p name_connect
    only_with tunnel_client_stdio "the tunnel starts it" -A -t $child -c process -p transition
}

# All switches are off as installed.
check_switches() {
    local switch state
    for switch in stdio connect_any tcp_health read_keys child_connect; do
        state=$(seinfo -b "tunnel_client_$switch" -x "$scratch/policy" | grep -o 'bool tunnel_client.*') || true
        test "$state" = "bool tunnel_client_$switch false;" || complain "switch tunnel_client_$switch: ${state:-not there}"
    done
}

# RHEL's interface is used where there is one.
check_branch() {
    link policy-rhel "$scratch/rhel/tunnel-client.pp" || return 0
    test -n "$(sesearch -A -s init_t -t tunnel_client_t -c process -p ptrace "$scratch/policy-rhel")" ||
        complain "init_nnp_daemon_domain is not used where it exists"
}

# label PATH KIND TYPE: what the module says about a path; a kind is file, dir or socket.
label() {
    local found
    found=$(matchpathcon -n -f "$scratch/contexts" -m "$2" "$1" 2>/dev/null) || true
    test "${found#system_u:object_r:}" = "$3:s0" || complain "$1 would be ${found:-without a label}, not $3"
}

check_labels() {
    semodule_unpackage "$scratch/module/tunnel-client.pp" "$scratch/unpacked.mod" "$scratch/unpacked.fc"
    # Macros that the sources were compiled with leave empty lines and comments.
    grep '^/' "$scratch/unpacked.fc" >"$scratch/contexts"
    label /usr/bin/tunnel-clientd file tunnel_client_exec_t
    # The tool keeps the label of any program: nothing enters a domain by it.
    ! grep -F '/usr/bin/tunnel-client	' "$scratch/contexts" || complain "the tool has a label of the service"
    label /etc/tunnel-client dir tunnel_client_etc_t
    label /etc/tunnel-client/prod.yaml file tunnel_client_etc_t
    label /etc/tunnel-client/client.pem file tunnel_client_etc_t
    label /etc/tunnel-client/prod.key file tunnel_client_key_t
    label /etc/tunnel-client/prod.cred file tunnel_client_key_t
    label /etc/tunnel-client/prod-proxy-url file tunnel_client_key_t
    label /run/tunnel-client/prod/health.sock socket tunnel_client_runtime_t
    label /run/mcp-server/tickets/mcp.sock socket tunnel_client_mcp_runtime_t
    label /var/cache/private/tunnel-client/prod/x file tunnel_client_cache_t
    label /var/log/tunnel-client/prod.audit.jsonl file tunnel_client_log_t
}

main() {
    local others
    need
    check_compiles
    ((failures == 0)) || exit 1
    check_labels
    if base_modules; then
        mapfile -t others < <(find "$scratch/base" -name '*.pp' ! -name base.pp | sort)
        link policy "${others[@]}" "$scratch/module/tunnel-client.pp" || exit 1
        check_tunnel
        check_child
        check_switches
        check_branch
    else
        echo "SKIPPED: the rules of the SELinux policy were not queried, because Debian's modules" \
            "(selinux-policy-default) are neither installed nor to be had from apt." >&2
    fi
    ((failures == 0)) || { echo "$failures of the checks on the SELinux policy failed" >&2; exit 1; }
    echo "The SELinux policy compiles and allows what it should. It was not tried on an enforcing host."
}

main "$@"
