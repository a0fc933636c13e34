package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
	"pecgate/mailbox/pec"
)

// The relay's records, in its own space of the store:
//
//	s/<id>                submission
//	i/ late/ cn/ indexed  which have not ended, and how many are in each state: see open_index.go
//	r/<id>/<number>       its recipients, a hundred in a record
//	x/<id>/<n>/<sha256>   receipt about recipient n, or "-" about the whole
//	e/<id>/<number>       what happened to it
//	t/<fingerprint>       id: by what the client would repeat in a retry
//	m/<msgid>NUL<mailbox> id: by Message-ID, the client's too; lower case
//	p/<identifier>NUL<mailbox>  id: by the provider's identifier; lower case
//	p/<identifier>        the same, as it was written before mailboxes stood in the key
//	k/<mailbox>           the provider of a mailbox: who signed its last acceptance
//	ou/<mailbox>/<msgid>NUL<message>  receipt whose original is looked for: see original.go
//	w/<mailbox>/<identifier>NUL<message>  receipt that waits for its submission
//	q/<mailbox>/<id>      due: what the sender has to do
//	q/<mailbox>/~<id>     the same for a message of a batch: behind all others
//	c/<mailbox>/<folder>  cursor of a provider's folder; by POP3 the folder is empty and
//	                      the record says only that the maildrop was met
//	a/<mailbox>/<folder>/<uidvalidity>/<uid>  message of the provider that could not be fetched
//	a/<mailbox>//<unique-id>  the same, by POP3
//	d/<mailbox>/<folder>/<uidvalidity>/<uid>  message of ours as it stands at the provider
//	u/<mailbox>/<unique-id>   the same, by POP3: together they are the cursor. Without c/ the
//	                      a/, d/ and u/ of a folder mean nothing: first contact drops them
//	gb/<mailbox>          messages that another client took from it: see emptied.go
//	g/<mailbox>           since when which rule for the provider's copies holds
//	ids                   time of the newest id, in milliseconds: see NextID
//	clock                 how long the gateway has run: see runclock.go
//	l/<mailbox>           who fetches it, and until when: see lease.go
//	halt/<mailbox>        why nothing of it leaves: see halt.go
//	down/<mailbox>        how long its provider could not be reached: see outage.go
//	login/<mailbox>/<service>  a login that the provider refused: see login.go
//	quota/<mailbox>  expect/<mailbox>/<id>  its room at the provider: see room.go
//	told/restored/<login> the restore of which the administrator was told
//	stray                 what came without a sender today: see stray.go
//	bell/<mailbox>        written to wake the sender
//	o/ od/ bell-outcomes  reports of outcomes: see outcome.go
//	dn/ ds/ dd/ bell-dsn  delivery status notifications: see notification.go
//	sc/<mailbox>/<id>     copy for the provider's own folder: see sent_copy.go
//	v/<mailbox>/<id>      search for the receipt of an uncertain one: see uncertain.go
//	y/<mailbox>/<id>/<what>/<to>  notice that is due: see uncertain_notice.go
//	n/<mailbox>           its hand-overs of the last minute, where the provider limits them
//	ak/<digest>           key that an application gave its submission: see key.go
//	al/<mailbox>/<kind>/<about>  alarm that stands, or ended a while ago: see alarm.go
//	fi/ bell-forward       what may go to ordinary mailboxes: see forwarding.go
//	dg/<login>            daily digests: see digest.go
//	wc wd/ wf/ ws/ wt/    watchdogs: see watch.go
//	rw/<id>               what a sender is told besides: see remark.go
//	rv/ rb/               what was said of the providers' certificates: see revocation_keep.go
//	h/ ha/ hc hd/ ht/ bell-holds  what waits for a PIN, or for approval: see hold.go
const room = "relay"

