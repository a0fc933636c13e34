package configs

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2" // the hooks of viper's Unmarshal are of its type
	"github.com/spf13/viper"              // layers defaults, file and environment of pecgate.yaml
)

const envPrefix = "PECGATE"

// leafKey is one key of pecgate.yaml that holds a value.
type leafKey struct {
	path string
	typ  reflect.Type
	tag  reflect.StructTag
}

func (k leafKey) env() string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

func leafKeys(path string, t reflect.Type) []leafKey {
	var out []leafKey
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		if f.Type.Kind() == reflect.Struct && !isLeaf(f.Type) {
			out = append(out, leafKeys(join(path, key), f.Type)...)
			continue
		}
		out = append(out, leafKey{join(path, key), f.Type, f.Tag})
	}
	return out
}

// layer puts the environment over the good values of the file, and both over the defaults. Faults of the environment join
// those of d, and a key that the environment sets has the variable as its position from then on.
func layer(d *decoder) (*Appliance, error) {
	v := viper.New()
	v.SetEnvPrefix(envPrefix)
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	for _, k := range leafKeys("", reflect.TypeFor[Appliance]()) {
		// viper asks the environment only for keys that it knows, so each needs a default.
		v.SetDefault(k.path, k.tag.Get("default"))
		if value, ok := d.values[k.path]; ok {
			if err := v.MergeConfigMap(nested(k.path, value)); err != nil {
				return nil, fmt.Errorf("%s: %w", k.path, err)
			}
		}
		text := os.Getenv(k.env())
		if text == "" {
			continue
		}
		p := Position{File: "environment variable " + k.env()}
		maps.DeleteFunc(d.at, func(path string, _ Position) bool { return strings.HasPrefix(path, k.path+"[") })
		d.at[k.path] = p
		e := reflect.New(k.typ).Elem()
		if err := setAny(e, k.tag, text); err != nil {
			d.fault(p, "%v, not %s", err, quote(text))
			v.Set(k.path, k.tag.Get("default")) // the fault is noted; go on to find the others
		}
	}
	a := new(Appliance)
	err := v.Unmarshal(a, func(c *mapstructure.DecoderConfig) {
		c.TagName = "yaml"
		c.ErrorUnused = true
		c.DecodeHook = decodeText
	})
	return a, err
}

func setAny(v reflect.Value, tag reflect.StructTag, text string) error {
	if v.Kind() == reflect.Slice {
		return setList(v, tag, text)
	}
	return setText(v, tag, text)
}

// decodeText gives viper's texts to the one reader of values. Words of `oneof` were checked where they were written.
func decodeText(from, to reflect.Value) (any, error) {
	if from.Kind() != reflect.String || to.Kind() == reflect.Struct && !isLeaf(to.Type()) {
		return from.Interface(), nil
	}
	e := reflect.New(to.Type()).Elem()
	if from.String() == "" {
		return e.Interface(), nil
	}
	err := setAny(e, "", from.String())
	return e.Interface(), err
}

func nested(path string, value any) map[string]any {
	parts := strings.Split(path, ".")
	for _, p := range slices.Backward(parts[1:]) {
		value = map[string]any{p: value}
	}
	return map[string]any{parts[0]: value}
}

// strayEnvironment warns of variables that look like keys and are none. They are no faults: container platforms set
// variables of this prefix on their own when a service has this name.
func strayEnvironment() []Fault {
	var known []string
	for _, k := range leafKeys("", reflect.TypeFor[Appliance]()) {
		known = append(known, strings.ToLower(k.env()))
	}
	var out []Fault
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, envPrefix+"_") && !slices.Contains(known, strings.ToLower(name)) {
			hint := ""
			if best := nearest(name, known); best != "" {
				hint = ": did you mean " + strings.ToUpper(best) + "?"
			}
			out = append(out, Fault{Position{File: "environment variable " + name}, "has no effect, no key has this name" + hint})
		}
	}
	return out
}
