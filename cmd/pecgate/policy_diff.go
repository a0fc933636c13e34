package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra" // the command line

	"pecgate/configs"
	"pecgate/policy"
)

func newPolicyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "compare two policies",
		Args:  noArguments("use policy diff OLD NEW"),
		RunE: func(*cobra.Command, []string) error {
			return &exitError{exitUsage, "policy needs a subcommand: use policy diff OLD NEW"}
		},
	}
	c.AddCommand(newPolicyDiffCommand(a))
	return c
}

func newPolicyDiffCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "diff OLD NEW",
		Short:   "who gains or loses what between two policy files",
		Example: "  pecgate policy diff policy.yaml policy-new.yaml",
		Long: `Reads two policy files for their rules alone and prints what changes between them, by mailbox and person: rights, with
groups, defaults and presets resolved as the appliance would; when access begins and ends; users, settings of mailboxes,
lists and relays. Passwords and the files that they name are not read; that a password or PIN changes is told, never what it
is. Days end in the time zone of --config where that can be read, else of Europe/Rome.

Exit status 0 with and without differences, 2 if a file has faults.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("diff needs two policy files: the old one and the new one")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			zone, err := a.zone()
			if err != nil {
				return err
			}
			var both [2]*configs.Loaded
			for i := range both {
				if both[i], err = configs.ReadPolicy(args[i], zone); err != nil {
					return err
				}
			}
			return showChanges(cmd.OutOrStdout(), changesOf(both[0], both[1], time.Now()), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line: change, mailbox, user, what, old, new, line")
	return c
}

// zone is the time zone of the appliance, as far as its configuration can be read.
func (a *app) zone() (*time.Location, error) {
	if r := configs.Check(a.config); r.Loaded != nil {
		return r.Loaded.Appliance.Location(), nil
	}
	return time.LoadLocation("Europe/Rome")
}

// change is one difference. Mailbox or User is empty where it speaks of none.
type change struct {
	Change  string `json:"change"` // gains, loses, changes
	Mailbox string `json:"mailbox"`
	User    string `json:"user"`
	What    string `json:"what"`
	Old     string `json:"old"`
	New     string `json:"new"`
	Line    string `json:"line"` // the line that decides now; where something is gone, the one that decided
}

// differ collects the changes.
type differ struct {
	out      []change
	old, new *policy.Policy
	now      time.Time
	zone     *time.Location
}

func changesOf(before, after *configs.Loaded, now time.Time) []change {
	d := &differ{old: policyOf(before), new: policyOf(after), now: now, zone: after.Appliance.Location()}
	d.users(before.Policy.Users, after.Policy.Users)
	d.mailboxes(before.Policy.Mailboxes, after.Policy.Mailboxes)
	d.lists()
	pairs(before.Policy.Relays, after.Policy.Relays, func(r *configs.Relay) string { return r.Name }, func(name string, old, new *configs.Relay) {
		d.fields("", "", "relay "+name, old, new, "name")
	})
	slices.SortStableFunc(d.out, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(strings.ToLower(a.User), strings.ToLower(b.User)))
	})
	return d.out
}

// pairs calls fn for every key of either list, in the order of the old one and then of the new one; nil is none.
func pairs[T any](old, new []T, key func(*T) string, fn func(key string, old, new *T)) {
	find := func(list []T, k string) *T {
		for i := range list {
			if strings.EqualFold(key(&list[i]), k) {
				return &list[i]
			}
		}
		return nil
	}
	for i := range old {
		fn(key(&old[i]), &old[i], find(new, key(&old[i])))
	}
	for i := range new {
		if find(old, key(&new[i])) == nil {
			fn(key(&new[i]), nil, &new[i])
		}
	}
}

func (d *differ) add(c change) { d.out = append(d.out, c) }

// fields compares two structs key by key: those of nested sections with a dot, those in skip not at all. Secrets are named,
// never shown. A missing struct is told as a whole.
func (d *differ) fields(mailbox, user, whole string, old, new any, skip ...string) {
	o, n := reflect.ValueOf(old), reflect.ValueOf(new)
	switch {
	case o.IsNil():
		d.add(change{Change: "gains", Mailbox: mailbox, User: user, What: whole, Line: lineOf(n.Elem())})
		return
	case n.IsNil():
		d.add(change{Change: "loses", Mailbox: mailbox, User: user, What: whole, Line: lineOf(o.Elem())})
		return
	}
	line := lineOf(n.Elem())
	var walk func(prefix string, o, n reflect.Value)
	walk = func(prefix string, o, n reflect.Value) {
		for i := range o.NumField() {
			f := o.Type().Field(i)
			key := f.Tag.Get("yaml")
			if key == "" || key == "-" || slices.Contains(skip, prefix+key) || reflect.DeepEqual(o.Field(i).Interface(), n.Field(i).Interface()) {
				continue
			}
			c := change{Change: "changes", Mailbox: mailbox, User: user, What: prefix + key, Line: line}
			switch _, secret := f.Tag.Lookup("secret"); {
			case secret && o.Field(i).IsZero():
				c.Change = "gains"
			case secret && n.Field(i).IsZero():
				c.Change = "loses"
			case secret || f.Type == reflect.TypeFor[configs.Secret]():
			case f.Type.Kind() == reflect.Struct && hasKeys(f.Type):
				walk(prefix+key+".", o.Field(i), n.Field(i))
				continue
			default:
				c.Old, c.New = settingText(o.Field(i)), settingText(n.Field(i))
			}
			d.add(c)
		}
	}
	walk("", o.Elem(), n.Elem())
}

func hasKeys(t reflect.Type) bool {
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("yaml"); k != "" && k != "-" {
			return true
		}
	}
	return false
}

func lineOf(v reflect.Value) string {
	if at, ok := v.FieldByName("At").Interface().(configs.Position); ok {
		return at.FileLine()
	}
	return ""
}

// settingText writes a value as policy.yaml would, as far as a line needs it.
func settingText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return "[" + strings.Join(x, ", ") + "]"
	case configs.CopyRule:
		if x.Mode == "after" {
			return policy.Term(x.After)
		}
		return x.Mode
	case configs.Retention:
		if x.Forever {
			return "forever"
		}
		return policy.Term(x.After)
	case string:
		if x == "" {
			return "none"
		}
		return x
	case time.Duration:
		return policy.Term(x)
	case configs.Patience:
		if x == 0 {
			return "off"
		}
		return policy.Term(time.Duration(x))
	case configs.Hour:
		if !x.Set {
			return "off"
		}
		return fmt.Sprintf("%02d:%02d", x.At/time.Hour, x.At%time.Hour/time.Minute)
	default:
		return fmt.Sprint(x)
	}
}

func (d *differ) users(old, new []configs.User) {
	pairs(old, new, func(u *configs.User) string { return u.Login }, func(login string, o, n *configs.User) {
		d.fields("", login, "user", o, n, "login")
	})
}

func (d *differ) mailboxes(old, new []configs.Mailbox) {
	pairs(old, new, func(m *configs.Mailbox) string { return m.Address }, func(address string, o, n *configs.Mailbox) {
		d.fields(address, "", "mailbox", o, n, "address", "members", "inherit", "max_members")
		var people []string
		for _, p := range []*policy.Policy{d.old, d.new} {
			m, ok := p.Mailbox(address)
			if !ok {
				continue
			}
			for _, l := range m.Members {
				if login := strings.ToLower(l.User); !slices.Contains(people, login) {
					people = append(people, login)
				}
			}
		}
		for _, login := range people {
			d.person(address, login)
		}
	})
}

// person compares what one person may do with one mailbox.
func (d *differ) person(address, login string) {
	o, n := d.old.Explain(login, address), d.new.Explain(login, address)
	had, has := d.given(o), d.given(n)
	for i := range max(len(o.Decisions), len(n.Decisions)) {
		var was, is policy.Decision
		if len(o.Decisions) > 0 {
			was = o.Decisions[i]
		}
		if len(n.Decisions) > 0 {
			is = n.Decisions[i]
		}
		right := was.Right | is.Right
		switch {
		case had&right == has&right:
		case has&right != 0:
			d.add(change{Change: "gains", Mailbox: address, User: login, What: right.String(), Line: is.Line})
		default:
			d.add(change{Change: "loses", Mailbox: address, User: login, What: right.String(), Line: cmp.Or(is.Line, was.Line)})
		}
	}
	if had == 0 && has == 0 {
		return
	}
	for _, x := range []struct {
		what     string
		old, new string
		line     string
	}{
		{"begins", d.day(o.Begins, "always", 0), d.day(n.Begins, "always", 0), n.BeginsLine},
		{"expires", d.day(o.Expires, "never", -1), d.day(n.Expires, "never", -1), n.ExpiresLine},
	} {
		// Of somebody new or gone only a bound is worth a line.
		if len(o.Lines) == 0 {
			x.old = ""
		}
		if len(n.Lines) == 0 || x.old == x.new || x.old == "" && (x.new == "always" || x.new == "never") {
			continue
		}
		line := cmp.Or(x.line, n.Lines[0].Line)
		d.add(change{Change: "changes", Mailbox: address, User: login, What: x.what, Old: x.old, New: x.new, Line: line})
	}
}

// given are the rights of a person who is not over yet; one whose time has not come has them, with a beginning.
func (d *differ) given(e policy.Explanation) policy.Words {
	if !e.Expires.IsZero() && !d.now.Before(e.Expires) {
		return 0
	}
	return e.Given()
}

// day is the day of an instant, or of the one before it.
func (d *differ) day(t time.Time, none string, shift time.Duration) string {
	if t.IsZero() {
		return none
	}
	return t.Add(shift).In(d.zone).Format(time.DateOnly)
}

func (d *differ) lists() {
	pairs(d.old.Lists, d.new.Lists, func(l *policy.List) string { return l.Address }, func(address string, o, n *policy.List) {
		var was, is policy.List
		switch {
		case o == nil:
			is = *n
			d.add(change{Change: "gains", What: "list " + address, Line: n.Line})
		case n == nil:
			was = *o
			d.add(change{Change: "loses", What: "list " + address, Line: o.Line})
		default:
			was, is = *o, *n
		}
		line := cmp.Or(is.Line, was.Line)
		name := func(s *string) string { return *s }
		pairs(was.Users, is.Users, name, func(login string, o, n *string) {
			switch {
			case o == nil:
				d.add(change{Change: "gains", User: login, What: "list " + address, Line: line})
			case n == nil:
				d.add(change{Change: "loses", User: login, What: "list " + address, Line: line})
			}
		})
		pairs(was.Members, is.Members, name, func(member string, o, n *string) {
			switch {
			case o == nil:
				d.add(change{Change: "changes", What: "list " + address, New: member, Line: line})
			case n == nil:
				d.add(change{Change: "changes", What: "list " + address, Old: member, Line: line})
			}
		})
	})
}

func showChanges(w io.Writer, list []change, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		for _, c := range list {
			if err := e.Encode(c); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
		return nil
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no difference: nobody gains or loses anything")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "MAILBOX\tUSER\tCHANGE\tWHAT\tFROM\tTO\tLINE")
	for _, c := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(c.Mailbox, "-"), cmp.Or(c.User, "-"), c.Change, c.What,
			cmp.Or(c.Old, "-"), cmp.Or(c.New, "-"), c.Line)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
