//! G.711 µ-law and A-law as tables and a few shifts.
//! Does not know packets.

/// The 16-bit value of every µ-law code word (ITU-T G.711 table 2). Its two zeros stay apart: the negative one is -1, which
/// nobody hears, so that coding what was decoded gives the very code words back.
pub(crate) static ULAW: [i16; 256] = ulaw_table();

/// The 16-bit value of every A-law code word (ITU-T G.711 table 1).
pub(crate) static ALAW: [i16; 256] = alaw_table();

/// The µ-law code word of every sample, by its upper 14 bits: the lower two do not matter.
static ULAW_CODES: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        table[index] = compress_ulaw((index << 2) as i16);
        index += 1;
    }
    table
};

/// The A-law code word of every sample, by its upper 12 bits.
static ALAW_CODES: [u8; 1 << 12] = {
    let mut table = [0; 1 << 12];
    let mut index = 0;
    while index < table.len() {
        table[index] = compress_alaw((index << 4) as i16);
        index += 1;
    }
    table
};

/// The µ-law code word of a sample.
pub(crate) fn encode_ulaw(sample: i16) -> u8 {
    ULAW_CODES[usize::from(sample as u16 >> 2)]
}

/// The A-law code word of a sample.
pub(crate) fn encode_alaw(sample: i16) -> u8 {
    ALAW_CODES[usize::from(sample as u16 >> 4)]
}

/// Added before the µ-law segment search so that every segment starts at a power of two (33 of 14 bits, here in 16).
const ULAW_BIAS: i32 = 0x84;

/// The largest magnitude µ-law can carry after the bias.
const ULAW_CLIP: i32 = 0x7fff - ULAW_BIAS;

/// The code word of samples just below zero. By the standard's table its value is zero, as that of 0xff.
const ULAW_NEGATIVE_ZERO: u8 = 0x7f;

/// µ-law: sign and magnitude, eight segments of sixteen steps, all bits inverted on the wire.
const fn compress_ulaw(sample: i16) -> u8 {
    // Negative values are folded by one's complement, as the ITU-T reference (G.191) does.
    let (magnitude, sign) = if sample < 0 { (!(sample as i32), 0x80) } else { (sample as i32, 0) };
    let biased = (if magnitude > ULAW_CLIP { ULAW_CLIP } else { magnitude }) + ULAW_BIAS;
    let segment = 24 - (biased as u32).leading_zeros() as i32;
    let step = (biased >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) | step) as u8
}

/// A-law: like µ-law with a linear first segment, no bias, and every other bit inverted on the wire.
const fn compress_alaw(sample: i16) -> u8 {
    let (magnitude, sign) = if sample < 0 { (!(sample as i32), 0) } else { (sample as i32, 0x80) };
    let step13 = magnitude >> 3;
    let code = if step13 < 64 {
        step13 >> 1
    } else {
        let segment = 27 - (step13 as u32).leading_zeros() as i32;
        (segment << 4) | ((step13 >> segment) & 0x0f)
    };
    ((code | sign) ^ 0x55) as u8
}

const fn decode_ulaw(code: u8) -> i16 {
    if code == ULAW_NEGATIVE_ZERO {
        return -1;
    }
    let code = !code as i32;
    let magnitude = ((((code & 0x0f) << 3) + ULAW_BIAS) << ((code >> 4) & 7)) - ULAW_BIAS;
    (if code & 0x80 == 0 { magnitude } else { -magnitude }) as i16
}

const fn decode_alaw(code: u8) -> i16 {
    let code = (code ^ 0x55) as i32;
    let segment = (code >> 4) & 7;
    let step = ((code & 0x0f) << 4) + 8;
    let magnitude = if segment == 0 { step } else { (step + 0x100) << (segment - 1) };
    (if code & 0x80 == 0 { -magnitude } else { magnitude }) as i16
}

const fn ulaw_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = decode_ulaw(code as u8);
        code += 1;
    }
    table
}

