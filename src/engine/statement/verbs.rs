//! The words that statements begin with, for those who mistype them.

const VERBS: [&str; 17] = [
    "ALTER", "CREATE", "DELETE", "DESCRIBE", "DROP", "EXPLAIN", "INSERT", "MERGE", "RESET", "SELECT", "SET",
    "SHOW", "TRUNCATE", "UPDATE", "USE", "VALUES", "WITH",
];

/// The word that the first one of `text` is nearly, if it is none itself.
pub fn near_verb(text: &str) -> Option<&'static str> {
    let word: String = text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    let word = word.to_uppercase();
    let slips = |verb: &str| strsim::osa_distance(&word, verb);
    let allowed = |verb: &str| if verb.len() < 6 { 1 } else { 2 };
    let near = VERBS.into_iter().filter(|verb| (1..=allowed(verb)).contains(&slips(verb)));
    near.min_by_key(|verb| slips(verb)).filter(|_| !VERBS.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_told_from_other_words() {
        for (text, verb) in [("selct * from t", "SELECT"), ("SELETC 1", "SELECT"), ("shwo tables", "SHOW")] {
            assert_eq!(near_verb(text), Some(verb), "{text}");
        }
        for text in ["select 1", "uploaded.parquet", "my sales", "", "übung 1", "set a = 1"] {
            assert_eq!(near_verb(text), None, "{text}");
        }
    }
}
