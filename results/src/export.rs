//! The record in the formats of other tools: each a pure function of records.
//!
//! HdrHistogram's interval log and percentile text, KTAP for kernel CI, JUnit XML for the rest,
//! OpenMetrics for dashboards, CSV for spreadsheets.

pub mod checks;
pub mod csv;
pub mod hgrm;
pub mod hlog;
pub mod junit;
pub mod ktap;
pub mod openmetrics;
