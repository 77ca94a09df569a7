//! Spanish: how numbers, dates, times and abbreviations are said.
//! Knows words only; where they apply is decided by the rules.

use super::language::{Currency, F, Gender, M, Noun, Table};

const SMALL: [&str; 30] = [
    "cero",
    "uno",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "nueve",
    "diez",
    "once",
    "doce",
    "trece",
    "catorce",
    "quince",
    "dieciséis",
    "diecisiete",
    "dieciocho",
    "diecinueve",
    "veinte",
    "veintiuno",
    "veintidós",
    "veintitrés",
    "veinticuatro",
    "veinticinco",
    "veintiséis",
    "veintisiete",
    "veintiocho",
    "veintinueve",
];
const TENS: [&str; 10] =
    ["", "", "", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"];
const HUNDREDS: [&str; 10] = [
    "",
    "ciento",
    "doscientos",
    "trescientos",
    "cuatrocientos",
    "quinientos",
    "seiscientos",
    "setecientos",
    "ochocientos",
    "novecientos",
];
const ORDINALS: [&str; 11] = [
    "", "primero", "segundo", "tercero", "cuarto", "quinto", "sexto", "séptimo", "octavo", "noveno", "décimo",
];

fn cardinal(n: u64) -> String {
    let join = |head: String, rest: u64| if rest == 0 { head } else { format!("{head} {}", cardinal(rest)) };
    match n {
        0..30 => SMALL[n as usize].to_owned(),
        30..100 if n.is_multiple_of(10) => TENS[(n / 10) as usize].to_owned(),
        30..100 => format!("{} y {}", TENS[(n / 10) as usize], SMALL[(n % 10) as usize]),
        100 => "cien".to_owned(),
        101..1000 => join(HUNDREDS[(n / 100) as usize].to_owned(), n % 100),
        1000..2000 => join("mil".to_owned(), n % 1000),
        2000..1_000_000 => join(format!("{} mil", counting(n / 1000, M)), n % 1000),
        1_000_000..2_000_000 => join("un millón".to_owned(), n % 1_000_000),
        2_000_000..1_000_000_000_000 => {
            join(format!("{} millones", counting(n / 1_000_000, M)), n % 1_000_000)
        }
        _ => {
            let (count, rest) = (n / 1_000_000_000_000, n % 1_000_000_000_000);
            let head =
                if count == 1 { "un billón".to_owned() } else { format!("{} billones", cardinal(count)) };
            join(head, rest)
        }
    }
}

fn counting(n: u64, gender: Gender) -> String {
    let said = cardinal(n);
    let Some(stem) = said.strip_suffix("uno") else { return said };
    match (gender, n % 100) {
        (Gender::Feminine, _) => format!("{stem}una"),
        (Gender::Masculine, 21) => format!("{stem}ún"),
        (Gender::Masculine, _) => format!("{stem}un"),
    }
}

fn ordinal(n: u64, before: &str) -> String {
    let said = ORDINALS.get(n as usize).map_or_else(|| cardinal(n), |said| (*said).to_owned());
    match said.strip_suffix('o') {
        Some(stem) if before == "la" && n <= 10 => format!("{stem}a"),
        Some(_) | None => said,
    }
}

fn clock(hour: u32, minute: u32, afternoon: Option<bool>) -> String {
    let tail = match afternoon {
        Some(true) if hour < 8 => " de la tarde",
        Some(true) if hour == 12 => " del mediodía",
        Some(true) => " de la noche",
        Some(false) => " de la mañana",
        None => "",
    };
    let minutes = if minute == 0 { String::new() } else { format!(" y {}", cardinal(minute.into())) };
    format!("{}{minutes}{tail}", counting(hour.into(), F))
}

fn date(day: u32, month: u32, in_year: Option<u64>, _: &str) -> String {
    let day = if day == 1 { "primero".to_owned() } else { cardinal(day.into()) };
    let tail = in_year.map_or_else(String::new, |n| format!(" de {}", cardinal(n)));
    format!("{day} de {}{tail}", TABLE.months[month as usize - 1])
}

const fn noun(
    written: &'static [&'static str],
    one: &'static str,
    many: &'static str,
    gender: Gender,
) -> Noun {
    Noun { written, one, many, gender }
}

