package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"pecgate/mailbox"
)

// A folder of incoming.folders that is not at the provider: webmail renamed or deleted
// it, or its name is wrong. The others are fetched as always, and an alarm about each
// says so until it is there again or nobody wants it any more.

// kindFolderMissing is that alarm, about the folder.
const kindFolderMissing = "folder-missing"

func (s *Service) folderMissingAlarm(box, folder string) alarm {
	name := plain(folder, maxAbout)
	return alarm{
		box: box, kind: kindFolderMissing, about: name, to: s.adminOf(box), quiet: 24 * time.Hour,
		subjectIT: "Una cartella da leggere non c'è presso il gestore: " + name,
		subjectEN: "A folder to be fetched is not there at the provider: " + name,
		it: "La cartella è in incoming.folders della casella, ma presso il gestore non c'è: la webmail l'ha rinominata o eliminata, o il nome è sbagliato. " +
			"Le altre cartelle vengono lette come sempre; ciò che arriva in questa, anche le ricevute, no.\n\n" +
			"Cosa fare: ricreare la cartella con la webmail del gestore, o correggere incoming.folders in policy.yaml.",
		en: "The folder is in incoming.folders of the mailbox, but it is not there at the provider: webmail has renamed or deleted it, or its name is wrong. " +
			"The other folders are fetched as always; what arrives in this one, receipts too, is not.\n\n" +
			"What to do: make the folder again with the provider's webmail, or correct incoming.folders in policy.yaml.",
	}
}

// noteMissing tells of the folders that were not there in this round, and ends the
// alarms about all others.
func (s *Service) noteMissing(ctx context.Context, w *worker, missing []string) error {
	w.missing(missing)
	box := w.acc.Box
	var stand []Alarm
	err := s.opt.Store.View(ctx, func(tx *mailbox.Tx) (err error) { stand, err = alarmsOfKind(tx, box, kindFolderMissing); return err })
	for _, a := range stand {
		if !slices.ContainsFunc(missing, func(f string) bool { return plain(f, maxAbout) == a.About }) {
			err = errors.Join(err, s.ended(ctx, box, kindFolderMissing, a.About))
		}
	}
	for _, folder := range missing {
		err = errors.Join(err, s.raise(ctx, s.folderMissingAlarm(box, folder)))
	}
	return err
}

// folderUnwanted tells whether nobody fetches the folder that an alarm is about.
func (s *Service) folderUnwanted(a Alarm) bool {
	acc := s.account(a.Mailbox)
	return acc.POP3.Host != "" || !slices.ContainsFunc(acc.folders(), func(f string) bool { return plain(f, maxAbout) == a.About })
}

// missing keeps the folders that are not there.
func (w *worker) missing(folders []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts.missing = folders
}

// missingNote says so in the status; "" where all are there.
func missingNote(folders []string) string {
	if len(folders) == 0 {
		return ""
	}
	return "folders are not there at the provider (incoming.folders): " + plain(strings.Join(folders, ", "), maxWords)
}
