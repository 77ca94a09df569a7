//! Sentences that an agent says when nobody has written others into its file, in the languages there are tables for.
//! Knows the sentences. When they are said is decided elsewhere.

use super::{Fallbacks, raw::RawFallbacks};
use crate::spoken::Language;

/// What stands in the file, or else the language's own.
pub(super) fn fallbacks(raw: RawFallbacks, language: &str) -> Fallbacks {
    let own = match Language::of(language) {
        Some(Language::German) => &GERMAN,
        Some(Language::Spanish) => &SPANISH,
        Some(Language::French) => &FRENCH,
        Some(Language::English { .. }) | None => &ENGLISH,
    };
    let or = |text: Option<String>, default: &str| text.unwrap_or_else(|| default.to_owned());
    let all = |list: Option<Vec<String>>, default: &[&str]| {
        list.unwrap_or_else(|| default.iter().map(|text| (*text).to_owned()).collect())
    };
    Fallbacks {
        not_heard: or(raw.not_heard, own.not_heard),
        trouble: or(raw.trouble, own.trouble),
        still_there: or(raw.still_there, own.still_there),
        goodbye: or(raw.goodbye, own.goodbye),
        examples: or(raw.examples, own.examples),
        acknowledge: all(raw.acknowledge, &own.acknowledge),
        one_moment: all(raw.one_moment, &own.one_moment),
        ending_soon: or(raw.ending_soon, own.ending_soon),
    }
}

struct Own {
    not_heard: &'static str,
    trouble: &'static str,
    still_there: &'static str,
    goodbye: &'static str,
    examples: &'static str,
    acknowledge: [&'static str; 3],
    one_moment: [&'static str; 3],
    ending_soon: &'static str,
}

const ENGLISH: Own = Own {
    not_heard: "Sorry, could you say that again?",
    trouble: "Sorry, I am having some trouble here. Could you say that again?",
    still_there: "Are you still there?",
    goodbye: "Thank you for calling. Goodbye.",
    examples: "Sorry, I still do not understand. Please ask me in other words.",
    acknowledge: ["Okay.", "All right.", "Let me see."],
    one_moment: ["One moment, please.", "I am still on it.", "Thank you for waiting, just a little longer."],
    ending_soon: "Just so you know, this call has to end in a minute.",
};
const GERMAN: Own = Own {
    not_heard: "Entschuldigung, könnten Sie das wiederholen?",
    trouble: "Entschuldigung, ich habe gerade ein Problem. Könnten Sie das wiederholen?",
    still_there: "Sind Sie noch da?",
    goodbye: "Vielen Dank für Ihren Anruf. Auf Wiederhören.",
    examples: "Das habe ich leider noch nicht verstanden. Bitte fragen Sie es mit anderen Worten.",
    acknowledge: ["Gut.", "In Ordnung.", "Ich sehe nach."],
    one_moment: [
        "Einen Moment, bitte.",
        "Ich bin noch dabei.",
        "Danke für Ihre Geduld, es dauert nicht mehr lange.",
    ],
    ending_soon: "Nur zur Information: Dieses Gespräch muss in einer Minute enden.",
};
const SPANISH: Own = Own {
    not_heard: "Perdone, ¿puede repetirlo?",
    trouble: "Perdone, estoy teniendo un problema. ¿Puede repetirlo?",
    still_there: "¿Sigue usted ahí?",
    goodbye: "Gracias por llamar. Adiós.",
    examples: "Perdone, sigo sin entenderlo. Pregúntemelo con otras palabras, por favor.",
    acknowledge: ["De acuerdo.", "Muy bien.", "Déjeme ver."],
    one_moment: ["Un momento, por favor.", "Sigo en ello.", "Gracias por esperar, solo un poco más."],
    ending_soon: "Le aviso de que esta llamada tiene que terminar en un minuto.",
};
const FRENCH: Own = Own {
    not_heard: "Pardon, pouvez-vous répéter ?",
    trouble: "Pardon, je rencontre un problème. Pouvez-vous répéter ?",
    still_there: "Êtes-vous toujours là ?",
    goodbye: "Merci de votre appel. Au revoir.",
    examples: "Pardon, je ne comprends toujours pas. Posez-moi la question autrement, s'il vous plaît.",
    acknowledge: ["D'accord.", "Très bien.", "Voyons."],
    one_moment: ["Un instant, s'il vous plaît.", "Je m'en occupe.", "Merci de patienter encore un peu."],
    ending_soon: "Je vous préviens : cet appel doit se terminer dans une minute.",
};
