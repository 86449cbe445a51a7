//! The run record: schema, histograms, files, comparison, reports.
