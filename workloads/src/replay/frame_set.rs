//! A set of frames: one bit each.

/// A set of frames.
#[derive(Clone, Debug, Default)]
pub struct FrameSet(Vec<u64>);

impl FrameSet {
    /// An empty set of frames below `max_pfn`.
    pub fn new(max_pfn: u64) -> Self {
        Self(vec![0; max_pfn.div_ceil(64) as usize])
    }

    /// Is the frame in it?
    #[inline]
    pub fn has(&self, pfn: u64) -> bool {
        self.0.get((pfn / 64) as usize).is_some_and(|word| word >> (pfn % 64) & 1 == 1)
    }

    /// Takes a frame out.
    #[inline]
    pub fn remove(&mut self, pfn: u64) {
        if let Some(word) = self.0.get_mut((pfn / 64) as usize) {
            *word &= !(1 << (pfn % 64));
        }
    }

    /// Adds a frame.
    #[inline]
    pub fn add(&mut self, pfn: u64) {
        if let Some(word) = self.0.get_mut((pfn / 64) as usize) {
            *word |= 1 << (pfn % 64);
        }
    }

    /// Adds the frames of a block that are not in it yet; true if its first was none.
    pub fn add_block(&mut self, pfn: u32, order: u8) -> bool {
        let first = !self.has(u64::from(pfn));
        for frame in 0..1u64 << order {
            self.add(u64::from(pfn) + frame);
        }
        first
    }

    /// The frames below `to`, from `from` on, as ranges (first, frames).
    pub fn ranges(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut at = from;
        while at < to {
            let word = self.0.get((at / 64) as usize).copied().unwrap_or(0);
            if word >> (at % 64) == 0 {
                at = (at / 64 + 1) * 64;
                continue;
            }
            if word >> (at % 64) & 1 == 1 {
                match ranges.last_mut() {
                    Some((first, n)) if *first + *n == at => *n += 1,
                    Some(_) | None => ranges.push((at, 1)),
                }
            }
            at += 1;
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_was_added_and_not_removed() {
        let mut frames = FrameSet::new(256);
        assert!(frames.add_block(60, 3) && !frames.add_block(60, 0));
        frames.add(200);
        frames.remove(65);
        assert!(frames.has(64) && !frames.has(65) && !frames.has(1 << 40));
        assert_eq!(frames.ranges(0, 256), [(60, 5), (66, 2), (200, 1)]);
        assert_eq!(frames.ranges(62, 67), [(62, 3), (66, 1)]);
    }
}