// Submission is one message on its way. Times are UTC.
type Submission struct {
	ID          string            `json:"id"`
	MsgID       string            `json:"msgid"`           // on the wire, without brackets
	Alias       string            `json:"alias,omitempty"` // the client's, where it was replaced
	Identifier  string            `json:"identifier,omitempty"`
	Box         string            `json:"mailbox"`
	User        string            `json:"user"`
	Person      mailbox.Person    `json:"person"`
	Message     mailbox.MessageID `json:"message"`
	SHA256      string            `json:"sha256"`
	Size        int64             `json:"size,omitempty"` // bytes of the original
	SubmittedAt time.Time         `json:"submitted_at"`
	State       State             `json:"state"`
	StateReason Reason            `json:"state_reason,omitempty"`
	Recipients  []Recipient       `json:"-"` // records of their own
	Attempts    int               `json:"attempts"`
	Intent      bool              `json:"intent,omitempty"` // the dot may have been sent in the last attempt
	// Doubt: some hand-over of it may have come to its end unseen. It stays,
	// whatever becomes of later attempts: a person who says "not sent" would err.
	Doubt    bool      `json:"doubt,omitempty"`
	Released time.Time `json:"released,omitzero"` // by a person, the last time
	Hold     bool      `json:"hold,omitempty"`    // it waits for its PIN or for approval: see hold.go
	Looking  bool      `json:"looking,omitempty"` // its receipt is looked for: see uncertain.go
	Once     bool      `json:"once,omitempty"`    // it was in doubt before, so it is not sent again by itself
	Resent   time.Time `json:"resent,omitzero"`   // when the gateway itself handed it over a second time
	Twice    string    `json:"twice,omitempty"`   // identifier of a second acceptance: it went out twice
	// Unconfirmed: it was made anew from bytes that waited for a PIN or for approval
	// when they were accepted, and nobody knows whether that was given: see rebuild.go.
	Unconfirmed Reason    `json:"unconfirmed,omitempty"`
	HandedOver  time.Time `json:"handed_over,omitzero"`
	// Recovered: it was not sent through the gateway; where its original is from
	// (original.go).
	Recovered string        `json:"recovered,omitempty"`
	Register  uint64        `json:"register,omitempty"` // number among what the mailbox sent in that year
	Since     time.Time     `json:"since"`              // of the present state
	Events    int           `json:"events"`
	Fence     uint64        `json:"fence"`               // number of the newest lease
	Began     time.Duration `json:"began,omitempty"`     // how long the gateway had run when its trying began
	Away      time.Duration `json:"away,omitempty"`      // how long its provider could not be reached until then (outage.go)
	LateTold  bool          `json:"late_told,omitempty"` // its sender was told that it waits
	Crashes   int           `json:"crashes,omitempty"`   // in a row: attempts during which the gateway ended or panicked

	// What receipts said of the whole; HandedOver follows from it where the
	// provider's 250 is not on record.
	Signer     string    `json:"signer,omitempty"`     // of the acceptance: the provider that took it in
	AcceptedAt time.Time `json:"accepted_at,omitzero"` // the earliest acceptance
	ProvedAt   time.Time `json:"proved_at,omitzero"`   // the earliest delivery or failure
	ByReceipt  bool      `json:"by_receipt,omitempty"` // HandedOver follows from these
	Warners    []Warner  `json:"warners,omitempty"`    // who signed warnings

	// RoomAlarm: the alarm stands that its receipts never have room. AnyRoom: a person
	// sends it all the same; it counts until it is held again (room_never.go).
	RoomAlarm bool `json:"room_alarm,omitempty"`
	AnyRoom   bool `json:"any_room,omitempty"`

	// AnyHours: a person sends it outside the hours of its mailbox; for one attempt, of
	// a batch one of each message (hours.go).
	AnyHours bool `json:"any_hours,omitempty"`

	Overdue awaited `json:"overdue,omitempty"` // what did not come in time, while it is missing: see watch.go

	Approval     bool           `json:"approval,omitempty"`      // another member must or had to approve it: see approval.go
	Approver     mailbox.Person `json:"approver,omitempty"`      // who did
	ApproverUser string         `json:"approver_user,omitempty"` // login

	// A batch: see batch.go.
	Split      string    `json:"split,omitempty"`   // SplitBlind or SplitAlways; empty: no batch
	Visible    int       `json:"visible,omitempty"` // so many of its first recipients share its first message
	Tally      *Tally    `json:"tally,omitempty"`
	Next       int       `json:"next,omitempty"` // every child before this number has a record
	Rest       State     `json:"rest,omitempty"` // of the children that have none
	RestReason Reason    `json:"rest_reason,omitempty"`
	RestSince  time.Time `json:"rest_since,omitzero"`
	// One of its children.
	Batch  string `json:"batch,omitempty"`  // id of the batch; empty: no child
	Number int    `json:"number,omitempty"` // from 1
	// WithBatch: it is held because its batch was, and is released with it.
	WithBatch bool `json:"with_batch,omitempty"`

	// What came through a groupware server: see notification.go.
	Relay    string `json:"relay,omitempty"`     // its name in the policy
	ReturnTo string `json:"return_to,omitempty"` // the ordinary address that it came from
	EnvID    string `json:"envid,omitempty"`     // what the sender gave as ENVID, decoded

	chunks [][]byte // the recipients' records as they were read
	// trash is where it goes when it is cancelled while it is held: nil for that
	// of its mailbox, the zero key for none; trashed is where it stands then.
	trash   *mailbox.FolderKey
	trashed mailbox.Place
	// approved is where it stands among what was approved, once it is filed there.
	approved mailbox.Place
}

