package mailbox

// ClockFact is the name under which a line of the audit log says whether the clock
// was synchronised when it was written.
const ClockFact = "clock"

// What Options.Clock answers.
const (
	ClockSynchronised   = "synchronised"
	ClockUnsynchronised = "not synchronised"
)

// Clock tells whether the clock is synchronised: ClockSynchronised,
// ClockUnsynchronised, or empty where that is not known.
func (s *Store) Clock() string {
	if s.opt.Clock == nil {
		return ""
	}
	return s.opt.Clock()
}

// proves tells of which events the time matters to somebody outside: their lines say
// whether the clock was synchronised.
func proves(event string) bool {
	switch event {
	case "submission", "arrival", "state", "evidence", "pin", "approval":
		return true
	}
	return false
}
