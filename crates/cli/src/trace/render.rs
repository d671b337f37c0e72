use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::{Span, Trace};
use crate::output::{counted, human};

/// Minimum width of the bars in columns. If there is less space, no bars are shown.
const MIN_BAR_WIDTH: usize = 12;
/// Gap between columns.
const GAP: &str = "  ";

/// Formats a trace as a tree: a heading, then a line for each span with its service, its duration and a bar.
///
/// Lines have at most `width` columns, unless that leaves too little space for the text.
///
/// ```
/// use std::time::Duration;
/// use cli::trace::{Span, Trace, render};
///
/// let span = |id: &str, parent: Option<&str>, service: &str, operation: &str, start, duration| Span {
///     id: id.into(),
///     parent: parent.map(Into::into),
///     service: service.into(),
///     operation: operation.into(),
///     start: Duration::from_millis(start),
///     duration: Duration::from_millis(duration),
///     error: None,
/// };
/// let trace = Trace {
///     id: "0af7651916cd43dd8448eb211c80319c".into(),
///     spans: vec![
///         span("a", None, "gateway", "POST /v1/users", 1_000, 40),
///         span("c", Some("b"), "user", "process users.commands", 1_010, 20),
///         span("b", Some("a"), "gateway", "create users.commands", 1_000, 10),
///     ],
/// };
/// assert_eq!(render(&trace, 80), "\
/// 0af7651916cd43dd8448eb211c80319c: 3 spans, 2 services, 40.0 ms
///
/// POST /v1/users                gateway  40.0 ms  ████████████████████████████████
/// └─ create users.commands      gateway  10.0 ms  ████████
///    └─ process users.commands  user     20.0 ms          ████████████████");
/// ```
pub fn render(trace: &Trace, width: usize) -> String {
    let start = trace.spans.iter().map(|span| span.start).min().unwrap_or_default();
    let end = trace
        .spans
        .iter()
        .map(|span| span.start + span.duration)
        .max()
        .unwrap_or_default();
    let services: BTreeSet<_> = trace.spans.iter().map(|span| &span.service).collect();
    let whole = end - start;
    let heading = format!(
        "{}: {}, {}, {}",
        trace.id,
        counted(trace.spans.len(), "span"),
        counted(services.len(), "service"),
        human(whole)
    );

    let lines = tree(trace);
    let service_width = services.iter().map(|service| columns(service)).max().unwrap_or(0);
    let time_width = trace
        .spans
        .iter()
        .map(|span| columns(&human(span.duration)))
        .max()
        .unwrap_or(0);
    let others = service_width + time_width + 3 * GAP.len();
    let label_width = lines.iter().map(|line| columns(&line.label())).max().unwrap_or(0);
    let label_width = label_width.min(width.saturating_sub(others + MIN_BAR_WIDTH).max(2 * MIN_BAR_WIDTH));
    let bar_width = width.saturating_sub(label_width + others);

    let lines = lines.iter().map(|line| {
        let label = pad(&line.label(), label_width);
        let service = pad(&line.span.service, service_width);
        let time = human(line.span.duration);
        let bar = if bar_width >= MIN_BAR_WIDTH {
            bar(line.span, start, whole, bar_width)
        } else {
            String::new()
        };
        let text = format!("{label}{GAP}{service}{GAP}{time:>time_width$}{GAP}{bar}");
        text.trim_end().to_owned()
    });
    [heading, String::new()]
        .into_iter()
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A span with its position in the tree.
struct Line<'a> {
    /// For each level down to the span's own: `true` if another sibling follows below.
    levels: Vec<bool>,
    span: &'a Span,
    /// `true` if the trace lacks the span's parent.
    orphan: bool,
}

impl Line<'_> {
    fn label(&self) -> String {
        let mut label = String::new();
        for (level, more) in self.levels.iter().enumerate() {
            label.push_str(match (level + 1 == self.levels.len(), more) {
                (true, true) => "├─ ",
                (true, false) => "└─ ",
                (false, true) => "│  ",
                (false, false) => "   ",
            });
        }
        if self.orphan {
            label.push_str("… ");
        }
        label.push_str(&self.span.operation);
        match self.span.error.as_deref() {
            None => {}
            Some("") => label.push_str(" ✗"),
            Some(reason) => label.push_str(&format!(" ✗ {reason}")),
        }
        label
    }
}

