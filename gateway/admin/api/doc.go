// Package api is the HTTPS service for applications: they submit, and read what became
// of each recipient, with its receipts.
//
// It owns the paths and answers below /v1, their OpenAPI document, and who an
// application is (tokens).
//
// Invariants:
//
//   - An application acts as a user of the policy and never may more than that user and
//     its own line there. Both are asked anew with each request.
//   - What is submitted goes by smtpd.Hand: the same judge, edits and PIN as by SMTP.
//     202 is answered only when everything is durable, as 250 is there.
//   - An Idempotency-Key stands for one submission for good; it is written with it.
//   - A mailbox or message that an application may not use is answered as one that there
//     is not.
//   - Refusals are problem details (RFC 9457) in Italian or English, and hold nothing of
//     a message.
//   - Without a token only the probes (gateway/admin/metrics) are answered, and only to
//     this machine itself.
//   - Everything that a client sends has a bound: header, body, time, requests in a
//     minute, requests at a time, connections.
//
// It is the home of huma and chi. It must not import configs.
package api
