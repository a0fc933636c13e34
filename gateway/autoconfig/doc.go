// Package autoconfig tells mail programs which servers to use, so that nobody
// has to type host names and ports.
//
// It owns the HTTP service for that and its three formats: the configuration
// file of Thunderbird, the answer of Autodiscover for Outlook, and the profile
// for Apple's devices.
//
// Invariants:
//
//   - An answer depends on what was asked and on the Settings alone. Nothing here
//     knows a user or a mailbox, so no answer can tell whether an address exists.
//   - No answer holds a secret, and a profile never a password.
//   - Of a request only a plain address, a login name or a host name is repeated,
//     each checked, and written by encoding/xml.
//   - Everything a stranger feeds is bounded: connections, header, body, depth
//     and number of XML elements, time. A document type is refused, so that there
//     are no entities to expand.
//   - A line of log for a request has the domain that was asked for and nothing
//     else of the person. There are so many lines a minute and no more; the rest
//     is counted in one.
//
// It must not import configs, mailbox (except events), relay or the other rooms
// of the gateway; of policy it uses the reader of addresses only. The listener
// yields connections with TLS done. The golden files of its tests lie in
// testdata/golden/autoconfig of the repository root.
package autoconfig
