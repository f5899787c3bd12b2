//! Rows in columns.

use super::text::{Line, Tone, wrap};

/// The least width for a remark beside the columns; below it goes to lines of its own.
const NARROW: usize = 32;
const GAP: usize = 2;

/// A table whose columns are as wide as their widest cell. Behind its columns each row may have a remark.
pub(super) struct Table {
    head: Vec<&'static str>,
    remark: &'static str,
    rows: Vec<(Vec<Line>, String)>,
    /// Columns that are left out where there is no room for all, the first one first.
    dispensable: &'static [&'static str],
}

impl Table {
    pub(super) fn new(
        head: &[&'static str],
        remark: &'static str,
        dispensable: &'static [&'static str],
    ) -> Self {
        Self { head: head.to_vec(), remark, rows: Vec::new(), dispensable }
    }

    /// Adds a row, one cell for each column.
    pub(super) fn row(&mut self, cells: Vec<Line>, remark: &str) {
        self.rows.push((cells, remark.to_owned()));
    }

    /// The lines, no wider than that.
    pub(super) fn lines(mut self, width: Option<usize>) -> Vec<Line> {
        let width = width.unwrap_or(usize::MAX);
        for name in self.dispensable {
            if self.width() > width {
                self.leave_out(name);
            }
        }
        let widths = self.widths();
        let taken = self.width().saturating_add(GAP);
        let room = width.saturating_sub(taken);
        let beside = room >= NARROW;
        let has_remarks = self.rows.iter().any(|(_, remark)| !remark.is_empty());

        let mut head = Line::default();
        for (name, width) in self.head.iter().zip(&widths) {
            head =
                head.and_line(Line::new(Tone::Faint, &name.to_uppercase()).padded(width.saturating_add(GAP)));
        }
        if beside && has_remarks {
            head = head.and(Tone::Faint, &self.remark.to_uppercase());
        }
        let mut lines = vec![head.cut(width)];
        for (cells, remark) in self.rows {
            let mut line = Line::default();
            for (cell, width) in cells.into_iter().zip(&widths) {
                line = line.and_line(cell.padded(width.saturating_add(GAP)));
            }
            let (room, indent) = if beside { (room, taken) } else { (width.saturating_sub(4), 4) };
            let mut remark = wrap(&remark, room).into_iter();
            if beside && let Some(first) = remark.next() {
                line = line.and(Tone::Plain, &first);
            }
            lines.push(line.cut(width));
            lines.extend(remark.map(|more| Line::default().padded(indent).and(Tone::Plain, &more)));
        }
        lines
    }

    fn leave_out(&mut self, name: &str) {
        if let Some(column) = self.head.iter().position(|head| *head == name) {
            self.head.remove(column);
            for (cells, _) in &mut self.rows {
                cells.remove(column);
            }
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|name| name.len()).collect();
        for (cells, _) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.width().max(*width);
            }
        }
        widths
    }

    /// Without a remark.
    fn width(&self) -> usize {
        let gaps = GAP.saturating_mul(self.head.len().saturating_sub(1));
        self.widths().iter().fold(gaps, |sum, width| sum.saturating_add(*width))
    }
}
