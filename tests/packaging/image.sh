#!/usr/bin/env bash
# The images of packaging/Containerfile: they are built without a network, hold nothing but the static service, its bill
# of materials and licences, and serve with the profile, the key and the user of the Kubernetes manifests.
#
# Needs root (chroot), curl, and the output of packaging/build.sh in PACKAGE_DIR (target/package/x86_64). Uses
# buildah where it is installed (Debian: buildah); without it the same files are laid out by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly PACKAGE_DIR=${PACKAGE_DIR:-target/package/x86_64}
readonly USER_ID=65532

skip() {
    echo "SKIPPED: the image was not tried, because $1"
    exit 0
}

test -x "$PACKAGE_DIR/tunnel-clientd" || skip "$PACKAGE_DIR/tunnel-clientd is not there: run packaging/build.sh"
test "$(id -u)" = 0 || skip "chroot needs root"
readonly FILES='./usr/bin/tunnel-clientd
./usr/share/doc/tunnel-client/tunnel-clientd.cdx.json
./usr/share/licenses/tunnel-client/LICENSE
./usr/share/licenses/tunnel-client/LICENSE.dependencies'

scratch=$(mktemp -d)
client=
container=
image() { buildah --storage-driver vfs --root "$scratch/storage" --runroot "$scratch/run" "$@"; }
clean() {
    test -z "$client" || kill "$client" 2>/dev/null || true
    test -z "$container" || image umount "$container" >/dev/null || true
    rm -rf "$scratch"
}
trap clean EXIT

# make_image VARIANT TAG: the root file system of the image, in $root.
make_image() {
    local variant=$1 tag=$2 file source user
    root=$scratch/root-$tag
    if ! command -v buildah >/dev/null; then
        echo "SKIPPED: building the image, because buildah is not installed; its files are laid out by hand"
        while read -r file; do
            source=$PACKAGE_DIR/$variant/$(basename "$file")
            test -e "$source" || source=$PACKAGE_DIR/$(basename "$file")
            test -e "$source" || source=$(basename "$file")
            install -D --mode=go-w,+r "$source" "$root/$file"
        done <<<"$FILES"
        chmod 0755 "$root/usr/bin/tunnel-clientd"
        return
    fi
    # Nothing else of this folder is to be had.
    mkdir -p "$scratch/context"
    cp -r LICENSE "$PACKAGE_DIR" "$scratch/context"
    # No RUN stands in the file, so that nothing has to be isolated and nothing is fetched.
    image build --isolation chroot --pull-never --quiet --file packaging/Containerfile --tag "tunnel-client:$tag" \
        --build-arg "PACKAGE=$(basename "$PACKAGE_DIR")" --build-arg "VARIANT=$variant" "$scratch/context" >/dev/null
    container=$(image from --pull-never "localhost/tunnel-client:$tag")
    root=$(image mount "$container")
    user=$(image inspect --type image --format '{{.OCIv1.Config.User}}' "localhost/tunnel-client:$tag")
    test "$user" = "$USER_ID:$USER_ID" || { echo "the image runs as '$user'" >&2; exit 1; }
    echo "image $tag: built by $(buildah --version | cut -d' ' -f1-3)"
}

# What the manifests mount, with the owners and modes that the kubelet gives them.
mount_profile() {
    install -d -m 0755 "$root/etc/tunnel-client" "$root/run/tunnel-client/key"
    cat >"$root/etc/tunnel-client/profile.yaml" <<'YAML'
control_plane:
  base_url: http://127.0.0.1:9
  tunnel_id: tunnel_22222222222222222222222222222222
  api_key: file:/run/tunnel-client/key/api-key
log: {format: json}
health: {listen_addr: "127.0.0.1:0"}
mcp:
  server_urls:
    - {channel: main, url: "http://127.0.0.1:9/mcp"}
YAML
    echo "sk-a-key-that-nobody-asks-for" >"$root/run/tunnel-client/key/api-key"
    chown "0:$USER_ID" "$root/run/tunnel-client/key/api-key"
    chmod 0440 "$root/run/tunnel-client/key/api-key"
}

# serve TAG PAGE: it serves health, has the operator's page with status PAGE, and ends with 0.
serve() {
    local url='' status=0
    chroot --userspec "$USER_ID:$USER_ID" --groups "$USER_ID" "$root" /usr/bin/tunnel-clientd \
        --config /etc/tunnel-client/profile.yaml >"$scratch/log" 2>&1 &
    client=$!
    # The log says where it listens. Ends when the process does, or after half a minute.
    for _ in $(seq 300); do
        url=$(sed -nE 's/.*"msg":"health server listening".*"addr":"([^"]+)".*/\1/p' "$scratch/log")
        if test -n "$url" || ! kill -0 "$client" 2>/dev/null; then break; fi
        sleep 0.1
    done
    test -n "$url" || { cat "$scratch/log" >&2; exit 1; }
    test "$(curl --silent --max-time 10 "http://$url/healthz")" = live
    test "$(curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' "http://$url/ui")" = "$2"
    test "$(awk '/^Uid:/ { print $2 }' "/proc/$client/status")" = "$USER_ID"
    kill "$client"
    wait "$client" || status=$?
    client=
    test "$status" = 0 || { echo "it ended with $status" >&2; cat "$scratch/log" >&2; exit 1; }
    if grep -q "can be read by" "$scratch/log"; then
        echo "the key's mode is complained of" >&2
        exit 1
    fi
    echo "image $1: serves as $USER_ID from an empty root, with the key of a secret volume, and ends with 0"
}

# try VARIANT TAG PAGE
try() {
    local files
    make_image "$1" "$2"
    files=$(cd "$root" && find . -type f | sort)
    test "$files" = "$FILES" || { echo "the image holds: $files" >&2; exit 1; }
    mount_profile
    serve "$2" "$3"
    test -z "$container" || image umount "$container" >/dev/null
    container=
}

try . latest 200
try bare bare 404
