use super::*;

const EN: &[(&str, &str)] = &[
    (
        "You owe $1,234.56 today.",
        "You owe one thousand two hundred thirty-four dollars and fifty-six cents today.",
    ),
    ("That is $1 or $0.99.", "That is one dollar or ninety-nine cents."),
    ("A $5 million deal.", "A five million dollars deal."),
    (
        "Dr. Smith sees you at 3:30 p.m. on Oct. 14.",
        "Doctor Smith sees you at three thirty p m on October fourteenth.",
    ),
    ("We open at 9am and close at 5 p.m.", "We open at nine a m and close at five p m."),
    ("At 15:05 or 0:30?", "At three oh five p m or zero thirty?"),
    ("On October 14, 2026.", "On October fourteenth, twenty twenty-six."),
    (
        "On 2026-10-14 or 10/14/2026.",
        "On October fourteenth, twenty twenty-six or October fourteenth, twenty twenty-six.",
    ),
    ("The 1st, 2nd, 3rd and 21st.", "The first, second, third and twenty-first."),
    ("It is 3.50 percent, or 12%.", "It is three point five zero percent, or twelve percent."),
    ("Write to jane_doe2@mail.example.com.", "Write to jane underscore doe two at mail dot example dot com."),
    ("See https://www.example.com/a-b/c?x=1.", "See W W W dot example dot com slash a dash b slash c."),
    ("Visit example.co.uk.", "Visit example dot co dot U K."),
    (
        "Call 555-0100 or (555) 010-0123.",
        "Call five five five, zero one zero zero or five five five, zero one zero, zero one two three.",
    ),
    ("Call +49 30 1234567 now.", "Call plus four nine, three zero, one two three four five six seven now."),
    (
        "Account number 12345, order 1234567.",
        "Account number one two three four five, order one two three four five six seven.",
    ),
    (
        "In 1999 we sold 1999 cars.",
        "In nineteen ninety-nine we sold one thousand nine hundred ninety-nine cars.",
    ),
    ("From 9-5, 5–10 kg, -3 °C.", "From nine to five, five to ten kilograms, minus three degrees Celsius."),
    ("1 km is 0.62 mi, e.g. here.", "one kilometer is zero point six two miles, for example here."),
    ("No. We do. No. 5 is next.", "No. We do. number five is next."),
    ("12 Oak St. or St. Louis?", "twelve Oak Street or Saint Louis?"),
    ("Open 24/7, 1/2 price & more.", "Open twenty-four seven, one half price and more."),
    ("Version 1.2.3 of B12 and 4G.", "Version one dot two dot three of B12 and four G."),
    ("Room 007 at 10,000 ft.", "Room zero zero seven at ten thousand feet."),
    ("I have 3. You have 12.", "I have three. You have twelve."),
    ("Ticket #4711 is done.", "Ticket number four seven one one is done."),
];
const DE: &[(&str, &str)] = &[
    ("Das kostet 1.234,50 €.", "Das kostet eintausendzweihundertvierunddreißig Euro fünfzig."),
    ("Nur 1 € oder 0,99 €!", "Nur ein Euro oder neunundneunzig Cent!"),
    ("Am 3. Mai um 15:30 Uhr.", "Am dritten Mai um fünfzehn Uhr dreißig."),
    (
        "Der 14.10.2026, z. B. um 9 Uhr.",
        "Der vierzehnte Oktober zweitausendsechsundzwanzig, zum Beispiel um neun Uhr.",
    ),
    ("Bis zum 14.10. ca. 21 Plätze.", "Bis zum vierzehnten Oktober circa einundzwanzig Plätze."),
    ("Wir sind im 2. Stock, Zimmer 101.", "Wir sind im zweiten Stock, Zimmer einhunderteins."),
    ("Dr. Weiß, Nr. 5, 3,5 %.", "Doktor Weiß, Nummer fünf, drei Komma fünf Prozent."),
    ("1 Std. und 1 km, 30 Min.", "eine Stunde und ein Kilometer, dreißig Minuten."),
    ("Tel. 030 1234567.", "Telefon null drei null, eins zwei drei vier fünf sechs sieben."),
    ("Im Jahr 1999: 1 Termin.", "Im Jahr neunzehnhundertneunundneunzig: ein Termin."),
    ("info@beispiel.de", "info ät beispiel Punkt D E"),
    (
        "1 Million, 2.500.000, 1.000 Leute.",
        "eine Million, zwei Millionen fünfhunderttausend, eintausend Leute.",
    ),
    ("Von 9-17 Uhr.", "Von neun bis siebzehn Uhr."),
];
const ES: &[(&str, &str)] = &[
    ("Son 21 euros o 1,50 €.", "Son veintiún euros o un euro con cincuenta céntimos."),
    (
        "El 14 de octubre de 2026 a las 15:30.",
        "El catorce de octubre de dos mil veintiséis a las quince y treinta.",
    ),
    ("La Sra. López, 3 km, 5 %.", "La señora López, tres kilómetros, cinco por ciento."),
    ("El 1 de mayo, p. ej. a las 9:00.", "El primero de mayo, por ejemplo a las nueve."),
    ("1.234.567 personas", "un millón doscientos treinta y cuatro mil quinientos sesenta y siete personas"),
    ("Llame al 912 345 6789.", "Llame al nueve uno dos, tres cuatro cinco, seis siete ocho nueve."),
    ("Es el 2.º piso, 1ª puerta.", "Es el segundo piso, primera puerta."),
    ("ana@ejemplo.es", "ana arroba ejemplo punto E S"),
    ("31 citas y 1 hora: 1 h.", "treinta y un citas y una hora: una hora."),
];
const FR: &[(&str, &str)] = &[
    ("Cela coûte 1\u{202f}234,50 €.", "Cela coûte mille deux cent trente-quatre euros cinquante."),
    ("Le 1er mai 2026 à 15h30.", "Le premier mai deux mille vingt-six à quinze heures trente."),
    ("M. Dupont, au 2e étage, à 9 h.", "monsieur Dupont, au deuxième étage, à neuf heures."),
    (
        "71, 80, 81, 91 et 99 %.",
        "soixante et onze, quatre-vingts, quatre-vingt-un, quatre-vingt-onze et quatre-vingt-dix-neuf pour cent.",
    ),
    (
        "Appelez le 01 23 45 67 89.",
        "Appelez le zéro un, vingt-trois, quarante-cinq, soixante-sept, quatre-vingt-neuf.",
    ),
    ("Il y a 1 minute, n° 5.", "Il y a une minute, numéro cinq."),
    ("10 000 personnes, 21 min.", "dix mille personnes, vingt et une minutes."),
    ("marie@exemple.fr", "marie arobase exemple point F R"),
];

