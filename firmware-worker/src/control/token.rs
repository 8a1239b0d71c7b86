//! Tokens on their way from a job to the supervisor: one that fits no message travels in parts.

use super::{FromJob, MAX_MESSAGE};
use protocol::secret::Secret;

/// Bytes of a token that the supervisor takes. The server puts the participant's metadata and attributes into it, which may
/// be tens of kilobytes; as many messages fit the socket of a supervisor that does not read just now.
pub const MAX_TOKEN: usize = 64 * 1024;

/// Bytes of it in one message: what its numbers take is left.
const PART: usize = MAX_MESSAGE - 16;

/// The messages that tell a token, in their order. `None` if it is too long.
pub fn messages(token: &Secret) -> Option<Vec<FromJob>> {
    let mut rest = token.expose();
    if rest.len() <= PART {
        return Some(vec![FromJob::Token(token.clone())]);
    }
    if rest.len() > MAX_TOKEN {
        return None;
    }
    let (mut messages, mut at) = (Vec::new(), 0);
    while !rest.is_empty() {
        let mut end = rest.len().min(PART);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, after) = rest.split_at(end);
        messages.push(FromJob::TokenPart { at, part: Secret::new(part), last: after.is_empty() });
        (at, rest) = (at + end as u32, after);
    }
    Some(messages)
}

/// What has come of a token that is told in parts.
#[derive(Debug, Default)]
pub struct Parts(Option<Secret>);

impl Parts {
    /// The token, when this was the last of its parts. One that does not follow the part before is left out, and with it its
    /// token: the program that took the others may have been replaced meanwhile.
    pub fn take(&mut self, at: u32, part: &Secret, last: bool) -> Option<Secret> {
        let before = self.0.take();
        let before = before.as_ref().map_or("", Secret::expose);
        let begins = at == 0;
        let follows = begins || (at as usize == before.len() && at as usize + part.expose().len() <= MAX_TOKEN);
        if !follows {
            return None;
        }
        let token = Secret::new(if begins { part.expose().to_owned() } else { format!("{before}{}", part.expose()) });
        if last {
            return Some(token);
        }
        self.0 = Some(token);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(messages: Vec<FromJob>, parts: &mut Parts) -> Vec<String> {
        let take = |message| match message {
            FromJob::Token(token) => Some(token),
            FromJob::TokenPart { at, part, last } => parts.take(at, &part, last),
            other => panic!("{other:?}"),
        };
        messages.into_iter().filter_map(take).map(|token| token.expose().to_owned()).collect()
    }

    #[test]
    fn a_token_of_any_length_up_to_the_limit_comes_as_it_was_in_messages_that_fit() {
        for length in [0, 1, PART, PART + 1, 3 * PART, MAX_TOKEN - 1, MAX_TOKEN] {
            // Characters of two bytes do not end where parts do.
            let token = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let messages = messages(&Secret::new(token.as_str())).expect("within the limit");
            for message in &messages {
                assert!(postcard::to_stdvec(message).expect("encodes").len() <= MAX_MESSAGE, "{length}");
            }
            assert_eq!(told(messages, &mut Parts::default()), [token]);
        }
        assert!(messages(&Secret::new("x".repeat(MAX_TOKEN + 1))).is_none());
    }

    #[test]
    fn of_a_token_that_lacks_a_part_nothing_is_taken_and_the_next_one_is() {
        let (whole, next) = (Secret::new("x".repeat(3 * PART)), Secret::new("y".repeat(2 * PART)));
        let mut parts = Parts::default();
        for missing in 0..3 {
            let mut some = messages(&whole).expect("within the limit");
            some.remove(missing);
            assert_eq!(told(some, &mut parts).len(), 0, "without part {missing}");
            assert_eq!(told(messages(&next).expect("within the limit"), &mut parts), [next.expose()]);
        }
    }

    #[test]
    fn a_token_without_an_end_takes_no_more_memory_than_the_longest() {
        let (mut parts, part) = (Parts::default(), Secret::new("x".repeat(PART)));
        for number in 0..100 {
            assert!(parts.take(number * PART as u32, &part, false).is_none());
            assert!(parts.0.as_ref().is_none_or(|token| token.expose().len() <= MAX_TOKEN));
        }
        assert!(parts.0.is_none());
    }
}
