//! Messages made wrong: a seeded generator and what it does to bytes.
//! Knows what parsers trip over. Sends nothing.
#![allow(unreachable_pub, reason = "shared by tests")]

/// A small seeded generator (xorshift), for tests only.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `end`, and 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// One to six random changes to one of the seeds: bytes, pieces and the words that parsers trip over.
pub fn mutate(chance: &mut Chance, seeds: &[Vec<u8>]) -> Vec<u8> {
    const TOKENS: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b";",
        b",",
        b"<",
        b">",
        b"\"",
        b"=",
        b"@",
        b" ",
        b"\t",
        b"\0",
        b"[",
        b"]",
        b"%00",
        b"4294967296",
        b"-1",
        b"tag=",
        b";branch=z9hG4bK",
        b"Via:",
        b"SIP/2.0",
        b"INVITE",
        b"CANCEL",
        b"ACK",
        b"BYE",
        b"Content-Length: 5",
        b"\xff\xfe",
        b"\xc3",
        b"sip:",
        b"Require: x",
        b"Record-Route: <sip:a;lr>",
    ];
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(6) {
            0 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            1 => {
                let end = (at + chance.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let token = TOKENS[chance.below(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            3 => {
                let end = (at + chance.below(60)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = chance.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            4 => bytes.truncate(at),
            _ => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len());
                let end = (from + chance.below(80)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    bytes
}
