//! Password policy (NIST SP 800-63B-4, 3.1.1.2): long, and not among the first guesses. There are
//! no composition rules (digits, symbols): they make passwords worse.

use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use super::Password;

/// The product's name, which attackers guess first.
const OWN_NAME: &str = "doorward";

/// Shorter parts of an address are too common to be forbidden.
const SHORTEST_FORBIDDEN: usize = 3;

/// How much of a password is estimated, in code points: a password with a strong beginning is
/// strong.
///
/// zxcvbn looks up every substring once for each combination of meanings of symbols like `4`, `|`
/// and `$`, up to 800 of them. The worst text of this length takes it some 80 ms, and one of the
/// 100 code points that it would read by default more than a second.
const ESTIMATED_CHARS: usize = 32;

/// The settings of the password policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// The minimum number of code points, after composition.
    pub min_length: usize,
    /// The minimum of zxcvbn's score, from 0 (anything) to 4.
    pub min_score: u8,
}

impl Default for PasswordPolicy {
    /// 15 characters, NIST's minimum for a password without a second factor, and more than 10^8
    /// guesses.
    fn default() -> Self {
        Self { min_length: 15, min_score: 3 }
    }
}

impl PasswordPolicy {
    /// Checks a new password. The `forbidden` texts, such as the user's e-mail address, the words
    /// in them, and the product's own name add nothing to its strength. This can take as long as a
    /// hash: see [`Hasher::check`].
    ///
    /// [`Hasher::check`]: super::Hasher::check
    ///
    /// # Errors
    /// [`WeakPassword`], which says what to do instead.
    pub fn check(&self, password: &Password, forbidden: &[&str]) -> Result<(), WeakPassword> {
        let text = password.as_str();
        if text.contains(char::is_control) {
            return Err(WeakPassword::Control);
        }
        if text.chars().count() < self.min_length {
            return Err(WeakPassword::TooShort { least: self.min_length });
        }
        let words = words(forbidden);
        if self.is_strong(&without(text, &words), &words) {
            Ok(())
        } else if self.is_strong(text, &[]) {
            Err(WeakPassword::Personal)
        } else {
            Err(WeakPassword::Guessable)
        }
    }

    fn is_strong(self, text: &str, guessed_first: &[&str]) -> bool {
        let beginning: Zeroizing<String> =
            Zeroizing::new(text.chars().take(ESTIMATED_CHARS).collect());
        u8::from(zxcvbn(&beginning, guessed_first).score()) >= self.min_score
    }
}

/// Why a password is rejected, as a sentence for the person who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// It has control characters, such as line breaks or tabs: probably a mistake, and hard to type
    /// again.
    #[error("Leave out line breaks, tabs and other control characters.")]
    Control,
    /// It has too few characters.
    #[error(
        "Use at least {least} characters, such as four or five words that do not belong together."
    )]
    TooShort {
        /// The required number.
        least: usize,
    },
    /// It is strong only with the forbidden words.
    #[error("Use words that are neither in your e-mail address nor the name of this service.")]
    Personal,
    /// It is among the first guesses.
    #[error(
        "Use four or five words that do not belong together: repetitions, rows of keys, dates, \
         names and common phrases are guessed first."
    )]
    Guessable,
}

/// The forbidden texts and the words in them.
fn words<'a>(forbidden: &[&'a str]) -> Vec<&'a str> {
    let parts = forbidden.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    [OWN_NAME]
        .into_iter()
        .chain(forbidden.iter().copied())
        .chain(parts)
        .filter(|word| word.chars().count() >= SHORTEST_FORBIDDEN)
        .collect()
}

/// The text in lower case without these words. zxcvbn gets them as well, because it finds them
/// reversed or in symbols; but it treats every extra word as multiplied effort, and a long address
/// as strength.
fn without(text: &str, words: &[&str]) -> Zeroizing<String> {
    words.iter().fold(Zeroizing::new(text.to_lowercase()), |rest, word| {
        Zeroizing::new(rest.replace(&word.to_lowercase(), " "))
    })
}

