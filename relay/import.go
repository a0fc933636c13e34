package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/mime"
	"pecgate/mailbox/pec"
	"pecgate/relay/fetch"
)

// What somebody kept of a PEC mailbox, or what another provider holds, is brought in
// as history: read, filed and tied as what is fetched, but that its items come from
// elsewhere. Nothing stands at the provider under their names, and no cursor moves.
//
//   - What is there already, by its content, is not stored again.
//   - A message of the mailbox itself without an envelope was sent. It becomes a
//     recovered original (original.go), where no submission has its Message-ID.
//   - Those that were sent come last: recipients and time are then those of the signed
//     receipts, which name also whom no header does. A receipt that is tied to nothing
//     is kept in mind until then in the transaction of its arrival
//
//	oi/<mailbox>/<msgid>NUL<message>  receipt that was imported, whose original is looked for
//
// and at the end of the import its original is looked for as that of any other. What
// was killed before is done by the next import of the mailbox.

// fromImport is where an original was recovered from.
const fromImport = "import"

func importPrefix(box string) string { return "oi/" + strings.ToLower(box) + "/" }

// ImportItem is one message to be brought in.
type ImportItem struct {
	Box  string    `json:"mailbox"`
	Date time.Time `json:"date,omitzero"` // INTERNALDATE where it stood; zero: its header tells
	Size int64     `json:"size"`
	// Sent takes it in although it was sent; else the answer is only that it was.
	Sent bool `json:"sent,omitempty"`
	// Proven takes it in only if its signature is good: other readings of it follow.
	Proven bool      `json:"proven,omitempty"`
	Dry    bool      `json:"dry,omitempty"` // only say what it is
	Body   io.Reader `json:"-"`             // exactly Size bytes
}

// What became of an ImportItem.
const (
	ImportedNew    = "new"    // brought in, or would be
	ImportedThere  = "there"  // the store has it
	ImportedLater  = "later"  // it was sent: give it again at the end, with Sent
	ImportedOther  = "other"  // not proven: give another reading of it
	ImportedFailed = "failed" // it cannot be taken in; Trouble says why
)

// Imported is what became of it.
type Imported struct {
	Done    string `json:"done"`
	Kind    string `json:"kind,omitempty"` // KindSent, or a word of pec.Kind
	Verdict string `json:"verdict,omitempty"`
	Trouble string `json:"trouble,omitempty"`
}

// ImportCounts are those of an import, for its audit line.
type ImportCounts struct {
	Messages int            `json:"messages"` // that were read
	New      int            `json:"new"`
	There    int            `json:"there"`
	Failed   int            `json:"failed"`
	Kinds    map[string]int `json:"kinds,omitempty"` // of those that are new
	Source   string         `json:"source,omitempty"`
	// Whole tells that the source was read to its end.
	Whole bool `json:"whole"`
}

// Import brings in one message. What is wrong with it alone is no error.
// Errors: *Refusal, mailbox.ErrNoSpace, and those that end an import.
func (s *Service) Import(ctx context.Context, it ImportItem) (out Imported, err error) {
	acc, err := s.importInto(it.Box)
	if err != nil {
		return out, err
	}
	err = s.guarded("import", acc.Box, func() (err error) {
		out, err = s.importOne(ctx, acc, it)
		return err
	})
	if err == nil || ctx.Err() != nil || s.opt.Store.Broken() != nil || errors.Is(err, mailbox.ErrNoSpace) {
		return out, err
	}
	return Imported{Done: ImportedFailed, Kind: out.Kind, Verdict: out.Verdict, Trouble: plain(err.Error(), maxWords)}, nil
}

func (s *Service) importInto(box string) (Account, error) {
	acc := s.account(box)
	if acc.IMAP.Host == "" && acc.POP3.Host == "" {
		return acc, refuse("%s is no PEC mailbox of the policy", strconv.Quote(clipped(box)))
	}
	return acc, nil
}

