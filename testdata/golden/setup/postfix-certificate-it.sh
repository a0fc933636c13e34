#!/bin/sh
# Fatto da pecgate per il relay certificate di pecgate.comune.example. docs/groupware.md spiega ogni riga.
# Postfix 3.5 o successivo. Da eseguire come root sul server di posta; si puo' ripetere.
set -eu
dir="$(postconf -h config_directory)/pecgate-certificate"
mkdir -p "$dir"

# Mette una tabella prima di quelle che un parametro ha gia', una volta sola.
first() {
	old="$(postconf -h "$1")"
	case ", $old, " in
	*", $2, "*) ;;
	*) postconf -e "$1 = $2${old:+, $old}" ;;
	esac
}

# 1. Per destinatario: questi domini vanno al gateway; le parentesi evitano la ricerca dell'MX.
cat >"$dir/transport" <<'END'
.pec pecgate-certificate:[pecgate.comune.example]:25
pecgate.comune.example pecgate-certificate:[pecgate.comune.example]:25
END
first transport_maps "texthash:$dir/transport"

# 2. Per mittente: cio' che ha questo mittente di busta va al gateway, per chiunque sia.
cat >"$dir/senders" <<'END'
protocollo@pec.comune.example pecgate-certificate:[pecgate.comune.example]:25
END
first sender_dependent_default_transport_maps "texthash:$dir/senders"

# 3. Per intestazione: una casella PEC in From, il contrassegno nell'oggetto in chiaro e nelle parole codificate. FILTER manda li' l'intero messaggio, per tutti i destinatari.
cat >"$dir/header_checks" <<'END'
/^From:(.*[<,;[:space:]])?protocollo@pec\.comune\.example([]>,;([:space:]]|$)/ FILTER pecgate-certificate:[pecgate.comune.example]:25
/^Subject:.*\[[[:space:]]*PEC[[:space:]]*[]:]/ FILTER pecgate-certificate:[pecgate.comune.example]:25
/^Subject:.*=\?[^?]+\?Q\?[^?]*(\[|=5B)(_|=20| )*(P|=50)(E|=45)(C|=43)(_|=20| )*((\]|=5D)|(:|=3A))/ FILTER pecgate-certificate:[pecgate.comune.example]:25
/^[Ss][Uu][Bb][Jj][Ee][Cc][Tt]:.*=\?[^?]+\?[Bb]\?[^?]*(W1BFQ1[0123]|[FVl1]tQRUNd|[BFJNRVZdhlptx159]bUEVDX[QRSTUVWXYZabcdef]|W1BFQz[opqr]|[FVl1]tQRUM6|[BFJNRVZdhlptx159]bUEVDO[ghijklmnopqrstuv]|W3BlY1[0123]|[FVl1]twZWNd|[BFJNRVZdhlptx159]bcGVjX[QRSTUVWXYZabcdef]|W3BlYz[opqr]|[FVl1]twZWM6|[BFJNRVZdhlptx159]bcGVjO[ghijklmnopqrstuv])/i FILTER pecgate-certificate:[pecgate.comune.example]:25
END
# Si guarda solo cio' che gli utenti inviano dopo il login, cosi' una PEC che torna con il contrassegno nell'oggetto non riparte.
postconf -M 'pecgate-certificate-cleanup/unix=pecgate-certificate-cleanup unix n - n - 0 cleanup'
# Con i controlli che hanno tutti gli altri; un parametro a parte, perche' master.cf non accetta spazi.
others="$(postconf -h header_checks)"
postconf -e "pecgate_certificate_header_checks = regexp:$dir/header_checks${others:+, $others}"
postconf -P 'pecgate-certificate-cleanup/unix/header_checks=$pecgate_certificate_header_checks'
found=
for service in submission/inet smtps/inet submissions/inet; do
	if [ -n "$(postconf -M "$service" 2>/dev/null)" ]; then
		has="$(postconf -Ph "$service/cleanup_service_name" 2>/dev/null || true)"
		case "$has" in
		'' | 'pecgate-certificate-cleanup') ;;
		*)
			echo "$service has cleanup_service_name=$has already: add regexp:$dir/header_checks to the header_checks of that service by hand" >&2
			exit 1
			;;
		esac
		postconf -P "$service/cleanup_service_name=pecgate-certificate-cleanup"
		found=yes
	fi
done
[ -n "$found" ] || echo 'warning: master.cf has no submission service, so no From and no subject is looked at' >&2

# 4. La via verso il gateway: TLS con certificato verificato, posta a 8 bit inalterata, DSN come la chiedono gli utenti.
postconf -M 'pecgate-certificate/unix=pecgate-certificate unix - - n - - smtp'
postconf -P 'pecgate-certificate/unix/smtp_tls_security_level=secure'
postconf -P 'pecgate-certificate/unix/smtp_tls_secure_cert_match=nexthop'
postconf -P 'pecgate-certificate/unix/smtp_tls_mandatory_protocols=!SSLv2,!SSLv3,!TLSv1,!TLSv1.1'
postconf -P 'pecgate-certificate/unix/smtp_tls_CApath=/etc/ssl/certs'
postconf -P 'pecgate-certificate/unix/smtp_discard_ehlo_keywords='
# Una PEC parte per tutti i destinatari come un solo messaggio; Postfix lo taglierebbe dopo cinquanta.
postconf -e 'pecgate-certificate_destination_recipient_limit = 1000'
# Il relay chiede un certificato: indicarne i file con queste due variabili.
: "${PECGATE_CLIENT_CERT:?the PEM file of the client certificate for the gateway}" "${PECGATE_CLIENT_KEY:?the PEM file of its key}"
postconf -P "pecgate-certificate/unix/smtp_tls_cert_file=$PECGATE_CLIENT_CERT"
postconf -P "pecgate-certificate/unix/smtp_tls_key_file=$PECGATE_CLIENT_KEY"

# 5. Cio' che torna dal gateway non passa da milter: un piede o un'etichetta romperebbe la firma di una busta.
cat >"$dir/clients" <<'END'
192.0.2.30 DISABLE
END
first smtpd_milter_maps "cidr:$dir/clients"
# Il gateway consegna solo su TLS.
if [ -z "$(postconf -h smtpd_tls_cert_file)$(postconf -h smtpd_tls_chain_files)" ]; then
	echo 'warning: smtpd_tls_cert_file is not set, so the gateway cannot deliver here: it demands STARTTLS' >&2
fi
# Il gateway crede al mittente di busta. Che nessuno usi quello di un altro: reject_sender_login_mismatch in smtpd_sender_restrictions di submission, con smtpd_sender_login_maps.

postfix check
if postfix status 2>/dev/null; then
	postfix reload
fi
