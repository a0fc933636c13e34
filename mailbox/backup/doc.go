// Package backup is the folder that a backup of the store stands in, and the
// stream by which a running appliance gives its bytes to whoever writes them.
//
// It owns this form, format 1:
//
//	backup.json                         the manifest: what of the other files counts
//	audit/<run>.keys                    the public audit keys (audit.key.pub)
//	audit/<run>.heads                   the signed heads of the audit log (audit.heads)
//	records/<run>.kv                    the records: one whole, then incremental ones (mailbox/kv)
//	segments/<segment>-<run>.tar        messages (mailbox/segment), as they lie in the store
//	LOCK                                held by the run that writes
//
// Runs count from 1. A segment that was still growing has a piece for each run
// that found more of it; each piece is a tar archive by itself, and its pieces
// one after the other are the segment. With recipients every file but the
// manifest is encrypted with age and ends in .age; the manifest tells sizes and
// sums of files, numbers and sizes of segments, and nothing of what is in them.
//
// Invariants:
//
//   - A file that was written is never changed; a run makes new ones, and takes
//     away what no manifest names any more when its own stands.
//   - The manifest is written last, in one step. Until then the backup of before
//     counts, whatever the run has done.
//   - Every file of a run was synced and read back before its manifest is written.
//   - No file here holds a secret: who gives the bytes sees to that. Files have
//     mode 0600, folders 0700.
//   - A reader believes no file whose size and SHA-256 are not the manifest's.
//   - No error text holds a byte of a message or a record.
//
// It must not import mailbox. Its tests make their own data.
package backup
