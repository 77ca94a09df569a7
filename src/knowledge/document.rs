//! Documents on disk: which there are, whether they have changed, and their text in passages.
//! Knows Markdown, plain text, HTML and PDF. Whatever cannot be read is named, and costs nothing else.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Documents of one agent at most.
const MAX_DOCUMENTS: usize = 2_000;
/// Bytes of one document at most.
const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Folders within folders at most.
const MAX_DEPTH: usize = 8;
/// Letters of a passage: what a model reads at a glance and a paragraph seldom exceeds.
const PASSAGE: usize = 900;
/// How long one document may take to be read.
const PATIENCE: Duration = Duration::from_secs(20);
/// Parsers of nested formats call themselves.
const STACK: usize = 16 * 1024 * 1024;
/// Letters of all documents at most.
pub(super) const MAX_TEXT: usize = 20 * 1024 * 1024;

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Relative to its folder's parent, for people.
    pub name: String,
    /// Its passages: a title and a text each.
    pub passages: Vec<(String, String)>,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The files below these folders, in order, with what could not be looked at.
pub(super) fn files(folders: &[PathBuf]) -> (BTreeSet<(PathBuf, PathBuf)>, Vec<Refused>) {
    let (mut found, mut refused) = (BTreeSet::new(), Vec::new());
    for folder in folders {
        collect(folder, folder, 0, &mut found, &mut refused);
    }
    (found, refused)
}

fn collect(
    base: &Path,
    folder: &Path,
    depth: usize,
    found: &mut BTreeSet<(PathBuf, PathBuf)>,
    refused: &mut Vec<Refused>,
) {
    let mut refuse = |path: &Path, reason: String| refused.push(Refused { path: path.to_owned(), reason });
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return refuse(folder, error.to_string()),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        // A link may lead anywhere, in circles too.
        let Ok(about) = path.symlink_metadata() else { continue };
        if hidden || about.is_symlink() {
            continue;
        }
        if about.is_dir() {
            if depth < MAX_DEPTH {
                collect(base, &path, depth + 1, found, refused);
            } else {
                refused.push(Refused { path, reason: format!("more than {MAX_DEPTH} folders deep") });
            }
        } else if found.len() >= MAX_DOCUMENTS {
            refused.push(Refused { path, reason: format!("more than {MAX_DOCUMENTS} documents") });
            return;
        } else if kind(&path).is_some() {
            found.insert((path, base.to_owned()));
        }
    }
}

/// Changes with every change of the files: names, sizes and times.
pub(super) fn fingerprint(folders: &[PathBuf]) -> u64 {
    let mut hash = DefaultHasher::new();
    for (path, _) in files(folders).0 {
        path.hash(&mut hash);
        if let Ok(about) = path.metadata() {
            about.len().hash(&mut hash);
            about.modified().ok().hash(&mut hash);
        }
    }
    hash.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Markdown,
    Text,
    Html,
    Pdf,
}

fn kind(path: &Path) -> Option<Kind> {
    let ending = path.extension()?.to_string_lossy().to_lowercase();
    Some(match ending.as_str() {
        "md" | "markdown" => Kind::Markdown,
        "txt" | "text" => Kind::Text,
        "html" | "htm" => Kind::Html,
        "pdf" => Kind::Pdf,
        _ => return None,
    })
}

/// Reads one document.
pub(super) fn read(path: &Path, base: &Path) -> Result<Document, Refused> {
    let refuse = |reason: String| Refused { path: path.to_owned(), reason };
    let about = path.metadata().map_err(|error| refuse(error.to_string()))?;
    if about.len() > MAX_BYTES {
        return Err(refuse(format!("it has {} MB, more than {} MB", about.len() >> 20, MAX_BYTES >> 20)));
    }
    let bytes = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text".to_owned()));
    let text = match kind(path) {
        Some(Kind::Pdf) => guarded(move || pdf(&bytes)).map_err(refuse)?,
        Some(Kind::Html) => {
            let page = text(bytes)?;
            guarded(move || html(&page)).map_err(refuse)?
        }
        Some(Kind::Markdown | Kind::Text) | None => text(bytes)?,
    };
    let name = path.strip_prefix(base.parent().unwrap_or(base)).unwrap_or(path).display().to_string();
    let document = Document::new(name, &text, matches!(kind(path), Some(Kind::Markdown | Kind::Html)));
    if document.passages.is_empty() {
        return Err(refuse("there is no text in it".to_owned()));
    }
    Ok(document)
}

impl Document {
    /// A text with headings as Markdown has them, or without any.
    pub(super) fn new(name: String, text: &str, headed: bool) -> Self {
        let stem = Path::new(&name).file_stem().map(|stem| stem.to_string_lossy().replace(['-', '_'], " "));
        let passages = passages(text, &stem.unwrap_or_default(), headed);
        Self { name, passages }
    }
}