func (s *Service) importOne(ctx context.Context, acc Account, it ImportItem) (out Imported, err error) {
	in, err := s.opt.Store.Begin(ctx)
	if err != nil {
		return out, err
	}
	defer in.Abort() // no effect after Store
	now := s.opt.Store.Now()
	item := fetch.Item{Size: it.Size, InternalDate: plausible(it.Date, now)}
	sum, top := sha256.New(), new(head)
	item.Body = io.TeeReader(it.Body, io.MultiWriter(sum, top))
	if err := copyBody(in, &item, now); err != nil {
		return out, err
	}
	item.Body = nil
	if item.InternalDate.IsZero() {
		item.InternalDate = plausible(dateOf(*top), now)
	}
	ix, err := mime.Parse(in, in.Size(), mime.Limits{})
	if err != nil {
		return out, err
	}
	report, err := s.reader().Read(ctx, in, in.Size(), ix)
	if err != nil {
		return out, err
	}
	out = Imported{Done: ImportedNew, Kind: string(report.Kind), Verdict: report.Verdict}
	sent := report.Kind == pec.Ordinary && pec.SameAddress(report.Sender, acc.Box)
	if sent {
		out.Kind, out.Verdict = KindSent, ""
	}
	there, err := s.importedBefore(ctx, acc.Box, [32]byte(sum.Sum(nil)), sent, ix.MessageID)
	switch {
	case err != nil:
		return out, err
	case there:
		out.Done = ImportedThere
	case it.Proven && report.Verdict == pec.Invalid:
		out.Done = ImportedOther
	case it.Dry:
	case sent && !it.Sent:
		out.Done = ImportedLater
	case sent:
		return s.importSent(ctx, acc, in, item.InternalDate, out)
	default:
		a := &arriving{it: item, in: in, report: report}
		defer a.close()
		if err := s.prepare(ctx, acc.Box, a); err != nil {
			return out, err
		}
		err = s.enter(ctx, acc, taking{it: item, history: true, imported: true}, a)
		if errors.Is(err, errKnown) {
			out.Done, err = ImportedThere, nil
		}
		return out, err
	}
	return out, nil
}

// plausible is a time that a message can have been received at, or zero.
func plausible(at, now time.Time) time.Time {
	if at.Year() <= 1980 || at.After(now.Add(24*time.Hour)) {
		return time.Time{}
	}
	return at.UTC()
}

// dateOf is the time of the field Date.
func dateOf(head []byte) time.Time {
	for _, f := range mime.Fields(head) {
		if strings.EqualFold(f.Name, "Date") {
			return mime.ParseDate(strings.TrimSpace(f.Body()))
		}
	}
	return time.Time{}
}

// importedBefore tells whether the mailbox has a message: by its content or, of what
// was sent, by a submission of its Message-ID.
func (s *Service) importedBefore(ctx context.Context, box string, sum [32]byte, sent bool, msgid string) (there bool, err error) {
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		there = false
		if sent && msgid != "" {
			if _, err := byMsgID(tx, box, msgid); !errors.Is(err, ErrNotFound) {
				there = err == nil
				return err
			}
		}
		ids, err := tx.ByContent(sum)
		if err != nil {
			return err
		}
		for _, id := range ids {
			m, err := tx.Message(id)
			if errors.Is(err, mailbox.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if strings.EqualFold(m.Box, box) && (m.Direction == mailbox.In || sent && m.Direction == mailbox.Out) {
				there = true
			}
		}
		return nil
	})
	return there, err
}

// importSent keeps what was sent, with the facts of its earliest receipt, and ties
// its receipts.
func (s *Service) importSent(ctx context.Context, acc Account, in *mailbox.Intake, at time.Time, out Imported) (Imported, error) {
	var top head
	if _, err := io.Copy(&top, io.NewSectionReader(in, 0, min(in.Size(), headBytes))); err != nil {
		return out, err
	}
	msgid, _ := headOfSent(top)
	o, err := s.importedReceipts(ctx, acc.Box, idKey(msgid))
	if err != nil {
		return out, err
	}
	var facts *pec.Report
	for _, l := range o.lines {
		r, _, err := s.readAgain(ctx, acc.Box, l.Message)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		if r.Believed() && aboutSending(r.Kind) && pec.SameAddress(r.Sender, acc.Box) && len(r.MsgIDs()) > 0 &&
			pec.SameID(r.MsgIDs()[0], msgid) && (facts == nil || r.When().Before(facts.When())) {
			facts = r
		}
	}
	body := io.NewSectionReader(in, 0, in.Size())
	if err := s.keepOriginal(ctx, acc, facts, body, fromImport, "an import", at); err != nil {
		return out, err
	}
	for _, l := range o.lines {
		if err := s.claimOne(ctx, acc.Box, l.key, l.Message); err != nil {
			return out, fmt.Errorf("receipt of what was sent: message %d: %w", l.Message, err)
		}
	}
	return out, nil
}

