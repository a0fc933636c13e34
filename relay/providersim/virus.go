package providersim

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
)

// The only virus that this provider knows is the EICAR test string, which every
// scanner reports and which does nothing. It is put together here so that this
// file itself sets off no scanner.
const (
	testVirus     = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-` + `ANTIVIRUS-TEST-FILE!$H+H*`
	testVirusName = "EICAR-Test-File"
)

// infected names the virus in a message, looking at its bytes and at each part
// decoded, messages inside it too; empty means clean.
func infected(raw []byte) string {
	if scan(raw, 0) {
		return testVirusName
	}
	return ""
}

func scan(raw []byte, depth int) bool {
	if bytes.Contains(raw, []byte(testVirus)) {
		return true
	}
	return depth < maxDepth && scanPart(raw, readParts(raw), depth)
}

func scanPart(raw []byte, p *part, depth int) bool {
	for _, c := range p.children {
		if scanPart(raw, c, depth) {
			return true
		}
	}
	if p.children != nil {
		return false
	}
	body := raw[p.body:p.end]
	switch p.encoding {
	case "base64":
		body = decodeLoose(body)
	case "quoted-printable":
		// What stands before a fault is looked at all the same.
		body, _ = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	}
	if p.kind == "message/rfc822" {
		return scan(body, depth+1)
	}
	return bytes.Contains(body, []byte(testVirus))
}

// decodeLoose decodes base64, leaving out whatever is not of its alphabet, as a
// scanner must: a mail program would show the rest.
func decodeLoose(b []byte) []byte {
	clean := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			clean = append(clean, c)
		}
	}
	if len(clean)%4 == 1 {
		clean = clean[:len(clean)-1]
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, _ := base64.RawStdEncoding.Decode(out, clean) // what stands before a fault counts
	return out[:n]
}
