//! What the tasks do.