const ALL: [(&str, &[(&str, &str)]); 4] = [("en-US", EN), ("de-DE", DE), ("es", ES), ("fr-FR", FR)];

#[test]
fn what_is_written_is_said_as_people_say_it() {
    let mut wrong = Vec::new();
    for (language, table) in ALL {
        let spoken = Spoken::new(language, []);
        for (written, wanted) in table {
            let said = spoken.say(written);
            if said.text() != *wanted {
                wrong.push(format!("{language} {written:?}\n  {}\n  {wanted}", said.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_language_without_a_table_keeps_its_figures_and_the_agents_list_goes_first() {
    let polish = Spoken::new("pl-PL", [("Tandem", "tan dem")]);
    assert_eq!(polish.say("Tandem ma 5 km.").text(), "tan dem ma 5 km.");
    let list = Spoken::new("en", [("$5", "a fiver"), ("tandem", "tan dem"), ("tandem server", "the server")]);
    assert_eq!(
        list.say("Tandem costs $5. TANDEM SERVER, tandems").text(),
        "tan dem costs a fiver. the server, tandems"
    );
    assert_eq!(list.without_rules().say("12 Tandem").text(), "12 tan dem");
}

#[test]
fn a_share_of_the_spoken_text_is_a_place_in_the_written_one() {
    let form = Spoken::new("en", []).say("You owe $1,234.56 today.");
    let heard = |words: &str| {
        let share = words.chars().count() as f32 / form.text().chars().count() as f32;
        (form.written_share(share) * "You owe $1,234.56 today.".len() as f32).round() as usize
    };
    assert_eq!(heard("You owe "), 8);
    assert_eq!(heard("You owe one thousand two hundred"), 8, "half an amount was not heard");
    assert_eq!(heard("You owe one thousand two hundred thirty-four dollars and fifty-six cents "), 18);
    assert!(form.written_share(1.0) >= 1.0);
    assert!(SpokenForm::unchanged("as it is").written_share(0.5) > 0.49);
}

/// Whatever is written, in every language: no panic, no end in sight missed, and a share stays between 0 and 1.
#[test]
fn any_text_can_be_said() {
    let parts = [
        "5",
        "12",
        "1,234",
        "3.5",
        " ",
        "-",
        "–",
        "€",
        "$",
        "%",
        "Dr.",
        ":",
        "30",
        "pm",
        "/",
        "@",
        "a.b",
        ".",
        "h",
        "°C",
        "th",
        "(",
        ")",
        "+",
        "0",
        "000",
        "May",
        "14",
        "2026",
        "é",
        "\u{202f}",
        "#",
        "&",
        "No.",
        "z. B.",
        "'",
        "99999999999999999999",
        "www.",
        "https://",
        "1er",
        "º",
    ];
    for language in ["en-US", "en-GB", "de", "es", "fr", "xx"] {
        let spoken = Spoken::new(language, [("Dr.", "D R")]);
        for seed in 0..3_000_u64 {
            let pick = |n: u64| parts[(crate::grammar::scatter(seed << 8 | n) % parts.len() as u64) as usize];
            let written: String = (0..12).map(pick).collect();
            let form = spoken.say(&written);
            assert_eq!(form.written, written.chars().count(), "{written:?}");
            assert_eq!(form.spoken, form.text().chars().count(), "{written:?}");
            let mut last = 0.0;
            for step in 0_u8..=20 {
                let share = form.written_share(f32::from(step) / 20.0);
                assert!((last..=1.0).contains(&share), "{written:?} at {step}: {share}");
                last = share;
            }
        }
    }
}

#[test]
fn numbers_are_spelled_in_every_language() {
    let said = |language: Language, n| (language.table().cardinal)(n);
    assert_eq!(said(Language::German, 1_000_001), "eine Million eins");
    assert_eq!(said(Language::German, 101_021), "einhunderteintausendeinundzwanzig");
    assert_eq!(said(Language::French, 80_200), "quatre-vingts mille deux cents");
    assert_eq!(said(Language::Spanish, 21_100), "veintiún mil cien");
    let english = Language::English { month_first: true };
    assert_eq!(said(english, 1_000_000_012), "one billion twelve");
    for language in [english, Language::German, Language::Spanish, Language::French] {
        for n in (0..2_000).chain((0..40).map(|power| 3_u64.pow(power % 31))) {
            let said = said(language, n);
            assert!(!said.trim().is_empty() && !said.contains("  "), "{n}: {said:?}");
        }
    }
}

/// What is said does not depend on how a reply was cut into deltas, nor on when its first words were wanted early.
#[test]
fn a_reply_is_said_the_same_however_it_comes() {
    for (language, table) in ALL {
        let spoken = Spoken::new(language, []);
        let say = |pieces: &[String]| {
            let said: Vec<String> = pieces.iter().map(|piece| spoken.say(piece).text().to_owned()).collect();
            said.join(" ")
        };
        let texts = table.iter().map(|(written, _)| (*written).to_owned());
        let both = table.windows(2).map(|pair| format!("**{}** {}", pair[0].0, pair[1].0));
        for text in texts.chain(both) {
            let mut whole = crate::SentenceChunker::new(language);
            let mut pieces = whole.push(&text);
            pieces.extend(whole.finish());
            let wanted = say(&pieces);
            for seed in 0..60_u64 {
                let chance = |n: usize| crate::grammar::scatter(seed << 12 | n as u64) % 8;
                let mut chunker = crate::SentenceChunker::new(language);
                let (mut pieces, mut delta) = (Vec::new(), String::new());
                for (n, c) in text.chars().enumerate() {
                    delta.push(c);
                    if chance(n) < 3 {
                        pieces.extend(chunker.push(&std::mem::take(&mut delta)));
                        match chance(n + 2_000) {
                            0 => pieces.extend(chunker.early()),
                            1 => pieces.extend(chunker.idle()),
                            _ => {}
                        }
                    }
                }
                pieces.extend(chunker.push(&delta));
                pieces.extend(chunker.finish());
                assert_eq!(say(&pieces), wanted, "{language} {text:?} seed {seed}: {pieces:?}");
            }
        }
    }
}