const fn alaw_table() -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = decode_alaw(code as u8);
        code += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G.711 table 2 read literally: decision values and quantised values of 14-bit µ-law, one segment at a time.
    fn reference_ulaw_value(code: u8) -> i32 {
        let code = !code;
        let (segment, step) = (i32::from(code >> 4 & 7), i32::from(code & 15));
        // Segment s starts at 33 * 2^s - 33 and has 16 steps of 2^(s+1); the value is the middle of a step.
        let magnitude = 33 * (1 << segment) - 33 + step * (2 << segment);
        // Scaled from 14 to 16 bits.
        let value = magnitude * 4;
        if code & 0x80 == 0 { value } else { -value }
    }

    /// G.711 table 1 read literally: 13-bit A-law.
    fn reference_alaw_value(code: u8) -> i32 {
        let code = code ^ 0x55;
        let (segment, step) = (i32::from(code >> 4 & 7), i32::from(code & 15));
        let magnitude = match segment {
            0 => 2 * step + 1,
            s => (1 << (s - 1)) * (2 * step + 33),
        };
        let value = magnitude * 8;
        if code & 0x80 == 0 { -value } else { value }
    }

    #[test]
    fn every_code_word_has_the_value_of_the_standard() {
        for code in 0..=255u8 {
            let value = if code == ULAW_NEGATIVE_ZERO { -1 } else { reference_ulaw_value(code) };
            assert_eq!(i32::from(ULAW[usize::from(code)]), value, "µ {code:#x}");
            assert_eq!(i32::from(ALAW[usize::from(code)]), reference_alaw_value(code), "A {code:#x}");
        }
    }

    /// The magnitude that the standard's decision values apply to, so that both signs have equal steps.
    fn magnitude(sample: i16) -> i32 {
        if sample < 0 { -1 - i32::from(sample) } else { i32::from(sample) }
    }

    #[test]
    fn every_sample_gets_the_ulaw_step_it_lies_in() {
        for sample in i16::MIN..=i16::MAX {
            let code = encode_ulaw(sample);
            let value = reference_ulaw_value(code).abs();
            // Half a step: 1 in 14 bits in the first segment, doubled in each further one; here in 16 bits.
            let half = 4 << (!code >> 4 & 7);
            // The last decision value is 8159 of 14 bits; what is louder is clipped.
            let clipped = magnitude(sample).min(8_159 * 4 - 1);
            assert_eq!(code & 0x80 == 0, sample < 0, "{sample}");
            assert!((value - half..value + half).contains(&clipped), "{sample}");
        }
    }

    #[test]
    fn every_sample_gets_the_alaw_step_it_lies_in() {
        for sample in i16::MIN..=i16::MAX {
            let code = encode_alaw(sample);
            let value = reference_alaw_value(code);
            let segment = i32::from((code ^ 0x55) >> 4 & 7);
            // Half a step: 1 in 13 bits up to segment 1, doubled in each further one; here in 16 bits.
            let half = 8 << (segment - 1).max(0);
            assert_eq!(value < 0, sample < 0, "{sample}");
            assert!((value.abs() - half..value.abs() + half).contains(&magnitude(sample)), "{sample}");
        }
    }

    #[test]
    fn decoding_then_encoding_is_the_identity_on_code_words() {
        for code in 0..=255u8 {
            assert_eq!(encode_alaw(ALAW[usize::from(code)]), code);
            assert_eq!(encode_ulaw(ULAW[usize::from(code)]), code);
        }
    }

    #[test]
    fn encoding_keeps_order_and_sign() {
        for sample in i16::MIN..i16::MAX {
            let (here, next) = (encode_ulaw(sample), encode_ulaw(sample + 1));
            assert!(ULAW[usize::from(here)] <= ULAW[usize::from(next)]);
            let (here, next) = (encode_alaw(sample), encode_alaw(sample + 1));
            assert!(ALAW[usize::from(here)] <= ALAW[usize::from(next)]);
        }
    }
}
