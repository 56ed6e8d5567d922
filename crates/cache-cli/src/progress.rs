//! Progress on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of `len` steps that draws nothing anywhere but on a terminal.
pub(crate) fn bar(len: u64, message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {pos}/{len} {per_sec} {elapsed}, {eta} left ",
    )
    .expect("a test makes the bar");
    ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_message(message)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bar_can_be_made() {
        assert_eq!(super::bar(7, "warming").length(), Some(7));
    }
}
