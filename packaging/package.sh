# shellcheck shell=bash
# What packaging/rpm/build.sh and packaging/deb/build.sh share; sourced, never run. From packaging/common.sh: fail and
# package_version.

# The options of both. Sets arch, input, release, out and run.
#   --arch x86_64|aarch64   of the binary; x86_64 without
#   --input DIR             what packaging/build.sh made: the programs, their components, their licences;
#                           target/package/ARCH without
#   --release N             of the package, for the same version packaged again; 1 without
#   --out DIR               target/package without
#   --run FILE              a tunnel-client of this version that runs here, when the packaged one is for another machine
package_options() {
    arch=x86_64 input='' release=1 out=target/package run=''
    while (($#)); do
        case $1 in
            --arch | --input | --release | --out | --run) (($# > 1)) || package_usage ;;
            *) package_usage ;;
        esac
        printf -v "${1#--}" '%s' "$2"
        shift 2
    done
    [[ $arch == x86_64 || $arch == aarch64 ]] || package_usage
    [[ $release =~ ^[1-9][0-9]*$ ]] || package_usage
    input=$(realpath -m "${input:-target/package/$arch}")
    out=$(realpath -m "$out")
    run=$(realpath -m "${run:-$input/tunnel-client}")
    mkdir -p "$out"
}

package_usage() {
    fail "the options are [--arch x86_64|aarch64] [--input DIR] [--release N] [--out DIR] [--run FILE]"
}

# What the package is made of, and that it is what it is said to be.
check_input() {
    local file program
    for file in tunnel-client{,d}{,.cdx.json} LICENSE.dependencies cargo-vendor.txt; do
        [[ -f $input/$file ]] || fail "$input/$file is missing: packaging/build.sh --arch $arch makes it"
    done
    need readelf binutils
    for program in tunnel-client tunnel-clientd; do
        if readelf --program-headers --wide "$input/$program" | grep -q INTERP; then
            fail "$input/$program wants shared libraries; this package carries the static one of packaging/build.sh"
        fi
    done
}

# need COMMAND PACKAGE: ends with the way to get what is missing.
need() {
    command -v "$1" >/dev/null || fail "$1 is missing: it is in the package $2"
}

# The time that every file of a package carries: SOURCE_DATE_EPOCH where the caller has set it, else that of the newest
# entry of Debian's changelog, whose day the spec's changelog has too.
package_epoch() {
    echo "${SOURCE_DATE_EPOCH:-$(date --date "$(sed -n '/^ -- /{s/^ -- .*  //p;q}' packaging/deb/changelog)" +%s)}"
}
