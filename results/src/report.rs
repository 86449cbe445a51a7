//! Pictures of records: a page for browsers, plots for terminals.

pub mod html;
mod lanes;
pub mod mail;
pub mod plot;
mod svg;