// importedReceipts are those of a Message-ID whose original is looked for.
func (s *Service) importedReceipts(ctx context.Context, box, key string) (o missing, err error) {
	if o.key = key; key == "" {
		return o, nil
	}
	err = s.opt.Store.View(ctx, func(tx *mailbox.Tx) error {
		o.lines = nil
		for _, prefix := range []string{importPrefix(box) + key + "\x00", soughtPrefix(box, key)} {
			err := scanWaiting(tx, prefix, func(l waitingLine) bool {
				if l.err == nil {
					o.lines = append(o.lines, l)
				}
				return len(o.lines) < 2*perOriginal
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return o, err
}

// importedReceipt keeps in mind that the original of a receipt may come.
func importedReceipt(tx *mailbox.Tx, box string, r *pec.Report, m *mailbox.Message) error {
	ids := r.MsgIDs()
	if m.Submission != "" || !r.Believed() || !aboutSending(r.Kind) || !pec.SameAddress(r.Sender, box) || len(ids) == 0 || idKey(ids[0]) == "" {
		return nil
	}
	k := fmt.Sprintf("%s%s\x00%016x", importPrefix(box), idKey(ids[0]), uint64(m.ID))
	return tx.Space(room).Put(k, waiting{Box: strings.ToLower(box), Message: m.ID, At: tx.Now().UTC()})
}

// ImportEnd ends an import: it recovers from receipts what was sent and did not come,
// and writes the audit line. It may be called after one that was broken off.
func (s *Service) ImportEnd(ctx context.Context, box string, n ImportCounts, by Hand) (originals int, err error) {
	acc, err := s.importInto(box)
	if err != nil {
		return 0, err
	}
	if n.Whole {
		if originals, err = s.importOriginals(ctx, acc); err != nil {
			return originals, err
		}
	}
	result := "brought in"
	if !n.Whole {
		result = "broken off"
	}
	more := map[string]string{
		"messages": strconv.Itoa(n.Messages), "new": strconv.Itoa(n.New), "there": strconv.Itoa(n.There), "failed": strconv.Itoa(n.Failed),
		"originals": strconv.Itoa(originals), "source": plain(n.Source, maxWords),
	}
	if len(n.Kinds) > 50 {
		return originals, refuse("an import of too many kinds")
	}
	for _, k := range slices.Sorted(maps.Keys(n.Kinds)) {
		more["new "+clipped(k)] = strconv.Itoa(n.Kinds[k])
	}
	return originals, s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
		return tx.Audit(mailbox.AuditLine{Actor: by.Actor, From: by.From, Event: "import", Box: acc.Box, Result: result, More: more})
	})
}

// importOriginals has the originals of imported receipts looked for as those of any
// others, and recovers at once what stands in a receipt.
func (s *Service) importOriginals(ctx context.Context, acc Account) (n int, err error) {
	prefix := importPrefix(acc.Box)
	for more := true; more; {
		err := s.opt.Store.Update(ctx, func(tx *mailbox.Tx) error {
			var page []waitingLine
			if err := scanWaiting(tx, prefix, func(l waitingLine) bool {
				page = append(page, l)
				return len(page) < 500
			}); err != nil {
				return err
			}
			more = len(page) == 500
			for _, l := range page {
				if l.err == nil {
					l.At = tx.Now().UTC()
					if err := tx.Space(room).Put("ou/"+strings.TrimPrefix(l.key, "oi/"), l.waiting); err != nil {
						return err
					}
				}
				if err := tx.Space(room).Delete(l.key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	tried := map[string]bool{}
	for len(tried) <= 100_000 { // the fetcher's rounds do the rest
		all, _, err := s.listSought(ctx, acc.Box, func(o missing) bool { return !tried[o.key] })
		if err != nil || len(all) == 0 {
			return n, err
		}
		for _, o := range all {
			tried[o.key] = true
			found, err := s.recoverOne(ctx, acc, o, &sentFolders{})
			if ctx.Err() != nil || s.opt.Store.Broken() != nil {
				return n, err
			}
			if err != nil {
				s.opt.Events.Fault("original", acc.Box, err)
			} else if found {
				n++
			}
		}
	}
	return n, nil
}
