# Made by `tunnel-client completion`; make it again after an update.
#
# Both shells: finds the words that may stand next. Arguments are the words before
# the cursor, the last one being what is typed so far. It leaves candidates in
# `_tunnel_client_words`, or `file`, `directory` or `profile` in `_tunnel_client_kind`.
_tunnel_client_next() {
    local place='' next='' flags='' kind='' values='' pending=''
    _tunnel_client_words='' _tunnel_client_kind=''
    _tunnel_client_place ''
    while [ $# -gt 1 ]; do
        if [ -n "$pending" ]; then
            pending=''
        else
            case "$1" in
            --*=*) ;;
            -*) _tunnel_client_flag "$1" && pending="$1" ;;
            *)
                case " $next " in
                *" $1 "*) place="${place:+$place }$1"; _tunnel_client_place "$place" ;;
                esac ;;
            esac
        fi
        shift
    done
    if [ -n "$pending" ]; then
        _tunnel_client_flag "$pending"
        _tunnel_client_words="$values" _tunnel_client_kind="$kind"
        return
    fi
    case "$1" in
    --*=*)
        if _tunnel_client_flag "${1%%=*}"; then
            _tunnel_client_words="$values" _tunnel_client_kind="$kind"
        fi ;;
    -*) _tunnel_client_words="$flags" ;;
    *) _tunnel_client_words="$next" ;;
    esac
}

# The profiles of the directory that a run without --profile-dir would look into.
# Other names are left out: bash would run the commands in them.
_tunnel_client_profiles() {
    local file directory="${TUNNEL_CLIENT_PROFILE_DIR:-${XDG_CONFIG_HOME:-$HOME/.config}/tunnel-client}"
    for file in "$directory"/*.yaml; do
        [ -f "$file" ] || continue
        file="${file##*/}" file="${file%.yaml}"
        case "$file" in
        [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) ;;
        *) printf '%s\n' "$file" ;;
        esac
    done
}

# What may stand behind the words of a command: more of them, and flags.
_tunnel_client_place() {
    case "$1" in
@PLACES@
    esac
}

# What a flag's value is; fails for a flag that takes none.
_tunnel_client_flag() {
    kind='' values=''
    case "$1" in
@FLAGS@
    *) return 1 ;;
    esac
}
