//! What an SRTP or SRTCP packet says in clear: whose it is and which one (RFC 3711 sections 3.1 and 3.4).
//! Decides nothing about it.

use super::SrtpProfile;

/// SSRC and sequence number of an SRTP packet, if the library would find its payload where it is.
pub(super) fn rtp(datagram: &[u8]) -> Option<(u32, u16)> {
    let (fixed, rest) = datagram.split_first_chunk::<12>()?;
    if fixed[0] >> 6 != 2 {
        return None;
    }
    if fixed[0] & 0x10 != 0 {
        let (extension, after) = rest.get(usize::from(fixed[0] & 0x0f) * 4..)?.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([extension[2], extension[3]])) * 4;
        let elements = after.get(..length)?;
        match extension[..2] {
            [0xbe, 0xde] => fits(elements, 1)?,
            [0x10, 0x00] => fits(elements, 2)?,
            _ => {}
        }
    }
    let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
    Some((u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]), sequence))
}

/// Whether the elements of a header extension (RFC 8285) fill it to its end. The library adds their lengths up to know
/// where the payload begins: with others it would decrypt from the wrong byte on.
fn fits(mut elements: &[u8], header: usize) -> Option<()> {
    while let Some(first) = elements.first() {
        let length = match (first, header) {
            (0, _) => 1,
            // The reserved id 15 ends the elements before their end.
            (first, 1) if first >> 4 == 15 => return None,
            (first, 1) => 2 + usize::from(first & 0x0f),
            (_, _) => 2 + usize::from(*elements.get(1)?),
        };
        elements = elements.get(length..)?;
    }
    Some(())
}

/// SSRC and index of an SRTCP packet, and whether its E bit is set.
pub(super) fn rtcp(datagram: &[u8], profile: SrtpProfile) -> Option<(u32, u32, bool)> {
    if datagram.first()? >> 6 != 2 {
        return None;
    }
    let ssrc = datagram.get(4..8)?;
    let end = datagram.len().checked_sub(profile.rtcp_tag_behind_index())?;
    let word = datagram.get(8..end)?.last_chunk::<4>()?;
    let word = u32::from_be_bytes(*word);
    Some((u32::from_be_bytes([ssrc[0], ssrc[1], ssrc[2], ssrc[3]]), word & 0x7fff_ffff, word >> 31 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_extension(profile: [u8; 2], elements: &[u8]) -> Option<(u32, u16)> {
        let mut packet = vec![0x90, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7];
        packet.extend(profile);
        packet.extend([0, (elements.len() / 4) as u8]);
        packet.extend(elements);
        packet.extend([1; 30]);
        rtp(&packet)
    }

    #[test]
    fn only_extensions_that_the_library_measures_rightly_are_let_through() {
        assert_eq!(with_extension([0xbe, 0xde], &[0x10, 1, 0x20, 2]), Some((7, 9)));
        assert_eq!(with_extension([0xbe, 0xde], &[0x10, 1, 0, 0]), Some((7, 9)));
        assert_eq!(with_extension([0x10, 0], &[1, 2, 7, 7, 2, 0, 0, 0]), Some((7, 9)));
        assert_eq!(with_extension([0x12, 0x34], &[0xff, 0xff, 0xff, 0xff]), Some((7, 9)));
        assert_eq!(with_extension([0xbe, 0xde], &[0x10, 1, 0xf0, 2]), None, "the reserved id");
        assert_eq!(with_extension([0xbe, 0xde], &[0x17, 1, 2, 2]), None, "beyond the extension");
        assert_eq!(with_extension([0x10, 0], &[1, 9, 7, 7]), None, "beyond the extension");
        assert_eq!(with_extension([0x10, 0], &[0, 0, 0, 1]), None, "a length is missing");
    }
}
