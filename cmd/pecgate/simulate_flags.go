package main

import (
	"bufio"
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag" // flags of the command line

	"pecgate/relay/providersim"
)

// maxMailboxesFile is the size in bytes up to which --mailboxes is read.
const maxMailboxesFile = 1 << 20

// simulateFlags are the flags as they were given.
type simulateFlags struct {
	domain, name, style, digest, folders string
	mailboxes, recipients, extraFolders  []string
	mailboxFile                          string
	hour                                 time.Duration
	faults, hosts                        []string
	smtp, imap, pop3, control            string
	ca, dir                              string
	listFaults, json                     bool
}

func (f *simulateFlags) register(s *pflag.FlagSet) {
	s.StringVar(&f.domain, "domain", "pec.gestore-simulato.example", "the provider's own `DOMAIN`; posta-certificata@ it signs")
	s.StringVar(&f.name, "name", "Gestore Simulato S.p.A.", "the provider's `NAME` in receipts (gestore-emittente)")
	s.StringArrayVar(&f.mailboxes, "mailbox", nil, "`ADDRESS:PASSWORD` of a PEC mailbox; may be repeated. Other users of this machine can see it")
	s.StringVar(&f.mailboxFile, "mailboxes", "", "`FILE` with lines ADDRESS PASSWORD [USERNAME], readable by its owner only; - is standard input")
	s.StringVar(&f.style, "style", "new", "`STYLE` of the engine: old (SHA-1, DER, as real ones until 2024) or new (SHA-256, BER)")
	s.StringVar(&f.digest, "digest", "", "`HASH` of signatures in place of the style's: sha1, sha256 or sha512")
	s.DurationVar(&f.hour, "hour", time.Hour, "length of the provider's hour: warnings come after 12 and 24 of them")
	s.StringArrayVar(&f.recipients, "recipient", nil, "`ADDRESS=BEHAVIOUR` of mail to an address; may be repeated. Behaviours: "+behaviourNames())
	s.StringArrayVar(&f.faults, "fault", nil, "`NAME[=VALUE]` of a fault to switch on; may be repeated")
	s.BoolVar(&f.listFaults, "list-faults", false, "print all faults and end")
	s.StringVar(&f.smtp, "smtp", "127.0.0.1:0", "`ADDRESS` for SMTP over TLS; port 0 is any free one")
	s.StringVar(&f.imap, "imap", "127.0.0.1:0", "`ADDRESS` for IMAP over TLS")
	s.StringVar(&f.pop3, "pop3", "127.0.0.1:0", "`ADDRESS` for POP3 over TLS")
	s.StringVar(&f.control, "control", "", "`ADDRESS` for the page with the switches, on loopback only, for example 127.0.0.1:8025 (default: no page)")
	s.StringArrayVar(&f.hosts, "host", nil, "further `NAME` or IP address in the TLS certificate besides localhost; may be repeated")
	s.StringVar(&f.folders, "folders", "aruba", "`LAYOUT` of IMAP folders: aruba (INBOX.Inviata), legalmail (INBOX/Spedite) or special-use (Sent)")
	s.StringArrayVar(&f.extraFolders, "extra-folder", nil, "`ADDRESS=FOLDER` that a mailbox has besides; may be repeated")
	s.StringVar(&f.ca, "ca", "", "`FILE` to write the provider's CA certificates to")
	s.StringVar(&f.dir, "dir", "", "`DIR` to keep every message in (<sha256>.eml), with ca.pem and accounts.txt; the CA is made once and kept in ca.key")
	s.BoolVar(&f.json, "json", false, "print the facts as JSON, one object a line")
}

func behaviourNames() string {
	var out []string
	for _, b := range providersim.Behaviours() {
		out = append(out, string(b))
	}
	return strings.Join(out, ", ")
}

