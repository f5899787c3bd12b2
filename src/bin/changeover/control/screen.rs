//! A picture on a terminal that is drawn over in place.
//!
//! No alternate screen: what stood above it stays there, and the last picture is left behind.

use std::io::{self, Write};

use super::text::Line;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
/// Terminals that know it show everything in between at once; the others pass it over.
const BEGIN: &str = "\u{1b}[?2026h";
const END: &str = "\u{1b}[?2026l";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";
const TO_THE_TOP: &str = "\u{1b}[H";

/// The lower end of a terminal. The cursor is always below the picture.
pub(super) struct Screen<W: Write> {
    out: W,
    tones: bool,
    /// How many lines are there, and the terminal's size by then.
    drawn: Option<(usize, (usize, usize))>,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(out: W, tones: bool) -> Self {
        Self { out, tones, drawn: None }
    }

    /// Draws a picture over the one that is there. `size`: columns and lines of the terminal.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, lines: &[Line], size: (usize, usize)) -> io::Result<()> {
        let (width, height) = size;
        // What scrolls out at the top cannot be drawn over.
        let lines: Vec<Line> =
            lines.iter().take(height.saturating_sub(1)).map(|line| line.clone().cut(width)).collect();
        let mut text = format!("{BEGIN}{HIDE_CURSOR}{}", self.to_its_start(size));
        for line in &lines {
            text.push_str(&line.write(self.tones));
            // Behind a full line the cursor still stands on its last column, which would be cleared.
            if line.width() < width {
                text.push_str(CLEAR_LINE);
            }
            text.push_str("\r\n");
        }
        text.push_str(CLEAR_BELOW);
        text.push_str(END);
        self.drawn = Some((lines.len(), size));
        self.write(&text)
    }

    /// Leaves the picture, and the terminal as it was; an echoed `^C` is removed.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        self.write(&format!("\r{CLEAR_BELOW}{SHOW_CURSOR}"))
    }

    /// Goes back up. Where a terminal of another size has put the lines, or how it has broken them, cannot be found out: there the
    /// picture begins at the top.
    fn to_its_start(&self, size: (usize, usize)) -> String {
        match self.drawn {
            Some((lines, before)) if before == size && lines > 0 => format!("\r\u{1b}[{lines}A"),
            Some((_, before)) if before != size => format!("{TO_THE_TOP}{CLEAR_BELOW}"),
            _ => "\r".into(),
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::Tone;
    use super::*;
    use proptest::prelude::*;

    /// What a terminal shows after these pictures, below a prompt.
    fn shown(pictures: &[Vec<String>], width: u16, height: u16) -> (Vec<String>, bool) {
        let mut terminal = vt100::Parser::new(height, width, 0);
        terminal.process(b"$ changeover\r\n");
        let mut screen = Screen::new(Vec::new(), true);
        for picture in pictures {
            let lines: Vec<Line> = picture.iter().map(|line| Line::new(Tone::Bad, line)).collect();
            screen.draw(&lines, (width.into(), height.into())).expect("it is memory");
        }
        let hidden = screen.out.clone();
        screen.leave().expect("it is memory");
        terminal.process(&hidden);
        assert!(terminal.screen().hide_cursor() || pictures.is_empty());
        let rows: Vec<String> = terminal.screen().rows(0, width).collect();
        terminal.process(b"^C");
        terminal.process(&screen.out[hidden.len()..]);
        assert_eq!(terminal.screen().rows(0, width).collect::<Vec<_>>(), rows, "the picture is left");
        (rows, terminal.screen().hide_cursor())
    }

    #[test]
    fn the_last_picture_is_left_below_what_was_there() {
        let pictures = [vec!["one".into(), "two, longer".into()], vec!["0123456789".into()]];
        let (rows, hidden) = shown(&pictures, 10, 4);
        assert_eq!(rows, ["er", "0123456789", "", ""], "the first picture has scrolled by a line");
        assert!(!hidden, "the cursor is back");
    }

    #[test]
    fn a_terminal_of_another_size_gets_a_whole_picture() {
        let mut screen = Screen::new(Vec::new(), false);
        let lines = ["a picture, too wide", "and", "too high"].map(|line| Line::new(Tone::Plain, line));
        screen.draw(&lines, (20, 6)).expect("memory");
        // It has broken the lines anew when it became narrower.
        let mut terminal = vt100::Parser::new(6, 10, 0);
        terminal.process(&std::mem::take(&mut screen.out));
        screen.draw(&lines, (10, 3)).expect("memory");
        terminal.process(&screen.out);
        let rows: Vec<String> = terminal.screen().rows(0, 10).collect();
        assert_eq!(rows, ["a picture…", "and", "", "", "", ""]);
    }

    proptest! {
        #[test]
        fn nothing_of_an_older_picture_remains(
            pictures in prop::collection::vec(prop::collection::vec("[0-9]{0,30}", 0..12), 1..5),
            width in 3_u16..40, // a `^C` takes two
            height in 2_u16..9,
        ) {
            let (rows, hidden) = shown(&pictures, width, height);
            prop_assert!(!hidden, "the cursor is back");
            let cut = |line: &String| Line::new(Tone::Plain, line).cut(width.into()).write(false);
            let last = pictures.last().expect("one");
            let mut wanted: Vec<String> = last.iter().take(usize::from(height).saturating_sub(1)).map(cut).collect();
            // Below it is nothing, above it is the prompt, as far as it has not scrolled away.
            wanted.extend(vec![String::new(); rows.len()]);
            let prompt: Vec<_> = rows.iter().take_while(|row| row.contains(|c: char| c == '$' || c.is_ascii_alphabetic())).collect();
            let begins = (0..=prompt.len()).any(|begin| {
                let below = &rows[begin..];
                below == &wanted[..below.len()]
            });
            prop_assert!(begins, "{rows:?}");
        }
    }
}
