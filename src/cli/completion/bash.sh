
_tunnel_client() {
    local -a before=()
    local word glued=''
    COMPREPLY=()
    # Bash takes --flag=value apart at the sign.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [ "$word" = = ] && [ ${#before[@]} -gt 0 ]; then
            before[${#before[@]}-1]+='=' glued=1
        elif [ -n "$glued" ]; then
            before[${#before[@]}-1]+="$word" glued=''
        else
            before+=("$word")
        fi
    done
    local typed="${before[${#before[@]}-1]}"
    local _tunnel_client_words _tunnel_client_kind
    _tunnel_client_next "${before[@]}"
    case "$typed" in --*=*) typed="${typed#*=}" ;; esac
    local IFS=$' \n'
    case "$_tunnel_client_kind" in
    file) compopt -o filenames 2>/dev/null; IFS=$'\n'; COMPREPLY=($(compgen -f -- "$typed")) ;;
    directory) compopt -o filenames 2>/dev/null; IFS=$'\n'; COMPREPLY=($(compgen -d -- "$typed")) ;;
    profile) COMPREPLY=($(compgen -W "$(_tunnel_client_profiles)" -- "$typed")) ;;
    *) COMPREPLY=($(compgen -W "$_tunnel_client_words" -- "$typed")) ;;
    esac
}
complete -F _tunnel_client tunnel-client
