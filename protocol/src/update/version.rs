//! Which of two versions is older.

use std::cmp::Ordering;

/// Compares as Debian does (deb-version(7)), without epoch: numbers by their value, `~` before everything, even the end.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (text, other) = (take(&mut left, false), take(&mut right, false));
        let order = rank(text).cmp(rank(other)).then_with(|| {
            let (number, other) = (take(&mut left, true), take(&mut right, true));
            let (number, other) = (number.trim_start_matches('0'), other.trim_start_matches('0'));
            number.len().cmp(&other.len()).then(number.cmp(other))
        });
        if order.is_ne() || (left.is_empty() && right.is_empty()) {
            return order;
        }
    }
}

/// Cuts digits, or all up to the next digit, off the front.
fn take<'a>(text: &mut &'a str, digits: bool) -> &'a str {
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    let (front, rest) = text.split_at(end);
    *text = rest;
    front
}

/// `~`, then the end, then letters, then all else.
fn rank(text: &str) -> impl Iterator<Item = u32> {
    let each = |c: char| match c {
        '~' => 0,
        c if c.is_ascii_alphabetic() => u32::from(c),
        c => u32::from(c) + 256,
    };
    text.chars().map(each).chain([1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_by_dpkg() {
        let ascending =
            ["", "0.1~rc1", "0.1", "0.1+1", "0.1.0", "0.1.2", "0.1.10", "0.2", "1.0~1", "1.0", "1.0a", "1.0+1"];
        for (index, older) in ascending.iter().enumerate() {
            for newer in &ascending[index + 1..] {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
            }
            assert_eq!(compare(older, older), Ordering::Equal);
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
    }
}
