package mailbox

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"pecgate/mailbox/mime"
)

// The index of a search is one signature for each entry, beside its wire forms:
// a Bloom filter of all runs of four bytes in what mime.Texts shows of the
// message. It tells that a string is surely not there; where it may be, the
// message is read. An entry without a signature (of mail that was stored before
// there were any) may hold everything: searches that had to read such a message
// leave its signature behind.
//
// A signature holds no word in clear, and much less than the message beside it.

// Signature is what is known of the words of a message; nil: nothing.
type Signature []byte

// The form of a signature: version, bits of state, the filter.
const (
	signatureForm = 1
	signatureHead = 2

	stateSummary = 1 // ENVELOPE shows all that its fields say
	stateFull    = 2 // the filter says nothing
)

// Sizes in bytes and bits.
const (
	gramLen      = 4       // bytes of a run
	gramBits     = 5       // of the filter for each run, if there is room
	minFilter    = 256     // a filter may have so many whatever the message's size
	maxFilter    = 6 << 10 // and never more than this
	filterShare  = 40      // nor more than a 40th of the message
	maxGrams     = 40_000  // different runs; beyond them the filter would be full
	gramSpace    = 1 << 16 // different numbers of runs
	maxIndexed   = 4 << 20 // bytes of texts; a message with more is read by every search
	summaryParts = 900     // parts of a message beyond which it is not indexed
	summaryDepth = 28      // levels, likewise: inside it others may be seen
)

// Grams are the runs of a string that is looked for.
type Grams []uint16

