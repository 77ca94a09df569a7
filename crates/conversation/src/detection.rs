//! Which language a caller speaks, by the words that speech-to-text understood: small words first, which hardly ever belong
//! to two languages, then letters. Offline and the same every time. Knows text and language tags.

use whatlang::{Detector, Lang};

/// Fewer words are a name, a number or an "okay", which any language has.
const LEAST_WORDS: usize = 2;
/// Small words of one language that decide, when no other has half as many.
const LEAST_SMALL: usize = 2;
/// Below so many letters their statistics say little.
const LEAST_LETTERS: usize = 24;
/// How sure the statistics of letters must be, 0 to 1.
const SURE: f64 = 0.8;

/// Words that nearly every sentence has, by primary tag. A word that two of them share counts for both.
const SMALL: &[(&str, &[&str])] = &[
    (
        "en",
        &[
            "a", "am", "an", "and", "are", "can", "could", "do", "does", "for", "hello", "how", "i", "i'd",
            "i'm", "is", "it", "like", "my", "need", "of", "on", "please", "the", "to", "want", "what",
            "when", "where", "with", "would", "you", "your",
        ],
    ),
    (
        "de",
        &[
            "aber", "auf", "bitte", "brauche", "das", "dem", "den", "der", "die", "ein", "eine", "einen",
            "für", "gern", "gerne", "guten", "habe", "haben", "hallo", "hätte", "ich", "ist", "kann",
            "können", "mein", "meine", "meinen", "mit", "möchte", "nicht", "sie", "sind", "tag", "und",
            "wann", "wie", "wir", "wo", "zu",
        ],
    ),
    (
        "es",
        &[
            "buenas", "buenos", "con", "cuándo", "dónde", "el", "es", "está", "están", "favor", "hola", "la",
            "las", "los", "me", "mi", "necesito", "para", "pero", "por", "puede", "puedo", "que", "quería",
            "quiero", "qué", "quisiera", "una", "usted", "y", "yo",
        ],
    ),
    (
        "fr",
        &[
            "avec", "avez", "besoin", "bonjour", "c'est", "ce", "des", "dans", "du", "est", "et", "j'ai",
            "je", "la", "le", "les", "mais", "mon", "où", "plaît", "pour", "pouvez", "puis", "quand", "que",
            "rendez", "un", "une", "voudrais", "vous",
        ],
    ),
    (
        "it",
        &[
            "buongiorno",
            "che",
            "ciao",
            "con",
            "del",
            "della",
            "di",
            "gli",
            "ho",
            "il",
            "io",
            "la",
            "mi",
            "mia",
            "mio",
            "per",
            "posso",
            "prenotare",
            "quando",
            "sono",
            "un",
            "una",
            "vorrei",
        ],
    ),
    (
        "nl",
        &[
            "dag",
            "de",
            "een",
            "en",
            "goedemorgen",
            "graag",
            "heb",
            "het",
            "hoe",
            "ik",
            "is",
            "kan",
            "mag",
            "met",
            "mijn",
            "niet",
            "op",
            "van",
            "voor",
            "waar",
            "wanneer",
            "wil",
            "zijn",
        ],
    ),
    (
        "pt",
        &[
            "bom", "com", "da", "de", "dia", "do", "eu", "gostaria", "minha", "não", "o", "obrigado", "olá",
            "onde", "para", "posso", "preciso", "quando", "quero", "um", "uma", "você",
        ],
    ),
];

/// The primary part of a tag: `de` of `de-AT`.
pub fn primary(tag: &str) -> String {
    tag.split(['-', '_']).next().unwrap_or(tag).to_lowercase()
}

/// The candidate that a tag means: the same one, or else the first of the same primary language.
pub fn matching<'t>(tag: &str, candidates: impl Iterator<Item = &'t str> + Clone) -> Option<&'t str> {
    let same = candidates.clone().find(|candidate| candidate.eq_ignore_ascii_case(tag));
    same.or_else(|| candidates.into_iter().find(|candidate| primary(candidate) == primary(tag)))
}

/// Whether a text has enough words to tell its language.
pub fn is_telling(text: &str) -> bool {
    text.split_whitespace().nth(LEAST_WORDS - 1).is_some()
}

/// Which of these languages the words are in; `None` while that cannot be said.
pub fn detect<'t>(text: &str, candidates: &[&'t str]) -> Option<&'t str> {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphabetic() && c != '\'').filter(|word| !word.is_empty()).collect();
    if words.len() < LEAST_WORDS || candidates.len() < 2 {
        return None;
    }
    by_small_words(&words, candidates).or_else(|| by_letters(&lower, candidates))
}

