package bundle

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"pecgate/mailbox/pec"
)

// readme writes README.txt. Its commands are the lines that begin with four blanks;
// together they are a script for sh. No word of a message stands in any of them: only
// the names of members, which are the program's, and times.
func readme(r *Report, fingerprint string, cas map[string]*x509.Certificate) []byte {
	var b strings.Builder
	p := func(s string, args ...any) { fmt.Fprintf(&b, s, args...) }
	p(readmeHead, r.Appliance, r.MadeAt.Format(time.RFC3339), fingerprint)
	p("%s", readmeUnzip)
	p(readmeKey, fingerprint)
	p("%s", readmeSums)
	p("%s", readmeSigned)
	for _, c := range r.Cases {
		for _, m := range c.Messages {
			smime(p, m)
		}
	}
	p("%s", readmeData)
	for _, c := range r.Cases {
		for _, m := range c.Messages {
			data(p, m)
		}
	}
	p("%s", readmeLog)
	if len(cas) > 0 {
		p("%s", readmeTrust)
		for _, ca := range sorted(cas) {
			p("  %s  %s\n", hexSum(ca.Raw), line(ca.Subject.String()))
		}
	}
	revoked(p, r)
	p("%s", readmeEnd)
	return []byte(b.String())
}

// smime is the check of one message's signature.
func smime(p func(string, ...any), m *Message) {
	if m.Role == RoleSubmission {
		p("\n%s: il messaggio come fu consegnato al gestore, senza firma.\n  The message as it was handed to the provider; it bears no signature.\n", m.File)
		return
	}
	if m.Pec == nil || m.Pec.Verdict != pec.Valid && m.Pec.Verdict != pec.ValidHistoric || len(m.Chain) == 0 || m.Pec.Relayed {
		verdict := "-"
		if m.Pec != nil {
			verdict = m.Pec.Verdict
		}
		p("\n%s: NON provato / NOT PROVEN (%s). Il motivo è in report.html.\n  The reason is in report.html. Nothing to run: this message proves nothing by itself.\n", m.File, verdict)
		return
	}
	at := m.Pec.SignedAt
	if at.IsZero() {
		at = m.Pec.At
	}
	weak := ""
	if m.SHA1 {
		weak = " -auth_level 0"
	}
	p("\n%s, firmato il / signed on %s:\n\n", m.File, at.UTC().Format(time.RFC3339))
	p("    openssl cms -verify -in %s -inform SMIME -CAfile %s -partial_chain -purpose any%s -attime %d -out signed.tmp\n", m.File, caFile, weak, at.Unix())
	switch {
	case m.Daticert == "":
	case m.Encoding == "base64":
		p("    part < signed.tmp | openssl base64 -d > part.tmp\n    same part.tmp %s\n", m.Daticert)
	case m.Encoding == "7bit" || m.Encoding == "8bit" || m.Encoding == "binary":
		p("    part < signed.tmp > part.tmp\n    same part.tmp %s\n", m.Daticert)
	default:
		p("\n  (daticert.xml: %s; confrontare a mano / compare by eye)\n", "quoted-printable")
	}
}

// data shows what daticert.xml of one message says.
func data(p func(string, ...any), m *Message) {
	if m.Daticert == "" {
		return
	}
	p("    echo; echo '%s:'\n", m.Daticert)
	p("    xmllint --nonet --noout %s\n", m.Daticert)
	for _, v := range []struct{ label, path string }{
		{"tipo", "/postacert/@tipo"}, {"errore", "/postacert/@errore"}, {"mittente", "/postacert/intestazione/mittente"},
		{"msgid", "/postacert/dati/msgid"}, {"identificativo", "/postacert/dati/identificativo"},
		{"consegna", "/postacert/dati/consegna"}, {"giorno", "/postacert/dati/data/giorno"}, {"ora", "/postacert/dati/data/ora"},
	} {
		p("    show %s '%s' %s\n", v.label, v.path, m.Daticert)
	}
}

// revoked tells how to read what the authorities said.
func revoked(p func(string, ...any), r *Report) {
	some := false
	for _, c := range r.Cases {
		for _, m := range c.Messages {
			for _, rev := range m.Revocation {
				if !some {
					p("%s", readmeRevocation)
				}
				some = true
				if rev.Kind == "crl" {
					p("  openssl crl -inform DER -in %s -CAfile %s -noout -text\n", rev.File, caFile)
				} else {
					p("  openssl ocsp -respin %s -noverify -resp_text\n", rev.File)
				}
			}
		}
	}
}

// line makes one line of a name that a stranger chose.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