// options turns the flags into those of the provider. made is true if the
// mailboxes were made up here.
func (f *simulateFlags) options(in io.Reader) (o providersim.Options, made bool, err error) {
	o = providersim.Options{
		Domain: f.domain, Name: f.name, Hour: f.hour,
		SMTPAddr: f.smtp, IMAPAddr: f.imap, POP3Addr: f.pop3, ControlAddr: f.control,
		Folders: providersim.Folders(f.folders), Behaviour: map[string]providersim.Behaviour{},
	}
	if f.domain == "" {
		return o, false, errors.New("--domain is empty")
	}
	if o.Style, err = providersim.ParseStyle(f.style); err != nil {
		return o, false, fmt.Errorf("--style: %w", err)
	}
	if o.Digest, err = simulateDigest(f.digest, o.Style); err != nil {
		return o, false, err
	}
	if f.hour <= 0 {
		return o, false, fmt.Errorf("--hour %s is no time: give for example 5s", f.hour)
	}
	if f.control != "" {
		if err := providersim.CheckControlAddr(f.control); err != nil {
			return o, false, fmt.Errorf("--control: %w", err)
		}
	}
	var trial providersim.Faults
	for _, fault := range f.faults {
		name, value := splitFault(fault)
		if err := trial.Set(name, value); err != nil {
			return o, false, fmt.Errorf("--fault %s: %w (see --list-faults)", fault, err)
		}
	}
	for _, r := range f.recipients {
		address, behaviour, ok := cutLast(r, "=")
		if !ok || behaviour == "" {
			return o, false, fmt.Errorf("--recipient %s is not ADDRESS=BEHAVIOUR; behaviours are %s", r, behaviourNames())
		}
		o.Behaviour[address] = providersim.Behaviour(behaviour)
	}
	if o.Mailboxes, made, err = f.boxes(in); err != nil {
		return o, false, err
	}
	return o, made, f.addFolders(o.Mailboxes)
}

// splitFault reads NAME or NAME=VALUE; a name alone switches on.
func splitFault(s string) (name, value string) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		value = "on"
	}
	return name, value
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func simulateDigest(name string, style providersim.Style) (crypto.Hash, error) {
	switch name {
	case "":
		return style.Digest(), nil
	case "sha1":
		return crypto.SHA1, nil
	case "sha256":
		return crypto.SHA256, nil
	case "sha512":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("--digest %s is not sha1, sha256 or sha512", name)
}

// boxes are the mailboxes of both flags, or two that are made up.
func (f *simulateFlags) boxes(in io.Reader) (boxes []providersim.Mailbox, made bool, err error) {
	for _, a := range f.mailboxes {
		address, password, ok := strings.Cut(a, ":")
		if !ok || password == "" {
			return nil, false, errors.New("--mailbox needs ADDRESS:PASSWORD") // not repeated: it may be a password
		}
		boxes = append(boxes, providersim.Mailbox{Address: address, Username: address, Password: password})
	}
	if f.mailboxFile != "" {
		more, err := readMailboxes(f.mailboxFile, in)
		if err != nil {
			return nil, false, err
		}
		boxes = append(boxes, more...)
	}
	if len(boxes) > 0 {
		return boxes, false, nil
	}
	for _, address := range []string{"ufficio@pec.alfa.example", "protocollo@pec.beta.example"} {
		boxes = append(boxes, providersim.Mailbox{Address: address, Username: address, Password: secretWord()})
	}
	return boxes, true, nil
}

func (f *simulateFlags) addFolders(boxes []providersim.Mailbox) error {
	for _, e := range f.extraFolders {
		address, folder, ok := strings.Cut(e, "=")
		found := false
		for i := range boxes {
			if strings.EqualFold(boxes[i].Address, address) {
				boxes[i].Folders = append(boxes[i].Folders, folder)
				found = true
			}
		}
		if !ok || folder == "" || !found {
			return fmt.Errorf("--extra-folder %s is not ADDRESS=FOLDER with the address of a mailbox given here", e)
		}
	}
	return nil
}

// readMailboxes reads the file of --mailboxes. Others must not be able to read
// it, for it holds passwords; no line of it is repeated in an error.
func readMailboxes(name string, in io.Reader) ([]providersim.Mailbox, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--mailboxes: %w", err)
		}
		defer file.Close()
		st, err := file.Stat()
		switch {
		case err != nil:
			return nil, fmt.Errorf("--mailboxes: %w", err)
		case !st.Mode().IsRegular():
			return nil, fmt.Errorf("--mailboxes %s is not a file", name)
		case st.Mode().Perm()&0o077 != 0:
			return nil, fmt.Errorf("--mailboxes %s can be read or changed by other users (mode %04o): it holds passwords; run chmod 600 %s", name, st.Mode().Perm(), name)
		}
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxMailboxesFile+1))
	if err != nil {
		return nil, fmt.Errorf("--mailboxes %s: %w", name, err)
	}
	if len(text) > maxMailboxesFile {
		return nil, fmt.Errorf("--mailboxes %s is larger than %d bytes", name, maxMailboxesFile)
	}
	var boxes []providersim.Mailbox
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) < 2 || len(words) > 3 {
			return nil, fmt.Errorf("%s:%d: ADDRESS PASSWORD [USERNAME] expected", name, n)
		}
		m := providersim.Mailbox{Address: words[0], Password: words[1], Username: words[0]}
		if len(words) == 3 {
			m.Username = words[2]
		}
		boxes = append(boxes, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("--mailboxes %s: %w", name, err)
	}
	if len(boxes) == 0 {
		return nil, fmt.Errorf("--mailboxes %s names no mailbox", name)
	}
	return boxes, nil
}