/// Paragraphs, gathered to passages; each heading begins a new one and is its title.
fn passages(text: &str, title: &str, headed: bool) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut title = title.to_owned();
    let mut open = String::new();
    let mut close = |title: &str, open: &mut String| {
        let text = std::mem::take(open);
        if text.chars().any(char::is_alphanumeric) {
            out.push((title.to_owned(), text.trim().to_owned()));
        }
    };
    for line in text.lines().map(str::trim) {
        let heading = line.trim_start_matches('#');
        if headed && heading.len() < line.len() && heading.starts_with(' ') {
            close(&title, &mut open);
            title = heading.trim().to_owned();
            continue;
        }
        if line.is_empty() {
            if open.len() > PASSAGE / 2 {
                close(&title, &mut open);
            }
            continue;
        }
        for piece in pieces(line) {
            if !open.is_empty() && open.len() + piece.len() > PASSAGE {
                close(&title, &mut open);
            }
            if !open.is_empty() {
                open.push(' ');
            }
            open.push_str(piece);
        }
    }
    close(&title, &mut open);
    out
}

/// A line in parts that fit into a passage, cut at blanks where there are any.
fn pieces(mut line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    while line.len() > PASSAGE {
        let mut end = PASSAGE;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let end = line[..end].rfind(' ').filter(|at| *at > 0).unwrap_or(end);
        out.push(line[..end].trim());
        line = line[end..].trim_start();
    }
    out.push(line);
    out
}

/// A page as Markdown, so that its headings are titles. What nobody reads is left out.
fn html(page: &str) -> Result<String, String> {
    let skipped = vec!["script", "style", "head", "noscript", "template", "svg", "nav", "iframe"];
    let options = htmd::options::Options {
        heading_style: htmd::options::HeadingStyle::Atx,
        ..htmd::options::Options::default()
    };
    let converter = htmd::HtmlToMarkdown::builder().skip_tags(skipped).options(options).build();
    converter.convert(page).map_err(|error| format!("the page cannot be read: {error}"))
}

/// The text of a PDF.
fn pdf(bytes: &[u8]) -> Result<String, String> {
    pdf_extract::extract_text_from_mem(bytes).map_err(|error| format!("no text can be read from it: {error}"))
}

/// Parsers of formats this rich may panic, recurse or go round in circles on what they do not expect: each file is read
/// on a thread of its own, which costs this file and nothing else.
fn guarded(read: impl FnOnce() -> Result<String, String> + Send + 'static) -> Result<String, String> {
    let (done, result) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("document".into()).stack_size(STACK).spawn(move || {
        let read = catch_unwind(AssertUnwindSafe(read));
        let _ = done.send(read.unwrap_or_else(|_| Err("its format cannot be understood".into())));
    });
    thread.map_err(|error| error.to_string())?;
    let seconds = PATIENCE.as_secs();
    result
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Err(format!("it could not be read within {seconds} seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_its_text() {
        let page = "<html><head><title>x</title></head><body><h1>Our hours</h1><p>We open at nine &amp; close at \
                    f&#105;ve.</p><script>alert('no')</script><!-- no --><ul><li>Monday</li><li>Tuesday</li></ul></body>";
        let found = passages(&html(page).expect("a page"), "page", true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "Our hours");
        assert!(found[0].1.starts_with("We open at nine & close at five."), "{found:?}");
        assert!(found[0].1.contains("Tuesday") && !found[0].1.contains("alert"), "{found:?}");
        for broken in ["<", "<p", "a<b>c", "<script>never closed", "&#99999999;&;&x", "<!-- no end"] {
            html(broken).expect("whatever it is");
        }
    }

    #[test]
    fn headings_are_titles_and_no_passage_is_endless() {
        let text =
            format!("intro\n\n# One\nfirst\n\n## Two\n{}\n\n{}", "word ".repeat(500), "x".repeat(3_000));
        let found = passages(&text, "file", true);
        assert_eq!((found[0].0.as_str(), found[0].1.as_str()), ("file", "intro"));
        assert_eq!((found[1].0.as_str(), found[1].1.as_str()), ("One", "first"));
        assert!(found[2..].iter().all(|(title, text)| title == "Two" && text.len() <= PASSAGE));
        assert!(found.len() > 5);
    }

    #[test]
    fn a_reader_that_panics_costs_its_file_only() {
        let refused = guarded(|| panic!("a reader's fault"));
        assert_eq!(refused, Err("its format cannot be understood".to_owned()));
        // Deeper than any parser that calls itself can go.
        let deep = "<div>".repeat(200_000);
        let _ = guarded(move || html(&deep));
    }
}
