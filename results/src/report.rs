//! Pictures of records: a page for browsers, plots for terminals.

pub mod plot;
