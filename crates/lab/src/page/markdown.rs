//! Tables as Markdown text.

/// A table: a head, and lines of as many cells.
pub fn table<S: AsRef<str>>(head: &[S], lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for line in lines {
        text.push_str(&format!("| {} |\n", line.join(" | ")));
    }
    text
}
