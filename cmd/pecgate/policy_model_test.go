package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid" // random policies against a model

	"pecgate/configs"
	"pecgate/policy"
)

// drawnLine is a line of members as a person writes it.
type drawnLine struct {
	who     []string        // logins it speaks of
	keys    map[string]bool // the rights that are written
	preset  string
	ownOnly bool
	over    bool
}

// says is what the line says of a right: +1 yes, -1 no, 0 nothing.
func (l drawnLine) says(right string) int {
	hidden := l.ownOnly && (right == "receive" || right == "anomalies")
	given, written := l.keys[right]
	switch presets := map[string]string{"full": "send receive anomalies approve delete", "read only": "receive anomalies", "send only": "send"}; {
	case hidden, right == "send" && l.keys["compose"]:
		return -1
	case l.preset != "" && (written && !given || !slices.Contains(strings.Fields(presets[l.preset]), right)):
		return -1
	case l.preset != "" || given:
		return 1
	case written:
		return -1
	}
	return 0
}

// drawLine writes a line that has no fault.
func drawLine(t *rapid.T, name string, who []string) (drawnLine, string) {
	l := drawnLine{who: who, keys: map[string]bool{}, preset: rapid.SampledFrom([]string{"", "", "full", "read only", "send only"}).Draw(t, "preset")}
	text := name
	if l.preset != "" {
		text += ", preset: " + l.preset
	}
	if l.ownOnly = rapid.IntRange(0, 4).Draw(t, "own only") == 0; l.ownOnly {
		text += ", own_only: true"
	}
	compose := l.preset == "" && rapid.IntRange(0, 4).Draw(t, "composes") == 0
	for _, right := range []string{"send", "receive", "anomalies", "approve", "delete", "compose"} {
		given := rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, right)
		hidden := l.ownOnly && (right == "receive" || right == "anomalies")
		switch {
		case right == "compose" && compose:
			given = 2
		case given == 0, right == "send" && compose:
			continue
		case l.preset != "" || hidden || right == "compose":
			given = 1
		}
		l.keys[right] = given == 2
		text += fmt.Sprintf(", %s: %t", right, given == 2)
	}
	switch rapid.IntRange(0, 5).Draw(t, "term") {
	case 0:
		l.over, text = true, text+", expires: 2020-01-01"
	case 1:
		l.over, text = true, text+", expires: {from: 2020-01-01, for: 1 month}"
	case 2:
		text += ", expires: {from: 2020-01-01, for: 10 years}"
	}
	return l, "      - {" + text + "}\n"
}

// G13: what is written decides as a model reads it: groups in groups, defaults, presets, own_only, compose, terms; deny wins.
// The model sees the lines as they were drawn, the program the text.
func TestG13_TextAgainstModel(t *testing.T) {
	const box = "x@pec.example.org"
	name := filepath.Join(t.TempDir(), "policy.yaml")
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		groups := map[string][]string{"g": {"a", "b"}, "h": {"a", "b", "c"}} // h is g and c
		var lines []drawnLine
		own, inherited := "      - {user: z}\n", ""
		for _, section := range []*string{&own, &inherited} {
			for _, who := range []string{"user: a", "user: b", "user: c", "group: g", "group: h"} {
				if rapid.IntRange(0, 2).Draw(t, who) > 0 {
					continue
				}
				kind, of, _ := strings.Cut(who, ": ")
				people := []string{of}
				if kind == "group" {
					people = groups[of]
				}
				l, text := drawLine(t, who, people)
				lines = append(lines, l)
				*section += text
			}
		}
		text := "users: [{login: a}, {login: b}, {login: c}, {login: z}]\ngroups: [{name: h, users: [c], groups: [G]}, {name: g, users: [a, b]}]\ndefaults:\n  admin: z\n"
		if inherited != "" {
			text += "  members:\n" + inherited
		}
		text += "mailboxes:\n  - address: " + box + "\n    provider: aruba\n    password: {file: none}\n    members:\n" + own
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := configs.ReadPolicy(name, time.UTC)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		p := policyOf(loaded)
		for _, login := range []string{"a", "b", "c"} {
			has, spoken := map[string]bool{"send": true, "receive": true, "anomalies": true}, false
			sendOnly, over := false, false
			for _, right := range []string{"send", "receive", "anomalies", "compose", "approve", "delete"} {
				for _, l := range lines {
					if slices.Contains(l.who, login) && l.says(right) > 0 {
						has[right] = true
					}
				}
				for _, l := range lines {
					if slices.Contains(l.who, login) {
						spoken, sendOnly, over = true, sendOnly || l.preset == "send only", over || l.over
						has[right] = has[right] && l.says(right) >= 0
					}
				}
			}
			want := policy.Rights{Send: has["send"] && !has["compose"], Receive: has["receive"], Anomalies: has["anomalies"],
				Compose: has["compose"], Approve: has["approve"], Delete: has["delete"], SendOnly: sendOnly}
			if !spoken || over || !want.Any() {
				want = policy.Rights{}
			}
			if got := p.Rights(login, box, now); got != want {
				t.Fatalf("%s: %+v, model %+v\n%s", login, got, want, text)
			}
			v := p.Decide(policy.Submission{Identity: policy.Identity{User: login}, ReversePath: box, From: box, Recipients: []string{"r@d.it"},
				Size: 1, Now: now, Approvals: true})
			if v.Allow != (want.Send || want.Compose) || v.Allow && (v.Then == policy.ToApprove) != want.Compose {
				t.Fatalf("%s: %+v, model %+v\n%s", login, v, want, text)
			}
		}
	})
}