const readmeHead = `PROVA DI UN MESSAGGIO PEC / EVIDENCE OF A CERTIFIED (PEC) MESSAGE

Fatto da / made by:   %s
Il / on:              %s (UTC)
Impronta della chiave / fingerprint of the key (SHA-256):
  %s

ITALIANO. Questo archivio contiene i messaggi originali, byte per byte, con le
ricevute del gestore PEC, i certificati di chi le ha firmate, il rapporto di verifica
(report.html) e un estratto del registro dell'apparecchio con le sue prove. Tutto si
verifica senza il programma che l'ha fatto, con quattro strumenti comuni: unzip,
openssl (3.0 o successivo), sha256sum e xmllint, in una shell POSIX (sh). I comandi
sono le righe che cominciano con quattro spazi; le righe che cominciano con ">"
dicono che cosa deve apparire. Per eseguirli tutti in una cartella vuota, con
l'archivio chiamato evidence.zip:

  unzip -p evidence.zip README.txt | sed -n 's/^    //p' > check.sh; sh check.sh

Se qualcosa non corrisponde lo script si ferma con stato diverso da zero. Se tutto
corrisponde finisce con "EVERYTHING CHECKED" e stato 0.

ENGLISH. This archive holds the original messages, byte for byte, with the receipts of
the PEC provider, the certificates of who signed them, the report (report.html) and an
extract of the appliance's log with its proofs. All of it can be checked without the
program that made it, with four common tools: unzip, openssl (3.0 or later), sha256sum
and xmllint, in a POSIX shell (sh). The commands are the lines that begin with four
blanks; lines that begin with ">" say what must appear. To run them all in an empty
folder, with the archive named evidence.zip:

  unzip -p evidence.zip README.txt | sed -n 's/^    //p' > check.sh; sh check.sh

Where something does not match, the script stops with a status other than zero. Where
everything matches it ends with "EVERYTHING CHECKED" and status 0.
`

const readmeUnzip = `

1. L'ARCHIVIO / THE ARCHIVE

Si può indicare la somma SHA-256 dell'archivio, se fu comunicata a parte (variabile
SUM): allora è provato ogni suo byte. Contiene esattamente i file elencati.
The SHA-256 of the archive may be given in SUM, where it was told apart: then every byte
of it is proven. It holds exactly the files that are listed.

    set -eu
    export LC_ALL=C
    : "${BUNDLE:=evidence.zip}" "${SUM:=}" "${KEY:=}"
    [ -z "$SUM" ] || printf '%s  %s\n' "$SUM" "$BUNDLE" | sha256sum -c -
    unzip -tqq "$BUNDLE"
    unzip -qq "$BUNDLE" -d evidence
    names=$(unzip -Z1 "$BUNDLE" | sha256sum)
    cd evidence
    [ "$names" = "$(sha256sum < MEMBERS.txt)" ]
    echo 'archive: good'

> archive: good
`

const readmeKey = `

2. LA CHIAVE / THE KEY

L'impronta va confrontata con quella che l'amministratore dell'apparecchio ha
comunicato per altra via (variabile KEY). Senza questo confronto è provato solo che
tutto l'archivio fu firmato con la chiave che contiene.
Compare the fingerprint with the one that the administrator of the appliance told in
another way (KEY). Without that it is only proven that all of the archive was signed by
the key in it.

    fingerprint=$(openssl pkey -pubin -in public-key.pem -outform DER | openssl dgst -sha256 -r)
    fingerprint=${fingerprint%%%% *}
    echo "fingerprint: $fingerprint"
    [ "$fingerprint" = "${KEY:-$fingerprint}" ]

> fingerprint: %s
`

const readmeSums = `

3. I FILE / THE FILES

La firma (Ed25519) copre SHA256SUMS, che copre ogni altro file.
The signature (Ed25519) covers SHA256SUMS, which covers every other file.

    openssl pkeyutl -verify -pubin -inkey public-key.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
    sha256sum --strict --quiet -c SHA256SUMS
    while IFS= read -r name; do case $name in SHA256SUMS|SHA256SUMS.sig) continue;; esac; found=; while read -r sum file; do [ "$file" != "$name" ] || found=yes; done < SHA256SUMS; [ -n "$found" ]; done < MEMBERS.txt
    echo 'files: good'

> Signature Verified Successfully
> files: good
`

const readmeSigned = `

4. LE FIRME DEI GESTORI / THE SIGNATURES OF THE PROVIDERS

Ogni ricevuta o busta è firmata dal gestore PEC (S/MIME). Si verifica alla data della
firma, poiché i certificati scadono. I dati firmati (daticert.xml) sono confrontati con
la copia in daticert/.
Every receipt or envelope is signed by the PEC provider (S/MIME). It is checked as of the
date of the signature, since certificates expire. The data that were signed
(daticert.xml) are compared with the copy in daticert/.

> CMS Verification successful

    part() { head= found= body=; while IFS= read -r l || [ -n "$l" ]; do if [ -n "$body" ]; then case $l in --*) break;; esac; printf '%s\n' "$l"; continue; fi; l=${l%"$(printf '\r')"}; case $l in --*) head=yes found=;; '') [ -z "$found" ] || body=yes; head=;; *[Dd]aticert.xml*) [ -z "$head" ] || found=yes;; esac; done; }
    same() { a=$(xmllint --nonet --c14n "$1" | sha256sum); b=$(xmllint --nonet --c14n "$2" | sha256sum); [ "$a" = "$b" ]; }
`

