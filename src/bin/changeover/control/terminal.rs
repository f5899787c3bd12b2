//! What stands at the other end of standard output.

use std::io::{IsTerminal, stdout};

use anstyle_query::{clicolor, clicolor_force, no_color, term_supports_color};

/// How to write for the reader: a terminal or a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reader {
    /// Columns to fit in; `None` for a program or a file, where lines are as long as they like.
    pub(super) width: Option<usize>,
    /// Whether tones are shown.
    pub(super) tones: bool,
    /// Whether the cursor obeys: a picture can be drawn over.
    pub(super) redraws: bool,
}

/// Columns and lines of a terminal that does not say.
const USUAL: (usize, usize) = (80, 24);

impl Reader {
    /// Who reads standard output. `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM=dumb` are obeyed.
    pub(super) fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        Self {
            width: is_terminal.then(|| size().0),
            tones: shows_tones(is_terminal),
            redraws: is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// Unlike `anstream`, which takes `CI` for a terminal that shows colours even where `TERM` says that it is dumb.
fn shows_tones(is_terminal: bool) -> bool {
    if no_color() {
        return false;
    }
    clicolor_force() || (is_terminal && clicolor().unwrap_or(true) && term_supports_color())
}

/// The terminal's current columns and lines.
pub(super) fn size() -> (usize, usize) {
    terminal_size::terminal_size_of(stdout())
        .map(|(width, height)| (usize::from(width.0), usize::from(height.0)))
        // Some pseudo-terminals are 0 by 0.
        .filter(|(width, height)| *width > 0 && *height > 0)
        .unwrap_or(USUAL)
}
