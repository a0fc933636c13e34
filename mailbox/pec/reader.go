package pec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"pecgate/mailbox/mime"
)

// Options configure a Reader.
type Options struct {
	// Trust holds the CAs accepted for PEC. Nil knows none, so every signature
	// is Unverifiable.
	Trust *Trust
	// Now is the clock that tells whether a certificate has expired since it
	// signed; nil is time.Now. The chain itself is judged as of the signing time.
	Now func() time.Time
}

// Reader reads PEC messages. It keeps nothing of them and is safe for use by
// many at once.
type Reader struct {
	trust *Trust
	now   func() time.Time
	bufs  sync.Pool // *[]byte of digestBlock
}

// NewReader returns a Reader.
func NewReader(o Options) *Reader {
	r := &Reader{trust: o.Trust, now: o.Now}
	if r.trust == nil {
		r.trust = newTrust(nil)
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.bufs.New = func() any { b := make([]byte, digestBlock); return &b }
	return r
}

// Read says what the message of size bytes in r is. ix must be the index of the
// same bytes. An error is an I/O error or that of ctx; whatever the bytes hold
// is told in the Report.
func (rd *Reader) Read(ctx context.Context, r io.ReaderAt, size int64, ix *mime.Index) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	head, err := mime.ReadHeader(r, &ix.Root)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	m := &message{r: r, size: size, root: &ix.Root, claim: readClaim(mime.Fields(head)), cut: ix.HeaderCut}
	if m.wrapped() && m.badStructure() != "" {
		// The index is bounded in the order of the message, so an original with
		// very many parts hides the signature behind it. A look at the levels
		// that count here finds it.
		flat, err := mime.Parse(r, size, mime.Limits{Depth: signedDepth})
		if err != nil {
			return nil, fmt.Errorf("read structure: %w", err)
		}
		m.root = &flat.Root
	}

	signed, err := rd.verify(ctx, m)
	if err != nil {
		return nil, err
	}
	cert, certErr, err := m.daticert()
	if err != nil {
		return nil, err
	}
	return rd.compose(m, signed, cert, certErr), nil
}

// message is one message while it is read.
type message struct {
	r     io.ReaderAt
	size  int64
	root  *mime.Part
	claim claim
	cut   bool // the header was longer than the index looks at
}

// signedDepth is the levels of multipart that are a PEC message's own, signed and
// mixed; the parts of the latter stay whole.
const signedDepth = 2

// signedBy is the outcome of the S/MIME checks.
type signedBy struct {
	sig *signature // nil if there is none that can be read
	// verdict is Valid or ValidHistoric with no fault, else the fault's.
	verdict string
	notes   [][2]string // check and text
}

func (s *signedBy) fail(verdict, check, text string) *signedBy {
	s.verdict = verdict
	s.notes = append(s.notes, [2]string{check, text})
	return s
}

// wrapped reports whether the message is S/MIME multipart/signed (RFC 8551
// section 3.5.3). The protocol parameter may be missing; one that names another
// protocol, such as OpenPGP, is another thing.
func (m *message) wrapped() bool {
	if m.root.Type != "multipart" || m.root.Subtype != "signed" {
		return false
	}
	p := strings.ToLower(m.root.Params["protocol"])
	return p == "" || p == "application/pkcs7-signature" || p == "application/x-pkcs7-signature"
}

// badStructure says what a multipart/signed lacks to be verified.
func (m *message) badStructure() string {
	if len(m.root.Children) != 2 {
		return "multipart/signed without exactly two parts"
	}
	p := &m.root.Children[1]
	if p.Type != "application" || p.Subtype != "pkcs7-signature" && p.Subtype != "x-pkcs7-signature" {
		return "the second part is no PKCS #7 signature"
	}
	off, length := m.root.Children[0].Raw()
	if off < 0 || length < 0 || off+length > m.size {
		return "the signed part lies outside of the message"
	}
	if m.cut {
		// A second From could stand where nobody looked.
		return "the header is too long to be judged"
	}
	return ""
}