// GramsOf returns the runs of a folded string (mime.Fold) that tell something:
// none for a short one, and for one that every message may hold.
func GramsOf(folded string) Grams {
	var out Grams
	known := commonGrams()
	for i := 0; i+gramLen <= len(folded); i++ {
		if h := gramHash(folded[i], folded[i+1], folded[i+2], folded[i+3]); !known.has(h) && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// gramHash is the number of a run.
func gramHash(a, b, c, d byte) uint16 {
	h := uint32(a) | uint32(b)<<8 | uint32(c)<<16 | uint32(d)<<24
	h ^= h >> 15
	h *= 0x2c1b3c6d
	h ^= h >> 12
	h *= 0x297a2d39
	return uint16(h >> 16)
}

// spots are those of a run in a filter of so many bits, at most 65,536. They
// come from its number alone: of several runs with one number, one stands for
// all.
func spots(h uint16, bits uint32) (uint32, uint32) {
	return uint32(h) * bits >> 16, uint32(h*40503+23) * bits >> 16
}

// MayHold tells whether the message may hold a string with these runs.
func (s Signature) MayHold(g Grams) bool {
	if !s.says() || s[1]&stateFull != 0 {
		return true
	}
	filter := s[signatureHead:]
	bits := uint32(len(filter)) * 8
	for _, h := range g {
		p, q := spots(h, bits)
		if filter[p/8]&(1<<(p%8)) == 0 || filter[q/8]&(1<<(q%8)) == 0 {
			return false
		}
	}
	return true
}

// Summarised tells that Subject and address fields stand in the ENVELOPE as
// whole as in the header.
func (s Signature) Summarised() bool { return s.says() && s[1]&stateSummary != 0 }

func (s Signature) says() bool {
	return len(s) > signatureHead && s[0] == signatureForm
}

// gramSet is a set of runs by their number among gramSpace.
type gramSet [gramSpace / 64]uint64

func (s *gramSet) has(h uint16) bool { return s[h/64]&(1<<(h%64)) != 0 }
func (s *gramSet) add(h uint16)      { s[h/64] |= 1 << (h % 64) }

var errManyWords = errors.New("mailbox: too much text to index")

// MakeSignature reads what a search would look at in a message.
func MakeSignature(r io.ReaderAt, ix *mime.Index) (Signature, error) {
	if parts, depth := extent(&ix.Root, 0); parts > summaryParts || depth > summaryDepth {
		return Signature{signatureForm, stateFull, 0}, nil
	}
	known := commonGrams()
	seen := new(gramSet)
	grams := make([]uint16, 0, 2048)
	left := int64(maxIndexed)
	spend := func(n int64) error {
		if left -= n; left < 0 {
			return errManyWords
		}
		return nil
	}
	t := mime.Texts{R: r, Overlap: gramLen - 1, Spend: spend, Piece: func(b []byte) bool {
		for i := 0; i+gramLen <= len(b); i++ {
			h := gramHash(b[i], b[i+1], b[i+2], b[i+3])
			if known.has(h) || seen.has(h) {
				continue
			}
			seen.add(h)
			grams = append(grams, h)
		}
		return len(grams) <= maxGrams
	}}
	header, err := mime.ReadHeader(r, &ix.Root)
	if err != nil {
		return nil, err
	}
	t.Fields(header)
	err = t.Body(&ix.Root)
	if err != nil && !errors.Is(err, errManyWords) {
		return nil, err
	}
	state := byte(0)
	if !ix.HeaderCut && mime.Summarises(ix.Envelope, header) {
		state |= stateSummary
	}
	for _, name := range []string{"subject", "from", "to", "cc", "bcc"} {
		if shown, ok := mime.EnvelopeField(ix.Envelope, name); ok {
			t.Piece(shown) // what a search compares first; it is written otherwise than the field
		}
	}
	if err != nil || len(grams) > maxGrams {
		return Signature{signatureForm, state | stateFull, 0}, nil
	}
	size := min(len(grams)*gramBits/8+8, max(minFilter, int(min(ix.Size/filterShare, maxFilter))))
	s := make(Signature, signatureHead+size)
	s[0], s[1] = signatureForm, state
	filter, bits := s[signatureHead:], uint32(size)*8
	for _, h := range grams {
		p, q := spots(h, bits)
		filter[p/8] |= 1 << (p % 8)
		filter[q/8] |= 1 << (q % 8)
	}
	return s, nil
}

// extent counts the parts and levels of a message.
func extent(p *mime.Part, level int) (parts, depth int) {
	parts, depth = 1, level
	inside := func(c *mime.Part) {
		n, d := extent(c, level+1)
		parts, depth = parts+n, max(depth, d)
	}
	for i := range p.Children {
		inside(&p.Children[i])
	}
	if p.Message != nil {
		inside(p.Message)
	}
	return parts, depth
}

// commonGrams are the runs that count as being in every message: those of the
// names of fields, and of the text that the rules prescribe for envelopes and
// receipts (DM 2 November 2005, technical rules, 6.3 and 6.5).
var commonGrams = sync.OnceValue(func() *gramSet {
	set := new(gramSet)
	for _, line := range strings.Split(commonText, "\n") {
		b := mime.Fold(line)
		for i := 0; i+gramLen <= len(b); i++ {
			set.add(gramHash(b[i], b[i+1], b[i+2], b[i+3]))
		}
	}
	return set
})

// commonText belongs to signatureForm: another text makes another form.
const commonText = `Received: from smtp by mx with ESMTPS id for ; Mon, Tue, Wed, Thu, Fri, Sat, Sun,
Date: From: "Per conto di: @pec. <posta-certificata@pec. .it .com> .example.
Reply-To: Return-Path: Sender: Cc: Bcc: In-Reply-To: References: User-Agent: X-Mailer: Delivered-To: DKIM-Signature: List-
X-Trasporto: posta-certificata
X-Ricevuta: accettazione
X-Ricevuta: avvenuta-consegna
X-TipoRicevuta: completa
X-Riferimento-Message-ID: <
Message-ID: <opec
Subject: POSTA CERTIFICATA: ACCETTAZIONE: CONSEGNA: Re: Fwd: R: I: 
MIME-Version: 1.0
Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; micalg="sha-256"; boundary="----=_Part_
Content-Type: multipart/mixed; boundary="----=_NextPart_
Content-Type: multipart/alternative; boundary=
Content-Type: multipart/related; boundary=
Content-Type: text/plain; charset=UTF-8; format=flowed; charset="iso-8859-1" charset="utf-8" charset="us-ascii" charset="windows-1252"
Content-Type: text/html; charset=UTF-8
Content-Type: message/rfc822; name="postacert.eml" Content-Type: application/xml; name="daticert.xml"
Content-Type: application/pdf; name=" .pdf" application/octet-stream; name="smime.p7s"
Content-Transfer-Encoding: 8bit 7bit quoted-printable base64
Content-Disposition: inline; filename="daticert.xml" filename="postacert.eml"
Content-Disposition: attachment; filename="smime.p7s"
Content-Description: S/MIME Cryptographic Signature Content-ID: Content-Language:
<html><head><meta http-equiv="Content-Type" content="text/html; charset=UTF-8"><title></title></head><body><h3><p></p><br></h3></div></body></html>
Messaggio di posta certificata
Ricevuta di accettazione
Ricevuta di avvenuta consegna
Il giorno alle ore ( +0100) ( +0200) il messaggio " " è stato inviato da " " indirizzato a: 
indirizzato a: ("posta certificata") ("posta ordinaria") e' stato inviato da proveniente da ed indirizzato a
Il messaggio originale è incluso in allegato.
è stato consegnato nella casella di destinazione. è stato accettato dal sistema ed inoltrato a
Questa ricevuta, per sua garanzia, è firmata digitalmente e la preghiamo di conservarla come attestato
Identificativo messaggio: del messaggio originale
L'allegato daticert.xml contiene informazioni di servizio sulla trasmissione.
`