#[cfg(test)]
mod tests {
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    fn verdict(text: &str) -> Result<(), WeakPassword> {
        PasswordPolicy::default()
            .check(&Password::parse(text).unwrap(), &["vrelzimond.quaffenbriel@ystrolane.example"])
    }

    #[test]
    fn control_characters_are_refused() {
        for slip in ["seven otters juggle\r\nlanterns", "seven otters\tjuggle lanterns"] {
            let password = Password::parse(slip).unwrap();
            let verdict = PasswordPolicy::default().check(&password, &[]);
            assert_eq!(verdict, Err(WeakPassword::Control));
        }
    }

    #[test]
    fn length_is_counted_in_code_points_of_the_composed_form() {
        assert_eq!(verdict("vk3 Pq8 zTw 1x"), Err(WeakPassword::TooShort { least: 15 }));
        assert_eq!(verdict("vk3 Pq8 zTw 1x9"), Ok(()));
        assert_eq!(verdict("vk3 Pq8 zTw 1ü"), Err(WeakPassword::TooShort { least: 15 }));
        assert_eq!(verdict("vk3 Pq8 zTw 1u\u{308}"), Err(WeakPassword::TooShort { least: 15 }));
        assert_eq!(verdict("vk3 Pq8 zTw 1ü9"), Ok(()));
    }

    #[test]
    fn unrelated_words_are_good_without_digits_or_symbols() {
        assert_eq!(verdict("correct horse battery staple"), Ok(()));
        assert_eq!(verdict("tulpen zeven kachel wolk"), Ok(()));
        assert_eq!(verdict("длинная рыба на велосипеде"), Ok(()));
    }

    #[test]
    fn long_but_obvious_passwords_are_refused() {
        for obvious in [
            "aaaaaaaaaaaaaaaaaaaa",
            "passwordpassword",
            "qwertyuiopasdfghjkl",
            "1234567890123456",
            "abcabcabcabcabcabc",
        ] {
            assert_eq!(verdict(obvious), Err(WeakPassword::Guessable), "{obvious}");
        }
    }

    #[test]
    fn the_address_its_parts_and_the_product_are_guessed_first() {
        for personal in [
            "vrelzimond.quaffenbriel@ystrolane.example",
            "Doorward Doorward Doorward Doorward",
            "VrelzimondQuaffenbriel",
            "quaffenbriel vrelzimond 1",
            "Doorward ystrolane 1",
        ] {
            assert_eq!(verdict(personal), Err(WeakPassword::Personal), "{personal}");
        }
    }

    #[test]
    fn short_parts_of_the_address_are_not_forbidden() {
        let password = Password::parse("correct horse battery staple").unwrap();
        let everything = ["a.b.c.d.e.h.o.r.s.t@e.y", "", "co"];
        assert_eq!(PasswordPolicy::default().check(&password, &everything), Ok(()));
    }

    #[test]
    fn every_rejection_is_one_sentence_with_a_remedy() {
        // Without a wildcard, so that a new variant is added here as well.
        let next = |it: &WeakPassword| match it {
            WeakPassword::Control => Some(WeakPassword::TooShort { least: 15 }),
            WeakPassword::TooShort { .. } => Some(WeakPassword::Personal),
            WeakPassword::Personal => Some(WeakPassword::Guessable),
            WeakPassword::Guessable => None,
        };
        let all: Vec<_> = iter::successors(Some(WeakPassword::Control), next).collect();
        assert_eq!(all.len(), 4);
        for refusal in all {
            let sentence = refusal.to_string();
            let names_a_remedy = ["Use ", "Leave out "].iter().any(|it| sentence.starts_with(it));
            assert!(names_a_remedy, "{sentence}");
            assert_eq!(sentence.find('.'), Some(sentence.len() - 1), "{sentence}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_can_be_judged(text in "\\PC{15,120}", forbidden in "\\PC{0,20}") {
            if let Ok(password) = Password::parse(&text) {
                let _ = PasswordPolicy::default().check(&password, &[&forbidden]);
            }
        }
    }
}