// Recipient is one address of a submission's envelope.
type Recipient struct {
	Address string         `json:"address"`
	State   RecipientState `json:"state"` // follows from the rest; see derive
	// Told is the best that notices about this recipient said, warnings left
	// aside: Delivered before Failed. Empty before the first.
	Told     RecipientState `json:"told,omitempty"`
	Warned   []Warning      `json:"warned,omitempty"`   // one for each who signed any
	External bool           `json:"external,omitempty"` // outside PEC, by the acceptance
	Of       State          `json:"of,omitempty"`       // in a batch: of the message that goes there, once it has a record
	Lost     bool           `json:"lost,omitempty"`     // in a batch: that message was given up, and may have left
}

// chunk is how many recipients stand in one record: the longest addresses of a
// hundred are half of what a record may hold.
const chunk = 100

// ReceiptRef names a receipt that is tied to a submission.
type ReceiptRef struct {
	Kind    pec.Kind          `json:"kind"`
	Verdict string            `json:"verdict"`
	At      time.Time         `json:"at"`
	SHA256  string            `json:"sha256"`
	Message mailbox.MessageID `json:"message"`
	Error   string            `json:"error,omitempty"` // the provider's words, bounded
}

// Event is one line of a submission's story.
type Event struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // a stable word
	Text string    `json:"text"`
}

// maxEvents bounds the story of one submission; later ones are not kept.
const maxEvents = 1000

// maxEventText bounds what a provider may put into it, in bytes.
const maxEventText = 500

// ErrNotFound says that no submission answers to a name.
var ErrNotFound = errors.New("relay: no such submission")

// NewID returns a new submission id: 26 lower-case letters and digits that
// sort by time (48 bits of milliseconds, 80 random bits).
func NewID(now time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	rand.Read(b[6:])
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// idClock is the record of the newest id's time.
const idClock = "ids"

// NextID is NewID for a new submission of a store: it sorts behind all that the
// store has, also when the clock was put back since (the queue is in the order of
// the ids).
func NextID(ctx context.Context, store *mailbox.Store) (id string, err error) {
	err = store.View(ctx, func(tx *mailbox.Tx) error {
		at := tx.Now()
		newest, err := newestID(tx)
		if last := time.UnixMilli(newest); !at.After(last) {
			at = last.Add(time.Millisecond)
		}
		id = NewID(at)
		return err
	})
	return id, err
}

func newestID(tx *mailbox.Tx) (ms int64, err error) {
	if err = tx.Space(room).Get(idClock, &ms); errors.Is(err, mailbox.ErrNotFound) {
		err = nil
	}
	return ms, err
}

// noteID keeps the time of an id, if it is the newest.
func noteID(tx *mailbox.Tx, id string) error {
	b, err := base32.HexEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(id))
	if err != nil || len(b) != 16 {
		return nil // none of NewID
	}
	ms := int64(binary.BigEndian.Uint64(b) >> 16)
	newest, err := newestID(tx)
	if err != nil || ms <= newest {
		return err
	}
	return tx.Space(room).Put(idClock, ms)
}

