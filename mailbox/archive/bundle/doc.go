// Package bundle writes and checks evidence bundles: one .zip that shows what became
// of a certified message to somebody who has neither this program nor access to it.
//
// It owns the format: the names of the members, manifest.json, SHA256SUMS and its
// signature, report.json, timeline.json, the README, and the form of the zip itself.
//
// # Format, version 1
//
//	README.txt               how to check it all with unzip, openssl, sha256sum and xmllint
//	report.html              the report for people
//	report.json              the same for programs: see Report
//	timeline.json            what happened, by time
//	messages/001-KIND.eml    every message, byte for byte
//	content/001.eml          the message inside of an envelope that came in
//	daticert/001.xml         the provider's data of message 001, out of its signed part
//	certificates/001.pem     who signed message 001: the provider's certificate, its issuer, ...
//	certificates/ca.pem      the certification authorities that the appliance trusted for them
//	revocation/001.ocsp,.crl what the authority said of that certificate when 001 came
//	audit/proof.json         lines of the audit log: see audit.Proof
//	audit/growth.json        see audit.Growth
//	audit/000017.leaf        what is hashed of line 17: a zero byte, its salt, its text
//	audit/inclusion.txt      the way of each line to the root, for a shell
//	audit/consistency.txt    the older head, the newer, and the hashes between
//	audit/head.txt, .sig     the signed head and its Ed25519 signature
//	audit/old-head.txt, .sig the older one
//	public-key.pem           the key that signed SHA256SUMS and the heads
//	MEMBERS.txt              the names of all members, as `unzip -Z1` gives them
//	manifest.json            what each member is: see Manifest
//	SHA256SUMS               of every member before it, as sha256sum writes them
//	SHA256SUMS.sig           Ed25519 signature of SHA256SUMS
//
// The zip has one form for one content, so that it can be made anew and compared:
// members are stored, not compressed, in the order of MEMBERS.txt, with the time of
// manifest.json (UTC) and mode 0644; no extra fields, no comments, no gaps, no ZIP64.
//
// Invariants:
//   - Bytes of messages are never changed, and each is hashed while it is written and
//     once more by whoever checks.
//   - Nothing but a message's own bytes, its facts and lines of the audit log gets in:
//     no path, secret, or name of this machine.
//   - What strangers choose is text in the report. No command of the README holds any
//     of it.
//   - A bundle is read with bounds, as a stranger's file.
//
// It must not import the store, policy, relay or gateway.
package bundle