const readmeData = `

5. I DATI CERTIFICATI / THE CERTIFIED DATA

Che cosa dichiarano le ricevute: a quale messaggio (msgid, identificativo) e a quale
destinatario (consegna) si riferiscono. Deve corrispondere a report.html.
What the receipts state: which message (msgid, identificativo) and which recipient
(consegna) they speak of. It must match report.html.

    show() { printf '  %s: ' "$1"; xmllint --nonet --xpath "string($2)" "$3"; }
`

const readmeLog = `

6. IL REGISTRO / THE LOG

Ogni riga del registro è una foglia di un albero di Merkle (RFC 6962); la radice è
firmata (audit/head.txt, audit/head.sig). Qui si prova che ogni riga dell'estratto vi
sta, e che il registro è solo cresciuto dalla radice precedente (audit/old-head.txt).
Le righe si leggono in audit/proof.json; di quelle che riguardano altre persone c'è
solo l'impronta.
Every line of the log is a leaf of a Merkle tree (RFC 6962); the root is signed
(audit/head.txt, audit/head.sig). This proves that every line of the extract stands in
it, and that the log only grew since the older root (audit/old-head.txt). The lines can
be read in audit/proof.json; of those about other people there is only the hash.

    openssl pkeyutl -verify -pubin -inkey public-key.pem -rawin -in audit/head.txt -sigfile audit/head.sig
    openssl pkeyutl -verify -pubin -inkey public-key.pem -rawin -in audit/old-head.txt -sigfile audit/old-head.sig
    { read -r name; read -r size; read -r root; } < audit/head.txt
    { read -r name; read -r osize; read -r oroot; } < audit/old-head.txt
    sha() { openssl dgst -sha256 -binary "$@" | openssl base64 -A; }
    raw() { printf '%s\n' "$1" | openssl base64 -d -A; }
    node() { { printf '\001'; raw "$1"; raw "$2"; } | sha; }
    up() { fn=$((fn >> 1)) sn=$((sn >> 1)); }
    included() { fn=$1 sn=$((size - 1)) leaf=$2; shift 2; case $leaf in =*) r=${leaf#=};; *) r=$(sha "$leaf");; esac; for p in "$@"; do [ $sn -ne 0 ] || return 1; if [ $((fn & 1)) = 1 ] || [ $fn = $sn ]; then r=$(node "$p" "$r"); while [ $fn != 0 ] && [ $((fn & 1)) = 0 ]; do up; done; else r=$(node "$r" "$p"); fi; up; done; [ $sn = 0 ] && [ "$r" = "$root" ]; }
    lines=0; while read -r way; do included $way; lines=$((lines + 1)); done < audit/inclusion.txt
    echo "lines of the log: $lines, all in the tree of the signed head"
    grown() { [ "$1" = "$osize" ] && [ "$2" = "$oroot" ] && [ "$3" = "$size" ] && [ "$4" = "$root" ] || return 1; fn=$(($1 - 1)) sn=$(($3 - 1)); shift 4; if [ $osize = $size ]; then [ $# = 0 ] && [ "$oroot" = "$root" ]; return; fi; while [ $((fn & 1)) = 1 ]; do up; done; if [ $fn = 0 ]; then fr=$oroot sr=$oroot; else fr=$1 sr=$1; shift; fi; for c in "$@"; do [ $sn -ne 0 ] || return 1; if [ $((fn & 1)) = 1 ] || [ $fn = $sn ]; then fr=$(node "$c" "$fr"); sr=$(node "$c" "$sr"); while [ $fn != 0 ] && [ $((fn & 1)) = 0 ]; do up; done; else sr=$(node "$sr" "$c"); fi; up; done; [ $sn = 0 ] && [ "$fr" = "$oroot" ] && [ "$sr" = "$root" ]; }
    read -r way < audit/consistency.txt
    grown $way
    echo 'the log only grew'

> Signature Verified Successfully
> Signature Verified Successfully
> the log only grew
`

const readmeTrust = `

7. DI CHI CI SI È FIDATI / WHO WAS TRUSTED

certificates/ca.pem contiene le autorità di certificazione di cui l'apparecchio si
fidava. Le loro impronte (SHA-256 del DER) vanno confrontate con l'elenco pubblico dei
certificatori PEC (AgID).
certificates/ca.pem holds the certification authorities that the appliance trusted.
Compare their fingerprints (SHA-256 of the DER) with the public list (AgID).

`

const readmeRevocation = `

8. REVOCA / REVOCATION

Che cosa l'autorità diceva dei certificati quando i messaggi arrivarono. Il numero di
serie è in report.html.
What the authority said of the certificates when the messages came. The serial number is
in report.html.

`

const readmeEnd = `

    echo 'EVERYTHING CHECKED'

> EVERYTHING CHECKED
`
