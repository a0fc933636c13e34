package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// hostileWords are what a stranger may choose as user name, EHLO, subject, folder or reply.
func hostileWords() []string {
	return []string{
		"mario\r\n{\"time\":\"2026-11-22\",\"level\":\"INFO\",\"msg\":\"login\",\"user\":\"root\"}\n",
		"\x1b[2J\x1b]0;title\x07\b\x00\x7f", "m\xffrio\xc3(", "a\u0085\u009b2J\u2028c\u2029d", `"}{"msg":"x`, `\u000a\`, "%s%n%d",
		"x=y level=ERROR msg=\"hidden\"", strings.Repeat("A", 1<<20), strings.Repeat("\x00", 3000), strings.Repeat("\U0001F4EE", 5000), "",
	}
}

// silent are methods that write no line by themselves.
func silent(name string) bool {
	return map[string]bool{"Slog": true, "Panics": true, "LoginsRefused": true, "AuditTo": true}[name]
}

// filled is an argument of a type in which every string is the given one.
func filled(t reflect.Type, s string) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[error]():
		v.Set(reflect.ValueOf(errors.New(s)))
	case t == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)))
	case t == reflect.TypeFor[*Trouble]():
		v.Set(reflect.ValueOf(new(Trouble)))
	case t.Kind() == reflect.String:
		v.SetString(s)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Interface:
		v.Set(reflect.ValueOf([]any{s}))
	case t.Kind() == reflect.Slice:
		v.Set(reflect.Append(v, filled(t.Elem(), s)))
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				v.Field(i).Set(filled(t.Field(i).Type, s))
			}
		}
	case t.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	}
	return v
}

// everyEvent calls every method of a Log with a stranger's word in every place and gives each one's output to see.
func everyEvent(word string, see func(method, format string, out []byte)) (called int) {
	for _, format := range []string{"json", "text"} {
		of := reflect.TypeFor[*Log]()
		for i := range of.NumMethod() {
			m := of.Method(i)
			if silent(m.Name) {
				continue
			}
			var out bytes.Buffer
			var h slog.Handler = slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})
			if format == "text" {
				h = slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})
			}
			args := []reflect.Value{reflect.ValueOf(New(slog.New(h)))}
			for j := 1; j < m.Type.NumIn(); j++ {
				args = append(args, filled(m.Type.In(j), word))
			}
			if m.Type.IsVariadic() {
				m.Func.CallSlice(args)
			} else {
				m.Func.Call(args)
			}
			called++
			see(m.Name, format, out.Bytes())
		}
	}
	return called
}

// oneLine says what is wrong with the output of one event.
func oneLine(format string, out []byte) string {
	switch {
	case len(out) == 0:
		return "" // an event that is told now and then
	case bytes.Count(out, []byte("\n")) != 1 || out[len(out)-1] != '\n':
		return "it is not one line"
	case len(out) > 64<<10:
		return "it has no bound"
	case !utf8.Valid(out) || bytes.ContainsFunc(out[:len(out)-1], func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' }):
		return "a control character or no UTF-8"
	}
	if format == "json" {
		d := json.NewDecoder(bytes.NewReader(out))
		var line struct{ Time, Level, Msg string }
		if err := d.Decode(&line); err != nil || line.Time == "" || line.Level == "" || line.Msg == "" || d.More() {
			return "it is not one JSON object with time, level and msg"
		}
	}
	return ""
}

// TestS4_EachEventIsOneLine: with whatever a stranger chose in every place, each event is one line with a bound, and one
// JSON object.
func TestS4_EachEventIsOneLine(t *testing.T) {
	for _, word := range hostileWords() {
		lines := 0
		called := everyEvent(word, func(method, format string, out []byte) {
			if len(out) > 0 {
				lines++
			}
			if wrong := oneLine(format, out); wrong != "" {
				t.Errorf("%s, %s, %.20q: %s: %.300q", method, format, word, wrong, out)
			}
		})
		if called < 100 || lines < called*3/4 {
			t.Errorf("%d events, %d lines", called, lines)
		}
	}
}

func FuzzS4_EachEventIsOneLine(f *testing.F) {
	for _, word := range hostileWords() {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		everyEvent(word, func(method, format string, out []byte) {
			if wrong := oneLine(format, out); wrong != "" {
				t.Errorf("%s, %s: %s: %.300q", method, format, wrong, out)
			}
		})
	})
}
