//! Takes secrets out of what a source says: it may repeat a user or a password, and its words are logged.

/// Fewer letters tell nobody anything, and would be found everywhere.
const SHORTEST: usize = 2;

/// So many letters of a secret are hidden at the end of a text that was cut.
const SHORTEST_PREFIX: usize = 3;

/// The text without the secrets, in upper or lower case, and without the beginning of one at its end, where it may have been cut.
pub(super) fn masked<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut secrets: Vec<_> = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).collect();
    // A password may hold the user's name.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let whole = secrets.iter().fold(text.to_owned(), |text, secret| without(&text, secret));
    let end = whole.trim_end_matches(['…', '\'', '"', '\\', ' ']).len();
    let is_cut = |secret: &&str| {
        let prefixes = secret.char_indices().map(|(at, _)| at).filter(|&at| at >= SHORTEST_PREFIX);
        prefixes.rev().find(|&at| ends_with(&whole[..end], &secret[..at]))
    };
    match secrets.iter().filter_map(is_cut).max() {
        Some(cut) => format!("{}…{}", &whole[..end - cut], &whole[end..]),
        None => whole,
    }
}

fn ends_with(text: &str, end: &str) -> bool {
    // ASCII's letters keep their places, so what is found lies between two characters.
    text.to_ascii_lowercase().ends_with(&end.to_ascii_lowercase())
}

fn without(text: &str, secret: &str) -> String {
    let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in lower.match_indices(&secret) {
        masked.push_str(&text[done..at]);
        masked.push('…');
        done = at + secret.len();
    }
    masked.push_str(&text[done..]);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_whatever_surrounds_them() {
        let secrets = ["bob", "bob-PW123", "x"];
        for (said, shown) in [
            ("no bob here, Bob", "no … here, …"),
            ("refused bob-PW123 of bob", "refused … of …"),
            ("BOB-pw123", "…"),
            ("excellent", "excellent"),
            ("", ""),
            ("a long text, then bob-P", "a long text, then …-P"),
        ] {
            assert_eq!(masked(said, secrets), shown);
        }
        let address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
        assert_eq!(masked("cut off at bc1qw508…'", [address]), "cut off at ……'");
        assert_eq!(masked("cut off at BC1", [address]), "cut off at …");
        assert_eq!(masked("cut off at bc", [address]), "cut off at bc");
        assert_eq!(masked("é ends with é", ["é", "ééé"]), "… ends with …");
    }

    proptest::proptest! {
        #[test]
        fn no_text_holds_a_secret_afterwards(text in ".{0,40}", secret in "[a-zA-Zé…]{2,6}") {
            let said = format!("{text}{secret}{text}");
            let shown = masked(&said, [secret.as_str()]);
            if !secret.contains('…') {
                assert!(!shown.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{shown}");
            }
        }
    }
}
