//! Watermarks (stub: the formulas are being written).

use crate::policy::Release;

/// Columns of the watermark check.
#[derive(Clone, Copy, Debug)]
pub struct WatermarkRules {
    /// The release's column.
    pub column: crate::policy::release::WatermarkColumn,
    /// Is only the free part of the highatomic reserve subtracted?
    pub free_highatomic: bool,
}

impl WatermarkRules {
    /// The rules of a release.
    pub fn of(release: Release) -> Self {
        Self { column: release.watermark_column(), free_highatomic: release.counts_free_highatomic() }
    }
}
