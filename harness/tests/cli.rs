//! Golden transcripts of the command line, in `tests/cli/*.toml` and `*.trycmd`.
//!
//! After a wanted change: `TRYCMD=overwrite cargo test -p mm-stress --test cli`, then read the diff.

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
