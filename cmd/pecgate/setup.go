package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra" // the command line
	"github.com/spf13/pflag" // --lang is --language, as with account

	"pecgate/configs"
)

//go:embed setup/*.tmpl
var setupTexts embed.FS

// setupProducts are the groupware servers that setup knows, in the order of the help.
func setupProducts() []string { return []string{"exchange", "m365", "domino", "postfix", "mdaemon"} }

// setupWish is what the command line of setup says.
type setupWish struct {
	product   string
	relay     string   // empty: the only one
	addresses []string // from which the gateway connects; empty: those of its listener
	ca        string   // file on the groupware server, postfix only
	language  string   // of the comments
	remove    bool
}

func newSetupCommand(a *app) *cobra.Command {
	var wish setupWish
	var out string
	var asJSON bool
	c := &cobra.Command{
		Use:     "setup exchange|m365|domino|postfix|mdaemon",
		Short:   "print what a groupware server has to be told to send PEC through the gateway",
		Example: "  pecgate setup exchange --relay exchange --out setup.ps1\n  pecgate setup exchange --relay exchange --remove",
		Long: `Prints, from the two YAML files, what the administrator of a groupware server has to do so that it sends PEC through the
gateway and takes from it what comes back: PowerShell for Exchange 2019, Exchange SE and Microsoft 365, a script for Postfix,
a sheet of fields for Domino and MDaemon. Nothing is contacted and nothing is changed; no password is ever printed.

The scripts may be run again: what they made is set anew, what is missing is made, what somebody else made under the same name is
left alone and told. --remove prints the script or sheet that takes away exactly what was made. docs/groupware.md explains each
line.

--address is the address from which the groupware server sees the gateway: needed where smtp.relay listens on all addresses, or
where addresses are translated on the way. What has to be known before the script is run is also printed to standard error.`,
		ValidArgs: setupProducts(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(setupProducts(), args[0]) {
				return fmt.Errorf("setup needs one of %s", strings.Join(setupProducts(), ", "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			wish.product = args[0]
			if wish.language != "en" && wish.language != "it" {
				return &exitError{exitUsage, "--language needs en or it"}
			}
			if wish.ca != "" && wish.product != "postfix" {
				return &exitError{exitUsage, "--ca is for postfix only: other servers check the gateway's certificate against the CAs of their system"}
			}
			if strings.ContainsFunc(wish.ca, func(r rune) bool { return r <= ' ' || r > '~' || r == '$' || r == ',' || r == '{' }) {
				return &exitError{exitUsage, "--ca: master.cf takes no blanks, commas, braces, $ or letters beyond ASCII in the name of a file"}
			}
			l, err := configs.Load(a.config)
			if err != nil {
				return err
			}
			facts, err := setupFactsOf(l, wish, time.Now())
			if err != nil {
				return &exitError{exitUsage, err.Error()}
			}
			var text string
			if asJSON {
				var b strings.Builder
				e := json.NewEncoder(&b)
				e.SetEscapeHTML(false)
				if err := e.Encode(facts); err != nil {
					return fmt.Errorf("print the facts: %w", err)
				}
				text = b.String()
			} else {
				if text, err = setupText(facts, wish); err != nil {
					return &exitError{exitUsage, err.Error()}
				}
				for _, w := range facts.Warnings {
					fmt.Fprintln(c.ErrOrStderr(), "pecgate: warning: "+oneLine(w))
				}
			}
			return writeSetup(c, out, text)
		},
	}
	f := c.Flags()
	f.StringVar(&wish.relay, "relay", "", "`NAME` of the relay in policy.yaml; needed where there are several")
	f.StringArrayVar(&wish.addresses, "address", nil, "`IP` address from which the gateway connects; may be repeated")
	f.StringVar(&wish.ca, "ca", "", "`FILE` on the Postfix server with the CA of the gateway's certificate, in place of /etc/ssl/certs")
	f.BoolVar(&wish.remove, "remove", false, "print what takes away what was made")
	f.StringVar(&out, "out", "", "write to `FILE`, which must not exist yet")
	f.StringVar(&wish.language, "language", "en", "`LANGUAGE` of the comments: en or it")
	f.BoolVar(&asJSON, "json", false, "one JSON object with the facts that are used, in place of the script")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "lang" {
			name = "language"
		}
		return pflag.NormalizedName(name)
	})
	return c
}

// writeSetup writes to standard output, or to a file that did not exist.
func writeSetup(c *cobra.Command, name, text string) error {
	if name == "" {
		_, err := fmt.Fprint(c.OutOrStdout(), text)
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if os.IsExist(err) {
		return fmt.Errorf("%s exists already: remove it or give another name to --out", name)
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	_, err = f.WriteString(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

// setupText is the script or sheet of a product.
func setupText(f setupFacts, wish setupWish) (string, error) {
	if err := f.printable(); err != nil {
		return "", err
	}
	name := wish.product
	if wish.remove {
		name += "_remove"
	}
	t, err := template.New("setup").Option("missingkey=error").Funcs(template.FuncMap{
		// t chooses a text by the language of the comments.
		"t": func(en, it string) string {
			if wish.language == "it" {
				return it
			}
			return en
		},
		"ps":       psQuote,
		"psList":   psList,
		"plain":    plainText,
		"sh":       shQuote,
		"list":     func(s ...string) []string { return s },
		"psDomain": psDomains,
	}).ParseFS(setupTexts, "setup/*.tmpl")
	if err != nil {
		return "", fmt.Errorf("templates of setup: %w", err)
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name+".tmpl", setupPage{setupFacts: f, CA: wish.ca}); err != nil {
		return "", fmt.Errorf("print the setup: %w", err)
	}
	return b.String(), nil
}