// due is the queue's line for one submission.
type due struct {
	At     time.Time `json:"at"`
	Lease  time.Time `json:"lease,omitzero"`   // somebody works on it until then
	Holder string    `json:"holder,omitempty"` // who; see Service.holder
	Set    time.Time `json:"set,omitzero"`     // when this was written, by the clock of then
	Batch  bool      `json:"batch,omitempty"`
	Queued bool      `json:"queued,omitempty"` // it can do nothing but be handed over; false: look
	// Suspect: the gateway ended during its handling. Of these one is handled at a time.
	Suspect bool `json:"suspect,omitempty"`
	// AnyHours: its hours do not hold it back (Submission.AnyHours).
	AnyHours bool `json:"any_hours,omitempty"`
}

// queueKey is where a submission's line stands. Those of the children of batches
// stand behind all others, so that many of them keep nothing out of sight.
func queueKey(box, id string) string {
	if _, _, child := batchOf(id); child {
		id = "~" + id
	}
	return "q/" + strings.ToLower(box) + "/" + id
}

func recipientsKey(id string, n int) string { return fmt.Sprintf("r/%s/%04d", id, n) }

// queueBox is the prefix of a mailbox's queue; "" is that of all.
func queueBox(box string) string {
	if box == "" {
		return "q/"
	}
	return "q/" + strings.ToLower(box) + "/"
}

func queueBell(box string) string { return "bell/" + strings.ToLower(box) }

func providerKey(box string) string { return "k/" + strings.ToLower(box) }

// idKey is an id as part of a key. Every function below that takes a key takes
// what this returned: it is not to be applied twice.
func idKey(id string) string {
	id = strings.ReplaceAll(pec.IDKey(id), "\x00", "")
	return id[:min(len(id), 1000)]
}

func msgidPrefix(key string) string { return "m/" + key + "\x00" }

func msgidKey(box, msgid string) string { return msgidPrefix(idKey(msgid)) + strings.ToLower(box) }

// identifierPrefix is where a provider's identifier stands, for all mailboxes.
func identifierPrefix(key string) string { return "p/" + key + "\x00" }

// identifierBefore is where it stood before the mailbox was part of the key.
func identifierBefore(key string) string { return "p/" + key }

// load reads a submission. A child of a batch that has no record yet is given as
// its batch says.
func load(tx *mailbox.Tx, id string) (*Submission, error) {
	s := new(Submission)
	sp := tx.Space(room)
	err := sp.Get("s/"+id, s)
	if errors.Is(err, mailbox.ErrNotFound) {
		return unmade(tx, id)
	}
	if err != nil {
		return nil, err
	}
	err = sp.Scan("r/"+id+"/", func(_ string, raw []byte) (bool, error) {
		var part []Recipient
		if err := json.Unmarshal(raw, &part); err != nil {
			return false, err
		}
		s.Recipients = append(s.Recipients, part...)
		s.chunks = append(s.chunks, bytes.Clone(raw))
		return true, nil
	})
	return s, err
}

