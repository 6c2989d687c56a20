//! Which passwords are good enough (NIST SP 800-63B-4, 3.1.1.2): long, and not among those that are guessed first.
//! There are no rules about digits and symbols; they make passwords worse.

use zxcvbn::zxcvbn;

use super::Password;

/// Words that every guesser of a Doorward password tries.
const OWN_NAME: &str = "doorward";

/// Parts of an address that are shorter say nothing about the password they occur in.
const SHORTEST_FORBIDDEN: usize = 3;

/// How much of a password is estimated, in code points. zxcvbn compares every stretch of it with its dictionaries, so
/// its cost grows faster than the square of the length, and who sends 1,024 bytes would hold a thread for seconds. A
/// password whose beginning is strong is strong.
const ESTIMATED_CHARS: usize = 100;

/// What a new password must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// The least number of code points, after composition.
    pub min_length: usize,
    /// The least of zxcvbn's scores, from 0 (anything goes) to 4.
    pub min_score: u8,
}

impl Default for PasswordPolicy {
    /// 15 characters, NIST's least for a password that stands alone, and more than 10^8 guesses.
    fn default() -> Self {
        Self { min_length: 15, min_score: 3 }
    }
}

impl PasswordPolicy {
    /// Judges a new password. The `forbidden` texts, such as the user's e-mail address, their parts and the
    /// product's own name count as the first things that a guesser tries.
    ///
    /// # Errors
    /// [`WeakPassword`], which says what to do instead.
    pub fn check(&self, password: &Password, forbidden: &[&str]) -> Result<(), WeakPassword> {
        let text = password.as_str();
        if text.chars().count() < self.min_length {
            return Err(WeakPassword::TooShort { least: self.min_length });
        }
        let (beginning, _) = text.split_at(end_of_chars(text, ESTIMATED_CHARS));
        let score = |guessed_first: &[&str]| u8::from(zxcvbn(beginning, guessed_first).score());
        if score(&words(forbidden)) >= self.min_score {
            Ok(())
        } else if score(&[]) >= self.min_score {
            Err(WeakPassword::Personal)
        } else {
            Err(WeakPassword::Guessable)
        }
    }
}

/// Why a password is refused, as a sentence for the person who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// It has too few characters.
    #[error(
        "Use at least {least} characters, for example four or five words that do not belong together."
    )]
    TooShort {
        /// How many it must have.
        least: usize,
    },
    /// It would do for somebody else.
    #[error(
        "Leave your e-mail address and the name of this service out of the password, and use other words."
    )]
    Personal,
    /// It is among the first that a guesser tries.
    #[error(
        "Use four or five words that do not belong together: repetitions, rows of keys, dates, names and common \
         phrases are guessed first."
    )]
    Guessable,
}

/// The forbidden texts and what they are made of.
fn words<'a>(forbidden: &[&'a str]) -> Vec<&'a str> {
    let parts = forbidden.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    [OWN_NAME]
        .into_iter()
        .chain(forbidden.iter().copied())
        .chain(parts)
        .filter(|word| word.chars().count() >= SHORTEST_FORBIDDEN)
        .collect()
}

fn end_of_chars(text: &str, count: usize) -> usize {
    text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(text: &str) -> Result<(), WeakPassword> {
        PasswordPolicy::default()
            .check(&Password::parse(text).unwrap(), &["wilhelmina.kowalczyk@posteo.example"])
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
            "wilhelmina.kowalczyk@posteo.example",
            "WilhelminaKowalczyk",
            "kowalczyk wilhelmina 1",
            "Doorward kowalczyk",
        ] {
            assert_eq!(verdict(personal), Err(WeakPassword::Personal), "{personal}");
        }
    }

    #[test]
    fn a_short_part_of_the_address_spoils_nothing() {
        let password = Password::parse("correct horse battery staple").unwrap();
        let everything = ["a.b.c.d.e.h.o.r.s.t@e.y", "", "co"];
        assert_eq!(PasswordPolicy::default().check(&password, &everything), Ok(()));
    }

    #[test]
    fn every_refusal_is_one_sentence_that_says_what_to_do() {
        for refusal in
            [WeakPassword::TooShort { least: 15 }, WeakPassword::Personal, WeakPassword::Guessable]
        {
            let sentence = refusal.to_string();
            assert!(sentence.starts_with("Use ") || sentence.starts_with("Leave "), "{sentence}");
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
