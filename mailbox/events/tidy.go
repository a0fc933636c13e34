package events

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// maxItems is the largest number of values of a list that a line carries.
const maxItems = 64

// tidy is the last thing between an event and the log: whatever an event was given, each of its values is bounded
// (maxStack bytes), UTF-8 and without what a terminal obeys. The encoders escape line ends, which a stack has, and leave DEL,
// the controls of C1 (U+009B begins a command on some terminals) and the two line ends of Unicode as they are.
type tidy struct{ slog.Handler }

func (t tidy) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, shown(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(tidied(a))
		return true
	})
	return t.Handler.Handle(ctx, clean)
}

func (t tidy) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = tidied(a)
	}
	return tidy{t.Handler.WithAttrs(clean)}
}

func (t tidy) WithGroup(name string) slog.Handler { return tidy{t.Handler.WithGroup(shown(name))} }

func tidied(a slog.Attr) slog.Attr {
	a.Key = shown(a.Key)
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(shown(v.String()))
	case slog.KindGroup:
		group := make([]slog.Attr, len(v.Group()))
		for i, member := range v.Group() {
			group[i] = tidied(member)
		}
		a.Value = slog.GroupValue(group...)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case nil:
		case []string:
			list := make([]string, 0, min(len(x), maxItems))
			for _, s := range x[:min(len(x), maxItems)] {
				list = append(list, Clip(s))
			}
			a.Value = slog.AnyValue(list)
		case error:
			a.Value = slog.StringValue(shown(x.Error()))
		default:
			a.Value = slog.StringValue(shown(fmt.Sprint(x)))
		}
	}
	return a
}

// shown is a value as a line may carry it.
func shown(s string) string {
	s = clipTo(s, maxStack)
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}
