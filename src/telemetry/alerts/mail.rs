//! Alerts by mail: to an SMTP server (RFC 5321), with TLS from the start, after STARTTLS, or without.
//! Knows letters. A thread of its own writes them; a mail server that is dead costs alerts, which are counted.

use super::{AGAIN, ALERT_QUEUE, Alert, PATIENCE, TRIES};
use crate::{secret::Secret, telemetry::Metrics};
use lettre::{
    Message, SmtpTransport, Transport as _,
    message::{Mailbox, Mailboxes, header::ContentType},
    transport::smtp::authentication::Credentials,
};
use std::sync::mpsc::{self, Receiver, SyncSender};

/// Alerts that go into one letter, when several come at once.
const TOGETHER: usize = 20;

/// How the way to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314), usually on port 465.
    Tls,
    /// TLS after STARTTLS, or nothing is sent; usually on port 587.
    StartTls,
    /// In the clear, for a mail server on this machine.
    None,
}

impl Security {
    /// As they are written.
    pub const NAMES: [&'static str; 3] = ["tls", "starttls", "none"];

    /// The one of that name, and its usual port.
    pub fn of(name: &str) -> (Self, u16) {
        match name {
            "starttls" => (Self::StartTls, 587),
            "none" => (Self::None, 25),
            _ => (Self::Tls, 465),
        }
    }
}

/// Who writes to whom, and by which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    /// The server's name, which its certificate must bear.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the way there is protected.
    pub security: Security,
    /// User and password, where it wants them.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: Mailbox,
    /// Who is told.
    pub to: Vec<Mailbox>,
}

/// Sends alerts by mail. Its thread ends when this is dropped and what waits is gone.
pub struct Mail {
    queue: SyncSender<Alert>,
    metrics: Metrics,
}

impl Mail {
    /// Starts its thread. Connects only when there is something to say.
    ///
    /// # Errors
    /// When TLS cannot be set up or the thread cannot be had, with the reason.
    pub fn start(config: MailConfig, metrics: Metrics) -> Result<Self, String> {
        let transport = transport(&config)?;
        let (queue, alerts) = mpsc::sync_channel(ALERT_QUEUE);
        std::thread::Builder::new()
            .name("tandem-mail".into())
            .spawn(move || run(&config, &transport, &alerts))
            .map_err(|error| error.to_string())?;
        Ok(Self { queue, metrics })
    }

    /// Hands an alert over. Never waits.
    pub fn send(&self, alert: Alert) {
        if self.queue.try_send(alert).is_err() {
            self.metrics.queue_dropped("mail", 1);
        }
    }
}

fn transport(config: &MailConfig) -> Result<SmtpTransport, String> {
    let server = config.server.as_str();
    let builder = match config.security {
        Security::Tls => SmtpTransport::relay(server),
        Security::StartTls => SmtpTransport::starttls_relay(server),
        Security::None => Ok(SmtpTransport::builder_dangerous(server)),
    };
    let builder = builder.map_err(|error| error.to_string())?.port(config.port).timeout(Some(PATIENCE));
    let builder = match &config.login {
        Some((user, password)) => {
            builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()))
        }
        None => builder,
    };
    Ok(builder.build())
}

fn run(config: &MailConfig, transport: &SmtpTransport, alerts: &Receiver<Alert>) {
    while let Ok(first) = alerts.recv() {
        let together: Vec<Alert> =
            std::iter::once(first).chain(alerts.try_iter().take(TOGETHER - 1)).collect();
        match letter(config, &together) {
            Ok(letter) => deliver(transport, &letter),
            Err(reason) => tracing::warn!(reason, "an alert could not be written as mail"),
        }
    }
}

fn letter(config: &MailConfig, alerts: &[Alert]) -> Result<Message, String> {
    let to: Mailboxes = config.to.iter().cloned().collect();
    let subject = match alerts {
        [alert] => format!("[tandem] {}: {}", alert.state, alert.text),
        alerts => format!("[tandem] {} alerts", alerts.len()),
    };
    // A subject is a line: the rest is in the letter.
    let subject: String = subject.chars().filter(|letter| !letter.is_control()).take(120).collect();
    let tell = |alert: &Alert| {
        let Alert { state, about, level, figure, binding_stage, busy, cap, text, .. } = alert;
        format!(
            "{text}\r\n\r\n  state: {state}\r\n  about: {about}, {level}\r\n  measured: {figure}\r\n  \
             binding: {binding_stage}\r\n  ports in use: {busy} of {cap}\r\n"
        )
    };
    let body: Vec<String> = alerts.iter().map(tell).collect();
    let message = Message::builder().from(config.from.clone()).mailbox(lettre::message::header::To::from(to));
    let message = message.subject(subject).header(ContentType::TEXT_PLAIN);
    message.body(body.join("\r\n")).map_err(|error| error.to_string())
}

fn deliver(transport: &SmtpTransport, letter: &Message) {
    for attempt in 1..=TRIES {
        match transport.send(letter) {
            Ok(_) => return,
            // What a server will refuse again is not sent again.
            Err(error) if attempt == TRIES || error.is_permanent() => {
                return tracing::warn!(%error, "an alert could not be mailed");
            }
            Err(_) => std::thread::sleep(AGAIN * attempt),
        }
    }
}
