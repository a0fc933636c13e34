package mime

// Hard bounds that no Options can lift.
const (
	maxHeader     = 1 << 20  // bytes of one header block handled in memory
	maxRecord     = 48 << 10 // bytes of an encoded index
	maxWire       = 60 << 10 // bytes of each of Envelope, BodyStructure, Body
	maxDepth      = 64       // nesting that a stored index may have
	maxParts      = 10_000   // parts that a stored index may have
	maxBoundary   = 998      // bytes of a boundary parameter; the RFC allows 70
	maxParams     = 200      // raw parameters looked at in one field
	maxKeptParams = 32       // parameters kept of one field
	maxTree       = 256      // bytes of a decoded word kept in the index (names, types)
)

// Limits bounds what Parse accepts as structure. A zero field takes the value
// given beside it; larger values than the package can store are cut.
type Limits struct {
	Header int64 // bytes of one header block; 256 KiB, at most 1 MiB
	Fields int   // fields of one header that are looked at; 1000
	Parts  int   // parts in the whole message, the root included; 1000
	Depth  int   // levels of multipart and message/rfc822; 32, at most 62
	Record int   // bytes of the encoded index; 48 KiB, also the most
}

func (l Limits) withDefaults() Limits {
	if l.Header <= 0 {
		l.Header = 256 << 10
	}
	l.Header = min(l.Header, maxHeader)
	if l.Fields <= 0 {
		l.Fields = 1000
	}
	if l.Parts <= 0 {
		l.Parts = 1000
	}
	// Ranges that only cover what is left may add one part a level.
	l.Parts = min(l.Parts, maxParts-maxDepth)
	if l.Depth <= 0 {
		l.Depth = 32
	}
	l.Depth = min(l.Depth, maxDepth-2)
	if l.Record <= 0 || l.Record > maxRecord {
		l.Record = maxRecord
	}
	// Below this not even a single leaf is sure to fit.
	l.Record = max(l.Record, 4<<10)
	return l
}
