package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// What a mailbox takes from `defaults`: every key that it does not write itself, sections key by key, lists whole, and the
// members beside its own. A mailbox that names its own provider takes nothing that belongs to the provider of others.

// ownKeys belong to one mailbox.
var ownKeys = []string{"address", "name", "username", "password", "inherit", "smtp.username", "smtp.password", "incoming.username", "incoming.password"}

// providerKeys go with the provider.
var providerKeys = []string{"provider", "smtp.host", "smtp.port", "smtp.security", "smtp.ca", "incoming.protocol", "incoming.host",
	"incoming.port", "incoming.security", "incoming.ca", "limits.recipients", "limits.product", "limits.per_minute", "limits.connections", "provider_quota"}

const defaultsPath = "defaults"

func (c *policyCheck) inheritAll() {
	for _, key := range ownKeys {
		if path := join(defaultsPath, key); c.written(path) {
			c.refuse(path, "%s: belongs to one mailbox and cannot be a default", key)
		}
	}
	if !c.written(defaultsPath) || c.hollow[defaultsPath] {
		return
	}
	inside := map[string][]string{} // per line of members, what is written in it
	for at := range c.at {
		if rest, ok := strings.CutPrefix(at, defaultsPath+".members["); ok {
			index, _, _ := strings.Cut(rest, "]")
			inside[index] = append(inside[index], at)
		}
	}
	for i := range c.policy.Mailboxes {
		path := fmt.Sprintf("mailboxes[%d]", i)
		if m := &c.policy.Mailboxes[i]; m.Inherit && !c.hollow[path] {
			c.take(reflect.ValueOf(m).Elem(), reflect.ValueOf(&c.policy.Defaults).Elem(), path, "", c.written(path+".provider"))
			c.takeMembers(m, path+".members", inside)
		}
	}
}

// take gives a mailbox what it does not write. key is the part of both paths behind the mailbox and behind defaults.
func (c *policyCheck) take(dst, src reflect.Value, mailbox, key string, ownProvider bool) {
	for i := range dst.NumField() {
		f := dst.Type().Field(i)
		name := f.Tag.Get("yaml")
		if name == "" || name == "-" || name == "members" || key == "" && slices.Contains(ownKeys, name) {
			continue
		}
		k := join(key, name)
		if ownProvider && slices.Contains(providerKeys, k) {
			continue
		}
		to, from := mailbox+"."+k, defaultsPath+"."+k
		switch {
		case !c.written(from):
		case f.Type.Kind() == reflect.Struct && !isLeaf(f.Type):
			if !c.hollow[to] && !c.hollow[from] {
				c.take(dst.Field(i), src.Field(i), mailbox, k, ownProvider)
			}
		case !c.written(to):
			dst.Field(i).Set(copied(src.Field(i)))
			c.stands(to, from)
			if f.Type.Kind() == reflect.Slice {
				for j := range src.Field(i).Len() {
					c.stands(fmt.Sprintf("%s[%d]", to, j), fmt.Sprintf("%s[%d]", from, j))
				}
			}
		}
	}
}

// copied shares no list, so that what a check changes in one mailbox is not changed in others.
func copied(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Slice {
		return v
	}
	return reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)
}

// stands makes a path stand where another is written, with its faults.
func (c *policyCheck) stands(to, from string) {
	c.at[to] = c.at[from]
	if c.bad[from] {
		c.mark(to)
	}
	if c.hollow[from] {
		c.hollow[to] = true
	}
}

func (c *policyCheck) takeMembers(m *Mailbox, path string, inside map[string][]string) {
	if len(c.policy.Defaults.Members) == 0 {
		return
	}
	own := len(m.Members)
	c.own[strings.TrimSuffix(path, "members")] = own
	m.Members = append(slices.Clip(m.Members), c.policy.Defaults.Members...)
	if !c.written(path) {
		c.stands(path, defaultsPath+".members")
	}
	for j := range c.policy.Defaults.Members {
		from := fmt.Sprintf("%s.members[%d]", defaultsPath, j)
		for _, at := range inside[fmt.Sprint(j)] {
			c.stands(fmt.Sprintf("%s[%d]%s", path, own+j, strings.TrimPrefix(at, from)), at)
		}
	}
}
