//! Alerts by mail, against a mail server of the test's own that speaks as much SMTP (RFC 5321) as a letter needs.
//! Loopback only; what is worth an alert is told beside the rules.

mod live;

use live::{Folder, LISTEN, Live, eventually};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tandem::{
    secret::Secret,
    telemetry::{
        Metrics,
        alerts::{ALERT_QUEUE, Alert, Mail, MailConfig, Security},
    },
};

/// What a mail server was told: logins, and letters with their envelopes.
#[derive(Clone, Default)]
struct Post(Arc<Mutex<Vec<String>>>);

impl Post {
    /// Begins to take letters; the first `refusals` of them with 451, "try again".
    fn open(refusals: usize) -> (SocketAddr, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let post = Self::default();
        let (told, mut left) = (post.clone(), refusals);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let refuse = left > 0;
                left = left.saturating_sub(1);
                // A client that goes away in the middle is its own affair.
                let _ = told.serve(stream, refuse);
            }
        });
        (address, post)
    }

    fn serve(&self, stream: TcpStream, refuse: bool) -> std::io::Result<()> {
        let mut out = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        out.write_all(b"220 post.test\r\n")?;
        while let Some(line) = lines.next() {
            let line = line?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => out.write_all(b"250-post.test\r\n250 AUTH PLAIN\r\n")?,
                "AUTH" => {
                    self.note(line);
                    out.write_all(b"235 welcome\r\n")?;
                }
                "MAIL" if refuse => out.write_all(b"451 try again later\r\n")?,
                "DATA" => {
                    out.write_all(b"354 go on\r\n")?;
                    let letter: Vec<String> =
                        lines.by_ref().map_while(Result::ok).take_while(|line| line != ".").collect();
                    self.note(letter.join("\n"));
                    out.write_all(b"250 taken\r\n")?;
                }
                "QUIT" => return out.write_all(b"221 goodbye\r\n"),
                _ => {
                    self.note(line);
                    out.write_all(b"250 well\r\n")?;
                }
            }
        }
        Ok(())
    }

    fn note(&self, line: String) {
        self.0.lock().expect("nobody panicked").push(line);
    }

    fn letters(&self) -> Vec<String> {
        let told = self.0.lock().expect("nobody panicked");
        told.iter().filter(|told| told.contains("Subject:")).cloned().collect()
    }

    fn told(&self, begin: &str) -> usize {
        self.0.lock().expect("nobody panicked").iter().filter(|line| line.starts_with(begin)).count()
    }
}

fn config(server: SocketAddr) -> MailConfig {
    MailConfig {
        server: server.ip().to_string(),
        port: server.port(),
        security: Security::None,
        login: Some(("tandem".to_owned(), Secret::new("correct horse"))),
        from: "Tandem <tandem@example.com>".parse().expect("an address"),
        to: vec![
            "ops@example.com".parse().expect("an address"),
            "boss@example.com".parse().expect("an address"),
        ],
    }
}

fn alert(number: u32) -> Alert {
    Alert {
        state: "firing",
        about: "pool",
        level: "alert",
        pool: Some("main".into()),
        busy: 215,
        cap: 250,
        figure: "86 %".into(),
        binding_stage: "ports".into(),
        text: format!("Pool main is 86 % full, alert {number}. Add ports now."),
    }
}

fn dropped(metrics: &Metrics) -> u64 {
    let text = metrics.encode().expect("a string takes it");
    let line = text.lines().find(|line| line.starts_with("tandem_queue_dropped_total{queue=\"mail\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("it is there from the start")
}

#[test]
fn an_alert_reaches_everybody_with_figure_stage_and_remedy_even_if_the_server_must_be_asked_twice() {
    let (address, post) = Post::open(1);
    let mail = Mail::start(config(address), Metrics::default()).expect("a thread");
    mail.send(alert(1));
    let letter = eventually("a letter", || post.letters().pop());
    assert!(letter.contains("Subject: [tandem] firing: Pool main is 86 % full"), "{letter}");
    assert!(letter.contains("measured: 86 %") && letter.contains("binding: ports"), "{letter}");
    assert!(letter.contains("Add ports now.") && letter.contains("215 of 250"), "{letter}");
    // Both are in the envelope of the letter that was taken.
    assert!(post.told("RCPT TO:<ops@example.com>") >= 1 && post.told("RCPT TO:<boss@example.com>") >= 1);
    assert!(post.told("AUTH PLAIN") >= 1);
    assert_eq!(post.letters().len(), 1, "once");
}

#[test]
fn a_mail_server_that_never_answers_costs_alerts_and_nobody_any_time() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let metrics = Metrics::default();
    let mail = Mail::start(config(silent.local_addr().expect("bound")), metrics.clone()).expect("a thread");
    let begun = Instant::now();
    let many = 10 * u32::try_from(ALERT_QUEUE).expect("small");
    (0..many).for_each(|number| mail.send(alert(number)));
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for it");
    assert!(dropped(&metrics) >= u64::from(many) - 2 * ALERT_QUEUE as u64, "{}", dropped(&metrics));
}

#[test]
fn a_pool_that_is_full_is_mailed_once_and_its_end_once() {
    let (address, post) = Post::open(0);
    let folder = Folder::new();
    let rest = format!(
        "[alerts.mail]\nserver = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\n\
         from = \"tandem@example.com\"\nto = [\"ops@example.com\"]\n",
        address.port()
    );
    let text = std::fs::read_to_string(folder.write_config(&rest)).expect("its config");
    let file = folder.write("tandem.toml", &text.replace("\nports = 20\n", "\nports = 1\n"));
    let live = Live::start_with(folder, &file, &[]);
    let call = live.dial(&format!("{LISTEN}, {{ pause_ms = 4000 }}, {{ hang_up = true }}"));
    live.running_call();
    let all = |post: &Post| post.letters().join("\n");
    eventually("it is full", || {
        all(&post).contains("Pool default is 100 % full: 1 of 1 ports").then_some(())
    });
    assert!(call.hung_up().is_good());
    eventually("it is over", || all(&post).contains("Pool default is below 100 % again").then_some(()));
    eventually("overflow is over", || all(&post).contains("Pool default is below 95 % again").then_some(()));
    let told = all(&post);
    assert_eq!(told.matches("state: firing").count(), 2, "overflow and full, once each: {told}");
    assert_eq!(told.matches("state: resolved").count(), 2, "{told}");
}
