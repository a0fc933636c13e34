#!/bin/sh
# Takes away what pecgate setup postfix made for relay suffix, and nothing else. Run it as root.
set -eu
dir="$(postconf -h config_directory)/pecgate-suffix"

# Takes a table out of a parameter, and the parameter away where nothing else was in it.
without() {
	old="$(postconf -h "$1")"
	case "$old" in
	"$2") postconf -X "$1" ;;
	"$2, "*) postconf -e "$1 = ${old#"$2, "}" ;;
	*", $2, "*) postconf -e "$1 = ${old%%", $2, "*}, ${old#*", $2, "}" ;;
	*", $2") postconf -e "$1 = ${old%", $2"}" ;;
	esac
}
without transport_maps "texthash:$dir/transport"
without sender_dependent_default_transport_maps "texthash:$dir/senders"
without smtpd_milter_maps "cidr:$dir/clients"

# The services submit through the usual cleanup again.
for service in submission/inet smtps/inet submissions/inet; do
	if [ "$(postconf -Ph "$service/cleanup_service_name" 2>/dev/null || true)" = 'pecgate-suffix-cleanup' ]; then
		postconf -PX "$service/cleanup_service_name"
	fi
done
for service in 'pecgate-suffix' 'pecgate-suffix-cleanup'; do
	if [ -n "$(postconf -M "$service/unix" 2>/dev/null)" ]; then
		postconf -MX "$service/unix"
	fi
done
for parameter in 'pecgate-suffix_destination_recipient_limit' 'pecgate_suffix_header_checks'; do
	if grep -q "^$parameter *=" "$(postconf -h config_directory)/main.cf"; then
		postconf -X "$parameter"
	fi
done
rm -f "$dir/transport" "$dir/senders" "$dir/header_checks" "$dir/clients" "$dir/sasl"
if [ -d "$dir" ]; then
	rmdir "$dir"
fi
postfix check
if postfix status 2>/dev/null; then
	postfix reload
fi
