//! X.509 structures, encoded by hand.

/// An element of DER.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match u8::try_from(content.len()) {
        Ok(short @ ..0x80) => vec![short],
        Ok(byte) => vec![0x81, byte],
        Err(_) => [&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat(),
    };
    [&[tag][..], &length, &content].concat()
}

/// A certificate around a public key (RFC 5280 4.1), without a valid signature.
pub fn certificate(public_key: &[u8]) -> Vec<u8> {
    const ECDSA_WITH_SHA256: [u8; 10] =
        [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let algorithm = element(0x30, &[&ECDSA_WITH_SHA256]);
    let (begin, end) = (element(0x17, &[b"200101000000Z"]), element(0x17, &[b"491231235959Z"]));
    let version = element(0xa0, &[&element(0x02, &[&[2]])]);
    let (serial, name) = (element(0x02, &[&[1]]), element(0x30, &[]));
    let validity = element(0x30, &[&begin, &end]);
    let parts = [&version[..], &serial, &algorithm, &name, &validity, &name, public_key];
    element(0x30, &[&element(0x30, &parts), &algorithm, &element(0x03, &[&[0; 65]])])
}

/// A P-256 signature in X.509's encoding, which JWS does not use (RFC 7518 3.4).
pub fn signature(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(32);
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        let sign: &[u8] = if number[start] < 0x80 { &[] } else { &[0] };
        element(0x02, &[sign, &number[start..]])
    };
    element(0x30, &[&integer(r), &integer(s)])
}
