# shellcheck shell=bash
# Who publishes what is made from this tree; sourced, never run. From packaging/common.sh: fail.
#
#   TUNNEL_CLIENT_PUBLISHER='Name <mail address>'    where users and reporters of faults write to
#   TUNNEL_CLIENT_PUBLISHER_URL=https://…            the page of whoever publishes
#
# This is the one place that reads them: packages, lists of components and the documents of a release are filled from
# here. Both are set or none; without them a package says "local build" and names nobody.

# Sets publisher, publisher_name and publisher_url; `packager` is what a field that must not be empty gets.
# shellcheck disable=SC2034 # for those who source this
read_publisher() {
    publisher=${TUNNEL_CLIENT_PUBLISHER:-} publisher_url=${TUNNEL_CLIENT_PUBLISHER_URL:-} publisher_name=''
    packager='local build <root@localhost>'
    test -n "$publisher$publisher_url" || return 0
    # No sign that control files, specs or addresses give a meaning of its own.
    local mail='^([^][<>@"\|&%,;:/[:cntrl:]]*[^][<>@"\|&%,;:/[:cntrl:][:space:]]) <([A-Za-z0-9._+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]+)>$'
    [[ $publisher =~ $mail ]] || fail "TUNNEL_CLIENT_PUBLISHER is to be 'Name <mail address>', and not '$publisher'"
    publisher_name=${BASH_REMATCH[1]}
    packager=$publisher
    local url='^https://(([A-Za-z0-9-]+\.)+[A-Za-z]+)(:[0-9]+)?(/[A-Za-z0-9._~/+-]*)?$'
    [[ $publisher_url =~ $url ]] || fail "TUNNEL_CLIENT_PUBLISHER_URL is to be an https address, and not '$publisher_url'"
    # Names that nobody can have. One below "test" cannot be had either, and is for tests.
    local nobody='[.@/](example|invalid|localhost|example\.(com|net|org))[>:/]' url_host=${BASH_REMATCH[1]}
    ! [[ $publisher/$url_host/ =~ $nobody ]] ||
        fail "nobody has the address '$publisher' or '$publisher_url': it is a placeholder"
}

# Ends when nobody is named.
demand_publisher() {
    read_publisher
    test -n "$publisher" ||
        fail "who publishes this? Set TUNNEL_CLIENT_PUBLISHER='Name <mail address>' and TUNNEL_CLIENT_PUBLISHER_URL=https://…"
}
