//! Codes that people type: Crockford's base32, without the letters that look like digits, and
//! without U.

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One character for each random byte; 256 is a multiple of 32, so each character is as likely as
/// any other.
#[must_use]
pub fn encode<const N: usize>(bytes: &[u8; N]) -> [u8; N] {
    bytes.map(|byte| ALPHABET[usize::from(byte % 32)])
}

/// A code of `N` characters, as people type it: in lower case, with or without hyphens and spaces,
/// O for 0 and I or L for 1. `None` for a text of another length.
#[must_use]
pub fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut code = [0; N];
    let mut length = 0;
    for c in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
        let c = match c.to_ascii_uppercase() {
            'O' => b'0',
            'I' | 'L' => b'1',
            c => u8::try_from(c).ok()?,
        };
        *code.get_mut(length)? = c;
        length += 1;
    }
    (length == N).then_some(code)
}