fn by_small_words<'t>(words: &[&str], candidates: &[&'t str]) -> Option<&'t str> {
    let count = |tag: &str| {
        let small = SMALL
            .iter()
            .find(|(primary, _)| *primary == self::primary(tag))
            .map_or(&[][..], |(_, small)| small);
        words.iter().filter(|word| small.contains(word)).count()
    };
    let mut counted: Vec<(usize, &str)> = candidates.iter().map(|tag| (count(tag), *tag)).collect();
    counted.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let (most, best) = *counted.first()?;
    let second = counted.get(1).map_or(0, |(count, _)| *count);
    (most >= LEAST_SMALL && second * 2 <= most).then_some(best)
}

fn by_letters<'t>(text: &str, candidates: &[&'t str]) -> Option<&'t str> {
    if text.chars().filter(|c| c.is_alphabetic()).count() < LEAST_LETTERS {
        return None;
    }
    let known: Vec<(Lang, &str)> = candidates.iter().filter_map(|tag| Some((lang(tag)?, *tag))).collect();
    // Without all candidates among them, the best one known may only be the least wrong.
    if known.len() < candidates.len() {
        return None;
    }
    let found = Detector::with_allowlist(known.iter().map(|(lang, _)| *lang).collect()).detect(text)?;
    let sure = found.confidence() >= SURE;
    known.iter().find(|(lang, _)| sure && *lang == found.lang()).map(|(_, tag)| *tag)
}

/// The detector's name for a tag.
fn lang(tag: &str) -> Option<Lang> {
    Some(match primary(tag).as_str() {
        "ar" => Lang::Ara,
        "bg" => Lang::Bul,
        "cs" => Lang::Ces,
        "da" => Lang::Dan,
        "de" => Lang::Deu,
        "el" => Lang::Ell,
        "en" => Lang::Eng,
        "es" => Lang::Spa,
        "et" => Lang::Est,
        "fi" => Lang::Fin,
        "fr" => Lang::Fra,
        "he" => Lang::Heb,
        "hi" => Lang::Hin,
        "hr" => Lang::Hrv,
        "hu" => Lang::Hun,
        "it" => Lang::Ita,
        "ja" => Lang::Jpn,
        "ko" => Lang::Kor,
        "lt" => Lang::Lit,
        "lv" => Lang::Lav,
        "nl" => Lang::Nld,
        "no" | "nb" => Lang::Nob,
        "pl" => Lang::Pol,
        "pt" => Lang::Por,
        "ro" => Lang::Ron,
        "ru" => Lang::Rus,
        "sk" => Lang::Slk,
        "sl" => Lang::Slv,
        "sr" => Lang::Srp,
        "sv" => Lang::Swe,
        "th" => Lang::Tha,
        "tr" => Lang::Tur,
        "uk" => Lang::Ukr,
        "vi" => Lang::Vie,
        "zh" => Lang::Cmn,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_tells_its_language_and_a_name_does_not() {
        let all = ["en-US", "de-DE", "es", "fr-FR"];
        for (said, language) in [
            ("I would like to book an appointment", "en-US"),
            ("when are you open", "en-US"),
            ("ich hätte gerne einen Termin", "de-DE"),
            ("Wann haben Sie geöffnet?", "de-DE"),
            ("quisiera pedir una cita por favor", "es"),
            ("Je voudrais prendre rendez-vous.", "fr-FR"),
            ("Bonjour, c'est pour un rendez-vous", "fr-FR"),
        ] {
            assert_eq!(detect(said, &all), Some(language), "{said}");
        }
        for said in ["okay", "Schmidt", "one two three", "Anna Maria Lopez", "", "hm"] {
            assert_eq!(detect(said, &all), None, "{said}");
        }
        assert_eq!(detect("ich hätte gerne einen Termin", &["en-US"]), None, "there is nothing to choose");
    }

    #[test]
    fn letters_decide_where_there_is_no_list_of_words() {
        let all = ["en", "pl", "ru"];
        assert_eq!(detect("Chciałbym umówić się na wizytę w poniedziałek", &all), Some("pl"));
        assert_eq!(detect("Здравствуйте, когда вы работаете в субботу", &all), Some("ru"));
    }

    #[test]
    fn a_tag_means_the_candidate_of_the_same_language() {
        let all = ["en-US", "de-AT", "de-DE"];
        assert_eq!(matching("de-DE", all.into_iter()), Some("de-DE"));
        assert_eq!(matching("de", all.into_iter()), Some("de-AT"));
        assert_eq!(matching("EN-us", all.into_iter()), Some("en-US"));
        assert_eq!(matching("fr", all.into_iter()), None);
    }
}
