#!/usr/bin/env bash
# Histories over a link that loses packets: the client runs in one network namespace and its peers in another one, and
# on the pair of devices between them packets are lost, late, doubled and out of order.
#
#   tests/lossy.sh [RUNS]    60 unless given
#
# It needs root, ip and nsenter. What hurts the packets is netem where the kernel has it; else nftables or iptables drop
# some, and no more is done to the others. Where there is none of them it prints SKIPPED with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly RUNS=${1:-60} ADDRESS=198.18.77.1
readonly PEERS=lossy-peers-$$ CLIENT=lossy-client-$$
folder=$(mktemp -d)

skip() {
    echo "SKIPPED: tests/lossy.sh because $1"
    exit 0
}

clean() {
    rm -rf "$folder"
    for space in "$PEERS" "$CLIENT"; do
        ip netns delete "$space" 2>/dev/null || true
    done
}

# hurt SPACE DEVICE: what the packets of this side suffer; says by what.
hurt() {
    local rule=(-A INPUT -i "$2" -p tcp -m statistic --mode random --probability 0.03 -j DROP)
    if tc -n "$1" qdisc add dev "$2" root netem delay 4ms 3ms loss 3% duplicate 1% reorder 5% 2>/dev/null; then
        echo "netem: 3 % lost, 1 % doubled, 5 % out of order, 4 ms late"
    elif ip netns exec "$1" nft -f - 2>/dev/null <<<"
        table inet lossy {
            chain input {
                type filter hook input priority 0
                iifname \"$2\" meta l4proto tcp numgen random mod 1000 < 30 counter drop
            }
        }"; then
        echo "nftables: 3 % lost"
    elif ip netns exec "$1" iptables "${rule[@]}" 2>/dev/null; then
        echo "iptables: 3 % lost"
    else
        return 1
    fi
}

((UID == 0)) || skip "network namespaces need root"
for tool in ip nsenter; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
trap clean EXIT
for space in "$PEERS" "$CLIENT"; do
    ip netns add "$space" 2>/dev/null || skip "no network namespace can be made here"
done
ip -n "$PEERS" link add name lossy0 type veth peer name lossy1 netns "$CLIENT" 2>/dev/null ||
    skip "the kernel has no pairs of devices (veth)"
ip -n "$PEERS" address add "$ADDRESS/30" dev lossy0
ip -n "$CLIENT" address add "${ADDRESS%.*}.2/30" dev lossy1
for end in "$PEERS lo" "$PEERS lossy0" "$CLIENT lo" "$CLIENT lossy1"; do
    # shellcheck disable=SC2086 # two words
    set -- $end
    ip -n "$1" link set "$2" up
done
hurt "$PEERS" lossy0 || skip "there is neither netem in the kernel nor nft or iptables (packages nftables, iptables)"
hurt "$CLIENT" lossy1

# The client's side: each client enters its namespace and stays the process that it is.
cat >"$folder/under" <<SCRIPT
#!/bin/sh
exec $(command -v nsenter) --net=/run/netns/$CLIENT "\$@"
SCRIPT
chmod +x "$folder/under"
cargo build --quiet --locked --example stdio-server
cargo test --quiet --locked --test suite --no-run
first=$(date +%y%j50000)
ip netns exec "$PEERS" env TUNNEL_CLIENT_FAULTS_AT=$ADDRESS TUNNEL_CLIENT_UNDER="$folder/under" \
    TUNNEL_CLIENT_FAULT_SEEDS="$first..$((first + RUNS))" \
    cargo test --locked --offline --test suite -- --nocapture histories_hold
ip netns exec "$CLIENT" nft list ruleset 2>/dev/null | sed -nE 's/.*counter (packets [0-9]+).*/dropped on their way to the client: \1/p'
