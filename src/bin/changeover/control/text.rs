//! Text as a terminal shows it: in tones, and as wide as its columns, not its bytes.
//!
//! Tones are the basic colours, which every terminal's theme keeps legible on its own background; yellow and cyan, which
//! are not on white, are left out. No meaning is in a tone alone.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

/// Columns that the widest character takes.
const WIDEST: usize = 3;

/// What a piece of text is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// What to look at first.
    Strong,
    /// Names of fields and columns.
    Faint,
    /// It went well.
    Good,
    /// It waits for a person.
    Held,
    /// It went wrong.
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Held => AnsiColor::Magenta.on_default().bold(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Tone, String)>);

impl Line {
    /// A line in one tone.
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self::default().and(tone, text)
    }

    /// The line with more behind it.
    pub(super) fn and(mut self, tone: Tone, text: &str) -> Self {
        self.0.push((tone, plain(text)));
        self
    }

    /// The line with another one behind it.
    pub(super) fn and_line(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The line with spaces behind it, up to this width.
    pub(super) fn padded(self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        self.and(Tone::Plain, &" ".repeat(missing))
    }

    /// Columns that it takes.
    pub(super) fn width(&self) -> usize {
        self.0.iter().fold(0, |width, (_, text)| text.width().saturating_add(width))
    }

    /// The line, cut where it is wider than that; an ellipsis says so.
    pub(super) fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut line = Self::default();
        for (tone, text) in self.0 {
            let fits = head(&text, left);
            left = left.saturating_sub(fits.width());
            line.0.push((tone, fits.to_owned()));
            if fits.len() < text.len() {
                break;
            }
        }
        line.and(Tone::Plain, if width > 0 { "…" } else { "" })
    }

    /// As it is written, with or without its tones.
    pub(super) fn write(&self, tones: bool) -> String {
        let mut text = String::new();
        let mut spans = self.0.as_slice();
        // Spaces at the end are nothing to see.
        while let [before @ .., (_, last)] = spans
            && last.trim_end().is_empty()
        {
            spans = before;
        }
        for (index, (tone, span)) in spans.iter().enumerate() {
            let is_last = index.saturating_add(1) == spans.len();
            let span = if is_last { span.trim_end() } else { span };
            let style = if tones { tone.style() } else { Style::new() };
            // Writing to a String does not fail.
            let _ = write!(text, "{style}{span}{style:#}");
        }
        text
    }
}

/// Lines as they are written, each with its end.
pub(super) fn write(lines: &[Line], tones: bool) -> String {
    lines.iter().map(|line| line.write(tones) + "\n").collect()
}

/// Text without what a terminal would obey instead of showing it, which does not come from an answer.
fn plain(text: &str) -> String {
    // The second kind turns the direction of reading.
    let is_order = |character: char| {
        character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(is_order, "\u{fffd}")
}

/// The same for a text of several lines.
pub(super) fn harmless(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// As much of a text as fits, of its first thousand characters: some take more columns together than one by one.
fn head(text: &str, width: usize) -> &str {
    let ends = text.char_indices().map(|(start, character)| start.saturating_add(character.len_utf8()));
    let heads = ends.take(1_000).filter_map(|end| text.get(..end));
    heads.take_while(|head| head.width() <= width).last().unwrap_or_default()
}

/// A text in lines that are no wider than that; broken between words, and inside those that are wider. A percent sign
/// stays with its number.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    const FIXED_SPACE: &str = "\u{a0}";
    let width = width.max(WIDEST);
    let mut lines = Vec::new();
    let mut line = String::new();
    let text = plain(text).replace(" %", &format!("{FIXED_SPACE}%"));
    for mut word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            if line.width().saturating_add(word.width()) < width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            lines.push(std::mem::take(&mut line));
        }
        while word.width() > width {
            let fits = head(word, width);
            if fits.is_empty() {
                break;
            }
            lines.push(fits.to_owned());
            word = word.get(fits.len()..).unwrap_or_default();
        }
        word.clone_into(&mut line);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines.iter().map(|line| line.replace(FIXED_SPACE, " ")).collect()
}

/// How much of something there is: `█████░░░░░`. Where there is something but little, one block is shown, and where
/// little is missing, one is left open.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // between 0 and width
pub(super) fn bar(part: f64, width: usize) -> String {
    let blocks = (part.clamp(0.0, 1.0) * width as f64).round() as usize; // not a number: none
    let blocks = match blocks {
        0 if part > 0.0 => 1.min(width),
        blocks if blocks >= width && part < 1.0 => width.saturating_sub(1),
        blocks => blocks.min(width),
    };
    "█".repeat(blocks) + &"░".repeat(width.saturating_sub(blocks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrap("at 5 % green is worse", 10), ["at 5 %", "green is", "worse"]);
        assert_eq!(wrap("green: 5 %", 8), ["green:", "5 %"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("模型模型 a", 5), ["模型", "模型", "a"]);
        assert_eq!(wrap("  ", 5), [""; 0]);
    }

    #[test]
    fn lines_are_cut_by_what_they_take() {
        let line = || Line::new(Tone::Strong, "模型").and(Tone::Plain, " green");
        assert_eq!(line().width(), 10);
        assert_eq!(line().cut(10).write(false), "模型 green");
        assert_eq!(line().cut(9).write(false), "模型 gre…");
        assert_eq!(line().cut(4).write(false), "模…");
        assert_eq!(line().cut(0).write(false), "");
        assert_eq!(line().padded(12).and(Tone::Plain, "x").write(false), "模型 green  x");
    }

    #[test]
    fn tones_are_written_only_where_they_are_wanted() {
        let line = Line::new(Tone::Bad, "failed").and(Tone::Plain, " ").and(Tone::Faint, " ");
        assert_eq!(line.write(true), "\u{1b}[1m\u{1b}[31mfailed\u{1b}[0m");
        assert_eq!(line.write(false), "failed");
    }

    #[test]
    fn terminal_control_characters_are_not_shown() {
        let line = Line::new(Tone::Plain, "\u{1b}[2J\nphase \u{202e}deeccus");
        assert_eq!(line.write(false), "\u{fffd}[2J\u{fffd}phase \u{fffd}deeccus");
        assert_eq!(wrap("a\u{1b}[2J\u{7}", 80), ["a\u{fffd}[2J\u{fffd}"]);
        let failure = super::super::client::Failure::Refused("a\u{1b}[2J\r\nb".into());
        assert_eq!(failure.to_string(), "a\u{fffd}[2J\u{fffd}\nb");
    }

    #[test]
    fn bars_show_little_and_nearly_all() {
        for (part, expected) in [
            (0.0, "░░░░"),
            (0.001, "█░░░"),
            (0.5, "██░░"),
            (0.999, "███░"),
            (1.0, "████"),
            (7.0, "████"),
            (-3.0, "░░░░"),
            (f64::NAN, "░░░░"),
            (f64::INFINITY, "████"),
        ] {
            assert_eq!(bar(part, 4), expected, "{part}");
        }
        assert_eq!(bar(0.5, 0), "");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_it_may_be(text in "\\PC{0,60}", width in 0_usize..40) {
            prop_assert!(Line::new(Tone::Plain, &text).cut(width).width() <= width);
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| line.width() <= width.max(WIDEST)), "{lines:?}");
            let all = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(all(&lines.concat()), all(&plain(&text)), "nothing is lost");
        }
    }
}
