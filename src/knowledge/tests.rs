//! Documents found, refused, changed while calls go on, and searched by more calls than there is room for.
//! What a call makes of it is in `tests/knowledge.rs`.

use super::*;
use std::fs;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tandem-knowledge-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(path.join("docs/deep")).expect("a folder");
    let write = |name: &str, text: &[u8]| fs::write(path.join("docs").join(name), text).expect("a file");
    write("hours.md", b"# Opening hours\nWe open at nine.\n\n# Parking\nThe garage is free.");
    write("zeiten.txt", "Die Öffnungszeiten stehen an der Tür.".as_bytes());
    write("deep/prices.html", b"<h2>Prices</h2><p>A haircut costs 30 euros.</p>");
    write("letter.pdf", &pdf("Refunds take fourteen days."));
    write("broken.txt", &[0xff, 0xfe, 0x00]);
    write("broken.pdf", b"%PDF-1.4 and nothing else");
    write("picture.png", b"no text");
    write("empty.md", b"\n\n");
    path
}

/// A page with one line, as small as the format allows.
fn pdf(line: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 72 720 Td ({line}) Tj ET");
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>"
            .to_owned(),
        format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
    ];
    let mut out = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        places.push(out.len());
        out.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let start = out.len();
    out.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    places.iter().for_each(|place| out.push_str(&format!("{place:010} 00000 n \n")));
    out.push_str(&format!("trailer<</Size {}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF", objects.len() + 1));
    out.into_bytes()
}

#[test]
fn a_question_finds_its_passage_and_broken_files_are_named() {
    let base = folder("search");
    let index = Index::read(&[base.join("docs")]).expect("an index");
    let best = |words: &str| {
        index.search(words, None, 3).expect("a search").first().map(|found| found.source.clone())
    };
    assert_eq!(best("open").as_deref(), Some("docs/hours.md#1"));
    assert_eq!(best("park car parking").as_deref(), Some("docs/hours.md#2"));
    assert_eq!(best("haircut cost").as_deref(), Some("docs/deep/prices.html#1"));
    assert_eq!(best("öffnungszeit").as_deref(), Some("docs/zeiten.txt#1"), "an ending more or less");
    assert_eq!(best("refund").as_deref(), Some("docs/letter.pdf#1"));
    assert_eq!(best("\" OR * NEAR( ) - ^ title:x"), None, "a caller's words are no query");
    assert_eq!(best(""), None);
    let names: Vec<_> = index.refused().iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
    assert_eq!(names, ["broken.pdf", "broken.txt", "empty.md"]);
    assert_eq!((index.documents(), index.passages().len()), (4, 5));
    let missing = Index::read(&[base.join("nowhere")]).expect("an empty index");
    assert_eq!((missing.passages().len(), missing.refused().len()), (0, 1));
    fs::remove_dir_all(base).expect("cleared");
}

#[test]
fn a_meaning_without_the_word_is_found_by_its_vector() {
    let documents = [Document::new("a.md".into(), "# Dogs\nBring yours.\n\n# Cats\nLeave it at home.", true)];
    let index = Index::of(&documents, Vec::new()).expect("an index");
    index.add_vectors(vec![vec![2.0, 0.0], vec![0.0, 3.0]]);
    let found = |words: &str, vector| index.search(words, vector, 2).expect("a search");
    assert_eq!(found("puppies", Some(vec![1.0, 0.1]))[0].title, "Dogs");
    assert!(found("puppies", None).is_empty());
    // What both ranks name comes first.
    assert_eq!(found("cats", Some(vec![0.5, 0.6]))[0].title, "Cats");
    // Vectors that do not fit are none: the words still find.
    let other = Index::of(&documents, Vec::new()).expect("an index");
    other.add_vectors(vec![vec![1.0]]);
    assert!(!other.has_vectors());
    assert_eq!(other.search("cats", Some(vec![1.0]), 2).expect("a search")[0].title, "Cats");
}

async fn found(documents: &Documents, words: &str) -> Result<Vec<Passage>, String> {
    let (events, mut inbox) = Events::channel(Arc::new(|| {}));
    documents.look_up(7, words.to_owned(), 3, events);
    match inbox.recv().await {
        Some(ProviderEvent::Found(7, result)) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn new_calls_see_changed_documents_and_running_ones_keep_theirs() {
    let base = folder("changes");
    let searcher = Searcher::start(Metrics::new(Default::default())).expect("a thread");
    let library = Library::Folders(vec![base.join("docs")]);
    let knowledge = Knowledge::start("a", library, searcher, None, Handle::current()).expect("knowledge");
    let running = knowledge.for_call();
    assert!(!knowledge.refresh(), "nothing has changed");
    fs::write(base.join("docs/hours.md"), "# Opening hours\nWe open at half past seven in summer.")
        .expect("a file");
    assert!(knowledge.refresh());
    let text = |found: Result<Vec<Passage>, String>| found.expect("passages")[0].text.clone();
    assert_eq!(text(found(&running, "open").await), "We open at nine.");
    assert!(text(found(&knowledge.for_call(), "open").await).contains("half past seven"));
    fs::remove_dir_all(base).expect("cleared");
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "an index that somebody holds is what keeps the thread busy")]
async fn searches_that_find_no_room_are_answered_at_once() {
    let searcher = Searcher::start(Metrics::new(Default::default())).expect("a thread");
    let library = Library::BuiltIn(vec![("a.md".into(), "# Dogs\nBring yours.".into())]);
    let knowledge = Knowledge::start("a", library, searcher, None, Handle::current()).expect("knowledge");
    let documents = knowledge.for_call();
    let (events, mut inbox) = Events::channel(Arc::new(|| {}));
    let held = documents.index.hold();
    for number in 0..SEARCHES as u32 + 2 {
        documents.look_up(number, "dogs".into(), 1, events.clone());
        while number == 0 && Arc::strong_count(&documents.index) < 3 {
            tokio::task::yield_now().await;
        }
    }
    // The thread has taken one, the queue holds the rest but the last one or two.
    let Some(ProviderEvent::Found(refused, Err(reason))) = inbox.recv().await else { panic!("no refusal") };
    assert!(refused as usize >= SEARCHES && reason.contains("64"), "{refused}: {reason}");
    drop(held);
    let passages = loop {
        match inbox.recv().await {
            Some(ProviderEvent::Found(_, Ok(passages))) => break passages,
            Some(ProviderEvent::Found(_, Err(_))) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(passages[0].source, "a.md#1");
}
