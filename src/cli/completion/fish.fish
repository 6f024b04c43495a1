# Made by `tunnel-client completion fish`; make it again after an update.

# Whether the words before the cursor lead to this command.
function __tunnel_client_at
    set -l place
    set -l typed (commandline -opc)
    set -e typed[1]
    for word in $typed
        if contains -- (string join ' ' -- $place $word) $__tunnel_client_places
            set -a place $word
        end
    end
    test "$place" = "$argv[1]"
end

# The profiles of the directory that a run without --profile-dir would look into.
function __tunnel_client_profiles
    set -l directory "$TUNNEL_CLIENT_PROFILE_DIR"
    if test -z "$directory"
        set directory "$XDG_CONFIG_HOME"
        test -n "$directory"; or set directory "$HOME/.config"
        set directory "$directory/tunnel-client"
    end
    for file in $directory/*.yaml
        string replace -f -r '.*/([A-Za-z0-9][A-Za-z0-9._-]*)\.yaml$' '$1' -- $file
    end
end

complete -c tunnel-client -f
