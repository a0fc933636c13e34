package pec

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec/cms"
)

// Options configure a Reader.
type Options struct {
	// Trust holds the CAs accepted for PEC. Nil knows the built-in ones.
	Trust *Trust
	// Now is the clock that tells whether a certificate has expired since it
	// signed; nil is time.Now. The chain itself is judged as of the signing time.
	Now func() time.Time
}

// Bounds of what a Reader keeps: the certificates of some dozens of providers.
const (
	keptCertificates = 256
	keptPaths        = 256
)

// Reader reads PEC messages. It keeps nothing of them but the certificates that
// signed them and the chains of those, both bounded, and is safe for use by many
// at once.
type Reader struct {
	now          func() time.Time
	anchors      string
	certificates *cms.Certificates
	paths        *paths
	rooms        sync.Pool // *room
}

// room is the memory that reading one message takes whatever the message is.
type room struct {
	block     [digestBlock]byte // of the signed part
	signature [8 << 10]byte     // real ones, encoded, have 3 to 10 KiB
	daticert  [8 << 10]byte
}

// NewReader returns a Reader.
func NewReader(o Options) *Reader {
	r := &Reader{now: o.Now, certificates: cms.NewCertificates(keptCertificates)}
	trust := o.Trust
	if trust == nil {
		var err error
		if trust, err = NewTrust(); err != nil {
			// What is built in is read by a test; without it nothing is trusted.
			trust = newTrust(nil, nil)
		}
	}
	r.paths, r.anchors = newPaths(trust, keptPaths), trust.fingerprint()
	if r.now == nil {
		r.now = time.Now
	}
	r.rooms.New = func() any { return new(room) }
	return r
}

// Anchors names the CAs that are trusted, in a few bytes: others have another name.
func (rd *Reader) Anchors() string { return rd.anchors }

// Read says what the message of size bytes in r is. ix must be the index of the
// same bytes. An error is an I/O error or that of ctx; whatever the bytes hold
// is told in the Report.
func (rd *Reader) Read(ctx context.Context, r io.ReaderAt, size int64, ix *mime.Index) (*Report, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := openMessage(r, size, ix)
	if err != nil {
		return nil, err
	}
	// The signature points into the room until the report is made.
	room := rd.rooms.Get().(*room)
	defer rd.rooms.Put(room)
	signed, err := rd.verify(ctx, m, room)
	if err != nil {
		return nil, err
	}
	cert, certErr, err := m.daticert(room.daticert[:])
	if err != nil {
		return nil, err
	}
	var inner *Inner
	if mixed := m.mixed(); mixed != nil {
		if inner, err = findInner(m, mixed); err != nil {
			return nil, err
		}
	}
	return rd.compose(m, signed, cert, certErr, inner), nil
}

// signedBy is the outcome of the S/MIME checks.
type signedBy struct {
	sig *cms.Signature // nil if there is none that can be read
	// verdict is Valid or ValidHistoric with no fault, else the fault's.
	verdict string
	failed  string      // the check that decided a bad verdict
	notes   [][2]string // check and text

	issuer   string    // issuerName of the signer
	signer   string    // the provider's address, once everything is right
	provider bool      // the signer's certificate bears a provider's address
	signedAt time.Time // the signature's own claim
}

func (s *signedBy) fail(verdict, check, text string) *signedBy {
	s.verdict, s.failed = verdict, check
	s.notes = append(s.notes, [2]string{check, text})
	return s
}

// verify runs the checks of the signature in an order that lets the first
// failure be the telling one: structure, CMS, algorithm, content, signature,
// chain and usage as of the signing time, sender.
func (rd *Reader) verify(ctx context.Context, m *message, room *room) (*signedBy, error) {
	s := &signedBy{}
	if m.signed == nil {
		return s.fail(m.unsigned.verdict, m.unsigned.check, m.unsigned.text), nil
	}
	if why := m.badStructure(); why != "" {
		return s.fail(Unverifiable, checkStructure, why), nil
	}
	content, sigPart := &m.signed.Children[0], &m.signed.Children[1]
	raw, err := readPart(m.r, sigPart, cms.MaxSize, room.signature[:])
	var bad partError
	if errors.As(err, &bad) {
		return s.fail(Unverifiable, "cms", bad.Error()), nil
	} else if err != nil {
		return nil, err
	}
	sig, err := cms.Parse(raw, rd.certificates)
	var alg cms.AlgorithmError
	if errors.As(err, &alg) {
		return s.fail(Unverifiable, "algorithm", alg.Error()), nil
	} else if err != nil {
		return s.fail(Unverifiable, "cms", err.Error()), nil
	}
	s.sig, s.issuer, s.signedAt = sig, issuerName(sig.Leaf), sig.SignedAt
	s.provider = slices.ContainsFunc(sig.Leaf.EmailAddresses, providerAddress)

	off, length := content.Raw()
	same, err := sameContent(ctx, m.r, off, length, sig, room.block[:])
	if err != nil {
		return nil, err
	}
	if !same {
		return s.fail(Invalid, "digest", "the signed content was changed"), nil
	}
	if err := sig.Check(); err != nil {
		return s.fail(Invalid, "signature", "the signature does not verify: "+clip(err.Error())), nil
	}
	return s, nil
}

// judge completes verify with what needs a time: the chain as of the signing
// time. Where the signature bears none, the date of daticert.xml stands in,
// which the same key has signed.
func (rd *Reader) judge(m *message, s *signedBy, cert *daticert) {
	at := s.sig.SignedAt
	if at.IsZero() {
		if cert == nil {
			s.fail(Unverifiable, "time", "the signature bears no signing time")
			return
		}
		at = cert.data
		s.notes = append(s.notes, [2]string{"time", "the signature bears no signing time"})
	}
	path, f := rd.paths.find(s.sig, at)
	if f != nil {
		s.fail(f.verdict, f.check, f.text)
		return
	}
	sender, f := senderOf(s.sig.Leaf, m.claim.from)
	if f != nil {
		s.fail(f.verdict, f.check, f.text)
		return
	}
	// The signing time is the signer's word, and the chain was judged as of it: an
	// old key could sign today with a time of its own. What it signs must agree.
	now := rd.now()
	switch {
	case cert != nil && at.Sub(cert.data).Abs() > maxTimeGap:
		s.fail(Unverifiable, checkTime, "signed at "+stamp(at)+", but daticert.xml says "+stamp(cert.data))
		return
	case at.After(now.Add(maxTimeGap)):
		s.fail(Unverifiable, checkTime, "signed at "+stamp(at)+", which is in the future")
		return
	}
	s.verdict, s.signer = Valid, sender
	if s.sig.SHA1() {
		s.fail(ValidHistoric, "algorithm", "signed with SHA-1")
	}
	for _, w := range path.weaknesses(now) {
		s.fail(ValidHistoric, w[0], w[1])
	}
}