// save writes a submission, and its queue line as next says. A nil next leaves
// the line as it is, where the state still has one.
func save(tx *mailbox.Tx, s *Submission, next *due) error {
	sp := tx.Space(room)
	if err := endHold(tx, s); err != nil {
		return err
	}
	if s.batch() {
		if s.RestSince.IsZero() {
			s.RestSince = tx.Now().UTC()
		}
		s.sum()
	}
	var before *Submission
	if s.child() {
		var err error
		if before, err = headOf(tx, s.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if err := noteExpected(tx, s); err != nil {
		return err
	}
	if err := register(tx, s); err != nil {
		return err
	}
	if err := errors.Join(noteLooking(tx, s, next), noteWatch(tx, s), endRoomAlarm(tx, s)); err != nil {
		return err
	}
	if err := putHead(tx, s); err != nil {
		return err
	}
	n := 0
	for part := range slices.Chunk(s.Recipients, chunk) {
		raw, err := json.Marshal(part)
		if err != nil {
			return err
		}
		if n >= len(s.chunks) || !bytes.Equal(raw, s.chunks[n]) {
			if err := sp.Put(recipientsKey(s.ID, n), part); err != nil {
				return err
			}
		}
		n++
	}
	if s.child() {
		if err := mirror(tx, s, before); err != nil {
			return err
		}
	} else if err := errors.Join(noteOutcome(tx, s), noteNotification(tx, s)); err != nil {
		return err
	}
	if !s.State.waiting() || s.batch() && !s.toMake() {
		return sp.Delete(queueKey(s.Box, s.ID))
	}
	if next == nil {
		return nil
	}
	return putLine(tx, s, next)
}

// putLine writes the queue's line for a submission.
func putLine(tx *mailbox.Tx, s *Submission, next *due) error {
	next.Batch, next.Suspect, next.Set = s.batch(), s.Crashes > 0, tx.Now().UTC()
	next.AnyHours = s.AnyHours
	next.Queued = s.State == Queued && !s.batch() && !s.AnyHours
	return tx.Space(room).Put(queueKey(s.Box, s.ID), *next)
}

// ring wakes the sender of a mailbox.
func ring(tx *mailbox.Tx, s *Submission) error { return tx.Space(room).Put(queueBell(s.Box), s.ID) }

// receiptKey is where a receipt stands: about recipient n, or -1 for the whole.
func receiptKey(id string, n int, sha256 string) string {
	about := "-"
	if n >= 0 {
		about = fmt.Sprintf("%04d", n)
	}
	return "x/" + id + "/" + about + "/" + sha256
}

// receipts returns the receipts about recipient n, or -1 for the whole, by
// time.
func receipts(tx *mailbox.Tx, id string, n int) ([]ReceiptRef, error) {
	var out []ReceiptRef
	err := tx.Space(room).Scan(receiptKey(id, n, ""), func(_ string, raw []byte) (bool, error) {
		var r ReceiptRef
		if err := json.Unmarshal(raw, &r); err != nil {
			return false, err
		}
		out = append(out, r)
		return len(out) < 1000, nil
	})
	slices.SortFunc(out, func(a, b ReceiptRef) int { return a.At.Compare(b.At) })
	return out, err
}

// happened adds a line to the story of s; the caller saves s.
func happened(tx *mailbox.Tx, s *Submission, what, text string) error {
	if s.Events >= maxEvents {
		return nil
	}
	s.Events++
	if len(text) > maxEventText {
		text = strings.ToValidUTF8(text[:maxEventText], "")
	}
	return tx.Space(room).Put(fmt.Sprintf("e/%s/%06d", s.ID, s.Events), Event{At: tx.Now().UTC(), What: what, Text: text})
}

// Story returns the events of a submission, oldest first.
func Story(tx *mailbox.Tx, id string) ([]Event, error) {
	var out []Event
	err := tx.Space(room).Scan("e/"+id+"/", func(_ string, raw []byte) (bool, error) {
		var e Event
		if err := json.Unmarshal(raw, &e); err != nil {
			return false, err
		}
		out = append(out, e)
		return true, nil
	})
	return out, err
}

// byMsgID returns the submission of a mailbox that carries a Message-ID, as
// the client gave it or as it went out.
func byMsgID(tx *mailbox.Tx, box, msgid string) (*Submission, error) {
	if msgid == "" {
		return nil, ErrNotFound
	}
	var id string
	err := tx.Space(room).Get(msgidKey(box, msgid), &id)
	if errors.Is(err, mailbox.ErrNotFound) {
		return byChildMsgID(tx, box, msgid)
	}
	if err != nil {
		return nil, err
	}
	return load(tx, id)
}

// byChildMsgID is byMsgID for the Message-IDs that were made for the children of
// batches. They need no record: they tell which one it is.
func byChildMsgID(tx *mailbox.Tx, box, msgid string) (*Submission, error) {
	id, ok := childOfMsgID(msgid)
	if !ok {
		return nil, ErrNotFound
	}
	s, err := load(tx, id)
	if err == nil && (!s.child() || box != "" && !pec.SameAddress(s.Box, box) || idKey(childMsgID(s.Box, id)) != idKey(msgid)) {
		return nil, ErrNotFound
	}
	return s, err
}

// byIdentifier returns the submission of a mailbox that a provider's identifier,
// as a key, is of.
func byIdentifier(tx *mailbox.Tx, box, key string) (*Submission, error) {
	if key == "" {
		return nil, ErrNotFound
	}
	var id string
	err := tx.Space(room).Get(identifierPrefix(key)+strings.ToLower(box), &id)
	if errors.Is(err, mailbox.ErrNotFound) {
		err = tx.Space(room).Get(identifierBefore(key), &id)
	}
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	s, err := load(tx, id)
	if err == nil && !pec.SameAddress(s.Box, box) {
		return nil, ErrNotFound
	}
	return s, err
}

// learn remembers the provider's identifier of a submission; the first one to
// have it keeps it.
func learn(tx *mailbox.Tx, s *Submission, identifier string) error {
	key := idKey(identifier)
	if key == "" {
		return nil
	}
	if _, err := byIdentifier(tx, s.Box, key); !errors.Is(err, ErrNotFound) {
		return err
	}
	return tx.Space(room).Put(identifierPrefix(key)+strings.ToLower(s.Box), s.ID)
}

// Find returns the submission with an id, or with a Message-ID or a PEC
// identifier (of any mailbox); ErrNotFound when there is none.
func Find(tx *mailbox.Tx, name string) (*Submission, error) {
	name = pec.NormalizeID(strings.TrimSpace(name))
	s, err := load(tx, strings.ToLower(name))
	if !errors.Is(err, ErrNotFound) {
		return s, err
	}
	key := idKey(name)
	if key == "" {
		return nil, ErrNotFound
	}
	var id string
	first := func(_ string, raw []byte) (bool, error) { return false, json.Unmarshal(raw, &id) }
	sp := tx.Space(room)
	if err := sp.Scan(identifierPrefix(key), first); err != nil {
		return nil, err
	}
	if id == "" {
		if err := sp.Get(identifierBefore(key), &id); err != nil && !errors.Is(err, mailbox.ErrNotFound) {
			return nil, err
		}
	}
	if id == "" {
		if err := sp.Scan(msgidPrefix(key), first); err != nil {
			return nil, err
		}
	}
	if id == "" {
		return byChildMsgID(tx, "", name)
	}
	return load(tx, id)
}

// register gives what was handed over its number in the register of what the
// mailbox sent, once, in the year of the hand-over.
func register(tx *mailbox.Tx, s *Submission) error {
	if s.HandedOver.IsZero() || s.Register > 0 || s.Recovered != "" || s.child() { // a batch has one number, as it has one message
		return nil
	}
	m, err := tx.Message(s.Message)
	if errors.Is(err, mailbox.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if m.History && s.Attempts == 0 {
		return nil // the number that it may have had is lost: another would contradict it
	}
	m.History = false // it leaves, again or for the first time
	if err := tx.EnterRegister(m, s.HandedOver); err != nil {
		return err
	}
	s.Register = m.Register.Number
	return tx.PutMessage(m)
}