// verify runs the checks of the signature in an order that lets the first
// failure be the telling one: structure, CMS, algorithm, content, signature,
// chain and usage as of the signing time, sender.
func (rd *Reader) verify(ctx context.Context, m *message) (*signedBy, error) {
	s := &signedBy{}
	if !m.wrapped() {
		return s.fail(NotSigned, "structure", "no S/MIME signature round the message"), nil
	}
	if why := m.badStructure(); why != "" {
		return s.fail(Unverifiable, "structure", why), nil
	}
	content, sigPart := &m.root.Children[0], &m.root.Children[1]
	raw, err := readPart(m.r, sigPart, maxCMS)
	var bad partError
	if errors.As(err, &bad) {
		return s.fail(Unverifiable, "cms", bad.Error()), nil
	} else if err != nil {
		return nil, err
	}
	sig, err := parseCMS(raw)
	var alg algorithmError
	if errors.As(err, &alg) {
		return s.fail(Unverifiable, "algorithm", alg.Error()), nil
	} else if err != nil {
		return s.fail(Unverifiable, "cms", err.Error()), nil
	}
	s.sig = sig

	off, length := content.Raw()
	buf := rd.bufs.Get().(*[]byte)
	sum, err := digestPart(ctx, m.r, off, length, sig.digest, *buf)
	rd.bufs.Put(buf)
	if err != nil {
		return nil, err
	}
	if !sig.sameContent(sum) {
		return s.fail(Invalid, "digest", "the signed content was changed"), nil
	}
	if err := sig.check(); err != nil {
		return s.fail(Invalid, "signature", "the signature does not verify: "+clip(err.Error())), nil
	}
	return s, nil
}

// judge completes verify with what needs a time: the chain as of the signing
// time. Where the signature bears none, the date of daticert.xml stands in,
// which the same key has signed.
func (rd *Reader) judge(m *message, s *signedBy, cert *daticert) {
	at := s.sig.signedAt
	if at.IsZero() {
		if cert == nil {
			s.fail(Unverifiable, "time", "the signature bears no signing time")
			return
		}
		at = cert.data
		s.notes = append(s.notes, [2]string{"time", "the signature bears no signing time"})
	} else if cert != nil {
		if gap := at.Sub(cert.data).Abs(); gap > maxTimeGap {
			s.notes = append(s.notes, [2]string{"time", "signed at " + stamp(at) + ", but daticert.xml says " + stamp(cert.data)})
		}
	}
	if f := rd.trust.check(s.sig.leaf, s.sig.others, at); f != nil {
		s.fail(f.verdict, f.check, f.text)
		return
	}
	if f := senderFault(s.sig.leaf, m.claim.from); f != nil {
		s.fail(f.verdict, f.check, f.text)
		return
	}
	s.verdict = Valid
	now := rd.now()
	if at.After(now.Add(maxTimeGap)) {
		s.notes = append(s.notes, [2]string{"time", "signed at " + stamp(at) + ", which is in the future"})
	}
	if s.sig.sha1() {
		s.fail(ValidHistoric, "algorithm", "signed with SHA-1")
	}
	if now.After(s.sig.leaf.NotAfter) {
		s.fail(ValidHistoric, "validity", "the certificate expired on "+stamp(s.sig.leaf.NotAfter)+", after signing")
	}
}

// daticert finds and reads daticert.xml at its one place. problem says why
// there is none that can be used; both are nil where there is none at all.
func (m *message) daticert() (cert *daticert, problem error, err error) {
	if !m.wrapped() || len(m.root.Children) == 0 {
		return nil, nil, nil
	}
	mixed := &m.root.Children[0]
	if mixed.Type != "multipart" || mixed.Subtype != "mixed" {
		return nil, nil, nil
	}
	var found *mime.Part
	for i := range mixed.Children {
		p := &mixed.Children[i]
		if !strings.EqualFold(p.FileName, "daticert.xml") && !strings.EqualFold(p.Params["name"], "daticert.xml") {
			continue
		}
		if found != nil {
			return nil, errors.New("there are two of them"), nil
		}
		found = p
	}
	if found == nil {
		return nil, nil, nil
	}
	if mixed.HeaderOff > found.HeaderOff || found.BodyOff+found.BodyLen > mixed.BodyOff+mixed.BodyLen {
		return nil, errors.New("it lies outside of the signed part"), nil
	}
	raw, err := readPart(m.r, found, maxDaticert)
	var bad partError
	if errors.As(err, &bad) {
		return nil, bad, nil
	} else if err != nil {
		return nil, nil, err
	}
	cert, problem = parseDaticert(raw)
	return cert, problem, nil
}