/// Orders the spans: parents before children, and siblings by their start.
///
/// Cycles and duplicate spans neither cause an endless loop nor hide spans, because spans are external input.
fn tree(trace: &Trace) -> Vec<Line<'_>> {
    let mut by_start: Vec<usize> = (0..trace.spans.len()).collect();
    by_start.sort_by_key(|index| (trace.spans[*index].start, &trace.spans[*index].id));
    let mut children: HashMap<&str, Vec<usize>> = HashMap::new();
    for index in &by_start {
        if let Some(parent) = &trace.spans[*index].parent {
            children.entry(parent).or_default().push(*index);
        }
    }
    let ids: BTreeSet<&str> = trace.spans.iter().map(|span| span.id.as_str()).collect();
    let has_parent = |index: &usize| {
        trace.spans[*index]
            .parent
            .as_deref()
            .is_some_and(|parent| ids.contains(parent))
    };
    let (rest, roots): (Vec<usize>, Vec<usize>) = by_start.iter().partition(|index| has_parent(index));

    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    // After the roots, the spans that are not reachable from a root: the members of cycles.
    for root in roots.into_iter().chain(rest) {
        let mut stack = vec![(root, Vec::new())];
        while let Some((index, levels)) = stack.pop() {
            if !seen.insert(index) {
                continue;
            }
            let span = &trace.spans[index];
            let below = children.get(span.id.as_str()).map_or(&[][..], Vec::as_slice);
            let fresh: Vec<_> = below.iter().filter(|child| !seen.contains(child)).collect();
            for (position, child) in fresh.iter().enumerate().rev() {
                let more = position + 1 < fresh.len();
                stack.push((**child, levels.iter().copied().chain([more]).collect()));
            }
            let orphan = levels.is_empty() && span.parent.is_some();
            lines.push(Line { levels, span, orphan });
        }
    }
    lines
}

fn bar(span: &Span, start: Duration, whole: Duration, width: usize) -> String {
    let column = |time: Duration| {
        let share = time.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
        (share * width as f64).round() as usize
    };
    let from = column(span.start - start).min(width - 1);
    let to = column(span.start + span.duration - start).min(width);
    match to.saturating_sub(from) {
        0 => format!("{}▏", " ".repeat(from)),
        length => format!("{}{}", " ".repeat(from), "█".repeat(length)),
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, width: usize) -> String {
    if columns(text) <= width {
        format!("{text:width$}")
    } else {
        text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>, start: u64, duration: u64) -> Span {
        Span {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            service: "s".to_owned(),
            operation: id.to_owned(),
            start: Duration::from_millis(start),
            duration: Duration::from_millis(duration),
            error: None,
        }
    }

    fn labels(spans: Vec<Span>) -> Vec<String> {
        let trace = Trace {
            id: String::new(),
            spans,
        };
        tree(&trace).iter().map(Line::label).collect()
    }

    #[test]
    fn siblings_are_ordered_by_their_start() {
        let spans = vec![
            span("late", Some("root"), 5, 1),
            span("early", Some("root"), 1, 1),
            span("below", Some("early"), 2, 1),
            span("root", None, 0, 9),
        ];
        assert_eq!(labels(spans), ["root", "├─ early", "│  └─ below", "└─ late"]);
    }

    #[test]
    fn a_span_whose_parent_is_missing_is_marked() {
        assert_eq!(
            labels(vec![span("a", Some("missing"), 0, 1), span("b", Some("a"), 0, 1)]),
            ["… a", "└─ b"]
        );
    }

    #[test]
    fn cycles_and_repeated_spans_are_shown_once() {
        let spans = vec![
            span("a", Some("b"), 0, 1),
            span("b", Some("a"), 1, 1),
            span("self", Some("self"), 2, 1),
        ];
        assert_eq!(labels(spans), ["… a", "└─ b", "… self"]);
        assert_eq!(labels(vec![span("a", None, 0, 1), span("a", None, 0, 1)]), ["a", "a"]);
    }

    #[test]
    fn a_failed_span_shows_its_error() {
        let mut failed = span("a", None, 0, 1);
        failed.error = Some("no seat".to_owned());
        assert_eq!(labels(vec![failed]), ["a ✗ no seat"]);
    }

    #[test]
    fn a_narrow_terminal_gets_shorter_labels_and_no_bars() {
        let mut long = span("a", None, 0, 7);
        long.operation = "an operation with a very long name indeed".to_owned();
        let text = render(
            &Trace {
                id: "t".to_owned(),
                spans: vec![long],
            },
            40,
        );
        assert_eq!(
            text,
            "t: 1 span, 1 service, 7.00 ms\n\nan operation with a ver…  s  7.00 ms"
        );
    }

    #[test]
    fn spans_without_duration_have_a_mark() {
        let text = render(
            &Trace {
                id: "t".to_owned(),
                spans: vec![span("a", None, 3, 0)],
            },
            80,
        );
        assert!(text.ends_with("▏"), "{text}");
        assert_eq!(
            render(
                &Trace {
                    id: "t".to_owned(),
                    spans: Vec::new()
                },
                80
            ),
            "t: 0 spans, 0 services, 0.00 ms\n"
        );
    }
}
