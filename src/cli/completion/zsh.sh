
_tunnel_client() {
    emulate -L zsh
    setopt null_glob
    local _tunnel_client_words _tunnel_client_kind
    _tunnel_client_next "${(@)words[2,CURRENT]}"
    compset -P '--*='
    case "$_tunnel_client_kind" in
    file) _files ;;
    directory) _files -/ ;;
    profile) compadd -- ${(f)"$(_tunnel_client_profiles)"} ;;
    *) compadd -- ${=_tunnel_client_words} ;;
    esac
}

# Sourced it registers itself; as a file of fpath it is called at once.
if [ "${funcstack[1]}" = _tunnel-client ]; then
    _tunnel_client
else
    compdef _tunnel_client tunnel-client
fi
