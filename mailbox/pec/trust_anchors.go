package pec

import (
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
)

// The certificates that are built in; anchors/README.md says which and why.
//
//go:embed anchors/*.pem
var anchorFiles embed.FS

// builtIn returns the certificates of anchors.
func builtIn() ([]*x509.Certificate, error) {
	names, err := fs.Glob(anchorFiles, "anchors/*.pem")
	if err != nil {
		return nil, fmt.Errorf("built-in CAs: %w", err)
	}
	var all []*x509.Certificate
	for _, name := range names {
		file, err := anchorFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("built-in CAs: %w", err)
		}
		list, err := readPEM(file)
		if err != nil {
			return nil, fmt.Errorf("built-in CAs: %s: %w", name, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// pinnedCAs are the CAs that sign providers under a built-in root, by name and
// key, so that their certificates in messages are known without being built in.
func pinnedCAs() []authority {
	return []authority{
		// Signs all providers since 2018. Issued anew in 2018, 2019, 2020 (three
		// times), 2021 (twice) and 2025 with this key.
		pin("CN=AgID CA1,OU=Area Soluzioni per la Pubblica Amministrazione,O=Agenzia per l'Italia Digitale,L=Roma,C=IT",
			"39e3c6c6f13c9620775172694d20f81edad55a8613934cdaa7c3793a6d26b86b",
			"a5fd85050ec3f1d6654a206ce2db4d60932b8aa0"),
		// Signed all providers from 2011 to 2018, with SHA-1, under Baltimore
		// CyberTrust Root: valid-historic at best.
		pin("CN=DigitPA CA1,OU=Ufficio interoperabilita' e cooperazione,O=DigitPA,C=IT",
			"c0b443b729bcf3e980d36ef980b035be7534a7c464671c7f51e30ad6f7519d25",
			"fe22b724e34f27d905e0ccb8bddef48d23fd2fd9"),
	}
}

// pin makes an authority of hexadecimal text. Text that is none pins a key that
// nobody has; a test looks at it.
func pin(name, key, keyID string) authority {
	a := authority{name: name}
	if b, err := hex.DecodeString(key); err == nil && len(b) == sha256.Size {
		copy(a.key[:], b)
	}
	a.keyID, _ = hex.DecodeString(keyID)
	return a
}
