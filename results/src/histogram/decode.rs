//! Histograms from text, within bounds.
//!
//! What: `decode` unpacks and looks at the header before the `hdrhistogram` crate gets the bytes.
//! Why: that crate makes room for as much as the header says: 40 bytes can ask for 4 GiB, and some
//! hundred of inflated zeros for more.
//! Source: HdrHistogram's V2 encoding: cookie, payload length, normalizing offset, digits, lowest,
//! highest, ratio (40 bytes, big endian), then counts as LEB128; V2-deflate is a cookie, a length and zlib.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::Deserializer;

const V2: u32 = 0x1c84_9303 | 0x10;
const V2_DEFLATED: u32 = 0x1c84_9304 | 0x10;
/// Bytes of the header.
const HEADER: usize = 40;
/// A histogram may have this many buckets: five digits up to 13 days and 8 bytes for each, 32 MiB.
pub(crate) const MOST_BUCKETS: u64 = 1 << 22;
/// Bytes of its encoding: no bucket takes more than nine, and hardly any takes more than two.
const MOST_BYTES: u64 = 2 * MOST_BUCKETS;
/// Samples that are believed: 2^53 is also the last count that every JSON reader takes exactly.
pub(crate) const MOST_SAMPLES: u64 = 1 << 53;
/// Values end at 104 days in ns.
const HIGHEST: u64 = 1 << 53;

/// Buckets of a histogram with these bounds.
pub(crate) fn buckets(lowest: u64, highest: u64, digits: u32) -> u64 {
    let cells = (2 * 10_u64.pow(digits)).next_power_of_two();
    let unit = lowest.max(1).ilog2();
    let mut reach = u128::from(cells) << unit;
    let mut doublings = 1;
    while reach <= u128::from(highest) {
        reach <<= 1;
        doublings += 1;
    }
    (doublings + 1) * (cells / 2)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(number(bytes, at)) << 32 | u64::from(number(bytes, at + 4))
}

fn inflate(deflated: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let mut from = flate2::read::ZlibDecoder::new(deflated).take(MOST_BYTES + 1);
    from.read_to_end(&mut plain).map_err(|e| e.to_string())?;
    Ok(plain)
}

/// Reads base64 of V2 or of V2, deflated.
pub(super) fn decode(text: &str) -> Result<hdrhistogram::Histogram<u64>, String> {
    let too_long = || format!("it unpacks to more than {} MiB", MOST_BYTES >> 20);
    if text.len() as u64 > 2 * MOST_BYTES {
        return Err(too_long());
    }
    let mut bytes = BASE64.decode(text).map_err(|e| e.to_string())?;
    if number(&bytes, 0) == V2_DEFLATED {
        bytes = inflate(bytes.get(8..).unwrap_or_default())?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(too_long());
    }
    if number(&bytes, 0) != V2 || bytes.len() < HEADER {
        return Err("it is no HdrHistogram of version 2".to_owned());
    }
    let (told, held) = (number(&bytes, 4) as usize, bytes.len() - HEADER);
    if told > held {
        return Err(format!("its header says {told} bytes, and it holds {held}"));
    }
    let (digits, lowest, highest) = (number(&bytes, 12), long(&bytes, 16), long(&bytes, 24));
    if !(1..=5).contains(&digits)
        || highest > HIGHEST
        || buckets(lowest, highest, digits) > MOST_BUCKETS
    {
        return Err(format!(
            "{lowest} to {highest} ns at {digits} digits is more than any histogram of this program has"
        ));
    }
    let histogram: hdrhistogram::Histogram<u64> =
        Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|e| e.to_string())?;
    if histogram.len() > MOST_SAMPLES {
        return Err(format!("it says {} samples, and no run takes as many", histogram.len()));
    }
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Config, Histogram};

    fn v2(payload_len: u32, digits: u32, lowest: u64, highest: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [V2, payload_len, 0, digits] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(lowest.to_be_bytes());
        bytes.extend(highest.to_be_bytes());
        bytes.extend(1.0_f64.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn deflated(plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let level = flate2::Compression::best();
        flate2::read::ZlibEncoder::new(plain, level).read_to_end(&mut packed).unwrap();
        let mut bytes = V2_DEFLATED.to_be_bytes().to_vec();
        bytes.extend((packed.len() as u32).to_be_bytes());
        bytes.extend(packed);
        bytes
    }

    fn refused(bytes: &[u8], words: &str) {
        for bytes in [bytes.to_vec(), deflated(bytes)] {
            let reason = decode(&BASE64.encode(bytes)).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn bombs_are_refused_by_what_their_headers_say() {
        refused(&v2(u32::MAX, 2, 1, 60_000_000_000, &[]), "its header says 4294967295 bytes");
        refused(&v2(0, 5, 1, 1 << 62, &[]), "is more than any histogram");
        refused(&v2(0, 9, 1, 60_000_000_000, &[]), "is more than any histogram");
        refused(&v2(0, 2, u64::MAX, 1, &[]), "invalid");
        // LEB128 of the zigzag of 2^62.
        let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80];
        refused(&v2(9, 2, 1, 60_000_000_000, &huge), "samples, and no run takes as many");
        let zeros = deflated(&vec![0; 64 << 20]);
        assert!(zeros.len() < 100_000, "{}", zeros.len());
        assert!(decode(&BASE64.encode(zeros)).unwrap_err().contains("more than 8 MiB"));
    }

    #[test]
    fn buckets_are_those_of_the_crate() {
        for (lowest, highest, digits) in
            [(1, 60_000_000_000, 2), (1, 1 << 40, 3), (1000, 3_600_000_000, 5), (1, 2, 1)]
        {
            let own = Histogram::new(Config { lowest_ns: lowest, highest_ns: highest, digits });
            let theirs = own.inner().distinct_values() as u64;
            assert_eq!(buckets(lowest, highest, u32::from(digits)), theirs, "{digits}");
        }
    }
}
