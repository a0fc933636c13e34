package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"     // home of the command line
	"github.com/spf13/cobra/doc" // manual pages out of the commands' own help
)

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "write the manual pages of all commands",
		Long: `Writes a manual page for each command into the folder DIR, which must be there:
pecgate.1, pecgate-queue-list.1 and so on. They say what --help says.`,
		Example: "  pecgate man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return fmt.Errorf("%s is no folder: make it first", args[0])
			}
			root := c.Root()
			root.DisableAutoGenTag = true // the same program writes the same pages
			return doc.GenManTree(root, &doc.GenManHeader{Title: "PECGATE", Section: "1", Source: "pecgate", Manual: "pecgate"}, args[0])
		},
	}
}
