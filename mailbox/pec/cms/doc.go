// Package cms reads detached CMS SignedData (RFC 5652), the signature of an
// S/MIME message, with the standard library alone, and verifies it against a
// digest of the content that the caller made.
//
// It owns the reading of BER and DER, the choice of algorithms, the signed
// attributes and a bounded cache of parsed certificates. It knows nothing of
// chains, trust, PEC, or messages.
//
// Invariants:
//   - What a stranger feeds is bounded before it is read: size, nesting, count of
//     elements, certificates, attributes, the size of the signer's key. Nothing
//     recurses. The bytes are walked once and not copied; only a certificate that
//     the cache keeps is.
//   - The content stands outside, there is exactly one signer, and the
//     signer's certificate is inside. Anything else is refused.
//   - The signature covers the signed attributes as they stand. They are hashed as
//     the SET OF of DER (RFC 5652 section 5.4), whatever their order in the
//     message; attributes that are not DER themselves are refused and never
//     re-encoded, so that what was verified is what is there.
//   - A Signature that Parse returns says what the signer claims. Only
//     SameContent and Check, both good, make it a proof.
//   - Whatever the bytes hold ends in an error, on one line and of bounded length.
//
// It must not import any other package of the house. Package cmstest writes
// what the tests read; the samples of testdata/pec seed the fuzz target.
package cms
