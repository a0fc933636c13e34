package mailbox

import "errors"

// IsTooManyKeywords tells whether SetFlags failed because an entry would have
// more keywords than are kept, which is the client's doing.
func IsTooManyKeywords(err error) bool { return errors.Is(err, errTooManyFlags) }
