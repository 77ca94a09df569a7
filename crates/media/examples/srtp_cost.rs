//! What SRTP costs: a packet sealed, opened, and refused, in microseconds.
//! Prints only. `cargo run --release -p media --example srtp_cost`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement may unwrap and needs the clock"
)]

use media::{RtpPacket, Srtp, SrtpProfile};
use std::time::Instant;

const PACKETS: u32 = 50_000;

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = [0x5a; 160];
    RtpPacket { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc, payload: &payload }
        .write(&mut out);
    out
}

/// Microseconds for each packet.
fn each(mut run: impl FnMut(u32)) -> f64 {
    let begun = Instant::now();
    (0..PACKETS).for_each(&mut run);
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(PACKETS)
}

fn main() {
    println!(
        "{:<22} {:>6} {:>6} {:>16} {:>16}",
        "microseconds", "seal", "open", "forged, known", "forged, unknown"
    );
    for profile in
        [SrtpProfile::AesCm128HmacSha1_80, SrtpProfile::AesCm128HmacSha1_32, SrtpProfile::AeadAes128Gcm]
    {
        let key = vec![7; if profile == SrtpProfile::AeadAes128Gcm { 28 } else { 30 }];
        let mut end = Srtp::new(profile, &key, &key).unwrap();
        let mut sealed = Vec::new();
        let seal = each(|n| sealed.push(end.seal_rtp(&rtp(7, n as u16)).unwrap()));
        let open = each(|n| assert!(end.open_rtp(&sealed[n as usize]).is_ok()));
        let forged = [rtp(7, 50_001), vec![1; 16]].concat();
        let known = each(|_| assert!(end.open_rtp(&forged).is_err()));
        let mut forged = [rtp(8, 20_000), vec![1; 16]].concat();
        let unknown = each(|n| {
            forged[8..12].copy_from_slice(&(n + 100).to_be_bytes());
            assert!(end.open_rtp(&forged).is_err());
        });
        println!("{:<22} {seal:>6.2} {open:>6.2} {known:>16.2} {unknown:>16.2}", format!("{profile:?}"));
    }
}