// compose makes the Report out of the claim, the signature and daticert.xml.
func (rd *Reader) compose(m *message, s *signedBy, cert *daticert, certErr error) *Report {
	if s.verdict == "" {
		rd.judge(m, s, cert)
	}
	good := s.verdict == Valid || s.verdict == ValidHistoric
	rep := &Report{Kind: m.claim.kind, Verdict: s.verdict, Recipients: []Recipient{}}
	for _, n := range s.notes {
		rep.note(n[0], n[1])
	}
	if s.sig != nil {
		rep.Issuer, rep.SignedAt = issuerName(s.sig.leaf), s.sig.signedAt
	}
	if cert == nil {
		rep.fromHeader(m.claim)
		switch {
		case certErr != nil:
			rep.note("daticert", "daticert.xml: "+certErr.Error())
		case good && m.claim.kind != Anomaly && m.claim.kind != Ordinary:
			rep.note("daticert", "no daticert.xml in the signed part")
		default:
			return rep
		}
		if good {
			rep.Verdict = Unverifiable
		}
		return rep
	}
	rep.fromXML(cert)
	if !good {
		// Nothing is proved. The header's word stays, unless it says nothing.
		if rep.Kind == Ordinary {
			rep.Kind = cert.kind()
		}
		rep.Final = rep.Kind == DeliveryWarning && rep.Final
		return rep
	}
	rep.Kind = cert.kind()
	for _, odd := range oddHeaders(m.claim, cert) {
		rep.note("header", odd)
	}
	if why := cert.contradiction(); why != "" {
		rep.Kind, rep.Final = Inconsistent, false
		rep.note("daticert", why)
	}
	if rep.Kind == Unknown {
		rep.note("daticert", "tipo "+clip(cert.tipo)+" is not known")
	}
	if cert.unknownRecipient {
		rep.note("daticert", "consegna is not among destinatari")
	}
	return rep
}

// fromXML copies what daticert.xml says.
func (r *Report) fromXML(d *daticert) {
	r.Receipt, r.At = d.ricevuta, d.data
	r.MsgID, r.Identifier = d.msgid, d.identificativo
	r.Recipient = d.consegna
	if d.errore != "nessuno" {
		r.Error = d.errore
	}
	r.ErrorText, r.ErrorCode = d.erroreEsteso, errorCode(d.erroreEsteso)
	r.Final = d.final()
	r.Subject, r.Sender = d.oggetto, d.mittente
	r.Recipients = d.destinatari
}

// fromHeader copies hints from the outer header, for people and searches.
func (r *Report) fromHeader(c claim) {
	r.MsgID = hint(c.riferim)
	if r.Kind == Transport {
		r.Identifier = NormalizeID(hint(c.msgID))
	}
	r.Receipt = receiptWord(c.tipoRic)
	r.Subject = hint(c.subject)
	if prefix, rest, ok := strings.Cut(c.subject, ":"); ok && prefixKind(prefix) != "" {
		r.Subject = hint(rest)
	}
	from := c.from
	if (r.Kind == Anomaly || r.Kind == Transport) && c.replyTo != "" {
		from = []string{c.replyTo}
	}
	if len(from) > 0 {
		// Lenient on purpose: this one decides nothing.
		if list := mime.AddressList(from[0]); len(list) > 0 && list[0].Domain != "" {
			r.Sender = hint(list[0].Local + "@" + list[0].Domain)
		}
	}
}
