//! Decompression within a budget.
//!
//! **Why.** Some kilobytes of xz, gzip or zstd can become terabytes, which would be read for hours and kept
//! until memory ends. Real recordings shrink 10 to 30 times.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use ruzstd::decoding::StreamingDecoder;

/// What compressed files begin with.
const XZ_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Memory that a decoder may take; `xz -9` wants 65 MiB.
const MOST_MEMORY: u64 = 80 << 20;
/// Bytes that all files of a recording may unpack to in any case, and for each packed byte.
const FLOOR: u64 = 32 << 20;
const RATIO: u64 = 200;

#[derive(Debug, Default)]
struct Counts {
    packed: AtomicU64,
    plain: AtomicU64,
}

/// How much the files of one recording unpack to, together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<Counts>);

/// Counts packed bytes.
struct Packed<R>(R, Budget);

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(into)?;
        // Relaxed, here and below: sums that one thread makes and looks at.
        self.1.0.packed.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Counts unpacked bytes and ends when they are too many.
struct Unpacked<R>(R, Budget);

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(into)?;
        let counts = &self.1.0;
        let plain = counts.plain.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        let packed = counts.packed.load(Ordering::Relaxed);
        if plain > FLOOR.max(packed.saturating_mul(RATIO)) {
            return Err(io::Error::other(format!(
                "it unpacks to more than {RATIO} times its length: no recording or log shrinks so far"
            )));
        }
        Ok(n)
    }
}

/// A file's contents, decompressed if need be.
pub(crate) fn plain<'a>(from: impl Read + 'a, budget: &Budget) -> io::Result<Box<dyn Read + 'a>> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let begin = io::BufRead::fill_buf(&mut from)?;
    let is = |magic: &[u8]| begin.starts_with(magic);
    let (is_xz, is_gzip, is_zstd) = (is(&XZ_MAGIC), is(&GZIP_MAGIC), is(&ZSTD_MAGIC));
    if !(is_xz || is_gzip || is_zstd) {
        return Ok(Box::new(from));
    }
    let from = BufReader::with_capacity(1 << 16, Packed(from, budget.clone()));
    let unpacked: Box<dyn Read + 'a> = if is_xz {
        let stream = Stream::new_stream_decoder(MOST_MEMORY, CONCATENATED)?;
        Box::new(XzDecoder::new_stream(from, stream))
    } else if is_gzip {
        Box::new(MultiGzDecoder::new(from))
    } else {
        let decoder = StreamingDecoder::new_with_max_window_size(from, MOST_MEMORY);
        Box::new(decoder.map_err(io::Error::other)?)
    };
    Ok(Box::new(Unpacked(unpacked, budget.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(packed: &[u8]) -> io::Result<u64> {
        io::copy(&mut plain(packed, &Budget::default())?, &mut io::sink())
    }

    #[test]
    fn bombs_of_each_kind_are_cut_off_early() {
        let zeros = || io::repeat(0).take(FLOOR + (8 << 20));
        let (mut gz, mut xz) = (Vec::new(), Vec::new());
        let level = flate2::Compression::best();
        flate2::read::GzEncoder::new(zeros(), level).read_to_end(&mut gz).unwrap();
        liblzma::read::XzEncoder::new(zeros(), 0).read_to_end(&mut xz).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let mut zst = Vec::new();
        ruzstd::encoding::compress(zeros(), &mut zst, level);
        for packed in [gz, xz, zst] {
            assert!(packed.len() < 1 << 20);
            let message = unpacked(&packed).unwrap_err().to_string();
            assert!(message.contains("more than 200 times"), "{message}");
        }
    }

    #[test]
    fn what_shrinks_as_recordings_do_is_read() {
        let mut text = String::new();
        for i in 0..1_200_000_u64 {
            text += &format!(
                "{} 1t 22345 A {:x} 0 0 440dc0\n",
                i % 977,
                i.wrapping_mul(0x9e37) % 0xffff
            );
        }
        assert!(text.len() as u64 > FLOOR);
        let mut gz = Vec::new();
        let level = flate2::Compression::fast();
        flate2::read::GzEncoder::new(text.as_bytes(), level).read_to_end(&mut gz).unwrap();
        assert_eq!(unpacked(&gz).unwrap(), text.len() as u64);
    }
}
