//! The canonical (low-S) form of ES256 signatures.
//!
//! If (r, s) is a valid ECDSA signature, (r, n − s) is valid too, and can be computed from the
//! first without the key. It would make a second text of the same token: another cache entry, and a
//! bypass of checks that compare tokens as text. So Doorward writes the smaller of the two, which
//! every verifier accepts, and rejects the other.

/// The length of each of the two numbers in bytes (RFC 7518 3.4).
const NUMBER_BYTES: usize = 32;

/// The order of P-256 (NIST SP 800-186 3.2.1.3), big-endian.
const P256_ORDER: [u8; NUMBER_BYTES] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Whether a signature is the smaller of its two forms; false for another length.
pub fn is_low(signature: &[u8]) -> bool {
    matches!(signature.as_chunks(), ([_, s], []) if *s <= negated(s))
}

/// Replaces a signature by its smaller form.
pub fn lower(signature: &mut [u8]) {
    if let ([_, s], []) = signature.as_chunks_mut() {
        *s = negated(s).min(*s);
    }
}

/// n − s. If s is n or more, and so not part of a valid signature, it is some other number.
fn negated(s: &[u8; NUMBER_BYTES]) -> [u8; NUMBER_BYTES] {
    let (mut difference, mut borrowed) = (P256_ORDER, false);
    for (digit, s) in difference.iter_mut().zip(s).rev() {
        let (rest, first) = digit.overflowing_sub(*s);
        let (rest, second) = rest.overflowing_sub(u8::from(borrowed));
        (*digit, borrowed) = (rest, first || second);
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(last: u8) -> [u8; NUMBER_BYTES] {
        std::array::from_fn(|i| if i == NUMBER_BYTES - 1 { last } else { 0 })
    }

    fn signature(s: [u8; NUMBER_BYTES]) -> Vec<u8> {
        [[7; NUMBER_BYTES], s].concat()
    }

    #[test]
    fn high_s_is_normalised_to_low_s() {
        for low in
            [number(1), number(255), [0x5a; NUMBER_BYTES], [0x7f; NUMBER_BYTES].map(|it| it - 1)]
        {
            let high = negated(&low);
            assert_eq!(negated(&high), low);
            assert!(is_low(&signature(low)) && !is_low(&signature(high)));
            for s in [low, high] {
                let mut lowered = signature(s);
                lower(&mut lowered);
                assert_eq!(lowered, signature(low));
            }
        }
    }

    #[test]
    fn half_of_the_order_is_the_border() {
        // n is odd: (n - 1) / 2 and (n + 1) / 2 are the two forms of one signature.
        let mut carry = 0;
        let half = P256_ORDER.map(|byte| {
            let digit = byte >> 1 | carry << 7;
            carry = byte & 1;
            digit
        });
        assert!(is_low(&signature(half)));
        assert!(!is_low(&signature(negated(&half))));
        assert_eq!(negated(&half)[NUMBER_BYTES - 1], half[NUMBER_BYTES - 1] + 1);
    }

    #[test]
    fn malformed_signatures_are_left_unchanged() {
        for length in [0, 1, 32, 63, 65, 96, 128] {
            let mut bytes = vec![0; length];
            assert!(!is_low(&bytes), "{length}");
            lower(&mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}
