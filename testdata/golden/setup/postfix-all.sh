#!/bin/sh
# Made by pecgate for relay all of pecgate.comune.example. docs/groupware.md explains every line.
# Postfix 3.5 or newer. Run it as root on the mail server; it may be run again.
set -eu
dir="$(postconf -h config_directory)/pecgate-all"
mkdir -p "$dir"

# Puts a table before those that a parameter has already, once.
first() {
	old="$(postconf -h "$1")"
	case ", $old, " in
	*", $2, "*) ;;
	*) postconf -e "$1 = $2${old:+, $old}" ;;
	esac
}

# 1. By recipient: these domains go to the gateway; the brackets look up no MX.
cat >"$dir/transport" <<'END'
pecgate.comune.example pecgate-all:[pecgate.comune.example]:25
END
first transport_maps "texthash:$dir/transport"

# 2. By sender: what has this reverse path goes to the gateway, whoever it is for.
cat >"$dir/senders" <<'END'
protocollo@pec.comune.example pecgate-all:[pecgate.comune.example]:25
END
first sender_dependent_default_transport_maps "texthash:$dir/senders"

# 3. By header: a PEC mailbox in From, the tag in the subject in plain text and in encoded words. FILTER sends the whole message there, to all its recipients.
cat >"$dir/header_checks" <<'END'
/^From:(.*[<,;[:space:]])?protocollo@pec\.comune\.example([]>,;([:space:]]|$)/ FILTER pecgate-all:[pecgate.comune.example]:25
/^Subject:.*\[[[:space:]]*PEC[[:space:]]*[]:]/ FILTER pecgate-all:[pecgate.comune.example]:25
/^Subject:.*=\?[^?]+\?Q\?[^?]*(\[|=5B)(_|=20| )*(P|=50)(E|=45)(C|=43)(_|=20| )*((\]|=5D)|(:|=3A))/ FILTER pecgate-all:[pecgate.comune.example]:25
/^[Ss][Uu][Bb][Jj][Ee][Cc][Tt]:.*=\?[^?]+\?[Bb]\?[^?]*(W1BFQ1[0123]|[FVl1]tQRUNd|[BFJNRVZdhlptx159]bUEVDX[QRSTUVWXYZabcdef]|W1BFQz[opqr]|[FVl1]tQRUM6|[BFJNRVZdhlptx159]bUEVDO[ghijklmnopqrstuv]|W3BlY1[0123]|[FVl1]twZWNd|[BFJNRVZdhlptx159]bcGVjX[QRSTUVWXYZabcdef]|W3BlYz[opqr]|[FVl1]twZWM6|[BFJNRVZdhlptx159]bcGVjO[ghijklmnopqrstuv])/i FILTER pecgate-all:[pecgate.comune.example]:25
END
# Only what users submit after a login is looked at, so that a PEC that comes back with the tag in its subject is not sent out again.
postconf -M 'pecgate-all-cleanup/unix=pecgate-all-cleanup unix n - n - 0 cleanup'
# With the checks that everybody else has; a parameter of its own, since master.cf takes no blanks.
others="$(postconf -h header_checks)"
postconf -e "pecgate_all_header_checks = regexp:$dir/header_checks${others:+, $others}"
postconf -P 'pecgate-all-cleanup/unix/header_checks=$pecgate_all_header_checks'
found=
for service in submission/inet smtps/inet submissions/inet; do
	if [ -n "$(postconf -M "$service" 2>/dev/null)" ]; then
		has="$(postconf -Ph "$service/cleanup_service_name" 2>/dev/null || true)"
		case "$has" in
		'' | 'pecgate-all-cleanup') ;;
		*)
			echo "$service has cleanup_service_name=$has already: add regexp:$dir/header_checks to the header_checks of that service by hand" >&2
			exit 1
			;;
		esac
		postconf -P "$service/cleanup_service_name=pecgate-all-cleanup"
		found=yes
	fi
done
[ -n "$found" ] || echo 'warning: master.cf has no submission service, so no From and no subject is looked at' >&2

# 4. The way to the gateway: TLS with its certificate checked, 8-bit mail unaltered, DSN asked for as users do.
postconf -M 'pecgate-all/unix=pecgate-all unix - - n - - smtp'
postconf -P 'pecgate-all/unix/smtp_tls_security_level=secure'
postconf -P 'pecgate-all/unix/smtp_tls_secure_cert_match=nexthop'
postconf -P 'pecgate-all/unix/smtp_tls_mandatory_protocols=!SSLv2,!SSLv3,!TLSv1,!TLSv1.1'
postconf -P 'pecgate-all/unix/smtp_tls_CAfile=/etc/ssl/pecgate-ca.pem'
postconf -P 'pecgate-all/unix/smtp_discard_ehlo_keywords='
# A PEC leaves to all of its recipients as one message; Postfix would cut it after fifty.
postconf -e 'pecgate-all_destination_recipient_limit = 1000'
# The login of the relay. The password is typed in, or stands in PECGATE_RELAY_PASSWORD; only root can read the file.
if [ ! -s "$dir/sasl" ]; then
	password="${PECGATE_RELAY_PASSWORD-}"
	if [ -z "$password" ]; then
		printf '%s' 'Password of relay all in policy.yaml: ' >&2
		stty -echo
		read -r password
		stty echo
		echo >&2
	fi
	(
		umask 077
		printf '%s %s:%s\n' '[pecgate.comune.example]:25' 'gruppo' "$password" >"$dir/sasl"
	)
fi
postconf -P 'pecgate-all/unix/smtp_sasl_auth_enable=yes'
postconf -P "pecgate-all/unix/smtp_sasl_password_maps=texthash:$dir/sasl"
postconf -P 'pecgate-all/unix/smtp_sasl_security_options=noanonymous'
postconf -P 'pecgate-all/unix/smtp_sasl_tls_security_options=noanonymous'

# 5. What comes back from the gateway passes no milter: a footer or a tag would break the signature of an envelope.
cat >"$dir/clients" <<'END'
192.0.2.30 DISABLE
END
first smtpd_milter_maps "cidr:$dir/clients"
# The gateway delivers over TLS only.
if [ -z "$(postconf -h smtpd_tls_cert_file)$(postconf -h smtpd_tls_chain_files)" ]; then
	echo 'warning: smtpd_tls_cert_file is not set, so the gateway cannot deliver here: it demands STARTTLS' >&2
fi
# The gateway believes the reverse path. Let nobody use the one of another: reject_sender_login_mismatch in smtpd_sender_restrictions of submission, with smtpd_sender_login_maps.

postfix check
if postfix status 2>/dev/null; then
	postfix reload
fi
