//! Pieces of SVG on one time axis.

use std::fmt::Write;

use chaos_checkers::history::Nanos;

/// Width of a chart, and of the column of names at its left, in pixels.
const WIDTH: f64 = 1160.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 12.0;
/// Height of the axis under a chart.
const FOOT: f64 = 18.0;

/// A chart under construction.
pub(super) struct Chart {
    end: Nanos,
    height: f64,
    body: String,
}

/// A text for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A color for the number of a node or a series.
pub(super) fn color(number: u64) -> &'static str {
    const COLORS: [&str; 9] = [
        "#3b6fb6", "#d9822b", "#3d9a50", "#8e5bb5", "#c23b4e", "#2a9d9d", "#8a6d3b", "#5b6675",
        "#b5479c",
    ];
    COLORS[usize::try_from(number).unwrap_or_default() % COLORS.len()]
}

impl Chart {
    /// A chart of the time until `end`.
    pub(super) fn new(end: Nanos, height: f64) -> Self {
        Self { end, height, body: String::new() }
    }

    /// Horizontal place of a time.
    #[expect(clippy::cast_precision_loss, reason = "a place on a page")]
    pub(super) fn x(&self, time: Nanos) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * time.0 as f64 / self.end.0.max(1) as f64
    }

    /// A name at the left.
    pub(super) fn name(&mut self, y: f64, text: &str) {
        let text = escape(text);
        self.add(format_args!("<text x=\"4\" y=\"{y:.1}\" font-size=\"11\">{text}</text>"));
    }

    /// A bar from one time to another. The browser shows `hint` when the mouse is over it.
    pub(super) fn bar(
        &mut self,
        from: Nanos,
        to: Nanos,
        y: f64,
        height: f64,
        color: &str,
        hint: &str,
    ) {
        let (x, hint) = (self.x(from), escape(hint));
        let width = (self.x(to) - x).max(1.5);
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\" \
             fill-opacity=\".8\"><title>{hint}</title></rect>"
        ));
    }

    /// A line through points of time and height.
    pub(super) fn line(&mut self, points: &[(Nanos, f64)], color: &str) {
        let points = points.iter().map(|(time, y)| format!("{:.1},{y:.1}", self.x(*time)));
        let points: Vec<_> = points.collect();
        let points = points.join(" ");
        self.add(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.3\"/>"
        ));
    }

    /// A thin horizontal line with a name.
    pub(super) fn grid(&mut self, y: f64, text: &str) {
        let right = WIDTH - RIGHT;
        self.add(format_args!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#e3e7ec\"/>"));
        let text = escape(text);
        self.add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" text-anchor=\"end\" fill=\"#5b6675\">{text}</text>",
            LEFT - 6.0,
            y + 3.0
        ));
    }

    /// A vertical line at a time, with a name at its head.
    pub(super) fn mark(&mut self, time: Nanos, text: &str) {
        let (x, foot, text) = (self.x(time), self.height, escape(text));
        self.add(format_args!(
            "<path d=\"M{x:.1} 0V{foot}\" stroke=\"#0a7a3d\" stroke-dasharray=\"3 3\"><title>{text}</title></path>"
        ));
    }

    fn add(&mut self, piece: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _written = self.body.write_fmt(piece);
    }

    /// The chart with its time axis.
    pub(super) fn finish(mut self) -> String {
        let seconds = self.end.0 / 1_000_000_000;
        let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600]
            .into_iter()
            .find(|step| seconds / step <= 16)
            .unwrap_or(7200);
        let y = self.height + 13.0;
        for second in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
            let x = self.x(Nanos(second * 1_000_000_000));
            self.add(format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"10\" fill=\"#5b6675\">{second} s</text>"
            ));
        }
        let height = self.height + FOOT;
        format!(
            "<svg width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">{}</svg>",
            self.body
        )
    }
}
