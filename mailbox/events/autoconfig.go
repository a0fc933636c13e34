package events

// AutoconfigAsked is a request for the settings of mail programs: the format
// (thunderbird, autodiscover, apple, none), the domain that was asked for, and
// the HTTP status of the answer. Nothing else of who asked is told.
func (l *Log) AutoconfigAsked(format, domain string, status int) {
	l.out.Info("settings asked", "format", format, "domain", Clip(domain), "status", status)
}

// AutoconfigMore counts the requests of a minute that have no line of their own,
// by how they ended, and the faults.
func (l *Log) AutoconfigMore(served, refused, faults int) {
	l.out.Warn("more settings asked than are told one by one", "served", served, "refused", refused, "faults", faults)
}