const fn money(whole: Noun, cent_one: &'static str, cent_many: &'static str) -> Currency {
    Currency { whole, cent_one, cent_many }
}

pub(super) static TABLE: Table = Table {
    digits: ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"],
    cardinal,
    counting,
    ordinal,
    year: cardinal,
    clock,
    date,
    decimal: ',',
    decimal_said: "coma",
    groups: &['.'],
    minus: "menos",
    plus: "más",
    percent: "por ciento",
    and: "y",
    to: "a",
    at: "arroba",
    dot: "punto",
    dash: "guion",
    underscore: "guion bajo",
    slash: "barra",
    months: [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
    months_short: ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"],
    units: &[
        noun(&["km/h"], "kilómetro por hora", "kilómetros por hora", M),
        noun(&["km"], "kilómetro", "kilómetros", M),
        noun(&["cm"], "centímetro", "centímetros", M),
        noun(&["mm"], "milímetro", "milímetros", M),
        noun(&["m\u{b2}"], "metro cuadrado", "metros cuadrados", M),
        noun(&["m"], "metro", "metros", M),
        noun(&["kg"], "kilo", "kilos", M),
        noun(&["mg"], "miligramo", "miligramos", M),
        noun(&["g"], "gramo", "gramos", M),
        noun(&["ml"], "mililitro", "mililitros", M),
        noun(&["l"], "litro", "litros", M),
        noun(&["kWh"], "kilovatio hora", "kilovatios hora", M),
        noun(&["GB"], "giga", "gigas", M),
        noun(&["MB"], "mega", "megas", M),
        noun(&["h"], "hora", "horas", F),
        noun(&["min"], "minuto", "minutos", M),
        noun(&["s", "seg"], "segundo", "segundos", M),
        noun(&["\u{b0}C"], "grado", "grados", M),
        noun(&["\u{b0}"], "grado", "grados", M),
    ],
    currencies: &[
        money(noun(&["\u{20ac}", "EUR"], "euro", "euros", M), "céntimo", "céntimos"),
        money(noun(&["US$", "$", "USD"], "dólar", "dólares", M), "centavo", "centavos"),
        money(noun(&["\u{a3}", "GBP"], "libra", "libras", F), "penique", "peniques"),
        money(noun(&["MXN"], "peso", "pesos", M), "centavo", "centavos"),
    ],
    abbreviations: &[
        ("Sr.", "señor"),
        ("Sra.", "señora"),
        ("Srta.", "señorita"),
        ("Dr.", "doctor"),
        ("Dra.", "doctora"),
        ("D.", "don"),
        ("Dña.", "doña"),
        ("Prof.", "profesor"),
        ("p. ej.", "por ejemplo"),
        ("p.ej.", "por ejemplo"),
        ("aprox.", "aproximadamente"),
        ("núm.", "número"),
        ("n.º", "número"),
        ("tel.", "teléfono"),
        ("Avda.", "avenida"),
        ("Av.", "avenida"),
        ("pág.", "página"),
        ("Ud.", "usted"),
        ("Uds.", "ustedes"),
        ("máx.", "máximo"),
        ("mín.", "mínimo"),
    ],
    open_abbreviations: &[
        ("etc.", "etcétera"),
        ("a.m.", "de la mañana"),
        ("p.m.", "de la tarde"),
        ("a. m.", "de la mañana"),
        ("p. m.", "de la tarde"),
        ("EE. UU.", "Estados Unidos"),
        ("EE.UU.", "Estados Unidos"),
        ("S.A.", "S A"),
    ],
    number_words: &["número", "código", "pin", "cuenta", "referencia", "teléfono", "dígitos", "núm.", "n.º"],
    year_words: &["año", "desde"],
    ordinal_words: &[],
    ordinal_marks: &["\u{ba}", ".\u{ba}", "\u{aa}", ".\u{aa}", "er", "ro", "do", "ra", "da"],
    clock_words: &[],
    big: &["mil", "millón", "millones", "billón", "billones"],
    of: "de",
    leading: &[
        "el", "la", "los", "las", "un", "una", "y", "o", "de", "del", "a", "al", "en", "con", "por", "para",
        "es", "su", "mi", "desde", "hasta", "número", "código", "año", "cuenta", "pin", "p.", "ee.",
    ],
};
